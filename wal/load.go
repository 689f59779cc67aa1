package wal

import (
	"context"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/wal/api"
)

// load makes l.durable known, for reads: of a log on a chain of this node it
// is; of one on another node's, that chain is followed for it; of one that
// nobody writes, the chains that held it last tell. It takes the gate.
func (s *Service) load(ctx context.Context, l *log) error {
	for {
		if l.home() != nil {
			return nil // also while that is being sealed, and after a failure
		}
		st, err := s.stand(l.id)
		switch {
		case err != nil:
			return err
		case st.mine != nil: // attached, and this node did not hear of it
			_, err = s.attached(ctx, l, l.visit())
		case st.chain != nil:
			var done bool
			if done, err = s.loadFollowed(ctx, l, st); done {
				return nil
			}
		default:
			var done bool
			if done, err = s.loadFree(ctx, l, st); done {
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// loadFree is load for a log that is attached nowhere. False: it is, by now.
func (s *Service) loadFree(ctx context.Context, l *log, st stand) (done bool, err error) {
	if l.knows(st.last.Attachment) {
		return true, nil
	}
	if err := l.gate.lock(ctx); err != nil {
		return false, err
	}
	defer l.gate.unlock()
	if st, err = s.stand(l.id); err != nil || st.chain != nil || l.home() != nil {
		return false, err
	}
	if err := s.loadGated(ctx, l, st.log); err != nil {
		return false, err
	}
	return true, nil
}

// knows says whether it is known where the log stood behind an attachment.
func (l *log) knows(a fragment.Attachment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loaded && l.seen == a
}

// loadGated makes known where a log stands that is attached nowhere by m, from
// the ends of the chains that held it last, for who holds the gate.
func (s *Service) loadGated(ctx context.Context, l *log, m *fsm.Log) error {
	last, _ := m.Last()
	if l.knows(last.Attachment) {
		return nil
	}
	state, empty, err := s.stateOf(ctx, m)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loaded, l.seen, l.empty = true, last.Attachment, empty
	l.generation = m.Generation
	// It may have been attached elsewhere since, and be known to be longer.
	l.assigned, l.durable, l.time = state.End, max(l.durable, state.End), max(l.time, state.Time)
	l.producers = newProducers(state, s.cfg.AnonymousProducersMax)
	l.wakeLocked()
	return nil
}

// stateOf tells where a log stands that is attached nowhere, or elsewhere, by
// what is durable of it. If nothing of the log is on the chain of its last
// extent, it stands where that extent begins, and its producers are those of the
// extent before. empty says that the last extent holds nothing: if the log is
// attached nowhere, so that the next may replace it.
func (s *Service) stateOf(ctx context.Context, m *fsm.Log) (state fragment.LogState, empty bool, err error) {
	end := m.First
	for i := len(m.Extents) - 1; i >= 0; i-- {
		x := m.Extents[i]
		end = max(end, x.First, x.End)
		st, ok, err := s.stateOn(ctx, m, x)
		if err != nil {
			return fragment.LogState{}, false, err
		}
		if ok && st.Attachment >= x.Attachment {
			st.End = max(st.End, end)
			return st.Clone(), empty, nil
		}
		empty = empty || i == len(m.Extents)-1 && x.End == 0
	}
	return fragment.LogState{Log: m.ID, End: end}, empty, nil
}

// stateOn tells where a log stood at the end of its stay on a chain: one that
// is sealed, or that it was detached from; or that it is attached to, elsewhere:
// then where it stands, of which nothing may be durable yet.
func (s *Service) stateOn(ctx context.Context, m *fsm.Log, x fsm.Extent) (fragment.LogState, bool, error) {
	v, err := s.complete(ctx, x.Epoch)
	if err != nil {
		return fragment.LogState{}, false, err
	}
	st, ok, err := s.reader.State(ctx, v, m.ID)
	if err != nil {
		return fragment.LogState{}, false, fmt.Errorf("%w: read where log %q ends: %w", api.ErrUnavailable, m.Name, err)
	}
	// All below x.End was durable when the log was detached; 0: it was not.
	if v.Sealed == nil && x.End != 0 && (!ok || st.Attachment < x.Attachment || st.End < x.End) {
		return st, ok, fmt.Errorf("%w: chain %d is not known up to LSN %d of log %q, where that was detached from it", api.ErrUnavailable, uint64(x.Epoch), x.End, m.Name)
	}
	return st, ok, nil
}
