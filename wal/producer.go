package wal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/wal/api"
)

// OpenProducer implements api.Service.
func (s *Service) OpenProducer(ctx context.Context, r api.OpenRequest) (api.Opened, error) {
	if len(r.Name) > 255 {
		return api.Opened{}, &api.LimitError{What: "bytes of a producer's name", Limit: 255, Value: uint64(len(r.Name))}
	}
	if r.Name != "" && r.ID != 0 {
		return api.Opened{}, fmt.Errorf("%w: a producer is opened by name or by id, not by both", api.ErrInvalid)
	}
	l, err := s.log(ctx, r.Log)
	if err != nil {
		return api.Opened{}, err
	}
	turn := l.visit()
	var generation fragment.Generation
	if r.Exclusive {
		// What would be refused must not fence anybody first.
		if _, err := s.mine(ctx, l, turn); err != nil {
			return api.Opened{}, err
		}
		l.mu.Lock()
		_, err := l.find(r, s.cfg.NamedProducersMax)
		l.mu.Unlock()
		if err != nil {
			return api.Opened{}, err
		}
		if generation, err = s.exclude(ctx, l, turn); err != nil {
			return api.Opened{}, err
		}
	}
	o, err := s.raise(ctx, l, turn, r)
	if err != nil {
		return api.Opened{}, err
	}
	// The one that this call committed: another may have opened since, and
	// must not be joined. Without Exclusive, a writer keeps what it has.
	o.Generation = generation
	l.mu.Lock()
	defer l.mu.Unlock()
	o.Tail = l.durable
	return o, nil
}

// raise puts the producer's epoch up, and returns once that is durable, and
// all that it says. From then on, batches of lower epochs are refused, so what
// the table says of it stays. A refusal waits for what it rests on, too.
func (s *Service) raise(ctx context.Context, l *log, turn uint64, r api.OpenRequest) (api.Opened, error) {
	for {
		c, err := s.mine(ctx, l, turn)
		if err != nil {
			return api.Opened{}, err
		}
		o, n, again, err := l.raise(c, r, s.cfg.NamedProducersMax)
		if again {
			if err != nil {
				s.over(c, err)
			}
			if err := s.reopened(ctx, l); err != nil {
				return api.Opened{}, err
			}
			continue
		}
		unsure := s.settledAt(ctx, c, n)
		switch {
		case unsure == nil:
			return o, err
		case err != nil:
			return api.Opened{}, fmt.Errorf("%w: a refusal that rests on what is not durable: %w", api.ErrUnavailable, unsure)
		}
		return api.Opened{}, fmt.Errorf("%w: the producer may be open or not: %w", api.ErrUnavailable, unsure)
	}
}

// find returns the state of the producer that a request means, or why it is
// refused; nil for a new anonymous one.
func (l *log) find(r api.OpenRequest, namedMax int) (*fragment.ProducerState, error) {
	p := &l.producers
	id := r.ID
	if r.Name != "" {
		id = p.byName[r.Name]
	}
	old := p.byID[id]
	switch {
	case l.deleted:
		return nil, fmt.Errorf("log %d: %w", l.id, api.ErrDeleted)
	case l.generation != r.Generation && !r.Exclusive && r.ID == 0:
		return nil, &api.FencedError{What: "generation", Have: uint64(r.Generation), Want: uint64(l.generation)}
	case old != nil:
		if r.Epoch != 0 && r.Epoch <= old.Epoch {
			return nil, &api.FencedError{What: "producer epoch", Have: uint64(r.Epoch), Want: uint64(old.Epoch)}
		}
		return old, nil
	case r.Name != "":
		if n := len(p.byName); n >= namedMax {
			return nil, &api.LimitError{What: "named producers of a log", Limit: uint64(namedMax), Value: uint64(n) + 1}
		}
		return &fragment.ProducerState{Name: r.Name}, nil
	case r.ID == 0:
		return nil, nil
	case r.ID <= p.dropped || r.ID > p.highest(l.attachment):
		return nil, fmt.Errorf("producer %d: %w", r.ID, api.ErrUnknownProducer)
	}
	// Its first life ends before it stored anything.
	return &fragment.ProducerState{ID: id, Epoch: 1}, p.room(id)
}

