package fsm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// twin is the metadata again, as plainly as it can be said: maps that are
// searched, no trees, nothing shared, nothing clever. It knows what a valid
// command does and that all others do nothing.
type twin struct {
	nodes  map[string]*twinNode
	chains map[uint64]*twinChain
	logs   map[uint64]*twinLog

	incarnation, epochs, ids, attachments uint64 // the last three: the highest
}

type twinNode struct {
	name, grpc string
	boot       uint64
	feature    uint64
	nonce      byte
	removed    bool
}

type twinChain struct {
	node        string
	boot        uint64
	incarnation uint64
	log         uint64
	state       ChainState
	hint        uint64
	sealer      string
	cuts        [][2]uint64
	at          uint64
}

type twinLog struct {
	name       string
	max        uint32
	dedicated  bool
	version    uint64
	generation uint64
	created    int64
	first      uint64
	stays      []twinStay // all of them, also those trimmed, empty or blank
}

// twinStay is one attachment. end is 0 while it is not known. A blank one left
// nothing on its chain.
type twinStay struct {
	chain, number, previous, first, end uint64

	blank bool
}

func (w *twin) last(l *twinLog) *twinStay {
	if len(l.stays) == 0 {
		return nil
	}
	return &l.stays[len(l.stays)-1]
}

// lastOf is last of the log with that id, nil if there is none.
func (w *twin) lastOf(id uint64) *twinStay {
	if l := w.logs[id]; l != nil {
		return w.last(l)
	}
	return nil
}

// apply reports whether the command is accepted.
func (w *twin) apply(c *fsmpb.Command) bool {
	switch k := c.GetCommand().(type) {
	case *fsmpb.Command_RegisterBoot:
		return w.boot(k.RegisterBoot)
	case *fsmpb.Command_RemoveNode:
		return w.remove(k.RemoveNode.Identity)
	case *fsmpb.Command_GrantChain:
		return w.grant(k.GrantChain)
	case *fsmpb.Command_BeginSeal:
		ch := w.chains[k.BeginSeal.Epoch]
		if ch == nil || w.live(k.BeginSeal.Sealer) == nil {
			return false
		}
		if ch.state != ChainSealed {
			ch.state, ch.sealer, ch.hint = ChainSealing, k.BeginSeal.Sealer, max(ch.hint, k.BeginSeal.DurableHint)
		}
		return true
	case *fsmpb.Command_AddCut:
		return w.cut(k.AddCut)
	case *fsmpb.Command_MergeCuts:
		return w.merge(k.MergeCuts)
	case *fsmpb.Command_Seal:
		ch := w.chains[k.Seal.Epoch]
		if ch == nil || ch.state == ChainOpen {
			return false
		}
		if n := len(ch.cuts); ch.state == ChainSealing && n > 0 && k.Seal.At < ch.cuts[n-1][1] {
			return false
		}
		ch.state, ch.at = ChainSealed, k.Seal.At
		return true
	case *fsmpb.Command_CreateLog:
		for _, l := range w.logs {
			if l.name == k.CreateLog.Name {
				return false
			}
		}
		w.ids++
		w.logs[w.ids] = &twinLog{
			name: k.CreateLog.Name, max: k.CreateLog.Config.EntryBytesMax, dedicated: k.CreateLog.Config.Dedicated,
			version: 1, created: k.CreateLog.CreatedMicros, first: 1,
		}
		return true
	case *fsmpb.Command_DeleteLog:
		_, ok := w.logs[k.DeleteLog.Log]
		delete(w.logs, k.DeleteLog.Log)
		return ok
	case *fsmpb.Command_ConfigureLog:
		l, v, config := w.logs[k.ConfigureLog.Log], k.ConfigureLog.Version, k.ConfigureLog.Config
		if l == nil || v != l.version && (v+1 != l.version || config.EntryBytesMax != l.max || config.Dedicated != l.dedicated) {
			return false
		}
		if v == l.version {
			l.version, l.max, l.dedicated = v+1, config.EntryBytesMax, config.Dedicated
		}
		return true
	case *fsmpb.Command_Attach:
		return w.attach(k.Attach)
	case *fsmpb.Command_Detach:
		return w.detach(k.Detach)
	case *fsmpb.Command_OpenExclusive:
		l := w.logs[k.OpenExclusive.Log]
		if l == nil || !w.owns(l, k.OpenExclusive.Attachment) || k.OpenExclusive.Generation != l.generation+1 {
			return false
		}
		l.generation++
		return true
	case *fsmpb.Command_Trim:
		return w.trim(k.Trim)
	case *fsmpb.Command_NextIncarnation:
		return w.nextIncarnation(k.NextIncarnation)
	case *fsmpb.Command_AdoptChain:
		return w.adoptChain(k.AdoptChain)
	case *fsmpb.Command_AdoptLog:
		return w.adoptLog(k.AdoptLog)
	case *fsmpb.Command_AdoptExtents:
		return w.adoptExtents(k.AdoptExtents)
	}
	return false
}

