package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
)

func newLogListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [PREFIX]",
		Short: "List logs",
		Long: `List the logs, or those whose names start with PREFIX, by name. With -o json each is
one line, with all that wpd log show has.`,
		Example: `  wpd log list
  wpd log list orders/ -o json | jq .name`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeLogs,
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix := ""
			if len(args) > 0 {
				prefix = args[0]
			}
			return withClient(cmd, func(ctx context.Context, c *wpd.Client) error { return listLogs(ctx, cmd, c, prefix) })
		},
	}
	addConnectFlags(cmd)
	return cmd
}

func listLogs(ctx context.Context, cmd *cobra.Command, c *wpd.Client, prefix string) error {
	var rows [][]string
	for info, err := range c.Logs(ctx, prefix) {
		if err != nil {
			return err
		}
		if wantsObjects(cmd) {
			if err := printObject(cmd, makeLogJSON(info)); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{
			info.Name, strconv.FormatUint(uint64(info.ID), 10), lsnText(info.First), lsnText(info.Tail),
			countText(uint64(info.Tail - info.First)), sizeText(int64(info.Bytes)), momentText(info.Created),
		})
	}
	if wantsObjects(cmd) {
		return nil
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(cmd.ErrOrStderr(), "there is no such log; wpd log create makes one")
		return err
	}
	out := cmd.OutOrStdout()
	return printTable(out, inkFor(cmd, out), []column{
		{"name", true}, {"id", false}, {"first", false}, {"tail", false}, {"entries", false}, {"bytes", false}, {"created", true},
	}, rows)
}

func newLogShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show LOG",
		Short: "Show one log",
		Long: `Show a log: its LSNs, how much is stored of it, its configuration, and its extents,
which are the ranges of LSNs that one chain of objects holds.`,
		Example: `  wpd log show orders
  wpd log show orders -o json | jq .tail_lsn`,
	}
	return logCommand(cmd, func(ctx context.Context, c *wpd.Client, name string) error {
		log, err := findLog(ctx, c, name)
		if err != nil {
			return err
		}
		info, err := log.Info(ctx)
		if err != nil {
			return err
		}
		return printResult(cmd, makeLogJSON(info), func(w io.Writer, ink ink) error { return printLog(w, ink, info) })
	})
}

func printLog(w io.Writer, ink ink, info wpd.LogInfo) error {
	bytes := sizeText(int64(info.Bytes))
	if info.TrimmedBytes > 0 {
		bytes += ", " + sizeText(int64(info.TrimmedBytes)) + " of them trimmed"
	}
	limit := sizeText(int64(entryBytesMax(info)))
	if entryBytesMax(info) == fragment.EntryBytesDefault {
		limit += " (default)"
	}
	chain := "shared with other logs"
	if info.Config.Dedicated {
		chain = "of its own"
	}
	writer := "nobody now"
	if info.Writer != "" {
		writer = fmt.Sprintf("%s, chain epoch %d", info.Writer, uint64(info.Epoch))
	}
	err := printFields(w, ink, [][2]string{
		{"name", ink.bold(info.Name)},
		{"id", strconv.FormatUint(uint64(info.ID), 10)},
		{"LSNs", fmt.Sprintf("[%s, %s)", lsnText(info.First), lsnText(info.Tail))},
		{"entries", countText(uint64(info.Tail - info.First))},
		{"bytes", bytes},
		{"entry limit", limit},
		{"writer", writer},
		{"chain", chain},
		{"zone", cmp.Or(info.Config.Zone, "any")},
		{"generation", strconv.FormatUint(uint64(info.Generation), 10)},
		{"created", momentText(info.Created)},
	})
	if err != nil || len(info.Extents) == 0 {
		return err
	}
	var rows [][]string
	for _, x := range info.Extents {
		rows = append(rows, []string{fmt.Sprint(uint64(x.Chain)), fmt.Sprint(uint64(x.Attachment)), lsnText(x.From), lsnText(x.To)})
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return printTable(w, ink, []column{{"chain", false}, {"attachment", false}, {"from", false}, {"to", false}}, rows)
}

func newLogProducersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "producers LOG",
		Short: "List a log's named producers",
		Long: `List the named producers of a log, by name: how often each was opened (epoch), how
many entries it has stored (its last sequence), and where and when the last of
them. With -o json each is one line.`,
		Example: `  wpd log producers orders`,
	}
	return logCommand(cmd, func(ctx context.Context, c *wpd.Client, name string) error {
		log, err := findLog(ctx, c, name)
		if err != nil {
			return err
		}
		return listProducers(ctx, cmd, log)
	})
}

// producerJSON tells about a named producer.
type producerJSON struct {
	Name         string                 `json:"name"`
	ID           fragment.ProducerID    `json:"id"`
	Epoch        fragment.ProducerEpoch `json:"epoch"`
	LastSequence uint64                 `json:"last_sequence"`  // 0: it has stored nothing
	LastLSN      wpd.LSN                `json:"last_lsn"`       // 0: so here
	Time         *time.Time             `json:"time,omitempty"` // of its last append
}

func listProducers(ctx context.Context, cmd *cobra.Command, log *wpd.Log) error {
	var rows [][]string
	for p, err := range log.Producers(ctx) {
		if err != nil {
			return err
		}
		if wantsObjects(cmd) {
			j := producerJSON{Name: p.Name, ID: p.ID, Epoch: p.Epoch, LastSequence: p.Last, LastLSN: p.LastLSN}
			if !p.Time.IsZero() {
				t := p.Time.UTC()
				j.Time = &t
			}
			if err := printObject(cmd, j); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{p.Name, fmt.Sprint(uint64(p.Epoch)), countText(p.Last), lsnText(p.LastLSN), momentText(p.Time)})
	}
	if wantsObjects(cmd) {
		return nil
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(cmd.ErrOrStderr(), "no named producers")
		return err
	}
	out := cmd.OutOrStdout()
	return printTable(out, inkFor(cmd, out), []column{
		{"name", true}, {"epoch", false}, {"last sequence", false}, {"last LSN", false}, {"time", true},
	}, rows)
}

// lsnText is an LSN as it is typed.
func lsnText(lsn wpd.LSN) string {
	if lsn == 0 {
		return "-"
	}
	return strconv.FormatUint(uint64(lsn), 10)
}

// momentText is a time to the second, in UTC.
func momentText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}
