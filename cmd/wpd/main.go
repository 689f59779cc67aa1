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
	ctx, stop := untilSignal()
	defer stop()

	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	addCompletionCommand(root)
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

// untilSignal is a context that the first interrupt or SIGTERM ends. From when
// it has ended on, the next one ends the process.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan os.Signal, 1)
	signal.Notify(first, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-first:
		case <-ctx.Done():
		}
		signal.Stop(first)
		cancel()
	}()
	return ctx, cancel
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "wpd",
		Short: "A write-ahead log service on object storage",
		Long: `wpd keeps named, append-only logs in an object store. An append is acknowledged
once it is durable there, and read back in order by anyone.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 unexpected,
2 usage, 3 not found, 4 conflict, 5 unavailable (nothing was done), 6 outcome
unknown, 7 data loss, or a store that would lose data, 8 over a limit, 130 interrupted.`,
		Example: `  wpd dev                                  a server for trying things
  echo hello | wpd append greetings --create
  wpd tail greetings -n 10
  wpd demo                                 see it work, in a temporary directory
  wpd bench append                         how fast it is here, beside the disk itself`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	addOutputFlags(root)
	completeValues(root, "output", "table", "json", "yaml")
	completeValues(root, "color", "auto", "always", "never")
	addGroup(root, "Logs and entries", newLogCommand(), newAppendCommand(), newReadCommand(), newTailCommand())
	addGroup(root, "Servers", newDevCommand(), newServeCommand(), newConfigCommand(),
		newStatusCommand(), newHealthCommand(), newStatCommand())
	addGroup(root, "Clusters", newClusterCommand())
	addGroup(root, "Trying and checking", newDemoCommand(), newBenchCommand(), newDoctorCommand(), newVerifyCommand(), newInspectCommand())
	root.AddCommand(newVersionCommand(), newManCommand(), newDemoIngestCommand(), newDoctorRacerCommand())
	return root
}

// addGroup adds commands that help shows together.
func addGroup(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title + ":"})
	for _, cmd := range commands {
		cmd.GroupID = title
	}
	root.AddCommand(commands...)
}
