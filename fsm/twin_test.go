package fsm

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "seed of the random commands; 0 takes a new one")
	roundFlag = flag.Int("rounds", 30, "rounds of random commands")
)

// twin is the metadata again, as plainly as it can be said: maps that are
// searched, no trees, nothing shared, nothing clever. It knows what a valid
// command does and that all others do nothing.
type twin struct {
	boots  map[string]uint64
	chains map[uint64]*twinChain
	logs   map[uint64]*twinLog

	epochs, ids, attachments uint64
}

type twinChain struct {
	node   string
	boot   uint64
	state  ChainState
	hint   uint64
	sealer string
	cuts   [][2]uint64
	at     uint64
}

type twinLog struct {
	name       string
	max        uint32
	version    uint64
	generation uint64
	created    int64
	first      uint64
	stays      []twinStay // all of them, also those trimmed, empty or blank
}

// twinStay is one attachment. end is 0 while it is not known. A blank one left
// nothing on its chain.
type twinStay struct {
	chain, number, first, end uint64

	blank bool
}

func (w *twin) last(l *twinLog) *twinStay {
	if len(l.stays) == 0 {
		return nil
	}
	return &l.stays[len(l.stays)-1]
}

// apply reports whether the command is accepted.
func (w *twin) apply(c *fsmpb.Command) bool {
	switch k := c.GetCommand().(type) {
	case *fsmpb.Command_RegisterBoot:
		return w.boot(k.RegisterBoot.Identity, k.RegisterBoot.Boot)
	case *fsmpb.Command_GrantChain:
		if w.boots[k.GrantChain.Identity] != k.GrantChain.Boot || k.GrantChain.Boot == 0 {
			return false
		}
		w.epochs++
		w.chains[w.epochs] = &twinChain{node: k.GrantChain.Identity, boot: k.GrantChain.Boot, state: ChainOpen}
		return true
	case *fsmpb.Command_BeginSeal:
		ch := w.chains[k.BeginSeal.Epoch]
		if ch == nil || w.boots[k.BeginSeal.Sealer] == 0 {
			return false
		}
		if ch.state != ChainSealed {
			ch.state, ch.sealer, ch.hint = ChainSealing, k.BeginSeal.Sealer, max(ch.hint, k.BeginSeal.DurableHint)
		}
		return true
	case *fsmpb.Command_AddCut:
		return w.cut(k.AddCut)
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
		w.logs[w.ids] = &twinLog{name: k.CreateLog.Name, max: k.CreateLog.Config.EntryBytesMax, version: 1, created: k.CreateLog.CreatedMicros, first: 1}
		return true
	case *fsmpb.Command_DeleteLog:
		_, ok := w.logs[k.DeleteLog.Log]
		delete(w.logs, k.DeleteLog.Log)
		return ok
	case *fsmpb.Command_ConfigureLog:
		l, v, limit := w.logs[k.ConfigureLog.Log], k.ConfigureLog.Version, k.ConfigureLog.Config.EntryBytesMax
		if l == nil || v != l.version && (v+1 != l.version || limit != l.max) {
			return false
		}
		if v == l.version {
			l.version, l.max = v+1, limit
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
	}
	return false
}

func (w *twin) boot(identity string, n uint64) bool {
	if n <= w.boots[identity] {
		return false
	}
	w.boots[identity] = n
	for _, c := range w.chains {
		if c.node == identity && c.state == ChainOpen {
			c.state, c.sealer = ChainSealing, identity
		}
	}
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
	if n := len(l.stays); n > 0 && x.end == 0 && x.chain == c.Epoch && x.first == c.First {
		before := uint64(0)
		if n > 1 {
			before = l.stays[n-2].number
		}
		if before == c.Previous {
			return true // the same again
		}
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
	l.stays = append(l.stays, twinStay{chain: c.Epoch, number: w.attachments, first: c.First})
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
	fmt.Fprintf(&b, "cluster 07 incarnation=1 feature=1\n")
	fmt.Fprintf(&b, "highest epoch=%d log=%d attachment=%d\n", w.epochs, w.ids, w.attachments)
	for _, id := range []string{"a", "b", "c"} {
		if w.boots[id] > 0 {
			fmt.Fprintf(&b, "node %s boot=%d\n", id, w.boots[id])
		}
	}
	for e := uint64(1); e <= w.epochs; e++ {
		c := w.chains[e]
		fmt.Fprintf(&b, "chain %d of %s boot=%d %s", e, c.node, c.boot, c.state)
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
	extents, after := "", uint64(0) // that are not blank, seen from the end
	for i, x := range slices.Backward(l.stays) {
		if x.blank {
			continue
		}
		if after++; after <= 2 || x.end > x.first && x.end > l.first {
			before := uint64(0)
			if i > 0 {
				before = l.stays[i-1].number
			}
			extents = fmt.Sprintf(" %d:%d(after %d)[%d,%d)", x.chain, x.number, before, x.first, x.end) + extents
		}
	}
	return out + extents + "\n"
}

var twinNames = []string{"a", "a/b", "b", "c", "c/d/e"}

// randomCommand picks numbers near those that would be accepted.
func (w *twin) randomCommand(r *rand.Rand) *fsmpb.Command {
	near := func(n uint64) uint64 { return max(n+uint64(r.IntN(3)), 1) - uint64(r.IntN(2)) }
	node := []string{"a", "b", "c"}[r.IntN(3)]
	epoch := fragment.Epoch(max(w.epochs, 6) - r.Uint64N(6))
	id := fragment.LogID(max(w.ids, 5) - r.Uint64N(5))
	config := LogConfig{EntryBytesMax: uint32(1 + r.IntN(2))}
	held, blank := epoch, r.IntN(8) == 0 // held: at times the chain that the log was last on
	var first, previous, end, version, generation uint64 = 1, 0, 0, 1, 0
	if l := w.logs[uint64(id)]; l != nil {
		version, generation, first = l.version, l.generation, l.first
		if x := w.last(l); x != nil {
			previous, end, first = x.number, x.end, max(x.first, l.first)
			blank = blank || w.chains[x.chain].state == ChainSealed && r.IntN(2) == 0
			if r.IntN(2) == 0 {
				held = fragment.Epoch(x.chain)
			}
		}
	}
	if end != 0 {
		first = end
	}
	a := fragment.Attachment(previous)
	if r.IntN(10) == 0 {
		a = fragment.Attachment(near(previous))
	}
	switch r.IntN(20) {
	case 0:
		return NewRegisterBoot(Node{Identity: node, Name: node, Boot: near(w.boots[node]), Nonce: fragment.Nonce{byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))}})
	case 1, 2, 3:
		return NewGrantChain(node, max(w.boots[node], 1)-uint64(r.IntN(8)/7), 8, KindObjects)
	case 4:
		return NewBeginSeal(held, r.Uint64N(9), node)
	case 5, 6:
		from := uint64(1)
		if c := w.chains[uint64(epoch)]; c != nil && len(c.cuts) > 0 {
			from = c.cuts[len(c.cuts)-1][r.IntN(2)]
		}
		return NewAddCut(epoch, Cut{From: from, To: from + r.Uint64N(4), Index: Ref{Key: "cut", Size: 1}})
	case 7, 8:
		at := uint64(r.IntN(9))
		if c := w.chains[uint64(held)]; c != nil && c.state == ChainSealed {
			at = c.at // a different one would stop the node
		}
		return NewSeal(held, Seal{At: at, Index: Ref{Key: "seal", Size: 1}})
	case 9, 10:
		return NewCreateLog(twinNames[r.IntN(len(twinNames))], config, 1)
	case 11:
		if r.IntN(3) > 0 {
			return NewConfigureLog(id, near(version)-uint64(r.IntN(2)), config)
		}
		return NewDeleteLog(id)
	case 12, 13, 14, 15:
		for e := w.epochs; e > 0 && r.IntN(3) > 0; e-- {
			if w.chains[e].state == ChainOpen {
				epoch = fragment.Epoch(e)
				break
			}
		}
		return NewAttach(id, epoch, fragment.LSN(first+uint64(r.IntN(8)/5)), a, blank)
	case 16, 17:
		return NewDetach(id, a, fragment.LSN(first+r.Uint64N(5)))
	case 18:
		return NewOpenExclusive(id, a, fragment.Generation(generation+uint64(r.IntN(6)+4)/5))
	}
	return NewTrim(id, fragment.LSN(first+r.Uint64N(6)), fragment.LSN(first+r.Uint64N(8)))
}

// TestTwin runs random commands on a State and on its twin, which must agree
// on what is refused and on all that there is; the invariants hold after each.
// A snapshot taken on the way, with the rest of the commands replayed on it,
// ends in the same bytes.
func TestTwin(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	r := rand.New(rand.NewPCG(seed, 0))
	accepted := map[string]int{}
	for range *roundFlag {
		s := New()
		w := &twin{boots: map[string]uint64{}, chains: map[uint64]*twinChain{}, logs: map[uint64]*twinLog{}}
		mustApply(t, s, NewInitCluster(fragment.ClusterID{15: 7}, 1))
		var commands []*fsmpb.Command
		var frozen *Frozen
		var frozenAt int
		var frozenDump string
		for i := range 400 {
			c := w.randomCommand(r)
			commands = append(commands, c)
			result, err := s.Apply(s.AppliedIndex()+1+r.Uint64N(3), c)
			require.NoError(t, err, "seed %d", seed)
			ok := w.apply(c)
			require.Equal(t, ok, result.Err == nil, "seed %d: %v: %v", seed, c, result.Err)
			require.Equal(t, w.dump(), dump(s), "seed %d: %v", seed, c)
			require.NoError(t, s.Check(), "seed %d: %v", seed, c)
			if ok {
				accepted[fmt.Sprintf("%T", c.GetCommand())]++
				if c.GetAttach().GetBlank() {
					accepted["after a blank extent"]++
				}
			}
			if i == 200 {
				frozen, frozenAt, frozenDump = s.Freeze(), len(commands), dump(s)
			}
		}
		replayed := thaw(t, frozen)
		require.Equal(t, frozenDump, dump(replayed), "seed %d: what is frozen must not change", seed)
		for _, c := range commands[frozenAt:] {
			_, err := replayed.Apply(replayed.AppliedIndex()+1, c)
			require.NoError(t, err, "seed %d", seed)
		}
		replayed.applied = s.applied
		require.Equal(t, snapshotOf(t, s), snapshotOf(t, replayed), "seed %d", seed)
	}
	t.Log(accepted)
	require.Len(t, accepted, 13, "seed %d: every command must have been accepted at least once", seed)
}
