package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
)

const (
	// interruptGrace is how long an interrupted append waits for the outcome
	// of what is in flight: many times the slowest acknowledgement in use.
	interruptGrace = 5 * time.Second
	// stallNotice is after how long without an acknowledgement people are
	// told.
	stallNotice = 5 * time.Second
)

var (
	errStalled = errors.New("nothing was acknowledged for as long as --patience allows")
	errTimeout = errors.New("the time that --timeout allows is over")
)

// appending is one run of wpd append. The entries come from a feeder, in a
// goroutine of its own; run hands them to the writer; collect waits for their
// outcomes, in order; watch looks at the time.
type appending struct {
	*appendCommand
	cmd    *cobra.Command
	given  []wpd.Header // by -H
	writer *wpd.Writer
	last   lastStored // of the producer, with --resume
	tally  *tally
	start  time.Time
	// unmarked: the last line had no newline, and its entry does not say so.
	unmarked bool

	stop      context.CancelCauseFunc // hand over nothing more
	giveUp    context.CancelCauseFunc // wait for no more outcomes
	abandoned bool                    // there are outcomes that were not waited for
}

func newAppending(cmd *cobra.Command, c *appendCommand, given []wpd.Header) *appending {
	return &appending{appendCommand: c, cmd: cmd, given: given, tally: newTally(), start: time.Now()}
}

// run appends what f gives, and tells what became of it.
func (a *appending) run(ctx context.Context, f *feeder) error {
	// feeding ends when nothing more is to be handed over, waiting when the
	// outcomes don't matter any more.
	feeding, stop := context.WithCancelCause(ctx)
	waiting, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	a.stop, a.giveUp = stop, giveUp
	defer stop(nil)
	defer giveUp(nil)
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(grace(ctx), func() { giveUp(ended(ctx)) })
	})()

	var collecting, watching sync.WaitGroup
	over := make(chan struct{})
	collecting.Go(func() { a.collect(waiting) })
	watching.Go(func() { a.watch(over) })
	err := a.handOver(feeding, waiting, f)
	a.tally.finish()
	_ = a.writer.Flush(waiting) // collect has its errors
	collecting.Wait()
	close(over)
	watching.Wait()
	a.abandoned = waiting.Err() != nil
	err = a.outcome(ctx, waiting, err)
	return errors.Join(a.tell(err), err)
}

// grace is how long outcomes are waited for after ctx has ended: not at all
// if its time was up.
func grace(ctx context.Context) time.Duration {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return 0
	}
	return interruptGrace
}

// handOver gives the entries to the writer, until the input ends or feeding
// does.
func (a *appending) handOver(feeding, waiting context.Context, f *feeder) error {
	next := a.ifTail
	for {
		if feeding.Err() != nil {
			return context.Cause(feeding) // also if there is a chunk
		}
		select {
		case <-feeding.Done():
			return context.Cause(feeding)
		case c, ok := <-f.chunks:
			if !ok {
				return a.inputEnded(f)
			}
			rest, err := a.pass(c)
			if err == nil && a.ifTail == 0 {
				err = a.pipeline(feeding, c, rest)
			} else if err == nil {
				next, err = a.chain(waiting, c, next)
			}
			if err != nil {
				return err
			}
			f.done(c)
		}
	}
}

// inputEnded returns what is wrong with the input, or with its end.
func (a *appending) inputEnded(f *feeder) error {
	if f.err != nil {
		return a.at(f.number, f.err)
	}
	if d, ok := f.in.(*lineDecoder); ok {
		a.unmarked = d.unmarked
	}
	return a.last.missing(a.tally.snapshot().skipped)
}

// at says where in the input an error is.
func (a *appending) at(number uint64, err error) error {
	file := a.file
	if file == "-" {
		file = "the input"
	}
	if a.format == "whole" {
		return fmt.Errorf("%s: %w", file, err)
	}
	return fmt.Errorf("%s %d of %s: %w", inputNoun(a.format), number, file, err)
}

// pipeline appends the entries of a chunk from an index on, without waiting
// for what becomes of them. An error is that of the first one that failed at
// once.
func (a *appending) pipeline(ctx context.Context, c *chunk, from int) error {
	for i := from; i < len(c.entries); i++ {
		e := c.entries[i]
		p := a.writer.AppendAsync(ctx, e)
		var err error
		select {
		case <-p.Done():
			_, err = p.Wait(ctx)
		default:
		}
		switch {
		case typed[*wpd.LimitError](err): // it was not even sent
			return a.at(c.numbers[i], err)
		case err != nil && err == ctx.Err(): // nor this: there was no room
			return context.Cause(ctx)
		}
		a.tally.launch(p, len(e.Data))
		if err != nil && !errors.Is(err, wpd.ErrStored) {
			return err
		}
	}
	return nil
}

// chain appends a chunk as one batch, if the tail is at next, and returns
// where it is then.
func (a *appending) chain(ctx context.Context, c *chunk, next uint64) (uint64, error) {
	n, bytes := len(c.entries), int64(0)
	for _, e := range c.entries {
		bytes += int64(len(e.Data))
	}
	a.tally.launchBatch(n)
	ack, err := a.writer.AppendBatch(ctx, c.entries, wpd.IfTail(wpd.LSN(next)))
	a.settle(uint64(n), bytes, ack.From, err)
	return uint64(ack.To), err
}

// collect waits for the outcomes, in order, until all is settled or ctx ends.
func (a *appending) collect(ctx context.Context) {
	for {
		p, over := a.tally.oldest()
		switch {
		case over:
			return
		case p == nil:
			<-a.tally.wake
			continue
		}
		select {
		case <-p.Done():
		case <-ctx.Done():
		}
		// An entry whose append returns only now is told as a batch of its
		// own.
		f := a.tally.land()
		lsn, err := p.Wait(ctx)
		a.settle(f.count, f.bytes, lsn, err)
	}
}

// settle counts an outcome and tells it. After the first error nothing more is
// handed over.
func (a *appending) settle(n uint64, bytes int64, first wpd.LSN, err error) {
	if errors.Is(err, wpd.ErrStored) {
		first, err = 0, nil
	}
	a.tally.settle(n, bytes, first, err)
	if err == nil && wantsObjects(a.cmd) {
		if err = printObject(a.cmd, ackJSON{first, n}); err != nil {
			a.tally.fail(err)
		}
	}
	if err != nil {
		a.stop(err)
	}
}

// ackJSON tells of an acknowledged batch.
type ackJSON struct {
	FirstLSN wpd.LSN `json:"first_lsn"`
	Count    uint64  `json:"count"`
}

// outcome is the error that the command ends with: the first one in the order
// of the input.
func (a *appending) outcome(ctx, waiting context.Context, err error) error {
	c := a.tally.snapshot()
	switch {
	case err == nil && c.err == nil: // also if it was in the last moment
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err() // whatever became of the rest: somebody wanted it so
	case waiting.Err() != nil && c.unknown > 0:
		return fmt.Errorf("%w: %w", wpd.ErrUncertain, context.Cause(waiting))
	case c.err != nil:
		return c.err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errStalled):
		return fmt.Errorf("%w: %w", wpd.ErrUnavailable, ended(ctx))
	}
	return err
}

// ended is why nothing more is waited for.
func ended(ctx context.Context) error {
	switch {
	case ctx.Err() == nil:
		return errStalled
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errTimeout
	}
	return ctx.Err()
}