func newTwin() *twin {
	return &twin{incarnation: 1, nodes: map[string]*twinNode{}, chains: map[uint64]*twinChain{}, logs: map[uint64]*twinLog{}}
}

// live returns a node that is there and not removed.
func (w *twin) live(identity string) *twinNode {
	if n := w.nodes[identity]; n != nil && !n.removed {
		return n
	}
	return nil
}

func (w *twin) boot(c *fsmpb.RegisterBoot) bool {
	n := &twinNode{name: c.Name, grpc: c.Grpc, boot: c.Boot, feature: max(c.Feature, 1), nonce: c.Nonce[0]}
	old := w.nodes[c.Identity]
	if old != nil && *old == *n {
		return true
	}
	if old != nil && (old.removed || n.boot <= old.boot) || n.boot == 0 || strings.Contains(n.grpc, " ") {
		return false
	}
	for identity, other := range w.nodes {
		if identity != c.Identity && !other.removed && other.name == n.name {
			return false
		}
	}
	w.nodes[c.Identity] = n
	for _, ch := range w.chains {
		if ch.node == c.Identity && ch.state == ChainOpen {
			ch.state, ch.sealer = ChainSealing, c.Identity
		}
	}
	return true
}

func (w *twin) remove(identity string) bool {
	n := w.nodes[identity]
	if n == nil {
		return false
	}
	n.removed = true
	for _, ch := range w.chains {
		if ch.state == ChainOpen && ch.node == identity || ch.state == ChainSealing && ch.sealer == identity {
			ch.state, ch.sealer = ChainSealing, ""
		}
	}
	return true
}

func (w *twin) grant(c *fsmpb.GrantChain) bool {
	if n := w.live(c.Identity); n == nil || n.boot != c.Boot {
		return false
	}
	if c.Log != 0 && (w.logs[c.Log] == nil || !w.logs[c.Log].dedicated) {
		return false
	}
	w.epochs++
	w.chains[w.epochs] = &twinChain{node: c.Identity, boot: c.Boot, incarnation: w.incarnation, log: c.Log, state: ChainOpen}
	return true
}

func (w *twin) cut(c *fsmpb.AddCut) bool {
	ch := w.chains[c.Epoch]
	if ch == nil || c.From >= c.To {
		return false
	}
	if slices.Contains(ch.cuts, [2]uint64{c.From, c.To}) {
		return true
	}
	next := uint64(1)
	if n := len(ch.cuts); n > 0 {
		next = ch.cuts[n-1][1]
	}
	if ch.state != ChainOpen || c.From != next {
		return false
	}
	ch.cuts = append(ch.cuts, [2]uint64{c.From, c.To})
	return true
}

func (w *twin) merge(c *fsmpb.MergeCuts) bool {
	ch, merged := w.chains[c.Epoch], [2]uint64{c.From, c.To}
	if ch == nil || c.From >= c.To {
		return false
	}
	if slices.Contains(ch.cuts, merged) {
		return true
	}
	var cuts [][2]uint64
	covered := 0
	for _, cut := range ch.cuts {
		if cut[0] < c.From || cut[1] > c.To {
			cuts = append(cuts, cut)
			continue
		}
		if covered++; covered == 1 {
			cuts = append(cuts, merged)
		}
	}
	for i := range cuts { // no part of another one may be covered
		if i > 0 && cuts[i-1][1] != cuts[i][0] {
			return false
		}
	}
	if covered < 2 || cuts[0][0] != 1 || cuts[len(cuts)-1][1] != ch.cuts[len(ch.cuts)-1][1] {
		return false
	}
	ch.cuts = cuts
	return true
}

func (w *twin) owns(l *twinLog, number uint64) bool {
	x := w.last(l)
	return x != nil && x.number == number && x.end == 0 && w.chains[x.chain].state == ChainOpen
}

