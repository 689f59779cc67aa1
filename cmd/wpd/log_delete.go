package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
)

func newLogTrimCommand() *cobra.Command {
	var before uint64
	cmd := &cobra.Command{
		Use:   "trim LOG --before LSN",
		Short: "Drop the entries before an LSN",
		Long: `Drop the entries of a log before an LSN, for ever. On a terminal it asks first; where
there is none it wants --yes.`,
		Example: `  wpd log trim orders --before 1000
  wpd log trim orders --before 1000 --yes`,
	}
	logCommand(cmd, func(ctx context.Context, c *wpd.Client, name string) error {
		if before == 0 {
			return usagef(cmd, "--before is 0; the first LSN is 1")
		}
		log, err := findLog(ctx, c, name)
		if err != nil {
			return err
		}
		info, err := log.Info(ctx)
		if err != nil {
			return err
		}
		lsn := wpd.LSN(before)
		switch {
		case lsn > info.Tail:
			return &wpd.BeyondTailError{LSN: lsn, Tail: info.Tail}
		case lsn <= info.First:
			return tellLog(ctx, cmd, log, fmt.Sprintf("nothing to trim: log %s starts at LSN %d", name, info.First))
		}
		gone := fmt.Sprintf("%s of log %s, LSNs [%d, %d)", entriesText(uint64(lsn-info.First)), name, info.First, lsn)
		if err := confirm(ctx, cmd, "This drops "+gone+", for ever", "yes"); err != nil {
			return err
		}
		if err := log.Trim(ctx, lsn); err != nil {
			return err
		}
		return tellLog(ctx, cmd, log, "trimmed "+gone)
	})
	cmd.Flags().Uint64Var(&before, "before", 0, "the first LSN to keep")
	_ = cmd.MarkFlagRequired("before")
	addYesFlag(cmd)
	return cmd
}

func newLogDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete LOG",
		Aliases: []string{"rm"},
		Short:   "Remove a log and all that is in it",
		Long: `Remove a log with all its entries, for ever. On a terminal it wants the name typed
once more; where there is none it wants --yes.`,
		Example: `  wpd log delete orders
  wpd log delete orders --yes`,
	}
	logCommand(cmd, func(ctx context.Context, c *wpd.Client, name string) error {
		log, err := findLog(ctx, c, name)
		if err != nil {
			return err
		}
		info, err := log.Info(ctx)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("This removes log %s with %s, for ever", name, entriesText(uint64(info.Tail-info.First)))
		if err := confirm(ctx, cmd, what, name); err != nil {
			return err
		}
		if err := c.Delete(ctx, name); err != nil {
			return err
		}
		if wantsObjects(cmd) {
			return printObject(cmd, makeLogJSON(info))
		}
		_, err = fmt.Fprintf(cmd.ErrOrStderr(), "removed log %s, id %d\n", name, info.ID)
		return err
	})
	addYesFlag(cmd)
	return cmd
}
