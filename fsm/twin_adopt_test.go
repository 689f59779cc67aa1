package fsm

import (
	"slices"

	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// What a restore or a recovery does to the twin.

func (w *twin) nextIncarnation(c *fsmpb.NextIncarnation) bool {
	if c.From != w.incarnation || !slices.Contains(c.Members, c.Sealer) {
		return false
	}
	for _, identity := range c.Members {
		if n := w.nodes[identity]; n != nil && n.removed {
			return false
		}
	}
	w.incarnation++
	w.epochs, w.ids, w.attachments = max(w.epochs, c.HighestEpoch), max(w.ids, c.HighestLog), max(w.attachments, c.HighestAttachment)
	for identity, n := range w.nodes {
		n.removed = n.removed || !slices.Contains(c.Members, identity)
	}
	for _, ch := range w.chains {
		if ch.state != ChainSealed {
			ch.state, ch.sealer = ChainSealing, c.Sealer
		}
	}
	return true
}

func (w *twin) adoptChain(c *fsmpb.AdoptChain) bool {
	if ch := w.chains[c.Epoch]; ch != nil {
		return ch.node == c.Node && ch.boot == c.Boot && ch.incarnation == c.Incarnation && ch.log == c.Log
	}
	if c.Epoch == 0 || c.Epoch > w.epochs || c.Boot == 0 || c.Incarnation == 0 || c.Incarnation > w.incarnation ||
		c.Log > w.ids || w.live(c.Sealer) == nil {
		return false
	}
	w.chains[c.Epoch] = &twinChain{node: c.Node, boot: c.Boot, incarnation: c.Incarnation, log: c.Log, state: ChainSealing, sealer: c.Sealer}
	return true
}

func staysOf(extents []*fsmpb.Extent) (stays []twinStay) {
	for _, x := range extents {
		stays = append(stays, twinStay{chain: x.Epoch, number: x.Attachment, previous: x.Previous, first: x.First, end: x.End})
	}
	return stays
}

func (w *twin) adoptLog(c *fsmpb.AdoptLog) bool {
	l := &twinLog{
		name: c.Name, max: c.Config.EntryBytesMax, dedicated: c.Config.Dedicated, version: 1,
		generation: c.Generation, created: c.CreatedMicros, first: c.First, stays: staysOf(c.Extents),
	}
	if old := w.logs[c.Log]; old != nil {
		return old.name == l.name && old.max == l.max && old.dedicated == l.dedicated && old.version == 1 &&
			old.generation == l.generation && old.created == l.created && old.first == l.first &&
			slices.Equal(old.visible(), l.stays)
	}
	for _, other := range w.logs {
		if other.name == l.name {
			return false
		}
	}
	if c.Log == 0 || c.Log > w.ids || len(l.visible()) != len(l.stays) || !w.sound(c.Log, l, l.stays) {
		return false
	}
	w.logs[c.Log] = l
	return true
}

func (w *twin) adoptExtents(c *fsmpb.AdoptExtents) bool {
	l, stays := w.logs[c.Log], staysOf(c.Extents)
	if l == nil {
		return false
	}
	x := w.last(l)
	if n := len(stays); n > 0 && x != nil && *x == stays[n-1] {
		stays = nil
	}
	if len(stays) == 0 && c.Generation <= l.generation && c.First <= l.first {
		return true
	}
	if x != nil && x.end == 0 && w.chains[x.chain].state == ChainOpen {
		return false
	}
	next := *l
	next.generation, next.first = max(l.generation, c.Generation), max(l.first, c.First)
	if len(stays) > 0 {
		number := uint64(0)
		next.stays = slices.Concat(l.stays, stays)
		if x != nil {
			number = x.number
			at := &next.stays[len(l.stays)-1]
			if at.blank = c.Blank; at.end == 0 || at.end < stays[0].first && stays[0].first <= next.first {
				at.end = stays[0].first
			}
		}
		if c.Blank && (x == nil || w.chains[x.chain].state != ChainSealed || x.first != stays[0].first) {
			return false
		}
		if number != c.Previous {
			return false
		}
		for i := range next.stays[1:] {
			if i+1 >= len(l.stays) && next.stays[i].end != next.stays[i+1].first {
				return false
			}
		}
	}
	if !w.sound(c.Log, &next, stays) {
		return false
	}
	w.logs[c.Log] = &next
	return true
}

// sound tells whether a log may be put in, some of whose stays are new.
func (w *twin) sound(id uint64, l *twinLog, fresh []twinStay) bool {
	for _, other := range w.logs {
		for _, x := range other.visible() {
			if slices.ContainsFunc(fresh, func(y twinStay) bool { return x.number == y.number }) {
				return false
			}
		}
	}
	stays := l.visible()
	if len(stays) == 0 {
		return l.first == 1 && l.generation == 0
	}
	if l.first == 0 || l.first < stays[0].first {
		return false
	}
	for i, x := range stays {
		ch := w.chains[x.chain]
		if ch == nil || ch.log != 0 && ch.log != id || x.number == 0 || x.number > w.attachments || x.previous >= x.number || x.first == 0 {
			return false
		}
		if i > 0 && (stays[i-1].end != x.first || stays[i-1].number > x.previous) {
			return false
		}
		switch last := i == len(stays)-1; {
		case x.end == 0 && (!last || ch.state == ChainOpen):
			return false
		case x.end != 0 && (x.end < x.first || last && x.end < l.first):
			return false
		}
	}
	return true
}
