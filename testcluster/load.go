package testcluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/wpd-io/wpd"
)

// Load is a workload: per log some producers without a name and some with
// one; on one more log, two exclusive writers that fence each other; and one
// that appends under a condition. All of them note in the ledger what they
// do.
type Load struct {
	Ledger *Ledger
	Logs   []string
	// Anonymous and Named are the numbers of producers per log.
	Anonymous, Named int
	Exclusive        bool // two rivals on the log "exclusive"
	Conditional      bool // a producer with IfTail on the first log
	Follow           bool // a follower per log
	Trim             bool // the last of Logs is trimmed now and then
	// Rounds bounds what each producer does; 0: until ctx ends.
	Rounds int
	// Pause is what a producer waits before each round; 0: nothing.
	Pause time.Duration
	// BytesMax bounds an entry's length; default 200.
	BytesMax int
	// InFlight bounds the appends of a producer without an outcome; default 32.
	InFlight int
	// Life tells the producers without a name of one Run call from those of
	// others.
	Life int
	Seed uint64
}

// Run runs the workload until it is done, or ctx ends, or the service is
// closed. It returns what must not happen at all: a read that contradicts
// another, or an error that no fault explains.
func (c Load) Run(ctx context.Context, client *wpd.Client) error {
	if c.BytesMax == 0 {
		c.BytesMax = 200
	}
	if c.InFlight == 0 {
		c.InFlight = 32
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n := uint64(0)
	launch := func(f func(rnd *rand.Rand) error) {
		n++
		rnd := rand.New(rand.NewPCG(c.Seed, uint64(c.Life)<<32|n))
		wg.Go(func() {
			if err := f(rnd); err != nil && !over(ctx, err) {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
				cancel()
			}
		})
	}
	var followers sync.WaitGroup
	following, unfollow := context.WithCancel(ctx)
	defer unfollow()
	follow := func(log string) {
		followers.Go(func() {
			if err := c.follow(following, client, log); err != nil && !over(following, err) {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	for i, log := range c.Logs {
		for k := range c.Anonymous {
			launch(func(rnd *rand.Rand) error {
				return c.produce(ctx, client, rnd, log, fmt.Sprintf("anonymous-%d-%d", c.Life, k), false)
			})
		}
		for k := range c.Named {
			launch(func(rnd *rand.Rand) error {
				return c.produce(ctx, client, rnd, log, fmt.Sprintf("named-%d", k), true)
			})
		}
		if c.Conditional && i == 0 {
			launch(func(rnd *rand.Rand) error { return c.compete(ctx, client, rnd, log) })
		}
		if c.Trim && i == len(c.Logs)-1 {
			launch(func(rnd *rand.Rand) error { return c.trim(ctx, client, rnd, log) })
		}
		if c.Follow {
			follow(log)
		}
	}
	if c.Exclusive {
		for k := range 2 {
			launch(func(rnd *rand.Rand) error { return c.rival(ctx, client, rnd, ExclusiveLog, k) })
		}
	}
	wg.Wait()
	unfollow()
	followers.Wait()
	return errors.Join(errs...)
}

// ExclusiveLog is the name of the log with exclusive writers.
const ExclusiveLog = "exclusive"

// AllLogs are the names of all logs that the load writes to.
func (c Load) AllLogs() []string {
	all := append([]string(nil), c.Logs...)
	if c.Exclusive {
		all = append(all, ExclusiveLog)
	}
	return all
}

// over reports whether an error only says that the run is at its end.
func over(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, wpd.ErrClosed) || errors.Is(err, context.Canceled)
}

// OpenLog finds a log, or makes it, as long as ctx allows.
func OpenLog(ctx context.Context, client *wpd.Client, name string) (*wpd.Log, error) {
	for {
		log, err := client.Log(ctx, name)
		if errors.Is(err, wpd.ErrNotFound) {
			log, err = client.Create(ctx, name, wpd.LogConfig{})
		}
		if err == nil {
			return log, nil
		}
		again := errors.Is(err, wpd.ErrUnavailable) || errors.Is(err, wpd.ErrUncertain) || errors.Is(err, wpd.ErrExists)
		if !again || ctx.Err() != nil {
			return nil, fmt.Errorf("open log %s: %w", name, err)
		}
		pause(ctx, time.Millisecond)
	}
}

func openWriter(ctx context.Context, log *wpd.Log, opts ...wpd.WriterOption) (*wpd.Writer, error) {
	for {
		w, err := log.Writer(ctx, opts...)
		if err == nil || !errors.Is(err, wpd.ErrUnavailable) || ctx.Err() != nil {
			return w, err
		}
		pause(ctx, time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// produce appends as one producer, in every way there is, and opens its
// writer again when something was not acknowledged.
func (c Load) produce(ctx context.Context, client *wpd.Client, rnd *rand.Rand, name, producer string, named bool) error {
	log, err := OpenLog(ctx, client, name)
	if err != nil {
		return err
	}
	rounds := 0
	for life := 0; ctx.Err() == nil && (c.Rounds == 0 || rounds < c.Rounds); life++ {
		p := &producing{Load: c, log: log, name: name, producer: producer, rnd: rnd}
		var opts []wpd.WriterOption
		if named {
			opts = append(opts, wpd.ProducerID(producer))
		} else {
			p.producer = fmt.Sprintf("%s.%d", producer, life)
		}
		if rnd.IntN(4) == 0 {
			opts = append(opts, wpd.Compress(wpd.CodecS2))
		}
		w, err := openWriter(ctx, log, opts...)
		if err != nil {
			return fmt.Errorf("producer %s of %s: %w", producer, name, err)
		}
		p.w, p.seq = w, w.Stored()+1
		if named {
			c.Ledger.Resumed(name, producer, w.Stored())
		}
		rounds += p.run(ctx, c.Rounds-rounds)
	}
	return nil
}

// producing is one writer at work.
type producing struct {
	Load
	log            *wpd.Log
	w              *wpd.Writer
	name, producer string
	rnd            *rand.Rand
	seq            uint64
	sick           bool // something was not acknowledged
}

// sent is an append that waits for its outcome.
type sent struct {
	nonce   uint64
	pending *wpd.Pending
}

// run appends for so many rounds (below 1: without an end), or until
// something is not acknowledged, and closes the writer. It returns the number
// of rounds done.
func (p *producing) run(ctx context.Context, rounds int) int {
	outcomes := make(chan sent, p.InFlight)
	sick := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for s := range outcomes {
			lsn, err := s.pending.Wait(context.WithoutCancel(ctx)) // whatever becomes of it is told
			p.Ledger.Settle(s.nonce, lsn, err)
			if err != nil && !p.sick {
				p.sick = true
				close(sick)
			}
		}
	})
	done := 0
	ill := func() bool {
		select {
		case <-sick:
			return true
		case <-ctx.Done():
			return true
		default:
			return false
		}
	}
	failed := false
	for ; (rounds < 1 || done < rounds) && !failed && !ill(); done++ {
		if p.Pause > 0 {
			pause(ctx, p.Pause)
		}
		switch p.rnd.IntN(8) {
		case 0: // one, and wait for it
			a := p.intend(1)
			lsn, err := p.w.Append(ctx, a.Entry(p.Ledger.Run, 0).Data())
			p.Ledger.Settle(a.Nonce, lsn, err)
			failed = err != nil
		case 1: // a batch
			a := p.intend(2 + p.rnd.IntN(4))
			ack, err := p.w.AppendBatch(ctx, a.Entries(p.Ledger.Run))
			p.Ledger.Settle(a.Nonce, ack.From, err)
			failed = err != nil
		default: // many at a time
			for range 1 + p.rnd.IntN(6) {
				a := p.intend(1)
				outcomes <- sent{a.Nonce, p.w.AppendAsync(ctx, a.Entries(p.Ledger.Run)[0])}
			}
		}
	}
	_ = p.w.Close() // what it returns is in the outcomes
	close(outcomes)
	wg.Wait()
	return done
}

func (p *producing) intend(count int) *Append {
	a := p.Ledger.Intend(Append{
		Nonce: p.rnd.Uint64(), Log: p.name, Producer: p.producer, Seq: p.seq, Count: count, Bytes: p.rnd.IntN(p.BytesMax),
	})
	p.seq += uint64(count)
	return a
}

// compete appends where it believes the tail to be.
func (c Load) compete(ctx context.Context, client *wpd.Client, rnd *rand.Rand, name string) error {
	log, err := OpenLog(ctx, client, name)
	if err != nil {
		return err
	}
	w, err := openWriter(ctx, log)
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // every outcome was noted
	p := &producing{Load: c, name: name, producer: fmt.Sprintf("conditional-%d", c.Life), rnd: rnd, seq: 1}
	for round := 0; ctx.Err() == nil && (c.Rounds == 0 || round < c.Rounds); round++ {
		if c.Pause > 0 {
			pause(ctx, c.Pause)
		}
		now := c.Ledger.Now()
		tail, err := log.Tail(ctx, wpd.Linearizable())
		if err != nil {
			if errors.Is(err, wpd.ErrUnavailable) && ctx.Err() == nil {
				pause(ctx, time.Millisecond)
				continue
			}
			return fmt.Errorf("tail of %s: %w", name, err)
		}
		c.Ledger.Tail(name, now, tail)
		a := Append{
			Nonce: rnd.Uint64(), Log: name, Producer: p.producer, Seq: p.seq, Count: 1 + rnd.IntN(3), Bytes: rnd.IntN(c.BytesMax), Conditional: true,
		}
		c.Ledger.Intend(a)
		p.seq += uint64(a.Count)
		ack, err := w.AppendBatch(ctx, a.Entries(c.Ledger.Run), wpd.IfTail(tail))
		c.Ledger.Settle(a.Nonce, ack.From, err)
		if err == nil && ack.From != tail {
			return fmt.Errorf("append to %s if the tail is %d was acknowledged at %d", name, tail, ack.From)
		}
		if _, ok := errors.AsType[*wpd.TailError](err); err != nil && !ok && !errors.Is(err, wpd.ErrUncertain) {
			return err
		}
	}
	return nil
}

// trim trims a log now and then, somewhere below its tail, or to it.
func (c Load) trim(ctx context.Context, client *wpd.Client, rnd *rand.Rand, name string) error {
	log, err := OpenLog(ctx, client, name)
	if err != nil {
		return err
	}
	for round := 0; ctx.Err() == nil && (c.Rounds == 0 || round < c.Rounds); round++ {
		tail, err := log.Tail(ctx)
		if err == nil {
			before := 1 + wpd.LSN(rnd.Uint64N(uint64(tail)))
			c.Ledger.Trimmed(name, before)
			err = log.Trim(ctx, before)
		}
		if err != nil && !errors.Is(err, wpd.ErrUnavailable) && !errors.Is(err, wpd.ErrUncertain) {
			return fmt.Errorf("trim %s: %w", name, err)
		}
		pause(ctx, time.Duration(1+rnd.IntN(50))*time.Millisecond)
	}
	return nil
}

// rival appends as an exclusive writer, until another one takes over.
func (c Load) rival(ctx context.Context, client *wpd.Client, rnd *rand.Rand, name string, k int) error {
	log, err := OpenLog(ctx, client, name)
	if err != nil {
		return err
	}
	for life := 0; ctx.Err() == nil && (c.Rounds == 0 || life < 1+c.Rounds/4); life++ {
		w, err := openWriter(ctx, log, wpd.Exclusive())
		if err != nil {
			return fmt.Errorf("exclusive writer of %s: %w", name, err)
		}
		p := &producing{Load: c, log: log, w: w, name: name, producer: fmt.Sprintf("exclusive-%d-%d.%d", c.Life, k, life), rnd: rnd, seq: 1}
		p.run(ctx, 1+rnd.IntN(8))
	}
	return nil
}

// follow reads a log from its start and goes on.
func (c Load) follow(ctx context.Context, client *wpd.Client, name string) error {
	log, err := OpenLog(ctx, client, name)
	if err != nil {
		return err
	}
	at := wpd.Earliest
	next := wpd.LSN(0)
	for ctx.Err() == nil {
		r, err := log.Reader(ctx, at, wpd.Follow())
		for err == nil {
			var batch []wpd.Entry
			if batch, err = r.NextBatch(ctx); err != nil {
				break
			}
			for _, e := range batch {
				if next != 0 && e.LSN != next {
					_ = r.Close()
					return fmt.Errorf("follower of %s: LSN %d comes where %d should", name, e.LSN, next)
				}
				next = e.LSN + 1
				if err := c.Ledger.Saw(name, e); err != nil {
					_ = r.Close()
					return fmt.Errorf("follower: %w", err)
				}
			}
			at = wpd.From(next)
		}
		if r != nil {
			_ = r.Close()
		}
		if trimmed, ok := errors.AsType[*wpd.TrimmedError](err); ok && c.Trim && trimmed.First > next {
			next = trimmed.First
			at = wpd.From(next)
			continue
		}
		if !errors.Is(err, wpd.ErrUnavailable) {
			return fmt.Errorf("follower of %s at %d: %w", name, next, err)
		}
		pause(ctx, time.Millisecond)
	}
	return nil
}
