package cluster

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wpd-io/wpd/fsm"
)

// Objects is what a member needs of the bucket.
type Objects interface {
	// Create makes an object of the parts, unless there is one. Nil means
	// that exactly these bytes are there, durably, whoever wrote them; an
	// fs.ErrExist that something else is there. After any other error it may
	// be there or not.
	Create(ctx context.Context, key string, parts ...[]byte) error
	// ReadRange reads up to length bytes from offset on, and tells the
	// object's size. An fs.ErrNotExist means that there is no such object.
	ReadRange(ctx context.Context, key string, offset, length int64) (data []byte, size int64, err error)
	// List yields the keys with the prefix that lie above after, in order.
	List(ctx context.Context, prefix, after string) iter.Seq2[string, error]
}

// Config says who a member is, what it lives on, and whom it lives with.
type Config struct {
	// Dir is the data directory, made if it is not there. Empty: everything
	// in memory.
	Dir string
	// Name is this node's name: 1 to 200 bytes of [A-Za-z0-9._-]. A data
	// directory keeps the name that it was made with, and another one is
	// refused. Empty: that name, and "n1" for a new directory.
	Name string
	// Bucket holds the cluster's objects. Required.
	Bucket Objects
	// BucketURL is only told in messages, and remembered for them.
	BucketURL string
	// Logger may be nil. Raft's and memberlist's own messages come at a level
	// lower than they give them.
	Logger *slog.Logger
	// Registerer may be nil. What is registered is taken back by Close.
	Registerer prometheus.Registerer

	// Listen is the host:port where raft listens. Empty: a group of one that
	// needs no network, and of the fields below only Info, MinFree and FreeSpace
	// count; the others must still be valid.
	Listen string
	// Advertise is the host:port at which others reach Listen. Empty: what
	// Listen became.
	Advertise string
	// GossipListen is the host:port, for TCP and UDP, where other nodes find
	// this one. Required with Listen.
	GossipListen string
	// GossipAdvertise is the host:port at which others reach GossipListen; a
	// name must have an address. Empty: what GossipListen became.
	GossipAdvertise string
	// Join are addresses where other nodes listen for gossip. Those that don't
	// answer are tried again; the node's own does no harm.
	Join []string
	// Expect makes a new cluster of so many nodes, 1 to 5, that are all new,
	// have found each other, and say the same number. 0: never. A data
	// directory that is not new does not look at it, nor at Bootstrap.
	Expect int
	// Bootstrap makes a new cluster of this node alone, at once. Not together
	// with Expect.
	Bootstrap bool
	// Patience is how long a new node looks for a member of the cluster that
	// the bucket belongs to, before it gives up. 0: 30 s.
	Patience time.Duration
	// Network is where the listeners are and whom they reach. nil: that of the
	// operating system.
	Network Network
	// Peers asks other members. Required with Listen.
	Peers Peers
	// Serve is called by Open once others may ask this member, by its Serve
	// methods, and must see to it that they can: before it is ready, it may
	// have to lead. Not without Listen. nil: nothing is called.
	Serve func(*Member)
	// Info is what the others are told of this node: GRPC, HTTP, Zone, Version.
	// What the member knows itself is filled in by it.
	Info fsm.Node
	// Heartbeat is after how long without a word from the leader the others
	// elect another, and a leader that reaches no majority gives up; the election
	// takes one to three of them, and two more each time that votes split. 0: 600 ms.
	Heartbeat time.Duration
	// StallMax is how long a write of the raft log, or the work on a batch of
	// commands, may take before a leader gives leadership up. 0: 3 s.
	StallMax time.Duration
	// MinFree is how many bytes must be free on the disk of Dir. With fewer,
	// Space is an error, MayAttach too, and the member gets no logs and leads
	// no more than it must. 0: 256 MiB; less than 0: any number will do.
	MinFree int64
	// FreeSpace tells, in tests, how many bytes are free where a directory is.
	// nil: the operating system does, if there is a Dir.
	FreeSpace func(dir string) (uint64, error)
	// NoSync is for tests that end members, but never the machine: the raft log
	// is written without a sync, which may take them most of their time.
	NoSync bool
	// Autopilot says how the group is kept whole.
	Autopilot Autopilot

	// TTL is how long a lease lasts. 0: 3 s.
	TTL time.Duration
	// Renew is after how long a lease is renewed. 0: a sixth of TTL.
	Renew time.Duration

	// wrap, in tests, puts faults under raft.
	wrap func(*stores)
	// wall, in tests, is this node's wall clock.
	wall func() time.Time
}

