package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// life is one process that ingests, from its start to its end.
type life struct {
	opened  *ingestOpened
	openIn  time.Duration // from the start of the process until it could append
	took    time.Duration // from then to its end
	acked   int64         // entries acknowledged in all lives by its end
	killed  bool
	follows int64
	done    bool
	appends *hdrhistogram.Histogram
	tails   *hdrhistogram.Histogram
}

// acks is what all lives of the ingest were told, by sequence.
type acks struct {
	lsn   []uint64 // at sequence - 1; 0: not acknowledged
	count int64
}

// add takes in a report, and refuses what contradicts an earlier one.
func (a *acks) add(r *ingestAcked) error {
	for i := range r.Count {
		seq, lsn := r.Seq+i, uint64(r.LSN)+i
		switch {
		case seq == 0 || seq > uint64(len(a.lsn)):
			return fmt.Errorf("line %d was acknowledged; the file has %d", seq, len(a.lsn))
		case a.lsn[seq-1] != 0:
			return fmt.Errorf("line %d was acknowledged twice, at LSN %d and %d", seq, a.lsn[seq-1], lsn)
		}
		a.lsn[seq-1] = lsn
		a.count++
	}
	return nil
}

// live starts the ingest and runs it to its end, or kills it with SIGKILL once
// killAt lines were acknowledged in all its lives. It goes no further than line
// until.
func (d *demo) live(ctx context.Context, killAt, until int64) (*life, error) {
	start := time.Now()
	c, err := startChild(ctx, "demo-ingest", "--bucket", d.bucket, "--data-dir", d.dataDir,
		"--log", demoLog, "--producer", demoProducer, "--lines", strconv.FormatInt(d.source.lines, 10),
		"--until", strconv.FormatInt(until, 10), d.source.path)
	if err != nil {
		return nil, err
	}
	l := &life{appends: newLatencies(), tails: newLatencies()}
	err = d.listen(l, c.out, start, func() {
		if !l.killed && killAt > 0 && d.acks.count >= killAt {
			l.killed = true
			c.kill()
		}
	})
	if err != nil {
		c.kill()
	}
	waitErr := c.wait()
	if l.opened != nil {
		l.took = time.Since(start) - l.openIn
	}
	l.acked = d.acks.count
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, err
	case l.killed:
		return l, nil
	case waitErr != nil:
		code := exitUnexpected
		if e, ok := errors.AsType[*exec.ExitError](waitErr); ok && e.ExitCode() > 0 {
			code = e.ExitCode()
		}
		return nil, &exitError{code, fmt.Errorf("the ingesting process: %w: %s", waitErr, c.complaints())}
	case !l.done:
		return nil, errors.New("the ingesting process ended too early")
	}
	return l, nil
}

// listen takes in a life's reports until its end. What it reported before a
// kill counts, also if it is read after.
func (d *demo) listen(l *life, in *bufio.Reader, start time.Time, kill func()) error {
	for {
		line, err := in.ReadBytes('\n')
		if err != nil { // a line that the kill cut off is no report
			return nil
		}
		var m ingestReport
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("report of the ingesting process: %w", err)
		}
		if m.Opened != nil {
			l.opened, l.openIn = m.Opened, time.Since(start)
		}
		if m.Acked != nil {
			if err := d.acks.add(m.Acked); err != nil {
				return &exitError{exitDataLoss, err}
			}
			d.p.say("ingesting: %s of %s lines acknowledged", countText(d.acks.count), countText(d.source.lines))
		}
		if err := errors.Join(mergeEncoded(l.appends, m.Append), mergeEncoded(l.tails, m.Tail)); err != nil {
			return err
		}
		l.follows = max(l.follows, m.Followed)
		l.done = l.done || m.Done
		kill()
	}
}

func mergeEncoded(h *hdrhistogram.Histogram, encoded []byte) error {
	if encoded == nil {
		return nil
	}
	more, err := hdrhistogram.Decode(encoded)
	if err != nil {
		return fmt.Errorf("latencies of the ingesting process: %w", err)
	}
	h.Merge(more)
	return nil
}
