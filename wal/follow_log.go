package wal

import (
	"context"
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// heard is where the durable tail of a log comes from that is on a chain of
// another node. Guarded by log.mu.
type heard struct {
	from *follow
	stay fragment.Attachment // on its chain
	told bool                // the tail is all that from knows
}

// hears says whether a chain's news move the tail of the log.
func (l *log) hears(f *follow, a fragment.Attachment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard == heard{f, a, true}
}

// following is the chain of another node whose news move the tail; nil: none.
func (l *log) following() *follow {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.chain != nil {
		return nil
	}
	return l.heard.from
}

// loadFollowed is load for a log that is on a chain which this node does not
// write. False: things have changed meanwhile.
func (s *Service) loadFollowed(ctx context.Context, l *log, st stand) (done bool, err error) {
	f, err := s.follow(st.chain)
	if err != nil {
		return false, err
	}
	if l.hears(f, st.last.Attachment) {
		return true, nil
	}
	if err := f.await(ctx); err != nil {
		return false, unlessOver(err)
	}
	turn, ok := f.join(l, st.last.Attachment)
	if !ok {
		return false, nil
	}
	v := segment.View{Chain: chainOf(s.cfg.Identity.Cluster, st.chain), Open: f.chain}
	state, _, err := s.reader.State(ctx, v, l.id)
	if err != nil {
		return false, fmt.Errorf("%w: look up where log %q stands on chain %d: %w", api.ErrUnavailable, l.name, uint64(f.epoch), err)
	}
	end := st.last.First
	if state.Attachment == st.last.Attachment {
		end = max(end, state.End)
	}
	f.tell(l, st.last.Attachment, end, turn)
	return l.hears(f, st.last.Attachment), nil
}

// unlessOver drops errOver: whoever gets nil looks again.
func unlessOver(err error) error {
	if errors.Is(err, errOver) {
		return nil
	}
	return err
}

// join has the chain's news move the tail of a log from now on. turn is for
// tell. False: the log was seen on a later stay already.
func (f *follow) join(l *log, a fragment.Attachment) (turn uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if a < l.heard.stay {
		return 0, false
	}
	if l.heard.from != f || l.heard.stay != a {
		l.heard = heard{from: f, stay: a}
	}
	f.logs[l.id] = l
	return f.turn, true
}

// tell takes in how far a log was durable after join.
func (f *follow) tell(l *log, a fragment.Attachment, end fragment.LSN, turn uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.heard.from != f || l.heard.stay != a {
		return
	}
	l.heard.told = f.turn == turn
	l.raiseLocked(end)
}

// raiseLocked raises the tail of a log that is on no chain of this node.
func (l *log) raiseLocked(end fragment.LSN) {
	if l.chain == nil && end > l.durable {
		l.durable = end
		l.wakeLocked()
	}
}

// durable is told by the chain how far logs are durable.
func (f *follow) durable(ends []fragment.End) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range ends {
		if l := f.logs[e.Log]; l != nil {
			l.mu.Lock()
			if l.heard.from == f && l.heard.stay == e.Attachment {
				l.raiseLocked(e.LSN)
			}
			l.mu.Unlock()
		}
	}
}

// reset is told by the chain that more may be durable than durable was told of.
func (f *follow) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn++
	for id, l := range f.logs {
		l.mu.Lock()
		if l.heard.from == f {
			l.heard.told = false
			l.wakeLocked()
		} else {
			delete(f.logs, id)
		}
		l.mu.Unlock()
	}
}

// read says that a stream follows a log; unread must come behind it.
func (s *Service) read(l *log) {
	s.follows.mu.Lock()
	defer s.follows.mu.Unlock()
	s.follows.reading[l]++
}

func (s *Service) unread(l *log) {
	s.follows.mu.Lock()
	defer s.follows.mu.Unlock()
	if s.follows.reading[l]--; s.follows.reading[l] == 0 {
		delete(s.follows.reading, l)
		delete(s.follows.seen, l)
	}
}

// whereabouts are what the metadata say of where a log stands.
type whereabouts struct {
	last     fsm.Extent
	attached bool
}

// aheadOfCuts is how many cuts more than the metadata a chain may know that is
// followed. Its feed tells of a cut before the metadata do; of merged ones, they
// alone do.
const aheadOfCuts = 4

// lookAtFollowed takes in what the metadata say of chains that are followed, and
// wakes the readers of logs that stand somewhere else than they did.
func (s *Service) lookAtFollowed() {
	s.follows.mu.Lock()
	defer s.follows.mu.Unlock()
	var moved, gone []*log
	// Counted before: a chain may be busy, and the metadata must not wait for it.
	cutsKnown := make(map[*follow]int)
	for _, f := range s.follows.chains {
		cutsKnown[f] = len(f.chain.Cuts())
	}
	merged := make(map[*follow][]segment.Cut)
	s.cfg.Meta.View(func(m *fsm.State) {
		for e, f := range s.follows.chains {
			switch c, ok := m.Chain(e); {
			case !ok || c.State == fsm.ChainSealed:
				f.cancel() // its index tells from now on
			case cutsKnown[f] > len(c.Cuts)+aheadOfCuts:
				merged[f] = cutsOf(c)
			}
		}
		for l := range s.follows.reading {
			x, ok := m.Log(l.id)
			if !ok {
				gone = append(gone, l)
				continue
			}
			var now whereabouts
			now.last, _ = x.Last()
			_, _, now.attached = m.Attached(x)
			if s.follows.seen[l] != now {
				s.follows.seen[l] = now
				moved = append(moved, l)
			}
		}
	})
	for f, cuts := range merged {
		f.chain.Committed(cuts)
	}
	for _, l := range gone {
		s.heed(l, nil)
	}
	for _, l := range moved {
		l.wake()
	}
}

// watchFollowed does lookAtFollowed as soon as the metadata change, as long as
// that takes no more than a tenth of a processor.
func (s *Service) watchFollowed() { s.onChange(nil, 0, watchShare, s.lookAtFollowed) }