// Autopilot says how a leader keeps the group whole. All members had better say
// the same.
type Autopilot struct {
	// Voters is how many members vote, 3 or 5, as soon as there are so many;
	// further ones have the same metadata and no vote. 0: 3, or 5 if Expect is
	// more than 3.
	Voters int
	// Stable is for how long a member must have been well before it becomes a
	// voter. 0: 10 s.
	Stable time.Duration
	// RemoveDeadAfter is after how long without a sign of life a member is
	// removed for ever, as long as a majority stays. 0: 72 h; less than 0:
	// never. It counts within one leader's reign.
	RemoveDeadAfter time.Duration
	// Interval is how often the leader looks after the members. 0: 2 s.
	Interval time.Duration
}

const (
	nameDefault  = "n1"
	nameBytesMax = 200 // leaves room for the random part of the identity

	expectMax = 5

	patienceDefault  = 30 * time.Second
	heartbeatDefault = 600 * time.Millisecond
	stallDefault     = 3 * time.Second
	ttlDefault       = 3 * time.Second
	renewsPerTTL     = 6
	deadDefault      = 72 * time.Hour
	stableDefault    = 10 * time.Second
	intervalDefault  = 2 * time.Second
)

// networked tells whether this member can have company.
func (c *Config) networked() bool { return c.Listen != "" }

// validate returns the configuration with defaults filled in.
func (c Config) validate() (Config, error) {
	if c.Bucket == nil {
		return c, errors.New("config: no bucket")
	}
	if c.Name != "" {
		if err := fsm.CheckNodeName("config: name", c.Name); err != nil {
			return c, err
		}
	}
	if len(c.Name) > nameBytesMax {
		return c, &fsm.InvalidError{Field: "config: name", Reason: fmt.Sprintf("has %d bytes, the limit is %d", len(c.Name), nameBytesMax)}
	}
	if c.BucketURL == "" {
		c.BucketURL = "the bucket"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MinFree == 0 {
		c.MinFree = minFreeDefault
	}
	c.MinFree = max(c.MinFree, 0)
	if c.FreeSpace == nil && c.Dir != "" {
		c.FreeSpace = freeSpace
	}
	fill(&c.TTL, ttlDefault)
	fill(&c.Renew, c.TTL/renewsPerTTL)
	if c.Renew > c.TTL/2 {
		return c, &fsm.InvalidError{Field: "config: renew", Reason: fmt.Sprintf("is %v; at most half of the lease's %v leaves a second try", c.Renew, c.TTL)}
	}
	return c, c.validateGroup()
}

// validateGroup fills in and checks what only a member with company needs.
func (c *Config) validateGroup() error {
	fill(&c.Patience, patienceDefault)
	fill(&c.Heartbeat, heartbeatDefault)
	fill(&c.StallMax, stallDefault)
	fill(&c.Autopilot.Stable, stableDefault)
	fill(&c.Autopilot.Interval, intervalDefault)
	if c.Autopilot.RemoveDeadAfter == 0 {
		c.Autopilot.RemoveDeadAfter = deadDefault
	}
	if c.Autopilot.Voters == 0 {
		c.Autopilot.Voters = 3
		if c.Expect > 3 {
			c.Autopilot.Voters = 5
		}
	}
	if c.Network == nil {
		c.Network = osNetwork{}
	}
	invalid := func(field, format string, args ...any) error {
		return &fsm.InvalidError{Field: "config: " + field, Reason: fmt.Sprintf(format, args...)}
	}
	switch v := c.Autopilot.Voters; {
	case v != 3 && v != 5:
		return invalid("voters", "is %d, want 3 or 5", v)
	case c.Expect < 0 || c.Expect > expectMax:
		return invalid("expect", "is %d, the range is 0 to %d: further nodes join later", c.Expect, expectMax)
	case c.Expect != 0 && c.Bootstrap:
		return invalid("bootstrap", "contradicts expect, which is %d", c.Expect)
	case !c.networked() && (c.Expect > 1 || len(c.Join) > 0 || c.GossipListen != ""):
		return invalid("listen", "is empty: a node with company needs an address for raft")
	case !c.networked():
		return nil
	case c.GossipListen == "":
		return invalid("gossip listen", "is empty: other nodes could not find this one")
	case len(c.Info.GRPC) > metaAddressMax:
		return invalid("grpc address", "has %d bytes, the limit is %d", len(c.Info.GRPC), metaAddressMax)
	case c.Peers == nil:
		return errors.New("config: no peers")
	}
	return nil
}

// fill sets a duration that is not positive to its default.
func fill(d *time.Duration, v time.Duration) {
	if *d <= 0 {
		*d = v
	}
}
