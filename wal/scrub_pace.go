package wal

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/wpd-io/wpd/segment"
)

const (
	// scrubRequestBytes is what a request counts for at least: a store takes
	// time and money for each, however little it returns.
	scrubRequestBytes = 256 << 10
	// scrubPage is how many keys of a listing count as one request: those that
	// the large clouds return with one.
	scrubPage = 1000
)

// pacedStore is a store that is read at so many bytes a second. What was read
// has to be waited for by who reads next, so that nothing need be known before.
type pacedStore struct {
	segment.Store
	perSec int64
	read   func(bytes int) // hears of each request

	mu   sync.Mutex
	next time.Time // when the next request may begin
}

// ReadRange implements segment.Store.
func (p *pacedStore) ReadRange(ctx context.Context, key string, offset, length int64) (data []byte, size int64, err error) {
	if err := p.wait(ctx); err != nil {
		return nil, 0, err
	}
	data, size, err = p.Store.ReadRange(ctx, key, offset, length)
	p.spent(len(data))
	return data, size, err
}

// List implements segment.Store.
func (p *pacedStore) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := p.wait(ctx); err != nil {
			yield("", err)
			return
		}
		p.spent(0)
		n := 0
		for key, err := range p.Store.List(ctx, prefix, after) {
			if n++; n%scrubPage == 0 {
				p.spent(0)
			}
			if !yield(key, err) {
				return
			}
		}
	}
}

// wait waits until a request may begin.
func (p *pacedStore) wait(ctx context.Context) error {
	p.mu.Lock()
	d := time.Until(p.next)
	p.mu.Unlock()
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// spent takes in a request.
func (p *pacedStore) spent(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.next.Before(now) {
		p.next = now
	}
	cost := max(bytes, scrubRequestBytes)
	p.next = p.next.Add(time.Duration(float64(cost) / float64(p.perSec) * float64(time.Second)))
	p.read(bytes)
}
