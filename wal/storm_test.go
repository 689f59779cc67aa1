package wal_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

var seedFlag = flag.Uint64("seed", 0, "the seed of all that is drawn; 0: a new one each time")

func seed(t testing.TB) uint64 {
	s := *seedFlag
	if s == 0 {
		s = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d: repeat with -run '^%s$' -seed %d", s, t.Name(), s)
	return s
}

// storm is a load on a group, and what happens to the group meanwhile.
type storm struct {
	*group
	rnd    *rand.Rand
	ledger *testcluster.Ledger
	router *router
	names  []string
	logs   []fragment.LogID
	held   []*blobtest.Rule // of creates of nodes that are dead or replaced
	late   []*view          // with proposals that may still be applied
	faults map[string]int   // what must have taken effect
}

// slow gives a store a latency.
func slow(m *member) {
	m.faults.Hook(func(ctx context.Context, op blobtest.Op) error {
		t := time.NewTimer(time.Duration(10+op.N%83) * time.Millisecond)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		return nil
	})
}

// inStorm runs a load on three nodes, and what f does meanwhile; then all is
// read back and held against the ledger.
func inStorm(t *testing.T, seed uint64, f func(s *storm)) {
	inGroup(t, func(g *group) {
		s := &storm{
			group: g, rnd: rand.New(rand.NewPCG(seed, 0)), ledger: testcluster.NewLedger(seed, nil),
			router: &router{g: g}, names: []string{"x", "y", "z"},
		}
		for _, m := range g.alive() {
			slow(m)
		}
		for i, name := range s.names {
			s.logs = append(s.logs, g.create(name, api.LogConfig{Dedicated: i == 2}))
		}
		client := wpd.NewClient(s.router)
		load := testcluster.Load{
			Ledger: s.ledger, Logs: s.names, Anonymous: 1, Named: 1, Exclusive: true, Conditional: true, Trim: true, InFlight: 8, Seed: seed, Life: 1,
		}
		ctx, cancel := context.WithCancel(g.Context())
		var wg sync.WaitGroup
		var err error
		wg.Go(func() { err = load.Run(ctx, client) })
		time.Sleep(time.Second)
		f(s)
		time.Sleep(5 * time.Second)
		cancel()
		wg.Wait()
		require.NoError(g, err)
		require.NoError(g, client.Close())
		for _, r := range s.held {
			r.Release()
		}
		for _, v := range s.late {
			v.release()
		}
		g.check(s.ledger, load.AllLogs(), testcluster.Expect{AcknowledgedMin: 500, Faults: s.faults})
		t.Logf("%d entries acknowledged, %d refused, %d unknown", s.ledger.Entries(testcluster.Acknowledged),
			s.ledger.Entries(testcluster.Refused), s.ledger.Entries(testcluster.Unknown))
	}, "a", "b", "c")
}

func (s *storm) anyNode() *member {
	all := s.alive()
	return all[s.rnd.IntN(len(all))]
}

func (s *storm) other(m *member) *member {
	for {
		if x := s.anyNode(); x != m {
			return x
		}
	}
}

func (s *storm) wait(most time.Duration) { time.Sleep(time.Duration(s.rnd.Int64N(int64(most)))) }

// handOver has a node give a log to another.
func (s *storm) handOver() {
	id := s.logs[s.rnd.IntN(len(s.logs))]
	m := s.node(s.owner(id))
	if m == nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
	defer cancel()
	if err := m.Release(ctx, id); err == nil {
		s.ledger.Fault("handed over", 1)
	}
}

// crashOne crashes a node, with creates held back that land whenever it
// pleases, has another one take over, and starts it again.
func (s *storm) crashOne() {
	m := s.anyNode()
	s.held = append(s.held, m.faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "chains/", Late: true, Count: 1 + s.rnd.IntN(3)}))
	s.wait(20 * time.Millisecond)
	if s.router.cut(m.name) > 0 {
		s.ledger.Fault("crashed", 1) // with appends under way
	}
	m.crash()
	s.wait(50 * time.Millisecond)
	if s.rnd.IntN(3) > 0 {
		s.takeOver(m.name, s.anyNode())
		s.wait(50 * time.Millisecond)
	}
	slow(s.start(m.name, nil))
}

