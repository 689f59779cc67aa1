package node

import (
	"fmt"
	"math"
	"time"

	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc/wpdpb/peerv1"
)

// The conversions between what room cluster says to other members and messages:
// xTo makes the message, xFrom reads it.

func renewalTo(r cluster.Renewal) *peerv1.RenewRequest {
	q := &peerv1.RenewRequest{
		Identity: r.Identity, Boot: r.Boot, Incarnation: r.Incarnation, Applied: r.Applied, ClockMicros: r.Clock.UnixMicro(),
		Logs: r.Report.Logs, BytesPerSec: r.Report.BytesPerSec,
		Draining: r.Report.Draining, ClockSkewMicros: r.Report.ClockSkew.Microseconds(),
	}
	for _, c := range r.Report.Chains {
		q.Chains = append(q.Chains, &peerv1.ChainReport{Epoch: uint64(c.Epoch), Durable: c.Durable})
	}
	return q
}

func renewalFrom(q *peerv1.RenewRequest) cluster.Renewal {
	r := cluster.Renewal{
		Identity: q.GetIdentity(), Boot: q.GetBoot(), Incarnation: q.GetIncarnation(), Applied: q.GetApplied(),
		Clock: time.UnixMicro(q.GetClockMicros()),
		Report: cluster.Report{
			Logs: q.GetLogs(), BytesPerSec: q.GetBytesPerSec(), Draining: q.GetDraining(),
			ClockSkew: micros(q.GetClockSkewMicros()),
		},
	}
	for _, c := range q.GetChains() {
		r.Report.Chains = append(r.Report.Chains, cluster.ChainReport{Epoch: fragment.Epoch(c.GetEpoch()), Durable: c.GetDurable()})
	}
	return r
}

func renewedTo(r cluster.Renewed) *peerv1.RenewResponse {
	a := &peerv1.RenewResponse{ClockMicros: r.Clock.UnixMicro(), LeaseMicros: r.Lease.Microseconds()}
	for _, e := range r.Epochs {
		a.Epochs = append(a.Epochs, uint64(e))
	}
	for _, n := range r.Nodes {
		a.Nodes = append(a.Nodes, &peerv1.NodeAge{Identity: n.Identity, AgeMicros: uint64(max(n.Age, 0).Microseconds())})
	}
	return a
}

func renewedFrom(a *peerv1.RenewResponse) cluster.Renewed {
	r := cluster.Renewed{Clock: time.UnixMicro(a.GetClockMicros()), Lease: micros(a.GetLeaseMicros())}
	for _, e := range a.GetEpochs() {
		r.Epochs = append(r.Epochs, fragment.Epoch(e))
	}
	for _, n := range a.GetNodes() {
		age := int64(min(n.GetAgeMicros(), math.MaxInt64))
		r.Nodes = append(r.Nodes, cluster.NodeAge{Identity: n.GetIdentity(), Age: micros(age)})
	}
	return r
}

func joinTo(r cluster.JoinRequest) *peerv1.JoinRequest {
	return &peerv1.JoinRequest{Identity: r.Identity, Name: r.Name, RaftAddr: r.Raft, Boot: r.Boot, Nonce: r.Nonce[:]}
}

// joinFrom refuses what is no nonce.
func joinFrom(q *peerv1.JoinRequest) (cluster.JoinRequest, error) {
	r := cluster.JoinRequest{Identity: q.GetIdentity(), Name: q.GetName(), Raft: q.GetRaftAddr(), Boot: q.GetBoot()}
	if n := len(q.GetNonce()); n != len(r.Nonce) {
		return r, &cluster.RefusedError{Reason: fmt.Sprintf("a nonce of %d bytes, want %d", n, len(r.Nonce))}
	}
	r.Nonce = fragment.Nonce(q.GetNonce())
	return r, nil
}

// micros is a time that another node tells; one that no clock can have counted
// is the longest.
func micros(n int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Microsecond)
	return time.Duration(min(max(n, -most), most)) * time.Microsecond
}
