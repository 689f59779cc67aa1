package wal

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// rowsAtOnce is how many slices are looked up at a time.
const rowsAtOnce = 16

// fetchesMax bounds the slices that one reader has asked for at a time.
const fetchesMax = 16

// prefetcher reads the slices of a log in order, and, while it is read on and
// on, some ahead: one at first, twice as many with each slice that was used,
// up to a number of bytes, and as long as all readers together have not fetched
// too much. Not safe for concurrent use.
type prefetcher struct {
	s *Service
	l *log

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	queue []*fetch       // asked for, in order, without a hole
	bytes int64          // of queue
	depth int            // how many to have ahead
	rows  []fragment.Row // looked up, not asked for yet
	at    place          // of rows
}

// place is a stay of a log on a chain.
type place struct {
	view segment.View
	stay segment.Stay
	to   fragment.LSN // where the next extent begins; 0 for the last
}

// fetch is one slice, asked for.
type fetch struct {
	row   fragment.Row
	ahead int64 // taken of what all readers share; 0: it was needed at once
	done  chan struct{}
	slice segment.Slice
	err   error
}

// shared bounds what all readers of a node have fetched ahead, in bytes. What a
// reader needs at once is not ahead: no reader stands still for another one.
type shared struct {
	most int64
	used atomic.Int64 // <= most
}

func (b *shared) take(n int64) bool {
	if b.used.Add(n) <= b.most {
		return true
	}
	b.used.Add(-n)
	return false
}

func (b *shared) give(n int64) { b.used.Add(-n) }

// Prefetched is how many bytes all readers have fetched ahead.
func (s *Service) Prefetched() int64 { return s.ahead.used.Load() }

