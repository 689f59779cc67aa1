package main

import (
	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
)

// logConfigFlags are the flags for what can be set per log.
type logConfigFlags struct {
	entryBytesMax byteSize
	dedicated     bool
	zone          string
}

func addLogConfigFlags(cmd *cobra.Command) *logConfigFlags {
	f := &logConfigFlags{}
	flags := cmd.Flags()
	flags.Var(&f.entryBytesMax, "entry-bytes-max", "most bytes of an entry, with its headers: up to 8MiB (0: 1MiB)")
	flags.BoolVar(&f.dedicated, "dedicated", false, "a chain of its own, for a hot log: it shares no object with others, and waits for none")
	flags.StringVar(&f.zone, "zone", "", "zone in which its writer had better be (\"\": anywhere)")
	return f
}

// given says whether any of the flags was.
func (f *logConfigFlags) given(cmd *cobra.Command) bool {
	return cmd.Flags().Changed("entry-bytes-max") || cmd.Flags().Changed("dedicated") || cmd.Flags().Changed("zone")
}

// check refuses what no log can have.
func (f *logConfigFlags) check() error {
	if f.entryBytesMax > fragment.EntryBytesMax {
		return &wpd.LimitError{What: "--entry-bytes-max", Limit: fragment.EntryBytesMax, Value: uint64(f.entryBytesMax)}
	}
	return nil
}

// apply changes a configuration by the flags that were given.
func (f *logConfigFlags) apply(cmd *cobra.Command, c *wpd.LogConfig) {
	if cmd.Flags().Changed("entry-bytes-max") {
		c.EntryBytesMax = uint32(f.entryBytesMax)
	}
	if cmd.Flags().Changed("dedicated") {
		c.Dedicated = f.dedicated
	}
	if cmd.Flags().Changed("zone") {
		c.Zone = f.zone
	}
}
