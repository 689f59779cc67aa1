package wal

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// stream reads a log from a position on. It implements api.Stream.
type stream struct {
	s     *Service
	l     *log
	r     api.ReadRequest
	next  fragment.LSN // of the entry that comes next
	left  uint64       // entries until Limit; unlimited if there is none
	ahead *prefetcher
	have  *fetch // the slice that next lies in, once it is here
	ended bool
	close func() // idempotent
}

// Read implements api.Service.
func (s *Service) Read(ctx context.Context, r api.ReadRequest) (api.Stream, error) {
	l, err := s.log(ctx, r.Log)
	if err != nil {
		return nil, err
	}
	if err := s.level(ctx, l, r.Level); err != nil {
		return nil, err
	}
	start, err := s.position(ctx, l, r)
	if typed[*api.BeyondTailError](err) {
		// Whoever names it may have seen it elsewhere: this node may lag.
		if err = s.newest(ctx, l); err == nil {
			start, err = s.position(ctx, l, r)
		}
	}
	if err != nil {
		return nil, err
	}
	st := &stream{s: s, l: l, r: r, next: start, left: r.Limit}
	if r.Limit == 0 {
		st.left = 1<<64 - 1
	}
	st.ahead = newPrefetcher(s, l)
	st.close = st.ahead.close
	if r.Follow {
		st.close = sync.OnceFunc(func() {
			st.ahead.close()
			s.unread(l)
		})
		s.read(l)
	}
	return st, nil
}

// Position implements api.Stream.
func (st *stream) Position() fragment.LSN { return st.next }

// Close implements api.Stream.
func (st *stream) Close() error {
	st.close()
	return nil
}

// Next implements api.Stream.
func (st *stream) Next(ctx context.Context) (api.Chunk, error) {
	for {
		if st.ended || st.left == 0 || st.r.To != 0 && st.next >= st.r.To {
			return api.Chunk{}, io.EOF
		}
		tail, age, err := st.tail(ctx)
		if err != nil {
			return api.Chunk{}, err
		}
		chunk, err := st.from(ctx, tail, age)
		if err != nil {
			return api.Chunk{}, err
		}
		if len(chunk.Batches) > 0 {
			st.s.metrics.gave(chunk.Batches)
			return chunk, nil
		}
	}
}

// tail returns the durable tail, which is past next, and how old that is; at the
// tail, a follower waits until it moves. It also notices that the log was
// trimmed or deleted.
func (st *stream) tail(ctx context.Context) (tail fragment.LSN, age time.Duration, err error) {
	s, l, most := st.s, st.l, st.r.Level.MaxLag
	behind := func(durable fragment.LSN) bool { return st.next < durable }
	if tail, err = l.tail(); err != nil {
		return 0, 0, err
	}
	switch {
	case s.isClosed():
		return 0, 0, api.ErrClosed
	case behind(tail):
	case st.r.Follow:
		if err := s.awaitTail(ctx, l, most, behind); err != nil {
			return 0, 0, err
		}
	default: // it may have moved to another node
		if err := s.load(ctx, l); err != nil {
			return 0, 0, err
		}
	}
	if err := s.fresh(ctx, l, most); err != nil {
		return 0, 0, err
	}
	age = s.age(l) // before the tail, which may only be newer
	if tail, err = l.tail(); err != nil {
		return 0, 0, err
	}
	if !behind(tail) {
		st.ended = true
		return 0, 0, io.EOF
	}
	m, err := s.meta(l.id)
	if err != nil {
		return 0, 0, err
	}
	if st.next < m.First {
		return 0, 0, &api.TrimmedError{LSN: st.next, First: m.First}
	}
	return tail, age, nil
}

func (s *Service) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

// from returns what comes next of the slice that next lies in.
func (st *stream) from(ctx context.Context, tail fragment.LSN, age time.Duration) (api.Chunk, error) {
	end := tail
	if st.r.To != 0 {
		end = min(end, st.r.To)
	}
	if st.have == nil || st.next >= st.have.row.End() {
		f, err := st.ahead.slice(ctx, st.next, end)
		if err != nil {
			return api.Chunk{}, err
		}
		st.have = f
	}
	if err := st.lost(st.have.slice.Damage); err != nil {
		return api.Chunk{}, err
	}
	chunk := api.Chunk{From: st.next, Tail: tail, Age: age}
	to := st.next
	for _, b := range st.have.slice.Batches {
		if b.To() <= st.next {
			continue
		}
		if b.From() > to && b.From() > st.next || b.From() >= end {
			break // damage comes first, or the end
		}
		if st.r.Until != 0 && b.Time() >= st.r.Until {
			st.ended = true
			break
		}
		chunk.Batches = append(chunk.Batches, b)
		to = b.To()
	}
	if len(chunk.Batches) == 0 && !st.ended {
		st.have = nil
		return api.Chunk{}, fmt.Errorf("%w: LSN %d of log %d is not where its index says", api.ErrUnavailable, st.next, st.l.id)
	}
	chunk.To = min(to, end)
	if n := uint64(chunk.To - chunk.From); n > st.left {
		chunk.To = chunk.From + fragment.LSN(st.left)
	}
	st.left -= uint64(chunk.To - chunk.From)
	if st.next = chunk.To; st.next >= st.have.row.End() {
		st.have = nil // a follower may wait for long, and must not hold it
	}
	return chunk, nil
}

// lost reports damage that next lies in, once, and goes on behind it.
func (st *stream) lost(damage []segment.Damage) error {
	for _, d := range damage {
		if d.From <= st.next && st.next < d.To {
			from := st.next
			st.next = d.To
			st.s.metrics.losses.Inc()
			return &api.DataLossError{Log: st.l.id, From: from, To: d.To, Object: d.Object, Err: d.Err}
		}
	}
	return nil
}
