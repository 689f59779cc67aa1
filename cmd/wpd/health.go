package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc/client"
)

const (
	// healthTry bounds one try: a server that needs longer does not serve.
	healthTry = 3 * time.Second
	// healthPause is between two tries.
	healthPause = 100 * time.Millisecond
)

// health is what wpd health found.
type health struct {
	Status string `json:"status"` // serving or not_serving
	Addr   string `json:"addr"`
	Why    string `json:"why,omitempty"`
}

func newHealthCommand() *cobra.Command {
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Say whether a server serves",
		Long: `Ask a server whether it takes appends and reads. One line says so; the exit code is
0 if it serves, and 5 if it does not, or does not answer. With --wait, it is
asked again until it serves or that time has passed.`,
		Example: `  wpd health --addr 127.0.0.1:7070 || systemctl restart wpd
  wpd health --wait 10s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if patience < 0 {
				return usagef(cmd, "--wait is %v; want a time", patience)
			}
			t, err := targetOf(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := t.context(cmd.Context())
			defer cancel()
			return tellHealth(ctx, cmd, t.addrs, patience, t.askHealth)
		},
	}
	addServerFlags(cmd)
	cmd.Flags().DurationVar(&patience, "wait", 0, "wait so long for the server to serve")
	return cmd
}

// askHealth asks once. Nil: it serves.
func (t target) askHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTry)
	defer cancel()
	a, err := client.DialAdmin(ctx, client.Config{Addrs: t.list()})
	if err != nil {
		return err
	}
	return errors.Join(a.Health(ctx), a.Close())
}

// tellHealth asks until the server serves or patience is over, and prints the
// outcome.
func tellHealth(ctx context.Context, cmd *cobra.Command, addr string, patience time.Duration, ask func(context.Context) error) error {
	deadline := time.Now().Add(patience)
	var err error
	for {
		if err = ask(ctx); err == nil || !errors.Is(err, wpd.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if time.Until(deadline) < healthPause || wait(ctx, healthPause) != nil {
			break
		}
	}
	switch code, _ := classify(err); {
	case cmd.Context().Err() != nil:
		return cmd.Context().Err()
	case err != nil && code == exitUsage: // an address that is none
		return err
	}
	h := health{Status: "serving", Addr: addr}
	if err != nil {
		h.Status, h.Why = "not_serving", err.Error()
	}
	if printErr := printResult(cmd, h, h.print); printErr != nil {
		return printErr
	}
	if err != nil {
		return &quietError{exitUnavailable}
	}
	return nil
}

func (h health) print(w io.Writer, ink ink) error {
	line := ink.green("serving") + "  " + h.Addr
	if h.Why != "" {
		line = ink.red("not serving") + "  " + h.Addr + ": " + h.Why
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// quietError is an exit code, where all was said already.
type quietError struct{ code int }

func (e *quietError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// untilInterrupt makes an interrupt a quiet end, of what would never end by
// itself.
func untilInterrupt(cmd *cobra.Command, err error) error {
	if err != nil && cmd.Context().Err() != nil {
		return &quietError{exitInterrupted}
	}
	return err
}
