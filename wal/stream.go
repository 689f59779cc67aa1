package wal

import (
	"context"
	"fmt"
	"io"

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
}

// Read implements api.Service.
func (s *Service) Read(ctx context.Context, r api.ReadRequest) (api.Stream, error) {
	l, err := s.log(r.Log)
	if err != nil {
		return nil, err
	}
	if err := s.level(ctx, l, r.Level); err != nil {
		return nil, err
	}
	start, err := s.position(ctx, l, r)
	if err != nil {
		return nil, err
	}
	st := &stream{s: s, l: l, r: r, next: start, left: r.Limit}
	if r.Limit == 0 {
		st.left = 1<<64 - 1
	}
	st.ahead = newPrefetcher(s, l)
	return st, nil
}

// Position implements api.Stream.
func (st *stream) Position() fragment.LSN { return st.next }

// Close implements api.Stream.
func (st *stream) Close() error {
	st.ahead.close()
	return nil
}

// Next implements api.Stream.
func (st *stream) Next(ctx context.Context) (api.Chunk, error) {
	for {
		if st.ended || st.left == 0 || st.r.To != 0 && st.next >= st.r.To {
			return api.Chunk{}, io.EOF
		}
		tail, err := st.tail(ctx)
		if err != nil {
			return api.Chunk{}, err
		}
		chunk, err := st.from(ctx, tail)
		if err != nil {
			return api.Chunk{}, err
		}
		if len(chunk.Batches) > 0 {
			st.s.metrics.gave(chunk.Batches)
			return chunk, nil
		}
	}
}

// tail returns the durable tail, which is past next; at the tail, a follower
// waits until it moves. It also notices that the log was trimmed or deleted.
func (st *stream) tail(ctx context.Context) (fragment.LSN, error) {
	for {
		l := st.l
		l.mu.Lock()
		tail, deleted, moved := l.durable, l.deleted, l.moved
		l.mu.Unlock()
		switch {
		case deleted:
			return 0, fmt.Errorf("log %d: %w", l.id, api.ErrDeleted)
		case st.s.isClosed():
			return 0, api.ErrClosed
		case st.next < tail:
			m, err := st.s.meta(l.id)
			if err != nil {
				return 0, err
			}
			if st.next < m.First {
				return 0, &api.TrimmedError{LSN: st.next, First: m.First}
			}
			return tail, nil
		case !st.r.Follow:
			st.ended = true
			return 0, io.EOF
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (s *Service) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

// from returns what comes next of the slice that next lies in.
func (st *stream) from(ctx context.Context, tail fragment.LSN) (api.Chunk, error) {
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
	chunk := api.Chunk{From: st.next, Tail: tail}
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
