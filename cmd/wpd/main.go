// Command wpd is the write-ahead log service and its command line.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run runs one command line and returns the exit code. The first interrupt
// ends the command cleanly, the second one at once.
func run(args []string, stdout, stderr io.Writer) int {
	signal.Ignore(syscall.SIGPIPE) // a reader that left is an error of the write, so that we clean up
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	started := false
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := errors.Join(checkOutput(cmd), cmd.ValidateRequiredFlags()); err != nil {
			return err
		}
		started = true
		return nil
	}
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if !started { // arguments and flags, by cobra
		err = usage(cmd, err)
	}
	return report(cmd, err, ctx.Err() != nil)
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "wpd",
		Short: "A write-ahead log service on object storage",
		Long: `wpd keeps named, append-only logs in an object store. An append is acknowledged
once it is durable there, and read back in order by anyone.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 unexpected,
2 usage, 3 not found, 4 conflict, 5 unavailable (nothing was done), 6 outcome
unknown, 7 data loss, 8 over a limit, 130 interrupted.`,
		Example: `  wpd demo                      see it work, in a temporary directory
  wpd bench append              how fast it is here, beside the disk itself
  wpd verify --bucket file:///var/lib/wpd/objects`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	addOutputFlags(root)
	root.AddCommand(newReadCommand(), newVerifyCommand(), newInspectCommand(),
		newDemoCommand(), newDemoIngestCommand(), newBenchCommand(), newVersionCommand())
	return root
}