// raise is what Service.raise does while the log holds still. n is the
// fragment that the result rests on.
func (l *log) raise(c *chain, r api.OpenRequest, namedMax int) (o api.Opened, n uint64, again bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.chain != c || l.shut != nil {
		return o, 0, true, nil
	}
	o.EntryBytesMax = uint32(l.limits.EntryBytesMax)
	old, err := l.find(r, namedMax)
	switch {
	case err != nil:
		return o, l.last, false, err
	case old == nil: // nothing of it has to be durable
		o.ID, o.Epoch = l.producers.nextID(l.attachment), max(1, r.Epoch)
		return o, 0, false, nil
	}
	next := *old
	if next.ID == 0 {
		next.ID = l.producers.nextID(l.attachment)
	}
	if next.Epoch++; r.Epoch != 0 {
		next.Epoch = r.Epoch
	}
	if next.Name == "" {
		next.Time = max(next.Time, fragment.Micros(time.Now().UnixMicro())) // not idle
	}
	note := next
	note.Batches = slices.Clone(next.Batches)
	n, err = c.writer.Note(nil, fragment.LogState{
		Log: l.id, Attachment: l.attachment, End: l.assigned, Time: l.time, Producers: []fragment.ProducerState{note},
	})
	if err != nil {
		return o, 0, true, err
	}
	l.producers.put(&next)
	l.last = n
	o.ID, o.Epoch, o.Last = next.ID, next.Epoch, next.Last
	if k := len(next.Batches); k > 0 {
		b := next.Batches[k-1]
		o.LastLSN = b.From + fragment.LSN(b.Count) - 1
	}
	return o, n, false, nil
}

// exclude commits a new generation: it shuts the gate, lets what is in flight
// become durable or be refused, and opens the gate only when the outcome of
// the proposal is known. Who asked is told before that, when ctx ends, that
// nothing is sure: a generation that nobody holds fences, and the next open is
// above it.
func (s *Service) exclude(ctx context.Context, l *log, turn uint64) (fragment.Generation, error) {
	if err := l.gate.lock(ctx); err != nil {
		return 0, err
	}
	if err := l.back(turn); err != nil {
		l.gate.unlock()
		return 0, err
	}
	if _, err := s.attachGated(ctx, l); err != nil {
		l.gate.unlock()
		return 0, err
	}
	return afterShut(ctx, s, l, "open an exclusive writer", func() (fragment.Generation, error) { return s.newGeneration(l) })
}

// newGeneration commits one. The gate is held, and the log shut.
func (s *Service) newGeneration(l *log) (fragment.Generation, error) {
	l.mu.Lock()
	attachment, next := l.attachment, l.generation+1
	l.mu.Unlock()
	r, err := s.proposeUntilKnown(fsm.NewOpenExclusive(l.id, attachment, next))
	if stale, ok := errors.AsType[*fsm.StaleError](err); ok && stale.What == "generation" && stale.Have == uint64(next) {
		err = nil // an earlier try did it: nobody else may
	} else if err == nil {
		next = r.Generation
	}
	switch {
	case err == nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.generation = next
		return next, nil
	case errors.Is(err, fsm.ErrNotFound):
		s.forget(l) // whoever waits is to learn that the log is gone
	case typed[*fsm.ChainStateError](err), typed[*fsm.StaleError](err):
		return 0, fmt.Errorf("%w: open an exclusive writer: the log is changing hands: %w", api.ErrUnavailable, err)
	}
	return 0, fmt.Errorf("open an exclusive writer: %w", harmless(refusal(err)))
}

func infoOfProducer(p *fragment.ProducerState) api.ProducerInfo {
	info := api.ProducerInfo{Name: p.Name, ID: p.ID, Epoch: p.Epoch, Last: p.Last}
	if k := len(p.Batches); k > 0 {
		b := p.Batches[k-1]
		info.LastLSN = b.From + fragment.LSN(b.Count) - 1
	}
	if p.Time != 0 {
		info.Time = time.UnixMicro(int64(p.Time))
	}
	return info
}