func newPrefetcher(s *Service, l *log) *prefetcher {
	p := &prefetcher{s: s, l: l}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

func (p *prefetcher) close() {
	p.cancel()
	p.drop()
	p.wg.Wait()
}

// slice returns the slice that holds lsn; end is how far it is worth reading.
func (p *prefetcher) slice(ctx context.Context, lsn, end fragment.LSN) (*fetch, error) {
	for len(p.queue) > 0 && p.queue[0].row.End() <= lsn {
		p.pop()
	}
	if len(p.queue) > 0 && p.queue[0].row.First > lsn {
		p.drop() // somebody jumped back
	}
	if err := p.fill(ctx, lsn, end, 1, true); err != nil {
		return nil, err
	}
	f := p.queue[0]
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.pop()
	if f.err != nil {
		p.drop()
		return nil, fmt.Errorf("%w: read log %d at LSN %d: %w", api.ErrUnavailable, p.l.id, lsn, f.err)
	}
	p.depth = min(max(1, 2*p.depth), fetchesMax)
	_ = p.fill(ctx, f.row.End(), end, p.depth, false) // what fails shows when it is needed
	return f, nil
}

func (p *prefetcher) pop() {
	f := p.queue[0]
	p.bytes -= int64(f.row.Length)
	p.queue[0] = nil // or the array would hold its slice
	p.queue = p.queue[1:]
	select {
	case <-f.done:
		p.s.ahead.give(f.ahead)
	default: // nobody wants it any more, but it is still being read
		p.wg.Go(func() {
			<-f.done
			p.s.ahead.give(f.ahead)
		})
	}
}

func (p *prefetcher) drop() {
	for len(p.queue) > 0 {
		p.pop()
	}
	p.rows, p.depth = nil, 0
}

// fill asks for slices from lsn on, until want are there, or end is reached,
// or they are too large. The first that it finds missing may be needed.
func (p *prefetcher) fill(ctx context.Context, lsn, end fragment.LSN, want int, needed bool) error {
	if n := len(p.queue); n > 0 {
		lsn = p.queue[n-1].row.End()
	}
	for len(p.queue) < want && lsn < end && (len(p.queue) == 0 || p.bytes < p.s.cfg.PrefetchBytes) {
		row, err := p.row(ctx, lsn)
		if err != nil {
			if len(p.queue) > 0 {
				return nil // it will show when it is needed
			}
			return err
		}
		f := &fetch{row: row, done: make(chan struct{})}
		if !needed || len(p.queue) > 0 {
			if f.ahead = int64(row.Length); !p.s.ahead.take(f.ahead) {
				return nil
			}
		}
		p.rows = p.rows[1:]
		p.ask(f)
		lsn = row.End()
	}
	return nil
}

// row looks up the slice that holds lsn.
func (p *prefetcher) row(ctx context.Context, lsn fragment.LSN) (fragment.Row, error) {
	if len(p.rows) == 0 || p.rows[0].First > lsn || p.rows[0].End() <= lsn {
		if err := p.lookUp(ctx, lsn, rowsAtOnce); err != nil {
			return fragment.Row{}, err
		}
	}
	return p.rows[0], nil
}

func (p *prefetcher) lookUp(ctx context.Context, lsn fragment.LSN, most int) error {
	var err error
	if p.at, p.rows, err = p.s.rows(ctx, p.l, lsn, most); err != nil {
		return err
	}
	if len(p.rows) == 0 {
		return fmt.Errorf("%w: LSN %d of log %d is durable, but not to be found yet", api.ErrUnavailable, lsn, p.l.id)
	}
	return nil
}

// ask starts to read a slice; one that is in the cache is there at once.
func (p *prefetcher) ask(f *fetch) {
	row, at := f.row, p.at
	p.queue = append(p.queue, f)
	p.bytes += int64(row.Length)
	if batches := p.s.cache.Slice(at.view.Chain.Epoch, row.N, p.l.id); batches != nil && !row.Lost {
		f.slice.Batches = batches
		close(f.done)
		return
	}
	p.wg.Go(func() {
		defer close(f.done)
		f.slice, f.err = p.s.reader.Slice(p.ctx, at.view.Chain.Epoch, at.stay, row)
	})
}

// rows looks up up to most slices of a log from the one that holds lsn on; all
// of one stay.
func (s *Service) rows(ctx context.Context, l *log, lsn fragment.LSN, most int) (place, []fragment.Row, error) {
	m, err := s.meta(l.id)
	if err != nil {
		return place{}, nil, err
	}
	x, to, ok := extentOf(m, lsn)
	if !ok {
		return place{}, nil, nil
	}
	at := place{stay: segment.Stay{Log: l.id, Attachment: x.Attachment, First: x.First}, to: to}
	rows, err := s.rowsAt(ctx, &at, x.Epoch, lsn, most)
	if err != nil {
		return place{}, nil, fmt.Errorf("%w: look up LSN %d of log %d: %w", api.ErrUnavailable, lsn, l.id, err)
	}
	if len(rows) == 0 && to > lsn {
		// The chain is sealed, and the log went on behind these LSNs.
		rows = []fragment.Row{{First: lsn, Count: uint64(to - lsn), Lost: true}}
	}
	return at, rows, nil
}

// rowsAt looks up slices in one chain. What was durable once is in the bucket,
// also where the chain is followed and that was forgotten since.
func (s *Service) rowsAt(ctx context.Context, at *place, e fragment.Epoch, lsn fragment.LSN, most int) (rows []fragment.Row, err error) {
	for synced := false; ; synced = true {
		var f *follow
		if at.view, f, err = s.readable(ctx, e); err != nil {
			return nil, err
		}
		rows, err = s.reader.Rows(ctx, at.view, at.stay, lsn, most)
		if err != nil || len(rows) > 0 || f == nil || synced {
			return rows, err
		}
		if err := unlessOver(f.sync(ctx)); err != nil {
			return nil, err
		}
	}
}

// extentOf finds the extent that holds lsn, and where the next begins.
func extentOf(m *fsm.Log, lsn fragment.LSN) (x fsm.Extent, to fragment.LSN, ok bool) {
	for i := len(m.Extents) - 1; i >= 0; i-- {
		if m.Extents[i].First <= lsn {
			return m.Extents[i], to, true
		}
		to = m.Extents[i].First
	}
	return fsm.Extent{}, 0, false
}
