package node

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/rpc/peer"
)

// openMember makes the node a member of its cluster: alone, or with others.
func (n *Node) openMember(ctx context.Context) (err error) {
	c, x := &n.cfg, &n.cfg.Cluster
	member := cluster.Config{
		Dir: c.DataDir, Name: c.Name, Bucket: n.store, BucketURL: n.store.URL(), Logger: c.Logger, Registerer: c.Registerer,
		MinFree: c.MinFree, FreeSpace: c.FreeSpace, NoSync: c.NoSync, TTL: x.LeaseTTL, Info: fsm.Node{Version: c.Version, Zone: x.Zone},
	}
	if x.on() {
		if err := n.openCompany(&member); err != nil {
			return err
		}
	}
	m, err := cluster.Open(ctx, member)
	if err != nil {
		return err // who asks meanwhile finds the member that Serve has told of, closed
	}
	if n.service == nil {
		n.member = m // those with company know it since Serve, and calls read it
	}
	n.closers = append(n.closers, func(context.Context) error { return m.Close() })
	return n.early
}

// openCompany adds what a member needs that has company. The gRPC listener is
// served as soon as the member can be asked: it may have to lead before it is
// ready. Calls for logs wait until they are open.
func (n *Node) openCompany(member *cluster.Config) (err error) {
	c, x := &n.cfg, &n.cfg.Cluster
	for _, l := range []struct{ name, addr string }{{raftListener, x.RaftListen}, {gossipListener, x.GossipListen}} {
		if x.Network == nil {
			if _, err := c.checkListen(l.name, l.addr); err != nil {
				return err
			}
		}
	}
	member.Listen, member.Advertise = x.RaftListen, x.AdvertiseRaft
	member.GossipListen, member.GossipAdvertise = x.GossipListen, x.AdvertiseGossip
	member.Join, member.Expect, member.Bootstrap, member.Network = x.Join, x.Expect, x.Bootstrap, x.Network
	member.Autopilot = cluster.Autopilot{Voters: x.Voters, RemoveDeadAfter: x.RemoveDead}
	if n.grpcAddr, err = advertised(grpcListener, x.AdvertiseGRPC, n.Addr()); err != nil {
		return err
	}
	member.Info.GRPC = n.grpcAddr
	if n.httpListener != nil {
		if member.Info.HTTP, err = advertised(httpListener, x.AdvertiseHTTP, n.HTTPAddr()); err != nil {
			return err
		}
	}
	client := peer.New(peer.Config{Dialer: x.dialer(), Logger: c.Logger})
	n.closers = append(n.closers, func(context.Context) error { return client.Close() })
	n.peers = &peers{client, n.addressOf}
	member.Peers = n.peers
	n.service = newService(n)
	n.closers = append(n.closers, n.service.close)
	member.Serve = func(m *cluster.Member) {
		n.member = m // Open is waited for by whoever looks at it outside of calls
		n.early = n.serveGRPC(n.service, m)
	}
	return nil
}

// openService has the node take part in what nodes do together. On the way out,
// all that it writes is handed over first.
func (n *Node) openService() {
	n.member.SetReport(n.report)
	n.server.Ready()
	n.client = wpd.NewClient(n.service)
	n.closers = append(n.closers, n.closeClient, n.leave)
	n.wg.Go(n.balance)
}

// report is what the node tells with each renewal of its lease.
func (n *Node) report() cluster.Report {
	r := n.logs.Report()
	all := cluster.Report{Logs: r.Logs, BytesPerSec: r.BytesPerSec}
	for _, c := range r.Chains {
		all.Chains = append(all.Chains, cluster.ChainReport{Epoch: c.Epoch, Durable: c.Durable})
	}
	return all
}

// leave hands over what this node writes, and its part as the leader, for at
// most an eighth each of the time there is to close: where the logs take all of
// theirs, the others need a leader the more. What is left, others take over.
func (n *Node) leave(ctx context.Context) error {
	n.setDraining(true)
	if n.alone() {
		return nil
	}
	n.handOverLogs(ctx)
	if n.member.Leads() {
		n.handOverLeadership(ctx)
	}
	return nil
}

