package wal

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// feedPatience is after how long without a message a feed counts as broken:
	// at least every 10 seconds there is one.
	feedPatience = 25 * time.Second
	// walkGrace is how long the first feed has to begin before the bucket is
	// asked what is durable.
	walkGrace = 250 * time.Millisecond
	// walkTimeout bounds one walk.
	walkTimeout = time.Minute
	// followPauseMax bounds the pause before a feed is asked for, or the bucket,
	// again.
	followPauseMax = 5 * time.Second
)

// listen takes in the feed of the chain's writer. One that broke is asked for
// again after a pause, which doubles with each try, if somebody waits then;
// otherwise when somebody does.
func (f *follow) listen() {
	for n := 0; f.ctx.Err() == nil; n++ {
		begun := time.Now()
		err := f.hear()
		f.setLive(false)
		if f.ctx.Err() != nil {
			return
		}
		if time.Since(begun) > followPauseMax {
			n = 0
		}
		f.s.cfg.Logger.Debug("the feed of a chain broke", "chain", f.epoch, "node", f.node, "try", n, "err", err)
		f.s.metrics.brokenFeeds.Add(1)
		if !f.pause(n) || !f.wanted() {
			return
		}
	}
}

// hear takes in one feed, until it breaks.
func (f *follow) hear() (err error) {
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	watchdog := time.AfterFunc(feedPatience, cancel)
	defer watchdog.Stop()
	f.chain.Begin(time.Now())
	in, err := f.s.cfg.Peers.Follow(ctx, f.node, f.epoch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	for told := false; ; {
		message, err := in.Next()
		if err != nil {
			return err
		}
		watchdog.Reset(feedPatience)
		complete, err := f.chain.Take(message, time.Now())
		if err != nil {
			return fmt.Errorf("from node %s: %w", f.node, err)
		}
		if complete && !told {
			told = true
			f.setLive(true)
			f.fill()
		}
	}
}

// walkOn finds out from the bucket what is durable, while somebody waits and no
// feed tells.
func (f *follow) walkOn() {
	for f.needWalk() {
		if f.fed() && !f.grace() {
			continue // a feed began
		}
		for n := 0; f.blind(); n++ {
			if err := f.walked(f.ctx); err != nil && f.ctx.Err() == nil {
				f.s.cfg.Logger.Warn("look for what is durable of a chain", "chain", f.epoch, "node", f.node, "err", err)
			}
			if !f.pause(n) {
				return
			}
		}
	}
}

// fed says whether there may be a feed of the chain.
func (f *follow) fed() bool { return f.s.cfg.Peers != nil && f.node != f.s.cfg.Identity.Node }

// walk is one round of walks.
func (f *follow) walk() error {
	ctx, cancel := context.WithTimeout(f.ctx, walkTimeout)
	defer cancel()
	f.s.metrics.walks.Add(1)
	if c, ok := f.s.chainMeta(f.epoch); ok {
		f.chain.Committed(cutsOf(c))
	}
	err := f.chain.Walk(ctx, f.s.cfg.Store)
	if _, _, known := f.chain.Current(); known {
		f.fill()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trouble = err
	return err
}

func (f *follow) fill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.full {
		f.full = true
		close(f.filled)
	}
}

func (f *follow) setLive(live bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.live != live {
		f.live = live
		f.stirLocked()
	}
}

// until waits until cond, which is called under the lock; false: the chain is
// over.
func (f *follow) until(cond func() bool) bool {
	for {
		f.mu.Lock()
		ok, stirred := cond(), f.stirred
		f.mu.Unlock()
		if f.ctx.Err() != nil || ok {
			return f.ctx.Err() == nil
		}
		select {
		case <-stirred:
		case <-f.ctx.Done():
		}
	}
}

// wanted waits until somebody waits for something of the chain.
func (f *follow) wanted() bool { return f.until(func() bool { return f.waiting > 0 }) }

// needWalk waits until somebody waits for what no feed tells; false: the chain
// is over, or its end is known.
func (f *follow) needWalk() bool { return f.until(f.blindLocked) && !f.chain.Ended() }

func (f *follow) blindLocked() bool { return f.waiting > 0 && !f.live }

// blind is what needWalk waits for, now.
func (f *follow) blind() bool {
	f.mu.Lock()
	blind := f.blindLocked()
	f.mu.Unlock()
	return blind && f.ctx.Err() == nil && !f.chain.Ended()
}

// grace lets the first feed begin; false: it did, or the chain is over.
func (f *follow) grace() bool {
	t := time.NewTimer(walkGrace)
	defer t.Stop()
	select {
	case <-f.filled:
	case <-t.C:
	case <-f.ctx.Done():
	}
	return f.blind()
}

// pause waits before the n-th try; false: the chain is over.
func (f *follow) pause(n int) bool { return pause(f.ctx, backoff(n, followPauseMax)) }

// walked is walk, or a share in one that began after the call.
func (f *follow) walked(ctx context.Context) error {
	_, err := f.walks.do(ctx, f.s, func() (struct{}, error) { return struct{}{}, f.walk() })
	return err
}
