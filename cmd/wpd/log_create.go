package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
)

func newLogCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create LOG",
		Short: "Make an empty log",
		Long: `Make an empty log. It is an error (exit code 4) if there is one of that name.
-o json prints the new log.`,
		Example: `  wpd log create orders
  wpd log create photos --entry-bytes-max 8MiB -o json
  wpd log create clicks --dedicated`,
	}
	flags := addLogConfigFlags(cmd)
	logCommand(cmd, func(ctx context.Context, c *wpd.Client, name string) error {
		if err := flags.check(); err != nil {
			return err
		}
		var config wpd.LogConfig
		flags.apply(cmd, &config)
		log, err := c.Create(ctx, name, config)
		if err != nil {
			return err
		}
		return tellLog(ctx, cmd, log, fmt.Sprintf("created log %s, id %d", log.Name(), log.ID()))
	})
	cmd.ValidArgsFunction = cobra.NoFileCompletions // a name that is there would be wrong
	return cmd
}

func newLogSetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set LOG",
		Short: "Change a log's configuration",
		Long: `Change a log's configuration; what no flag names stays. Writers keep the limits that
they were opened with. -o json prints the log as it is then.`,
		Example: `  wpd log set orders --entry-bytes-max 4MiB
  wpd log set orders --dedicated=false`,
	}
	flags := addLogConfigFlags(cmd)
	return logCommand(cmd, func(ctx context.Context, c *wpd.Client, name string) error {
		if !flags.given(cmd) {
			return usagef(cmd, "nothing to set; want --entry-bytes-max, --dedicated or --zone")
		}
		if err := flags.check(); err != nil {
			return err
		}
		log, err := findLog(ctx, c, name)
		if err != nil {
			return err
		}
		if err := log.Configure(ctx, func(config *wpd.LogConfig) { flags.apply(cmd, config) }); err != nil {
			return err
		}
		return tellLog(ctx, cmd, log, "changed log "+log.Name())
	})
}