func (n *Node) handOverLogs(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.CloseTimeout/8)
	defer cancel()
	if err := n.logs.ReleaseAll(ctx, drainAtOnce); err != nil {
		n.cfg.Logger.Warn("not all logs were handed over; others take over what is left", "left", n.owned(), "err", err)
	}
}

func (n *Node) handOverLeadership(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.CloseTimeout/8)
	defer cancel()
	if err := n.member.TransferLeader(ctx, ""); err != nil {
		n.cfg.Logger.Info("leadership was not handed over; the others elect a leader", "err", err)
	}
}

// alone says whether there is no other node to hand anything over to.
func (n *Node) alone() bool {
	others := 0
	n.member.View(func(s *fsm.State) {
		for x := range s.Nodes() {
			if !x.Removed && x.Identity != n.member.Identity() {
				others++
			}
		}
	})
	return others == 0
}

// otherAddrs is where the other nodes serve gRPC.
func (n *Node) otherAddrs() (addrs []string) {
	n.member.View(func(s *fsm.State) {
		for x := range s.Nodes() {
			if !x.Removed && x.GRPC != "" && x.GRPC != n.grpcAddr {
				addrs = append(addrs, x.GRPC)
			}
		}
	})
	return addrs
}

// addressIn is where a node serves gRPC; empty if it is not known, or no member
// any more.
func addressIn(s *fsm.State, identity string) string {
	if x, ok := s.Node(identity); ok && !x.Removed {
		return x.GRPC
	}
	return ""
}

// addressOf is addressIn the metadata as they are here.
func (n *Node) addressOf(identity string) (addr string) {
	n.member.View(func(s *fsm.State) { addr = addressIn(s, identity) })
	return addr
}

// ownerOf is which node writes a log, and where that serves; empty: none does, or
// it is not known.
func (n *Node) ownerOf(log fragment.LogID) (identity, addr string) {
	n.member.View(func(s *fsm.State) {
		if c, ok := s.Owner(log); ok {
			identity, addr = c.Node, addressIn(s, c.Node)
		}
	})
	return identity, addr
}

// writerAddr is where the node serves that writes a log; empty: see ownerOf.
func (n *Node) writerAddr(log fragment.LogID) string {
	_, addr := n.ownerOf(log)
	return addr
}

// advertised is where others reach a listener: what is configured, or where it
// listens, unless that is everywhere.
func advertised(name, configured string, at net.Addr) (string, error) {
	if tcp, ok := at.(*net.TCPAddr); ok && configured == "" && tcp.IP.IsUnspecified() {
		return "", fmt.Errorf("%s listener on %s: others need an address to reach it at: advertise one", name, tcp)
	}
	return cmp.Or(configured, at.String()), nil
}

// moveEvery is how often the leader looks whether logs had better be elsewhere.
const moveEvery = time.Second

// balance has logs handed over so that all nodes have their share, while this
// node leads, until it stops.
func (n *Node) balance() {
	rate := n.cfg.Cluster.MovesPerSecond
	if rate < 0 {
		return
	}
	t := time.NewTicker(moveEvery)
	defer t.Stop()
	for left := 0.0; ; {
		select {
		case <-t.C:
		case <-n.draining.Done():
			return
		}
		if left = min(left+rate, max(rate, 1)); left < 1 || !n.member.Leads() {
			continue
		}
		moves, err := n.member.Moves(n.draining, int(left))
		if err != nil {
			continue // this node leads no more; the next one looks
		}
		for _, m := range moves {
			left--
			if err := n.handOver(n.draining, m); err != nil {
				n.cfg.Logger.Info("a log was not handed over; it stays where it is", "log", uint64(m.Log), "from", m.From, "to", m.To, "err", err)
			}
		}
	}
}
