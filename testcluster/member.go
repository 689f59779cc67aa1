package testcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/node"
)

// Node is one node of a [Cluster]: its name, its disk, its way to the store, and
// one life after the other.
type Node struct {
	Name string // n1, n2, …
	// Dir is its data directory.
	Dir string
	// Faults lies between the node and the store, in all its lives. What it
	// holds back may land after the node is gone.
	Faults *blobtest.Faults

	cluster *Cluster
	index   int
	expect  int  // nodes that found the cluster with this one; 0: it joins
	removed bool // guarded by the cluster's lock

	mu   sync.Mutex // guards what follows
	life *life      // the last one; nil: it was never started
}

// life is one life of a node: a process, but for its memory.
type life struct {
	host *Host
	dead context.Context // ends when it is killed
	kill context.CancelFunc
	node *node.Node    // nil until it is open
	gone chan struct{} // closed once nothing of it is left
}

func newNode(c *Cluster, i, expect int) *Node {
	name := fmt.Sprintf("n%d", i+1)
	c.Net.Host(name) // has an address from now on, which others may ask for
	return &Node{
		Name: name, Dir: filepath.Join(c.dir, name), Faults: blobtest.NewFaults(keepOpen{c.Store}),
		cluster: c, index: i, expect: expect,
	}
}

// Addr is where clients dial the node.
func (n *Node) Addr() string { return fmt.Sprintf("%s:%d", n.Name, portGRPC) }

// Node is the node as it runs; nil while it does not. Safe for concurrent use.
func (n *Node) Node() *node.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil || n.life.dead.Err() != nil {
		return nil
	}
	return n.life.node
}

// Client is the node's own, which is in the same process as it: whoever uses it
// asks this node, and not another. It fails the test if the node does not run.
func (n *Node) Client() *wpd.Client {
	n.cluster.t.Helper()
	up := n.Node()
	if up == nil {
		n.cluster.t.Fatalf("testcluster: %s does not run", n.Name)
	}
	return up.Client()
}

// Start starts the node, and returns its error if it refuses to. Safe for
// concurrent use.
func (n *Node) Start(ctx context.Context) error {
	n.mu.Lock()
	last := n.life
	if last != nil && last.dead.Err() == nil {
		n.mu.Unlock()
		return errors.New("it runs already")
	}
	l := &life{gone: make(chan struct{})}
	l.dead, l.kill = context.WithCancel(context.Background())
	n.life = l
	n.mu.Unlock()
	if last != nil {
		<-last.gone // it has the data directory until then
	}
	n.mu.Lock()
	l.host = n.cluster.Net.Host(n.Name)
	n.mu.Unlock()
	up, err := n.open(ctx, l)
	if err != nil {
		l.end(nil)
		return err
	}
	n.mu.Lock()
	l.node = up
	killed := l.dead.Err() != nil
	n.mu.Unlock()
	n.cluster.came(n)
	if killed { // by somebody who has not seen that it is open
		l.end(up)
		return ErrCut
	}
	return nil
}

func (n *Node) open(ctx context.Context, l *life) (*node.Node, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.dead, func() { cancel(ErrCut) })()
	c := n.cluster
	logger := c.journal.logger(n.Name, slog.LevelInfo, c.opts.logger)
	conf := node.Config{
		Name: n.Name, DataDir: n.Dir, Logger: logger,
		Store: blobstore.New(&line{raw: n.Faults, host: l.host, dead: l.dead}, blobstore.Options{
			RequestTimeout: 2 * time.Second, BackoffMin: 5 * time.Millisecond, BackoffMax: 100 * time.Millisecond, Logger: logger,
		}),
		CloseTimeout: 10 * time.Second,
		// A bubble's time stands still while a disk writes: a year of commands
		// would take as long as the disk likes, and no test here cuts its power.
		NoSync: inBubble(),
	}
	if err := n.wire(&conf, l.host); err != nil {
		return nil, err
	}
	if c.opts.config != nil {
		c.opts.config(n.index, &conf)
	}
	return node.Open(ctx, conf)
}

// kill cuts the node off from everything and drops it. What is left of it in
// this process ends by itself. It returns false if the node does not run.
func (n *Node) kill() bool {
	n.mu.Lock()
	l := n.life
	if l == nil || l.dead.Err() != nil {
		n.mu.Unlock()
		return false
	}
	l.kill()
	if l.host != nil {
		l.host.Unplug()
	}
	up := l.node
	n.mu.Unlock()
	if up != nil {
		go l.end(up)
	}
	return true // one that is not open yet is ended by who opens it
}

// end ends what is left of a life.
func (l *life) end(up *node.Node) {
	defer close(l.gone)
	l.kill()
	l.host.Unplug()
	if up == nil {
		return
	}
	dead, cancel := context.WithCancel(context.Background())
	cancel()
	_ = up.Logs().Close(dead) // gives up at once, as it must
	_ = up.Close()            // it can't do what it wants to
}

// Stop stops the node in good order: what it writes is handed over.
func (n *Node) Stop() error {
	n.mu.Lock()
	l := n.life
	n.mu.Unlock()
	up := n.Node()
	if up == nil {
		return errors.New("it does not run")
	}
	err := up.Close()
	n.mu.Lock()
	killed := l.dead.Err() != nil
	l.kill()
	n.mu.Unlock()
	if killed {
		return ErrCut
	}
	l.host.Unplug()
	close(l.gone)
	return err
}

// end ends the node for good.
func (n *Node) end() {
	n.kill()
	n.mu.Lock()
	l := n.life
	n.mu.Unlock()
	if l != nil {
		<-l.gone
	}
	_ = n.Faults.Close() // the store below stays open
}

// rest waits until nothing of the last life has the data directory.
func (n *Node) rest() error {
	n.mu.Lock()
	l := n.life
	n.mu.Unlock()
	switch {
	case l == nil:
		return nil
	case l.dead.Err() == nil:
		return errors.New("it runs")
	}
	<-l.gone
	return nil
}

// came notes that a node is a member, whatever it was before.
func (c *Cluster) came(n *Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.removed = false
}

// Wipe empties the data directory of a node that does not run.
func (c *Cluster) Wipe(i int) {
	c.t.Helper()
	c.each([]int{i}, "wipe", func(n *Node) error {
		if err := n.rest(); err != nil {
			return err
		}
		return os.RemoveAll(n.Dir)
	})
	c.hit("wipe", 1)
}

// SaveDir copies the data directory of a node that does not run, for
// RestoreDir.
func (c *Cluster) SaveDir(i int) (saved string) {
	c.t.Helper()
	c.each([]int{i}, "save directory of", func(n *Node) error {
		if err := n.rest(); err != nil {
			return err
		}
		c.mu.Lock()
		saved = filepath.Join(c.dir, fmt.Sprintf("%s-saved-%d", n.Name, c.rnd.Uint64()))
		c.mu.Unlock()
		return os.CopyFS(saved, os.DirFS(n.Dir))
	})
	return saved
}

// RestoreDir puts a copy of its data directory, or of another node's, in place
// of that of a node that does not run.
func (c *Cluster) RestoreDir(i int, saved string) {
	c.t.Helper()
	c.each([]int{i}, "restore directory of", func(n *Node) error {
		if err := n.rest(); err != nil {
			return err
		}
		if err := os.RemoveAll(n.Dir); err != nil {
			return err
		}
		return os.CopyFS(n.Dir, os.DirFS(saved))
	})
	c.hit("restored-directory", 1)
}
