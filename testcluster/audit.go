package testcluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
)

// Audit ends all faults, starts what does not run, and judges what the cluster
// has promised: everything that the ledger knows of is read back through every
// node, through a new one with an empty disk that joins for that, and from the
// bucket alone, and each time held against the ledger as by [Check]. Nobody may
// write meanwhile. The report is that of the bucket.
//
// It refuses to be content with little: expect must say how many entries were
// acknowledged at least, and some fault must have taken effect, all that were
// ordered by the cluster's methods among them. A run without faults is for
// ReadBack and Check.
func (c *Cluster) Audit(ctx context.Context, l *Ledger, expect Expect) (Report, error) {
	c.t.Helper()
	c.calm()
	if err := c.evidence(l, expect); err != nil {
		return Report{}, err
	}
	if err := l.Err(); err != nil {
		return Report{}, fmt.Errorf("the ledger is not whole: %w", err)
	}
	names := l.Logs()
	fresh := c.Add()
	c.AwaitReady()
	var errs []error
	for _, i := range c.Up() {
		through := c.Node(i).Name
		if i == fresh {
			through += ", which is new"
		}
		if _, err := c.judge(ctx, l, expect, through, func(ctx context.Context) ([]Contents, error) {
			return readLogs(ctx, c.Node(i).Client(), names, l)
		}); err != nil {
			errs = append(errs, err)
		}
	}
	c.Remove(fresh)
	c.Node(fresh).kill()
	report, err := c.judge(ctx, l, expect, "the bucket alone", func(ctx context.Context) ([]Contents, error) {
		return ReadBucket(ctx, blobstore.New(keepOpen{c.Store}, blobstore.Options{}), names, l)
	})
	return report, errors.Join(append(errs, err)...)
}

// calm ends all faults and starts what does not run.
func (c *Cluster) calm() {
	c.t.Helper()
	c.Heal()
	c.mu.Lock()
	paused := slices.Sorted(maps.Keys(c.paused))
	c.mu.Unlock()
	c.Resume(paused...)
	var down []int
	for _, i := range c.All() {
		n := c.Node(i)
		n.Faults.Clear()
		if n.Node() == nil {
			down = append(down, i)
		}
	}
	if len(down) > 0 {
		c.Start(down...)
	}
	c.AwaitReady()
}

// evidence notes in the ledger which faults took effect, and says what makes
// the run worth nothing.
func (c *Cluster) evidence(l *Ledger, expect Expect) error {
	faults := c.Faults()
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		l.Fault(name, faults[name])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.faults)
	c.landed += faults[lateCreate]
	switch idle := c.idle; {
	case expect.AcknowledgedMin < 1:
		return errors.New("audit: Expect.AcknowledgedMin is 0: a run in which nothing was acknowledged would pass")
	case len(idle) > 0:
		c.idle = nil
		return fmt.Errorf("audit: %d faults had no effect: %v", len(idle), idle)
	case l.FaultCount() == 0:
		return errors.New("audit: no fault took effect")
	}
	return nil
}

// judge reads all back in one way, and holds it against the ledger. Where
// nothing is wrong any more, that must come to an end.
func (c *Cluster) judge(ctx context.Context, l *Ledger, expect Expect, through string,
	read func(ctx context.Context) ([]Contents, error),
) (Report, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not all was read within %v", patience))
	defer cancel()
	all, err := read(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if err != nil {
		return Report{}, fmt.Errorf("through %s: %w", through, err)
	}
	r := Check(l, all, expect)
	c.note("read through %s: %d entries of %d logs, %d acknowledged, %d unknown of which %d are there",
		through, r.Entries, r.Logs, r.Acknowledged, r.Unknown, r.UnknownThere)
	if err := r.Err(); err != nil {
		return r, fmt.Errorf("through %s: %w", through, err)
	}
	return r, nil
}

// readLogs reads back logs; one that is not there is empty.
func readLogs(ctx context.Context, client *wpd.Client, names []string, l *Ledger) (all []Contents, err error) {
	for _, name := range names {
		log, err := client.Log(ctx, name)
		if errors.Is(err, wpd.ErrNotFound) {
			all = append(all, Contents{Log: name, First: 1, Tail: 1})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find log %s: %w", name, err)
		}
		c, err := ReadBack(ctx, log, name, l)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}
