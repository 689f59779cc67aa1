package testcluster

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Cutting says how a network is cut from one host to another.
type Cutting int

// The ways to cut. What is cut only one way stays open the other way, as far as
// that goes: a connection needs acknowledgements, so it carries a window's worth
// and is silent then; and none can be made.
const (
	// Whole is not cut at all.
	Whole Cutting = iota
	// Stalled loses everything, and nobody is told: connections are silent,
	// dials hang, packets are lost. Once it is whole again, connections go on,
	// as TCP does by sending again.
	Stalled
	// Broken breaks connections at once, and refuses new ones; packets are
	// lost. What a connection held is lost with it.
	Broken
)

func (c Cutting) String() string { return [...]string{"whole", "stalled", "broken"}[c] }

// Link says how a network treats what goes one way between two hosts. The zero
// value passes everything on at once.
type Link struct {
	Cut Cutting
	// Delay is how long everything is on its way, and up to Jitter is added to
	// it by chance. A connection keeps its order all the same; packets
	// overtake each other.
	Delay, Jitter time.Duration
	// Drop, Duplicate and Reorder are the chances, 0 to 1, that a packet is
	// lost, comes twice, or comes behind some that were sent after it.
	Drop, Duplicate, Reorder float64
}

// Counts is what went one way between two hosts, and what faults did to it. A
// test reads here whether its faults took effect.
type Counts struct {
	Conns   int // that were made
	Bytes   int // handed to connections
	Packets int // sent
	// Requests are those to the store, and of it the answers.
	Requests int

	DialsStalled   int // dials that waited for a cut, or a paused host, to end
	DialsRefused   int // by a broken link
	ConnsBroken    int // by a cut, or by a host that was unplugged
	BytesHeld      int // that a stalled link, or a paused host, held up
	BytesLost      int // that were on their way in a connection that broke
	PacketsHeld    int // by a paused host
	PacketsDropped int
	RequestsHeld   int // by a stalled link, or a paused host; answers count too
	RequestsFailed int // by a broken link
	// PacketsDuplicated and PacketsReordered are by chance.
	PacketsDuplicated, PacketsReordered int
}

// Hit is how often faults took effect, whichever: 0 means that a test that
// ordered some has shown nothing.
func (c Counts) Hit() int {
	return c.DialsStalled + c.DialsRefused + c.ConnsBroken + c.BytesHeld + c.BytesLost +
		c.RequestsHeld + c.RequestsFailed + c.PacketsHeld + c.PacketsDropped + c.PacketsDuplicated + c.PacketsReordered
}

// Since returns what came after an earlier count.
func (c Counts) Since(earlier Counts) Counts { return c.plus(earlier, -1) }

func (c Counts) plus(d Counts, times int) Counts {
	mine, of := c.fields(), d.fields()
	for i := range mine {
		*mine[i].n += times * *of[i].n
	}
	return c
}

type countField struct {
	name string
	n    *int
}

func (c *Counts) fields() []countField {
	return []countField{
		{"connections", &c.Conns}, {"bytes", &c.Bytes}, {"packets", &c.Packets}, {"requests", &c.Requests},
		{"dials stalled", &c.DialsStalled}, {"dials refused", &c.DialsRefused}, {"connections broken", &c.ConnsBroken},
		{"bytes held", &c.BytesHeld}, {"bytes lost", &c.BytesLost},
		{"packets held", &c.PacketsHeld}, {"packets dropped", &c.PacketsDropped},
		{"requests held", &c.RequestsHeld}, {"requests failed", &c.RequestsFailed},
		{"packets duplicated", &c.PacketsDuplicated}, {"packets reordered", &c.PacketsReordered},
	}
}

// String tells what is not 0.
func (c Counts) String() string {
	var all []string
	for _, f := range c.fields() {
		if *f.n != 0 {
			all = append(all, fmt.Sprintf("%d %s", *f.n, f.name))
		}
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ", ")
}

// route is one way between two hosts, by their names.
type route struct{ from, to string }

// link is the state of a route. Its lock is the last of the network's to be
// taken.
type link struct {
	route route

	mu     sync.Mutex
	rule   Link
	frozen bool // one of the hosts is paused
	counts Counts
}

// state returns the rule in force, a pause included: what stalls connections.
func (l *link) state() (rule Link, stalled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rule, l.stalledLocked()
}

func (l *link) stalledLocked() bool { return l.frozen || l.rule.Cut != Whole }

func (l *link) isFrozen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frozen
}

func (l *link) stalled() bool {
	_, stalled := l.state()
	return stalled
}

// count notes something.
func (l *link) count(note func(*Counts)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	note(&l.counts)
}
