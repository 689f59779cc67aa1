package testcluster

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/node"
)

// ErrCut is what every request of a node to its store gets once it is cut off.
var ErrCut = errors.New("testcluster: the node is cut off from its store")

// World is what outlives a node: a store and a data directory.
type World struct {
	Raw blobstore.Raw // the store; nodes do not close it
	Dir string        // data directory; empty: metadata in memory, and one boot only
	// Config is that of all nodes; Store and DataDir are filled in.
	Config node.Config
	// Options are those of the bucket.
	Options blobstore.Options
}

// Proc is one life of a node: a process, but for its memory.
type Proc struct {
	Node *node.Node // nil until Open has succeeded
	// Faults lies between the node and the store. What it holds back may land
	// after the node is gone.
	Faults *blobtest.Faults

	world *World
	cut   context.Context // ends when the node is cut off
	stop  context.CancelFunc
	once  sync.Once
	mu    sync.Mutex // guards Node while Open may meet Kill
}

// Proc makes the next life of a node, for faults to be ordered before it is
// opened.
func (w *World) Proc() *Proc {
	p := &Proc{world: w, Faults: blobtest.NewFaults(keepOpen{w.Raw})}
	p.cut, p.stop = context.WithCancel(context.Background())
	return p
}

// Start makes the next life of a node and opens it.
func (w *World) Start(ctx context.Context) (*Proc, error) {
	p := w.Proc()
	return p, p.Open(ctx)
}

// Open opens the node. It fails if the node is cut off meanwhile.
func (p *Proc) Open(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.cut, func() { cancel(ErrCut) })()
	options := p.world.Options
	if options.RequestTimeout == 0 {
		options.RequestTimeout = time.Second
	}
	if options.BackoffMin == 0 {
		options.BackoffMin, options.BackoffMax = time.Millisecond, 20*time.Millisecond
	}
	c := p.world.Config
	c.Store = blobstore.New(&gate{p.Faults, p.cut}, options)
	c.DataDir = p.world.Dir
	if c.CloseTimeout == 0 {
		c.CloseTimeout = 10 * time.Second
	}
	n, err := node.Open(ctx, c)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.Node = n
	p.mu.Unlock()
	if p.cut.Err() != nil {
		p.Crash()
		return ErrCut
	}
	return nil
}

// Client is that of the node.
func (p *Proc) Client() *wpd.Client { return p.Node.Client() }

// Cut cuts the node off from its store: from now on no request begins, and no
// answer comes. What is held back in Faults stays there.
func (p *Proc) Cut() { p.stop() }

// WhenCut returns a context that ends when the node is cut off.
func (p *Proc) WhenCut() context.Context { return p.cut }

// Kill cuts the node off and stops its logs, without a chance to flush or
// seal: whoever still uses it finds it closed. Crash must follow.
func (p *Proc) Kill() {
	p.Cut()
	p.mu.Lock()
	n := p.Node
	p.mu.Unlock()
	if n != nil {
		dead, cancel := context.WithCancel(context.Background())
		cancel()
		_ = n.Logs().Close(dead) // gives up at once, as it must
	}
}

// Crash kills the node and drops it: what is left of it has ended on return.
// It may be called on a node that never opened.
func (p *Proc) Crash() {
	p.Kill()
	p.once.Do(func() {
		if p.Node != nil {
			_ = p.Node.Close() // it can't do what it wants to
		}
	})
}

// Stop closes the node in good order.
func (p *Proc) Stop() error {
	var err error
	p.once.Do(func() { err = p.Node.Close() })
	p.Cut()
	return err
}

// KeepRaftOnly deletes everything in a data directory but Raft's files: its
// log, its stable store and its snapshots.
func KeepRaftOnly(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	kept := false
	for _, e := range entries {
		if e.Name() == "raft" {
			kept = true
			continue
		}
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if !kept {
		errs = append(errs, fmt.Errorf("%s holds nothing of Raft's", dir))
	}
	return errors.Join(errs...)
}

// keepOpen is a store that outlives the buckets on it.
type keepOpen struct{ blobstore.Raw }

func (keepOpen) Close() error { return nil }

// gate is the line between a node and its store.
type gate struct {
	raw blobstore.Raw
	cut context.Context
}

// enter begins a request; done makes of its outcome what the node hears.
func (g *gate) enter(ctx context.Context) (_ context.Context, done func(error) error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(g.cut, func() { cancel(ErrCut) })
	return ctx, func(err error) error {
		stop()
		cancel(nil)
		if g.cut.Err() != nil {
			return ErrCut
		}
		return err
	}
}

func (g *gate) Create(ctx context.Context, key string, parts [][]byte) error {
	if g.cut.Err() != nil {
		return ErrCut
	}
	ctx, done := g.enter(ctx)
	return done(g.raw.Create(ctx, key, parts))
}

func (g *gate) ReadRange(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	if g.cut.Err() != nil {
		return nil, 0, ErrCut
	}
	ctx, done := g.enter(ctx)
	b, size, err := g.raw.ReadRange(ctx, key, offset, length)
	if err := done(err); err != nil {
		return nil, 0, err
	}
	return b, size, nil
}

func (g *gate) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if g.cut.Err() != nil {
			yield("", ErrCut)
			return
		}
		ctx, done := g.enter(ctx)
		for key, err := range g.raw.List(ctx, prefix, after) {
			if g.cut.Err() != nil {
				break
			}
			if !yield(key, err) || err != nil {
				_ = done(nil)
				return
			}
		}
		if err := done(nil); err != nil {
			yield("", err)
		}
	}
}

func (g *gate) Delete(ctx context.Context, key string) error {
	if g.cut.Err() != nil {
		return ErrCut
	}
	ctx, done := g.enter(ctx)
	return done(g.raw.Delete(ctx, key))
}

func (g *gate) Close() error { return g.raw.Close() }
