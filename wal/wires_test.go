package wal_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// wires connect the nodes of a group with each other.
type wires struct {
	g *group

	mu       sync.Mutex
	broken   map[[2]string]bool // from, to
	held     map[[2]string]bool // messages stay on their way
	stirred  chan struct{}      // closed and replaced when one of these changes
	streams  map[*wire]struct{}
	feeds    int // that were begun
	messages int // that arrived
	asked    int // tails that were asked for
}

func newWires(g *group) *wires {
	return &wires{g: g, broken: make(map[[2]string]bool), held: make(map[[2]string]bool), stirred: make(chan struct{}), streams: make(map[*wire]struct{})}
}

// cut breaks what one node has from another, and keeps it from getting more.
func (w *wires) cut(from, to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken[[2]string{from, to}] = true
	for x := range w.streams {
		if x.from == from && x.to == to {
			x.cancel()
		}
	}
}

// hold keeps messages on their way; nothing breaks.
func (w *wires) hold(from, to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held[[2]string{from, to}] = true
}

// mend undoes cuts and holds.
func (w *wires) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.broken)
	clear(w.held)
	close(w.stirred)
	w.stirred = make(chan struct{})
}

// drop breaks all that a node that died was part of.
func (w *wires) drop(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for x := range w.streams {
		if x.from == name || x.to == name {
			x.cancel()
		}
	}
}

func (w *wires) counts() (feeds, messages, asked int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.feeds, w.messages, w.asked
}

// end is a node's end of the wires.
type end struct {
	w    *wires
	name string
}

var errWire = errors.New("the wire is cut")

// peer finds a node that is alive and can be reached.
func (e *end) peer(identified string) (*member, error) {
	for _, m := range e.w.g.alive() {
		if identity(m.name) != identified {
			continue
		}
		e.w.mu.Lock()
		defer e.w.mu.Unlock()
		if e.w.broken[[2]string{e.name, m.name}] {
			return nil, errWire
		}
		return m, nil
	}
	return nil, fmt.Errorf("node %s is dead", identified)
}

// Tail implements wal.Peers.
func (e *end) Tail(ctx context.Context, node string, log fragment.LogID) (fragment.LSN, error) {
	e.w.mu.Lock()
	e.w.asked++
	e.w.mu.Unlock()
	time.Sleep(time.Millisecond)
	m, err := e.peer(node)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	tail, err := m.OwnerTail(ctx, log)
	time.Sleep(time.Millisecond)
	if _, gone := e.peer(node); gone != nil {
		return 0, fmt.Errorf("%w: %w", api.ErrUnavailable, gone)
	}
	return tail, err
}

// wire is one feed.
type wire struct {
	w        *wires
	from, to string
	ctx      context.Context
	cancel   context.CancelFunc
	messages chan message
	err      error // of the feed, once messages is closed
}

type message struct {
	bytes []byte
	at    time.Time // when it arrives
}

// Follow implements wal.Peers.
func (e *end) Follow(ctx context.Context, node string, epoch fragment.Epoch) (wal.FeedStream, error) {
	m, err := e.peer(node)
	if err != nil {
		return nil, err
	}
	x := &wire{w: e.w, from: e.name, to: m.name, messages: make(chan message, 16)}
	x.ctx, x.cancel = context.WithCancel(ctx)
	e.w.mu.Lock()
	e.w.feeds++
	e.w.streams[x] = struct{}{}
	e.w.mu.Unlock()
	go func() {
		defer close(x.messages)
		x.err = m.Feed(x.ctx, epoch, func(b []byte) error {
			select {
			case x.messages <- message{append([]byte(nil), b...), time.Now().Add(time.Millisecond)}:
				return nil
			case <-x.ctx.Done():
				return x.ctx.Err()
			}
		})
	}()
	return x, nil
}

// Next implements wal.FeedStream.
func (x *wire) Next() ([]byte, error) {
	var got message
	select {
	case <-x.ctx.Done():
		return nil, errWire
	case m, ok := <-x.messages:
		if !ok {
			return nil, x.err
		}
		got = m
	}
	time.Sleep(time.Until(got.at))
	for {
		x.w.mu.Lock()
		held, stirred := x.w.held[[2]string{x.from, x.to}], x.w.stirred
		if !held {
			x.w.messages++
		}
		x.w.mu.Unlock()
		if !held {
			return got.bytes, nil
		}
		select {
		case <-stirred:
		case <-x.ctx.Done():
			return nil, errWire
		}
	}
}

// Close implements wal.FeedStream.
func (x *wire) Close() error {
	x.cancel()
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	delete(x.w.streams, x)
	return nil
}