// pauseOne lets a node hear of nothing, and its creates go nowhere, while it is
// replaced; then it goes on as if nothing had been.
func (s *storm) pauseOne() {
	m := s.anyNode()
	m.view.freeze()
	r := m.faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "chains/", Hang: true})
	s.wait(20 * time.Millisecond)
	s.router.cut(m.name)
	s.takeOver(m.name, s.other(m))
	s.wait(2 * time.Second)
	if s.rnd.IntN(2) == 0 {
		r.Release()
		s.wait(50 * time.Millisecond)
		m.view.thaw()
	} else {
		m.view.thaw()
		s.wait(50 * time.Millisecond)
		r.Release()
	}
	r.Remove()
	if r.Hits() > 0 {
		s.ledger.Fault("paused", 1)
	}
}

// lapse takes a node's lease away for a while.
func (s *storm) lapse() {
	m := s.anyNode()
	m.view.hold(false)
	s.wait(3 * time.Second)
	if m.Ready() != nil {
		s.ledger.Fault("lapsed", 1)
	}
	if s.rnd.IntN(2) == 0 {
		s.takeOver(m.name, s.other(m))
		s.wait(time.Second)
	}
	m.view.hold(true)
}

// mislead lets proposals of a node go wrong for a while.
func (s *storm) mislead() {
	m := s.anyNode()
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(s.rnd.Uint64(), 1))
	m.view.strike(func(*fsmpb.Command) trouble {
		mu.Lock()
		defer mu.Unlock()
		how := []trouble{none, none, lost, late, notDone}[rnd.IntN(5)]
		if how != none {
			s.ledger.Fault("misled", 1)
		}
		return how
	})
	s.late = append(s.late, m.view)
	for range 3 {
		s.handOver()
		s.wait(200 * time.Millisecond)
	}
	m.view.release()
	m.view.strike(nil)
}

// toggle switches whether a log has a chain of its own.
func (s *storm) toggle() {
	id := s.logs[s.rnd.IntN(len(s.logs))]
	state := s.meta.now()
	l, _ := state.state.Log(id)
	s.meta.must(s, fsm.NewConfigureLog(id, l.ConfigVersion, fsm.LogConfig{EntryBytesMax: l.Config.EntryBytesMax, Dedicated: !l.Config.Dedicated}))
	owner := s.owner(id)
	s.wait(time.Second)
	if m := s.node(owner); m != nil && slices.ContainsFunc(slices.Collect(m.Owned()), func(o wal.Owned) bool { return o.Log == id && o.Dedicated != l.Config.Dedicated }) {
		s.ledger.Fault("toggled", 1)
	}
}

// TestStorm: three nodes under load, to which everything happens: crashes,
// pauses with a take-over meanwhile, leases that lapse, hand-overs, lost and
// late proposals, logs that get and lose chains of their own. The ledger
// decides.
func TestStorm(t *testing.T) {
	s := seed(t)
	events := []struct {
		name string
		f    func(*storm)
	}{
		{"handed over", (*storm).handOver}, {"crashed", (*storm).crashOne}, {"paused", (*storm).pauseOne},
		{"lapsed", (*storm).lapse}, {"misled", (*storm).mislead}, {"toggled", (*storm).toggle},
	}
	for _, e := range events {
		t.Run(e.name, func(t *testing.T) {
			inStorm(t, s, func(s *storm) {
				s.faults = map[string]int{e.name: 3}
				for range 10 {
					e.f(s)
					s.wait(300 * time.Millisecond)
				}
			})
		})
	}
	rounds := 10
	if testing.Short() {
		rounds = 2
	}
	for k := range rounds {
		t.Run(fmt.Sprint("all ", k), func(t *testing.T) {
			inStorm(t, s+uint64(k), func(s *storm) {
				for range 30 {
					events[s.rnd.IntN(len(events))].f(s)
					s.wait(200 * time.Millisecond)
				}
			})
		})
	}
}
