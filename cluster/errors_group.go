package cluster

import (
	"fmt"
	"strings"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// RemovedError means that this node was removed from the cluster. That is for
// ever: what it can do is come back as another one.
type RemovedError struct {
	Identity string
	Dir      string // empty: in memory
}

func (e *RemovedError) Error() string {
	return fmt.Sprintf("node %s was removed from the cluster; to come back as a new member, %s", e.Identity, startAnew(e.Dir))
}

// startAnew says what to do with a node that can't be the same any more; dir is
// its data directory, empty if it has none.
func startAnew(dir string) string {
	if dir == "" {
		return "start it with an empty data directory"
	}
	return fmt.Sprintf("move data directory %s away and start it again", dir)
}

// LeaseTTLError means that this node and the leader don't agree for how long a
// lease is held, so that one could give away what the other one still holds.
type LeaseTTLError struct {
	Have time.Duration // this node's Config.TTL
	Want time.Duration // the leader's
}

func (e *LeaseTTLError) Error() string {
	return fmt.Sprintf("a lease is %v for this node, and %v for the leader of the cluster: start this one with lease_ttl %v; "+
		"to change that of a cluster, stop all its nodes first", e.Have, e.Want, e.Want)
}

// NameTakenError means that another node has this one's name.
type NameTakenError struct {
	Name   string
	Holder string // its identity
	New    bool   // it is no member yet either
}

func (e *NameTakenError) Error() string {
	if e.New {
		return fmt.Sprintf("another new node, %s, is called %q too: start one of them with an empty data directory and another name", e.Holder, e.Name)
	}
	return fmt.Sprintf("the name %q belongs to node %s: use another name, or, if that node is gone for good, "+
		"say `wpd cluster remove %s`", e.Name, e.Holder, e.Holder)
}

// UnsharedBucketError means that an object that was written by one node is not
// there for another one.
type UnsharedBucketError struct {
	BucketURL string
	Key       string
	Writer    string // who wrote it
	Reader    string // who does not find it; empty: the leader
}

func (e *UnsharedBucketError) Error() string {
	const need = "All nodes need the same bucket and prefix; mem:// never is, and file:// only on one file system"
	if e.Reader == "" {
		return fmt.Sprintf("the nodes don't share one bucket: this node, %s, wrote %s, and the leader does not find it (the bucket here is %s). %s",
			e.Writer, e.Key, e.BucketURL, need)
	}
	return fmt.Sprintf("the nodes don't share one bucket: node %s wrote %s, and this node, %s, does not find it (the bucket here is %s). %s. "+
		"Or node %s is of another cluster, and should not be among those to join", e.Writer, e.Key, e.Reader, e.BucketURL, need, e.Writer)
}

// NoGroupError means that a new node found nobody to make it a member, of a
// cluster that is there already.
type NoGroupError struct {
	BucketURL string
	Cluster   fragment.ClusterID // of the bucket
	Join      []string
}

func (e *NoGroupError) Error() string {
	if len(e.Join) == 0 {
		return fmt.Sprintf("%s belongs to cluster %s already, and this node is new: it can't make the cluster again. "+
			"Let it join the others, or use their data directory, or an empty bucket or prefix", e.BucketURL, e.Cluster)
	}
	return fmt.Sprintf("%s belongs to cluster %s already, this node is new, and no member of that cluster answered at %s. "+
		"Start its members, or use an empty bucket or prefix", e.BucketURL, e.Cluster, strings.Join(e.Join, ", "))
}

// GroupError means that a data directory needs other members, and the
// configuration has no network.
type GroupError struct {
	Dir     string
	Members int // 0: not known
}

func (e *GroupError) Error() string {
	if e.Members == 0 {
		return fmt.Sprintf("data directory %s is that of a node that joins others: give it the addresses to listen at", e.Dir)
	}
	return fmt.Sprintf("data directory %s belongs to a cluster of %d nodes: give it the addresses to listen at", e.Dir, e.Members)
}

// QuorumError means that a member can't be removed, because those that are left
// could not decide anything any more.
type QuorumError struct {
	Identity string
	Well     int // voters that would be left and are known to be well
	Voters   int // that would be left
}

func (e *QuorumError) Error() string {
	return fmt.Sprintf("without node %s the cluster would have %d voters, of which %d answer: too few to go on. "+
		"Bring others back first", e.Identity, e.Voters, e.Well)
}

// MemberError means that a node can't be what was asked for.
type MemberError struct {
	Identity string
	Reason   string
}

func (e *MemberError) Error() string { return fmt.Sprintf("node %s %s", e.Identity, e.Reason) }