func (w *twin) attach(c *fsmpb.Attach) bool {
	l, ch := w.logs[c.Log], w.chains[c.Epoch]
	if l == nil || ch == nil || c.Blank && c.Previous == 0 {
		return false
	}
	x := w.last(l)
	if x != nil && x.end == 0 && x.chain == c.Epoch && x.first == c.First && x.previous == c.Previous {
		return true // the same again
	}
	low, high := l.first, l.first
	previous := uint64(0)
	if x != nil {
		previous = x.number
		switch {
		case x.end != 0:
			low, high = x.end, x.end
		case w.chains[x.chain].state == ChainSealed:
			low, high = max(x.first, l.first), 1<<63-1
		default:
			return false
		}
	}
	if ch.log != 0 && ch.log != c.Log {
		return false
	}
	if ch.state != ChainOpen || c.Previous != previous || c.First < low || c.First > high {
		return false
	}
	if c.Blank && (w.chains[x.chain].state != ChainSealed || x.first != c.First) {
		return false
	}
	if x != nil {
		x.end, x.blank = c.First, c.Blank
	}
	w.attachments++
	l.stays = append(l.stays, twinStay{chain: c.Epoch, number: w.attachments, previous: previous, first: c.First})
	return true
}

func (w *twin) detach(c *fsmpb.Detach) bool {
	l := w.logs[c.Log]
	if l == nil {
		return false
	}
	x := w.last(l)
	if x != nil && x.number == c.Attachment && x.end != 0 {
		return x.end == c.End
	}
	if !w.owns(l, c.Attachment) || c.End < x.first || c.End < l.first || c.End > 1<<63-1 {
		return false
	}
	x.end = c.End
	return true
}

func (w *twin) trim(c *fsmpb.Trim) bool {
	l := w.logs[c.Log]
	if l == nil {
		return false
	}
	if c.Before <= l.first {
		return true
	}
	x := w.last(l)
	if x == nil || c.Before > c.Tail || x.end != 0 && c.Before > x.end {
		return false
	}
	l.first = c.Before
	return true
}

// dump prints like dump of a State.
func (w *twin) dump() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster 07 incarnation=%d feature=1\n", w.incarnation)
	fmt.Fprintf(&b, "highest epoch=%d log=%d attachment=%d\n", w.epochs, w.ids, w.attachments)
	for _, id := range twinNodes {
		n := w.nodes[id]
		if n == nil {
			continue
		}
		fmt.Fprintf(&b, "node %s boot=%d feature=%d", id, n.boot, n.feature)
		if n.grpc != "" {
			fmt.Fprintf(&b, " grpc=%s", n.grpc)
		}
		if n.removed {
			b.WriteString(" removed")
		}
		b.WriteString("\n")
	}
	for e := uint64(1); e <= w.epochs; e++ {
		c := w.chains[e]
		if c == nil {
			continue
		}
		fmt.Fprintf(&b, "chain %d of %s boot=%d incarnation=%d %s", e, c.node, c.boot, c.incarnation, c.state)
		if c.log != 0 {
			fmt.Fprintf(&b, " log=%d", c.log)
		}
		if c.state != ChainOpen {
			fmt.Fprintf(&b, " hint=%d sealer=%s", c.hint, c.sealer)
		}
		if c.state == ChainSealed {
			fmt.Fprintf(&b, " at=%d index=seal", c.at)
		}
		for _, cut := range c.cuts {
			fmt.Fprintf(&b, " [%d,%d)=cut", cut[0], cut[1])
		}
		b.WriteString("\n")
	}
	for _, name := range twinNames {
		for id := uint64(1); id <= w.ids; id++ {
			if l := w.logs[id]; l != nil && l.name == name {
				b.WriteString(w.dumpLog(id, l))
			}
		}
	}
	return b.String()
}

func (w *twin) dumpLog(id uint64, l *twinLog) string {
	current := uint64(0)
	if x := w.last(l); x != nil && x.end == 0 {
		current = x.number
	}
	out := fmt.Sprintf("log %d %s max=%d version=%d generation=%d attachment=%d first=%d",
		id, l.name, l.max, l.version, l.generation, current, l.first)
	if l.dedicated {
		out += " dedicated"
	}
	for _, x := range l.visible() {
		out += fmt.Sprintf(" %d:%d(after %d)[%d,%d)", x.chain, x.number, x.previous, x.first, x.end)
	}
	return out + "\n"
}

// visible returns the stays that the metadata keep.
func (l *twinLog) visible() (kept []twinStay) {
	after := 0 // that are not blank, seen from the end
	for _, x := range slices.Backward(l.stays) {
		if x.blank {
			continue
		}
		if after++; after <= 2 || x.end > x.first && x.end > l.first {
			kept = append(kept, x)
		}
	}
	slices.Reverse(kept)
	return kept
}
