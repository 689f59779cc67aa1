package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
)

// readOutput is where the entries go that wpd read reads, and what it has to
// say about it.
type readOutput struct {
	cmd      *cobra.Command
	w        *bufio.Writer
	entries  *entryWriter
	progress *progress

	count  uint64
	bytes  int64
	losses int
	said   time.Time // of the progress
	away   bool      // the server is, and that was told
}

func newReadOutput(cmd *cobra.Command, s *selection) *readOutput {
	out := cmd.OutOrStdout()
	o := &readOutput{cmd: cmd, w: bufio.NewWriterSize(out, 256<<10), progress: &progress{}}
	o.entries = newEntryWriter(o.w, s.format, !s.follow && !isTerminal(out))
	if !s.follow && !isTerminal(out) {
		o.progress = newProgress(cmd)
	}
	return o
}

func (o *readOutput) write(entries []wpd.Entry) error {
	for _, e := range entries {
		if err := o.entries.write(e); err != nil {
			return err
		}
		o.bytes += int64(len(e.Data))
	}
	o.count += uint64(len(entries))
	o.away = false
	if now := time.Now(); now.Sub(o.said) > 100*time.Millisecond {
		o.said = now
		o.progress.say("read %s, %s", entriesText(o.count), sizeText(o.bytes))
	}
	return nil
}

// lost tells of entries that can't be read.
func (o *readOutput) lost(err error) error {
	o.losses++
	if err := o.w.Flush(); err != nil {
		return err
	}
	o.progress.clear()
	_, err = fmt.Fprintf(o.cmd.ErrOrStderr(), "%s: %v\n", o.cmd.CommandPath(), err)
	return err
}

// unavailable waits a moment before it is tried again.
func (o *readOutput) unavailable(ctx context.Context, err error) error {
	if !o.away {
		fmt.Fprintf(o.cmd.ErrOrStderr(), "%s: %v; trying on\n", o.cmd.CommandPath(), err)
	}
	o.away = true
	select {
	case <-time.After(time.Second):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end writes what is left, and returns the error that the command ends with:
// err, or that entries are lost. next is the LSN that would have come next.
func (o *readOutput) end(log string, next wpd.LSN, err error) error {
	o.progress.clear()
	flushErr := o.w.Flush()
	switch {
	case isBrokenPipe(flushErr):
		return flushErr
	case isBrokenPipe(err):
		return err
	case err != nil:
		fmt.Fprintf(o.cmd.ErrOrStderr(), "read %s; to go on: --from %d\n", entriesText(o.count), next)
		return errors.Join(err, flushErr)
	case flushErr != nil:
		return flushErr
	case o.losses > 0:
		return advise(&exitError{exitDataLoss, fmt.Errorf("log %s: %s could not be read", log, plural(o.losses, "range"))},
			"wpd verify says what is damaged; all around it was read")
	}
	return nil
}
