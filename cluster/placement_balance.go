package cluster

import (
	"cmp"
	"slices"
)

// plan decides which logs move: those of nodes that are being drained, then
// those that are in another zone than they should be, then as many as it takes
// to balance the nodes. active says that balancing is under way, and the second
// result whether it is afterwards. nodes are changed to what the moves make of
// them.
func plan(nodes []nodeLoad, logs []logLoad, most int, active bool) ([]Move, bool) {
	b := newBalance(nodes)
	b.take(logs)
	for len(b.moves) < most && b.drain() {
	}
	for len(b.moves) < most && b.homeward() {
	}
	limit := moveStart
	if active {
		limit = moveStop
	}
	for len(b.moves) < most {
		if !b.level(limit) {
			return b.moves, false
		}
		limit, active = moveStop, true
	}
	return b.moves, active
}

// balance is a plan in the making.
type balance struct {
	nodes  []nodeLoad
	shares []float64 // of all work, see sharesOf
	fair   float64   // what each node that takes logs should have
	takers int

	logs   [][]logLoad // that may move, by owner and id
	astray []logLoad   // of these, those in a zone that is not theirs
	moves  []Move
}

func newBalance(nodes []nodeLoad) *balance {
	b := &balance{nodes: nodes}
	for _, n := range nodes {
		if n.takes {
			b.takers++
		}
	}
	b.weigh()
	return b
}

func (b *balance) weigh() {
	b.shares = sharesOf(b.nodes)
	b.fair = 0
	for _, s := range b.shares {
		b.fair += s / float64(max(b.takers, 1))
	}
}

func (b *balance) take(logs []logLoad) {
	b.logs = make([][]logLoad, len(b.nodes))
	for _, l := range logs {
		if l.rests {
			continue
		}
		if l.zone != "" && b.nodes[l.owner].zone != l.zone && b.target(l.zone, true) >= 0 {
			b.astray = append(b.astray, l)
		} else {
			b.logs[l.owner] = append(b.logs[l.owner], l)
		}
	}
}

// gap returns by how much of a fair share the nodes differ.
func (b *balance) gap() float64 {
	to := b.target("", false)
	if to < 0 || b.fair == 0 {
		return 0
	}
	return (slices.Max(b.shares) - b.shares[to]) / b.fair
}

// target returns the node with the least to do of those that take logs, in the
// zone if there is one or it is a must, and -1 if there is none.
func (b *balance) target(zone string, must bool) int {
	best := -1
	for i, n := range b.nodes {
		if n.takes && (zone == "" || n.zone == zone) && (best < 0 || b.shares[i] < b.shares[best]) {
			best = i
		}
	}
	if best < 0 && zone != "" && !must {
		return b.target("", false)
	}
	return best
}

// drain moves one log off a node that is being drained.
func (b *balance) drain() bool {
	for i, n := range b.nodes {
		if last := len(b.logs[i]) - 1; n.leaves && last >= 0 {
			if to := b.target(b.logs[i][last].zone, false); to >= 0 {
				b.move(i, last, to)
				return true
			}
		}
	}
	return false
}

// homeward moves one log into its zone.
func (b *balance) homeward() bool {
	last := len(b.astray) - 1
	if last < 0 {
		return false
	}
	l := b.astray[last]
	b.astray = b.astray[:last]
	b.logs[l.owner] = append(b.logs[l.owner], l)
	b.move(l.owner, len(b.logs[l.owner])-1, b.target(l.zone, true))
	return true
}

// level moves one log from a node with much to do to one with little, if they
// differ by more than limit of a fair share and by less afterwards. So no log
// goes back and forth.
func (b *balance) level(limit float64) bool {
	order := make([]int, len(b.nodes)) // by work
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(b.shares[i], b.shares[j]) })
	for h := len(order) - 1; h > 0; h-- {
		from := order[h]
		for _, to := range order[:h] {
			gap := b.shares[from] - b.shares[to]
			if gap <= limit*b.fair || 2*b.weight(from) > gap {
				break // those that follow have more to do
			}
			if i := b.movable(from, to); i >= 0 {
				b.move(from, i, to)
				return true
			}
		}
	}
	return false
}

// movable returns which log of a node may go to another, -1 if none may. None
// leaves its own zone for balance.
func (b *balance) movable(from, to int) int {
	if !b.nodes[to].takes {
		return -1
	}
	for i := len(b.logs[from]) - 1; i >= 0; i-- {
		zone := b.logs[from][i].zone
		if zone == "" || zone != b.nodes[from].zone || zone == b.nodes[to].zone {
			return i
		}
	}
	return -1
}

// weight returns what part of all work a log of a node is. What each log costs
// is not told, so all logs of a node weigh the same.
func (b *balance) weight(node int) float64 {
	return b.shares[node] / float64(max(b.nodes[node].logs, 1))
}

// move moves the log with that index.
func (b *balance) move(from, index, to int) {
	l := b.logs[from][index]
	b.moves = append(b.moves, Move{Log: l.id, From: b.nodes[from].identity, To: b.nodes[to].identity})
	b.logs[from] = slices.Delete(b.logs[from], index, index+1)
	n := &b.nodes[from]
	rate := n.rate / float64(max(n.logs, 1))
	n.logs--
	n.rate -= rate
	b.nodes[to].logs++
	b.nodes[to].rate += rate
	b.weigh()
}
