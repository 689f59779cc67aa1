package wal

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// renewed returns when a node surely held its lease; false: that is not known.
func (s *Service) renewed(identity string, now time.Time) (time.Time, bool) {
	age, ok := s.cfg.Meta.Ages(identity)
	return now.Add(-age), ok
}

// age is how long ago, at most, what this node knows of a log was all there was;
// the longest time there is if nobody can tell.
func (s *Service) age(l *log) time.Duration {
	now := time.Now()
	at, ok := s.sure(l, now)
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok && at.After(l.current) {
		l.current = at
	}
	if l.current.IsZero() {
		return math.MaxInt64
	}
	return max(now.Sub(l.current), 0)
}

// sure returns when the durable tail that is known of a log was all there was,
// if that follows from what is known now.
func (s *Service) sure(l *log, now time.Time) (time.Time, bool) {
	me := s.cfg.Identity.Node
	st, err := s.stand(l.id)
	home := l.home()
	switch {
	case err != nil:
		return time.Time{}, false
	case home != nil && home == st.mine && s.cfg.Meta.LeaseHeld(home.epoch):
		return now, true
	case home != nil && home == st.mine, home == nil && st.chain == nil && l.knows(st.last.Attachment):
		return s.renewed(me, now)
	case home != nil || st.chain == nil:
		return time.Time{}, false // only the seal tells, or another chain
	}
	f := l.following()
	if f == nil {
		return time.Time{}, false
	}
	told, walked, _ := f.chain.Current() // first: a new feed tells more than the log was told of
	if !l.hears(f, st.last.Attachment) {
		return time.Time{}, false
	}
	// A feed tells all that its writer knows; as long as that has its lease,
	// there is no more. The bucket tells all there is of the chain; whether the
	// log is still there, only the metadata tell.
	told = s.noLaterThan(told, st.chain.Node, now)
	walked = s.noLaterThan(walked, me, now)
	if walked.After(told) {
		return walked, true
	}
	return told, !told.IsZero()
}

// noLaterThan is the earlier of t and of when a node surely held its lease; zero
// if that is not known.
func (s *Service) noLaterThan(t time.Time, identity string, now time.Time) time.Time {
	at, ok := s.renewed(identity, now)
	switch {
	case !ok:
		return time.Time{}
	case at.Before(t):
		return at
	}
	return t
}

// surely takes in that the tail that is known was all there was at some time.
func (l *log) surely(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.After(l.current) {
		l.current = at
	}
}

// askPatience bounds how long what is too old is made newer.
const askPatience = 2 * time.Second

// fresh makes sure that what is known of a log is not older than most; 0: it
// may be as old as it likes. Errors: *api.LagError.
func (s *Service) fresh(ctx context.Context, l *log, most time.Duration) error {
	if most <= 0 || s.age(l) <= most {
		return nil
	}
	ask, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	err := s.newest(ask, l)
	age := s.age(l)
	switch {
	case age <= most:
		return nil
	case is(api.ErrDeleted)(err), is(api.ErrClosed)(err):
		return err
	}
	return &api.LagError{Age: age, MaxLag: most}
}

// newest makes what is known of a log as new as the call, also if another node
// writes it.
func (s *Service) newest(ctx context.Context, l *log) error {
	began := time.Now()
	for {
		st, err := s.stand(l.id)
		if err != nil {
			return err
		}
		if st.chain == nil || st.mine != nil || l.home() != nil {
			err = s.current(ctx, l)
			if !typed[*api.ElsewhereError](err) {
				if err == nil {
					l.surely(began)
				}
				return err
			}
			continue // it is written elsewhere since
		}
		done, err := s.newestThere(ctx, l, st)
		switch {
		case err != nil:
			return err
		case done:
			l.surely(began)
			return nil
		}
	}
}

// newestThere is newest for a log that is on a chain which this node does not
// write. It asks the writer. If that does not answer, the bucket does as well:
// what was acknowledged before the metadata were asked is on this chain, or on
// an earlier one, and durable. False: things have changed.
func (s *Service) newestThere(ctx context.Context, l *log, st stand) (done bool, err error) {
	if s.elsewhere(st) != nil && s.cfg.Peers != nil {
		tail, err := l.asks.do(ctx, s, func() (fragment.LSN, error) { return s.ask(l) })
		if err == nil {
			err = s.awaitTail(ctx, l, 0, func(durable fragment.LSN) bool { return durable >= tail })
			return err == nil, err
		}
		if ctx.Err() != nil {
			return false, fmt.Errorf("%w: ask node %s for the tail of log %q: %w", api.ErrUnavailable, st.chain.Node, l.name, err)
		}
	}
	if err := s.confirm(ctx); err != nil {
		return false, err
	}
	if st, err = s.stand(l.id); err != nil || st.chain == nil || st.mine != nil {
		return false, err
	}
	f, err := s.follow(st.chain)
	if err == nil {
		err = f.sync(ctx)
	}
	if err != nil {
		return false, unlessOver(err)
	}
	if err := s.load(ctx, l); err != nil {
		return false, err
	}
	return l.hears(f, st.last.Attachment), nil
}

// ask asks the node that writes a log for its tail.
func (s *Service) ask(l *log) (fragment.LSN, error) {
	st, err := s.stand(l.id)
	if err != nil {
		return 0, err
	}
	if s.elsewhere(st) == nil {
		return 0, fmt.Errorf("%w: no other node writes log %q any more", api.ErrMoved, l.name)
	}
	ctx, cancel := context.WithTimeout(s.ctx, askPatience)
	defer cancel()
	return s.cfg.Peers.Tail(ctx, st.chain.Node, l.id)
}
