package fsm

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

const (
	yearDays    = 365
	cutsPerDay  = 24 * 6 // one in ten minutes
	mergedRun   = 16     // cuts that are merged into one; with 1,000 logs its index is as large as one may be
	movesPerDay = 50     // hand-overs for balance
	retainDays  = 7
)

// TestYear lives through a year of three nodes and 1,000 active logs: cuts and
// their merges, weekly restarts (planned and not), hand-overs, and daily trims.
// What the metadata hold afterwards must stay under 4 KiB a log, in a snapshot
// and in memory.
func TestYear(t *testing.T) {
	before := heapBytes()
	y := newYear(t, 1000)
	for day := range yearDays {
		y.day(day)
	}
	require.NoError(t, y.s.Check())
	held := heapBytes() - before
	snapshot := snapshotOf(t, y.s)
	extents := 0
	for l := range y.s.Logs("") {
		extents += len(l.Extents)
	}
	cuts := 0
	for c := range y.s.Chains() {
		cuts += len(c.Cuts)
	}
	t.Logf("%d commands, %d cuts made, %d left, %d chains, %d extents: snapshot %d bytes a log, memory %d bytes a log",
		y.s.AppliedIndex(), y.cuts, cuts, y.s.ChainCount(), extents, len(snapshot)/y.logs, held/uint64(y.logs))
	require.Equal(t, 3*yearDays*cutsPerDay, y.cuts)
	require.Equal(t, 3+3*(yearDays/7), y.s.ChainCount())
	require.Less(t, len(snapshot), 4096*y.logs)
	require.Less(t, held, uint64(4096*y.logs))
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// year is a cluster as its metadata see it.
type year struct {
	t     testing.TB
	s     *State
	logs  int
	nodes []*yearNode
	tails []fragment.LSN // of each log
	at    []*yearNode    // who writes each log
	cuts  int            // made
}

type yearNode struct {
	Node
	epoch fragment.Epoch
	end   uint64 // the fragment after the last cut
	fresh int    // cuts since the last merge
}

func newYear(t testing.TB, logs int) *year {
	y := &year{t: t, s: New(), logs: logs}
	y.apply(NewInitCluster(fragment.ClusterID{15: 7}, 1))
	for i := range 3 {
		n := &yearNode{Node: Node{
			Identity: fmt.Sprintf("node-%d-0123456789abcdef", i), Name: fmt.Sprintf("node-%d", i),
			GRPC: "10.0.0.1:7070", HTTP: "10.0.0.1:7073", Raft: "10.0.0.1:7071", Gossip: "10.0.0.1:7072",
			Zone: "eu-west-1a", Version: "v1.0.0-0123456789ab", Feature: 1,
		}}
		y.nodes = append(y.nodes, n)
		y.start(n)
	}
	for i := range logs {
		id := y.apply(NewCreateLog(fmt.Sprintf("tenant-%03d/orders/%05d", i%100, i), LogConfig{EntryBytesMax: 1 << 20}, 1)).Log.ID
		n := y.nodes[i%3]
		y.tails, y.at = append(y.tails, 1), append(y.at, n)
		y.apply(NewAttach(id, n.epoch, 1, 0, false))
	}
	return y
}

func (y *year) apply(c *fsmpb.Command) Result { return mustApply(y.t, y.s, c) }

func (y *year) start(n *yearNode) {
	n.Boot++
	y.apply(NewRegisterBoot(n.Node))
	n.epoch = y.apply(NewGrantChain(n.Identity, n.Boot, 8, KindObjects, 0)).Epoch
	n.end, n.fresh = 1, 0
}

// day is a day: each log gets 1,000 entries, and those of a week ago go.
func (y *year) day(day int) {
	for i := range y.tails {
		y.tails[i] += 1000
	}
	for range cutsPerDay {
		for _, n := range y.nodes {
			y.cut(n)
		}
	}
	for i := range movesPerDay {
		y.move((day*movesPerDay+i*7)%y.logs, y.nodes[(day+i)%3])
	}
	if day%7 == 6 {
		for i, n := range y.nodes {
			y.restart(n, (day/7+i)%2 == 0)
		}
	}
	for i, tail := range y.tails {
		if tail > retainDays*1000 {
			y.apply(NewTrim(fragment.LogID(i+1), tail-retainDays*1000, tail))
		}
	}
}

func (y *year) cut(n *yearNode) {
	y.apply(NewAddCut(n.epoch, Cut{From: n.end, To: n.end + 4096, Index: indexRef(n.epoch, n.end, n.end+4096)}))
	n.end += 4096
	y.cuts++
	if n.fresh++; n.fresh == mergedRun {
		from := n.end - mergedRun*4096
		y.apply(NewMergeCuts(n.epoch, from, n.end, indexRef(n.epoch, from, n.end)))
		n.fresh = 0
	}
}

func indexRef(e fragment.Epoch, from, to uint64) Ref {
	sum := uint32(from) * 2654435761
	return Ref{Key: fragment.IndexKey(e, from, to, sum), Size: 100_000, Checksum: sum}
}

// move hands a log over, unless it is there already.
func (y *year) move(i int, to *yearNode) {
	l, _ := y.s.Log(fragment.LogID(i + 1))
	if y.at[i] == to {
		return
	}
	y.apply(NewDetach(l.ID, l.Attachment, y.tails[i]))
	y.attach(i, to)
}

func (y *year) attach(i int, to *yearNode) {
	l, _ := y.s.Log(fragment.LogID(i + 1))
	last, _ := l.Last()
	y.apply(NewAttach(l.ID, to.epoch, y.tails[i], last.Attachment, false))
	y.at[i] = to
}

// restart ends a node's chain and starts it anew. Planned, its logs are handed
// over before; otherwise others take them over once the chain is sealed. Then
// it gets as many back.
func (y *year) restart(n *yearNode, planned bool) {
	var mine []int
	for i, at := range y.at {
		if at == n {
			mine = append(mine, i)
		}
	}
	others := make([]*yearNode, 0, 2)
	for _, other := range y.nodes {
		if other != n {
			others = append(others, other)
		}
	}
	if planned {
		for k, i := range mine {
			y.move(i, others[k%2])
		}
	}
	y.apply(NewBeginSeal(n.epoch, n.end-1, others[0].Identity))
	y.apply(NewSeal(n.epoch, Seal{At: n.end + 7, Index: indexRef(n.epoch, n.end, n.end+7)}))
	if !planned {
		for k, i := range mine {
			y.attach(i, others[k%2])
		}
	}
	y.start(n)
	for _, i := range mine {
		y.move(i, n)
	}
}
