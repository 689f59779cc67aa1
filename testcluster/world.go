package testcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/wal/api"
)

// ErrCut is what every request of a node to its store gets once it is cut off.
var ErrCut = errors.New("testcluster: the node is cut off from its store")

// World is what outlives a node: a store and a data directory.
type World struct {
	Raw blobstore.Raw // the store; nodes do not close it
	Dir string        // data directory; empty: metadata in memory, and one boot only
	// Config is that of all nodes; Store, DataDir and Listener are filled in.
	Config node.Config
	// Network lets the nodes serve, and Dial and Proc.Client reach them; nil:
	// they are embedded.
	Network *Network
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
	mu    sync.Mutex // guards what follows, and Node, while Open may meet Kill

	service *client.Service // dialled to the node; nil without a Network
	client  *wpd.Client     // of it
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
	c.Store = blobstore.New(&line{raw: p.Faults, dead: p.cut}, options)
	c.DataDir = p.world.Dir
	if net := p.world.Network; net != nil {
		c.Listener = net.Listen()
	}
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
	if err = p.dial(ctx); err != nil || p.cut.Err() != nil {
		p.Crash()
	}
	if p.cut.Err() != nil {
		return ErrCut
	}
	return err
}

// dial connects to the node, if there is a network.
func (p *Proc) dial(ctx context.Context) error {
	net := p.world.Network
	if net == nil {
		return nil
	}
	s, err := client.Dial(ctx, client.Config{Addrs: []string{networkAddr}, Dialer: net.dialWhole})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.service, p.client = s, wpd.NewClient(s, s.Close)
	return nil
}

// Dial returns a client of the node that serves, and of those that follow it
// in this world. The caller closes it.
func (w *World) Dial(ctx context.Context, opts ...wpd.Option) (*wpd.Client, error) {
	return wpd.Dial(ctx, networkAddr, append([]wpd.Option{wpd.WithDialer(w.Network.DialContext)}, opts...)...)
}

// Client is that of the node, or, with a Network, one that was dialled to it,
// whose connections are never cut, and which is closed with it.
func (p *Proc) Client() *wpd.Client {
	if p.client != nil {
		return p.client
	}
	return p.Node.Client()
}

// Service is what Client stands on.
func (p *Proc) Service() api.Service {
	if p.service != nil {
		return p.service
	}
	return p.Node.Logs()
}

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
	n, s := p.Node, p.service
	p.mu.Unlock()
	if net := p.world.Network; net != nil {
		net.Unplug()
	}
	if s != nil {
		_ = s.Close() // there is nobody left to hear of it
	}
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
		if p.client != nil {
			_ = p.client.Close() // nor can this
		}
	})
}

// Stop closes the node in good order.
func (p *Proc) Stop() error {
	var err error
	p.once.Do(func() {
		if p.client != nil {
			err = p.client.Close()
		}
		err = errors.Join(err, p.Node.Close())
	})
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
