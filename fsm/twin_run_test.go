package fsm

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "seed of the random commands; 0 takes a new one")
	roundFlag = flag.Int("rounds", 100, "rounds of random commands")
)

var (
	twinNames = []string{"a", "a/b", "b", "c", "c/d/e"}
	twinNodes = []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
)

// seeded returns the chance of a test, which says how to have it again.
func seeded(t *testing.T) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// randomCommand picks numbers near those that would be accepted.
func (w *twin) randomCommand(r *rand.Rand) *fsmpb.Command {
	near := func(n uint64) uint64 { return max(n+uint64(r.IntN(3)), 1) - uint64(r.IntN(2)) }
	node := twinNodes[r.IntN(len(twinNodes))]
	for range 4 { // one that is there, as a rule
		if w.live(node) != nil {
			break
		}
		node = twinNodes[r.IntN(len(twinNodes))]
	}
	boot := uint64(0)
	if n := w.nodes[node]; n != nil {
		boot = n.boot
	}
	epoch := fragment.Epoch(max(w.epochs, 6) - r.Uint64N(6))
	id := fragment.LogID(max(w.ids, 5) - r.Uint64N(5))
	config := LogConfig{EntryBytesMax: uint32(1 + r.IntN(2)), Dedicated: r.IntN(3) == 0}
	held, blank := epoch, r.IntN(8) == 0 // held: at times the chain that the log was last on
	var first, previous, end, version, generation uint64 = 1, 0, 0, 1, 0
	if l := w.logs[uint64(id)]; l != nil {
		version, generation, first = l.version, l.generation, l.first
		if x := w.lastOf(uint64(id)); x != nil {
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
	if x := w.lastOf(uint64(id)); x != nil && w.chains[x.chain].state != ChainOpen && r.IntN(5) == 0 {
		return w.randomRecovery(r, id, node, blank, config)
	}
	switch r.IntN(24) {
	case 0:
		return w.randomBoot(r)
	case 1, 2, 3:
		only := fragment.LogID(0)
		if r.IntN(3) == 0 {
			only = id
		}
		return NewGrantChain(node, max(boot, 1)-uint64(r.IntN(8)/7), 8, KindObjects, only)
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
			if c := w.chains[e]; c != nil && c.state == ChainOpen {
				epoch = fragment.Epoch(e)
				break
			}
		}
		return NewAttach(id, epoch, fragment.LSN(first+uint64(r.IntN(8)/5)), a, blank)
	case 16, 17:
		return NewDetach(id, a, fragment.LSN(first+r.Uint64N(5)))
	case 18:
		return NewOpenExclusive(id, a, fragment.Generation(generation+uint64(r.IntN(6)+4)/5))
	case 19, 20:
		return w.randomMerge(r, epoch)
	case 21, 22:
		return w.randomRecovery(r, id, node, blank, config)
	}
	return NewTrim(id, fragment.LSN(first+r.Uint64N(6)), fragment.LSN(first+r.Uint64N(8)))
}

// randomBoot lets a node start, at times under another one's name.
func (w *twin) randomBoot(r *rand.Rand) *fsmpb.Command {
	n := Node{Identity: twinNodes[r.IntN(len(twinNodes))], Boot: 1, Nonce: fragment.Nonce{byte(r.IntN(4))}, Feature: uint64(r.IntN(3))}
	if r.IntN(10) == 0 {
		return NewRemoveNode(n.Identity)
	}
	if n.Name = n.Identity; r.IntN(3) == 0 {
		n.Name = twinNodes[r.IntN(len(twinNodes))]
	}
	if known := w.nodes[n.Identity]; known != nil {
		n.Boot = known.boot + uint64(r.IntN(3)) - min(known.boot, uint64(r.IntN(2)))
	}
	n.GRPC = []string{"", "h:1", "h:2", "h 3"}[r.IntN(4)]
	return NewRegisterBoot(n)
}

// randomMerge merges a few cuts, at times not quite.
func (w *twin) randomMerge(r *rand.Rand, e fragment.Epoch) *fsmpb.Command {
	from, to := uint64(1+r.IntN(3)), uint64(r.IntN(6))
	if c := w.chains[uint64(e)]; c != nil && len(c.cuts) > 1 {
		i := r.IntN(len(c.cuts) - 1)
		j := i + 1 + r.IntN(len(c.cuts)-1-i)
		from, to = c.cuts[i][0]+uint64(r.IntN(6)/5), c.cuts[j][1]-uint64(r.IntN(6)/5)
	}
	return NewMergeCuts(e, from, to, Ref{Key: "cut", Size: 1})
}

// randomRecovery does what a restore does, at times.
func (w *twin) randomRecovery(r *rand.Rand, id fragment.LogID, node string, blank bool, config LogConfig) *fsmpb.Command {
	e := uint64(1)
	if w.epochs > 0 {
		e += r.Uint64N(w.epochs)
	}
	var extents []Extent
	x := Extent{First: 1}
	l := w.logs[uint64(id)]
	previous := fragment.Attachment(0)
	if l != nil && len(l.stays) > 0 {
		last := w.last(l)
		previous = fragment.Attachment(last.number)
		x.First, x.Previous = fragment.LSN(last.first+r.Uint64N(3)), previous
		if last.end != 0 && r.IntN(8) > 0 {
			x.First = fragment.LSN(last.end)
		}
	}
	for range r.IntN(5) {
		for range 6 { // a chain that is there and not open, as a rule
			x.Epoch = fragment.Epoch(1 + r.Uint64N(e))
			if c := w.chains[uint64(x.Epoch)]; c != nil && c.state != ChainOpen {
				break
			}
		}
		x.Attachment = max(x.Attachment, x.Previous) + fragment.Attachment(1+r.Uint64N(max(w.attachments/4, 1)))
		x.End = x.First + fragment.LSN(r.IntN(3))
		extents = append(extents, x)
		x.Previous, x.First = x.Attachment, x.End+fragment.LSN(r.IntN(12)/11)
	}
	if n := len(extents); n > 0 && r.IntN(2) == 0 {
		extents[n-1].End = 0
	}
	g := fragment.Generation(r.IntN(6) / 5)
	switch r.IntN(18) {
	case 0:
		members := []string{node}
		for _, other := range twinNodes {
			if w.live(other) != nil && r.IntN(8) > 0 {
				members = append(members, other)
			}
		}
		return NewNextIncarnation(w.incarnation-uint64(r.IntN(4)/3), fragment.Epoch(w.epochs+r.Uint64N(4)), fragment.LogID(w.ids+r.Uint64N(3)),
			fragment.Attachment(w.attachments+r.Uint64N(9)), members, node)
	case 1, 2, 3:
		return NewAdoptChain(Chain{
			Epoch: fragment.Epoch(e + uint64(r.IntN(3))), Node: node, Boot: uint64(r.IntN(3)), Incarnation: w.incarnation - uint64(r.IntN(2)),
			Window: 8, Kind: KindObjects, Log: fragment.LogID(r.IntN(3) / 2), Sealer: node,
		})
	case 4, 5, 6, 7, 8:
		if l != nil && len(l.stays) > 0 && r.IntN(2) == 0 {
			return NewAdoptExtents(Log{
				ID: id, First: fragment.LSN(l.first + uint64(r.IntN(3)/2)), Generation: fragment.Generation(l.generation) + g, Extents: extents,
			}, previous, blank)
		}
		fallthrough
	default:
		first := fragment.LSN(1)
		if len(extents) > 0 {
			first = extents[0].First
		}
		return NewAdoptLog(Log{
			ID: id, Name: twinNames[r.IntN(len(twinNames))], Config: config, First: first + fragment.LSN(r.IntN(8)/7),
			Generation: g, Created: 1, Extents: extents,
		})
	}
}

// TestTwin runs random commands on a State and on its twin, which must agree
// on what is refused and on all that there is; the invariants hold after each.
// A snapshot taken on the way, with the rest of the commands replayed on it,
// ends in the same bytes.
func TestTwin(t *testing.T) {
	r := seeded(t)
	accepted := map[string]int{}
	for range *roundFlag {
		s := New()
		w := newTwin()
		mustApply(t, s, NewInitCluster(fragment.ClusterID{15: 7}, 1))
		var commands []*fsmpb.Command
		var frozen *Frozen
		var frozenAt int
		var frozenDump string
		for i := range 400 {
			c := w.randomCommand(r)
			commands = append(commands, c)
			result, err := s.Apply(s.AppliedIndex()+1+r.Uint64N(3), c)
			require.NoError(t, err)
			ok := w.apply(c)
			require.Equal(t, ok, result.Err == nil, "%v: %v", c, result.Err)
			require.Equal(t, w.dump(), dump(s), "%v", c)
			require.NoError(t, s.Check(), "%v", c)
			if ok {
				accepted[fmt.Sprintf("%T", c.GetCommand())]++
				if c.GetAttach().GetBlank() {
					accepted["after a blank extent"]++
				}
				if len(c.GetAdoptLog().GetExtents()) > 0 {
					accepted["an adopted log with extents"]++
				}
				if len(c.GetAdoptExtents().GetExtents()) > 0 {
					accepted["adopted extents"]++
				}
				if c.GetGrantChain().GetLog() != 0 {
					accepted["a chain for one log"]++
				}
			}
			if i == 200 {
				frozen, frozenAt, frozenDump = s.Freeze(), len(commands), dump(s)
			}
		}
		replayed := thaw(t, frozen)
		require.Equal(t, frozenDump, dump(replayed), "what is frozen must not change")
		for _, c := range commands[frozenAt:] {
			_, err := replayed.Apply(replayed.AppliedIndex()+1, c)
			require.NoError(t, err)
		}
		replayed.applied = s.applied
		require.Equal(t, snapshotOf(t, s), snapshotOf(t, replayed))
	}
	t.Log(accepted)
	require.Len(t, accepted, 22, "every command must have been accepted at least once")
}
