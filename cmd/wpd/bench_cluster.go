package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// benchCluster is a cluster that a benchmark makes for itself: each node in a
// process of its own, on one machine, on a directory.
type benchCluster struct {
	dir   string
	nodes []*devNode
	log   *lineWriter // of the nodes; what they say is told if something fails
	said  *tailBuffer

	client *wpd.Client
	admin  *client.Admin
}

// clusterStartWait is how long nodes may take to find each other.
const clusterStartWait = time.Minute

// startBenchCluster starts n nodes below dir, each with more flags. close must
// follow.
func startBenchCluster(ctx context.Context, dir string, n int, more ...string) (*benchCluster, error) {
	return startBenchClusterAs(ctx, dir, n, func(x *devNode) { x.args = append(x.args, more...) })
}

// startBenchClusterAs is startBenchCluster with nodes that change has changed
// before they are started.
func startBenchClusterAs(ctx context.Context, dir string, n int, change func(x *devNode)) (_ *benchCluster, err error) {
	c := &benchCluster{said: &tailBuffer{most: 64 << 10}}
	c.log = &lineWriter{w: c.said}
	if c.dir, err = os.MkdirTemp(dir, "wpd-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(c.blame(err), c.close())
		}
	}()
	base, err := freePorts(devPorts * n)
	if err != nil {
		return nil, err
	}
	d := &dev{settings: newSettings(), dir: c.dir}
	d.logLevel, d.node.Listen = "warn", net.JoinHostPort("127.0.0.1", strconv.Itoa(base))
	if c.nodes, err = d.plan(n); err != nil {
		return nil, err
	}
	for _, x := range c.nodes {
		change(x)
		if err := x.start(c.log); err != nil {
			return nil, err
		}
	}
	late := time.NewTimer(clusterStartWait)
	defer late.Stop()
	for _, x := range c.nodes {
		if err := x.await(ctx, late.C); err != nil {
			return nil, err
		}
	}
	if c.client, err = wpd.Dial(ctx, c.addrs()); err != nil {
		return nil, err
	}
	c.admin, err = client.DialAdmin(ctx, client.Config{Addrs: strings.Split(c.addrs(), ",")})
	return c, err
}

// await waits until a node serves.
func (x *devNode) await(ctx context.Context, late <-chan time.Time) error {
	select {
	case <-x.ready:
		return nil
	case <-x.ended:
		return fmt.Errorf("node %s ended before it served: %w", x.name, x.err)
	case <-late:
		return fmt.Errorf("node %s does not serve after %v", x.name, clusterStartWait)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *benchCluster) addrs() string {
	var all []string
	for _, x := range c.nodes {
		all = append(all, x.grpc)
	}
	return strings.Join(all, ",")
}

// blame adds what the nodes said last to an error.
func (c *benchCluster) blame(err error) error {
	if said := c.said.String(); said != "" {
		return fmt.Errorf("%w; the nodes said:\n%s", err, said)
	}
	return err
}

func (c *benchCluster) close() error {
	var errs []error
	if c.admin != nil {
		errs = append(errs, c.admin.Close())
	}
	if c.client != nil {
		errs = append(errs, c.client.Close())
	}
	stopNodes(c.nodes)
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// index is the number of the node of a name.
func (c *benchCluster) index(name string) (int, error) {
	for i, x := range c.nodes {
		if x.name == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("there is no node %q", name)
}

// restart starts a node again that was killed, and waits until it serves.
func (c *benchCluster) restart(ctx context.Context, i int) error {
	old := c.nodes[i]
	<-old.ended
	c.nodes[i] = old.again()
	if err := c.nodes[i].start(c.log); err != nil {
		return err
	}
	late := time.NewTimer(clusterStartWait)
	defer late.Stop()
	return c.nodes[i].await(ctx, late.C)
}

// settled waits until all nodes are there and hold their leases, and one leads.
func (c *benchCluster) settled(ctx context.Context) ([]*adminv1.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, clusterStartWait)
	defer cancel()
	for {
		nodes, err := c.admin.Nodes(ctx)
		well, leads := wellOf(nodes)
		if err == nil && leads && well == len(c.nodes) {
			return nodes, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("the cluster is not whole: %d of %d nodes: %w", well, len(c.nodes), errors.Join(err, ctx.Err()))
		}
	}
}

// wellOf counts the nodes that hold their leases and have a chain, and says whether
// one leads.
func wellOf(nodes []*adminv1.Node) (well int, leads bool) {
	for _, n := range nodes {
		if n.GetLeaseHeld() && len(n.GetChainEpochs()) > 0 {
			well++
		}
		leads = leads || n.GetRole() == "leader"
	}
	return well, leads
}

// freePorts finds n ports in a row that nobody listens at. They are below those
// that systems give to connections, so that a node finds its own again when it is
// started anew.
func freePorts(n int) (first int, err error) {
	for range 100 {
		first = 20000 + rand.IntN(12000)
		free := true
		for port := first; port < first+n && free; port++ {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if free = err == nil; free {
				_ = l.Close() // it was only to find out
			}
		}
		if free {
			return first, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports in a row", n)
}

// tailBuffer keeps the last bytes that are written to it.
type tailBuffer struct {
	most int
	mu   sync.Mutex
	b    []byte
}

var _ io.Writer = (*tailBuffer)(nil)

func (t *tailBuffer) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if over := len(t.b) - t.most; over > 0 {
		t.b = t.b[over:]
	}
	return len(b), nil
}

func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
