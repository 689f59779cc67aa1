package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
)

func newLogCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "log",
		Aliases: []string{"logs"},
		Short:   "Make, list, look at, change and remove logs",
		Long: `Make, list, look at, change and remove logs. A log has a name of up to 255 letters,
digits and "._/-", and an id that no other log ever has. Its entries have the LSNs
[first, tail): dense, from 1 on; the tail is the LSN that the next one gets.`,
		Example: `  wpd log create orders
  wpd log list
  wpd log show orders -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLogCreateCommand(), newLogListCommand(), newLogShowCommand(), newLogSetCommand(),
		newLogTrimCommand(), newLogDeleteCommand(), newLogProducersCommand())
	return cmd
}

// logCommand is a command about the one log that its argument names. Its run
// gets a context and a client that are good until it returns.
func logCommand(cmd *cobra.Command, run func(ctx context.Context, c *wpd.Client, name string) error) *cobra.Command {
	cmd.Args, cmd.ValidArgsFunction = cobra.ExactArgs(1), completeLogs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withClient(cmd, func(ctx context.Context, c *wpd.Client) error {
			err := run(ctx, c, args[0])
			if errors.Is(err, wpd.ErrUncertain) {
				err = advise(err, "wpd log show "+args[0]+" tells whether it was done")
			}
			return err
		})
	}
	addConnectFlags(cmd)
	return cmd
}

// findLog finds a log by its name.
func findLog(ctx context.Context, c *wpd.Client, name string) (*wpd.Log, error) {
	log, err := c.Log(ctx, name)
	if errors.Is(err, wpd.ErrNotFound) {
		err = advise(err, "wpd log list shows what is there")
	}
	return log, err
}

// withClient connects, runs, and closes.
func withClient(cmd *cobra.Command, run func(ctx context.Context, c *wpd.Client) error) error {
	ctx, c, done, err := connect(cmd)
	if err != nil {
		return err
	}
	return errors.Join(run(ctx, c), done())
}

// logJSON tells about a log.
type logJSON struct {
	Name          string              `json:"name"`
	ID            wpd.LogID           `json:"id"`
	FirstLSN      wpd.LSN             `json:"first_lsn"`
	TailLSN       wpd.LSN             `json:"tail_lsn"`
	Bytes         uint64              `json:"bytes"`         // stored, trimmed ones included
	TrimmedBytes  uint64              `json:"trimmed_bytes"` // of these, trimmed and not yet freed
	EntryBytesMax uint32              `json:"entry_bytes_max"`
	ConfigVersion uint64              `json:"config_version"`
	Generation    fragment.Generation `json:"generation"` // counts the exclusive writers
	Created       time.Time           `json:"created"`
	Dedicated     bool                `json:"dedicated"` // has a chain of its own
	Zone          string              `json:"zone"`      // where its writer had better be; "": anywhere
	Writer        string              `json:"writer"`    // name of the node that writes it; "": nobody does now
	Epoch         fragment.Epoch      `json:"epoch"`     // of the chain that it is attached to; 0: none
	Extents       []extentJSON        `json:"extents"`
}

// extentJSON is the range of LSNs that one chain of objects holds.
type extentJSON struct {
	ChainEpoch fragment.Epoch      `json:"chain_epoch"`
	Attachment fragment.Attachment `json:"attachment"`
	FromLSN    wpd.LSN             `json:"from_lsn"`
	ToLSN      wpd.LSN             `json:"to_lsn"`
}

func makeLogJSON(info wpd.LogInfo) logJSON {
	j := logJSON{
		Name: info.Name, ID: info.ID, FirstLSN: info.First, TailLSN: info.Tail, Bytes: info.Bytes, TrimmedBytes: info.TrimmedBytes,
		EntryBytesMax: entryBytesMax(info), ConfigVersion: info.ConfigVersion, Generation: info.Generation, Created: info.Created.UTC(),
		Dedicated: info.Config.Dedicated, Zone: info.Config.Zone, Writer: info.Writer, Epoch: info.Epoch, Extents: []extentJSON{},
	}
	for _, x := range info.Extents {
		j.Extents = append(j.Extents, extentJSON{x.Chain, x.Attachment, x.From, x.To})
	}
	return j
}

func entryBytesMax(info wpd.LogInfo) uint32 {
	if info.Config.EntryBytesMax == 0 {
		return fragment.EntryBytesDefault
	}
	return info.Config.EntryBytesMax
}

// tellLog prints a log that was made or changed as an object, or says so to
// people, on stderr.
func tellLog(ctx context.Context, cmd *cobra.Command, log *wpd.Log, said string) error {
	if !wantsObjects(cmd) {
		_, err := fmt.Fprintln(cmd.ErrOrStderr(), said)
		return err
	}
	info, err := log.Info(ctx)
	if err != nil {
		return err
	}
	return printObject(cmd, makeLogJSON(info))
}
