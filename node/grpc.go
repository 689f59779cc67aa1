package node

import (
	"context"
	"sync"
	"time"

	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/rpc/peer"
	"github.com/wpd-io/wpd/rpc/server"
)

// serveGRPC serves the logs, and this node's own side, by gRPC.
func (n *Node) serveGRPC(logs server.Logs, m *cluster.Member) (err error) {
	if n.grpcListener == nil {
		return nil
	}
	c := server.Config{
		Logs: logs, Admin: n, Cluster: n,
		ClusterID: m.ClusterID().String(), NodeID: m.Name(), Version: n.cfg.Version,
		Reflection: n.cfg.Reflection, Limits: n.cfg.Limits, Logger: n.cfg.Logger, Registerer: n.cfg.Registerer,
	}
	if n.service != nil {
		c.Addr, c.Nodes, c.Writer, c.Starting = n.grpcAddr, n.otherAddrs, n.writerAddr, true
		c.Register = peer.Register(c.ClusterID, &handlers{member: m, here: n.here})
	}
	n.server, err = server.New(c)
	if err != nil {
		return err
	}
	n.closers = append(n.closers, n.closeGRPC)
	n.serve(grpcListener, func() error { return n.server.Serve(n.grpcListener) })
	return nil
}

// closeGRPC waits until everything that was taken is answered, for at most half
// of the time there is: a reader that does not read, or a store that does not
// answer, must leave a node that is alone some for the end of its chain. One that
// has company has closed its logs before, so that others could ask it meanwhile.
func (n *Node) closeGRPC(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.CloseTimeout/2)
	defer cancel()
	done := make(chan struct{})
	var flushing sync.WaitGroup
	if n.service == nil {
		flushing.Go(func() { n.flushUntil(ctx, done) })
	}
	err := n.server.Close(ctx)
	close(done)
	flushing.Wait()
	if ctx.Err() != nil {
		n.cfg.Logger.Warn("calls were cut off: they did not end within half of the close timeout", "timeout", n.cfg.CloseTimeout, "err", err)
		return nil // what was open is for its callers to ask about
	}
	return err
}

// flushEvery is how often a node that drains flushes what its streams still
// handed over: they wait for it, whatever the flush interval is.
const flushEvery = 20 * time.Millisecond

func (n *Node) flushUntil(ctx context.Context, done <-chan struct{}) {
	for tick := time.NewTicker(flushEvery); ; {
		_ = n.logs.Flush(ctx) // whose batches it concerns, hears of it
		select {
		case <-tick.C:
		case <-done:
			tick.Stop()
			return
		}
	}
}
