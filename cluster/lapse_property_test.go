package cluster

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

var (
	lapseSeed  = flag.Uint64("lapse.seed", 0, "run only this schedule of TestLapseNeverEarly, which prints it where it fails")
	lapseSeeds = flag.Uint64("lapse.seeds", lapseSeedsDefault, "how many schedules TestLapseNeverEarly runs")
)

// Whatever network and clocks do, no chain is given away while its writer's own
// lease says that it is held; and once all is well again, every chain is either
// held by its writer or being sealed by a node that is alive. Each schedule is
// one of random faults for a minute, in a bubble of its own.
func TestLapseNeverEarly(t *testing.T) {
	from, to := uint64(1), *lapseSeeds+1
	if *lapseSeed != 0 {
		from, to = *lapseSeed, *lapseSeed+1
	}
	var all tally
	for seed := from; seed < to && !t.Failed(); seed++ {
		bubble.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("reproduce with -lapse.seed %d", seed)
				}
			}()
			newSchedule(t, seed, &all).run()
		})
	}
	t.Logf("%d chains, %d lapses, %d restarts, %d leaders", all.grants, all.lapses, all.restarts, all.leaders)
	if *lapseSeed == 0 { // the faults took effect
		require.Greater(t, all.lapses, int(*lapseSeeds))
		require.Greater(t, all.restarts, int(*lapseSeeds)/2)
		require.Greater(t, all.leaders, int(*lapseSeeds)*3/2)
	}
}

type tally struct{ grants, lapses, restarts, leaders int }

type schedule struct {
	t   *testing.T
	rnd *rand.Rand
	g   *crew
	wg  sync.WaitGroup

	mu      sync.Mutex
	tally   *tally
	sealing map[fragment.Epoch]bool
	early   []string
	led     string
}

func newSchedule(t *testing.T, seed uint64, all *tally) *schedule {
	s := &schedule{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), tally: all, sealing: map[fragment.Epoch]bool{}}
	s.g = tappedCrew(t, 3, s.watch)
	return s
}

// watch is called by whoever applies something, the leader first.
func (s *schedule) watch(x *mate, state *fsm.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range state.Unsealed() {
		if c.State != fsm.ChainSealing || s.sealing[c.Epoch] {
			continue
		}
		s.sealing[c.Epoch] = true
		if n, _ := state.Node(c.Node); n.Boot != c.Boot {
			continue // it came back, and ended its chains itself
		}
		s.tally.lapses++
		if m := s.g.net.member(c.Node); m != nil && m.boot.Number == c.Boot && m.Lease(c.Epoch).Held() {
			s.early = append(s.early, fmt.Sprintf("chain %v of %s, applied by %s", c.Epoch, c.Node, x.identity))
		}
	}
}

func (s *schedule) run() {
	for _, x := range s.g.nodes {
		x.ahead.Store(s.rnd.Int64N(int64(2*time.Hour)) - int64(time.Hour))
	}
	for begin := time.Now(); time.Since(begin) < time.Minute; {
		s.act()
		time.Sleep(time.Duration(s.rnd.Int64N(int64(2 * time.Second))))
		s.look()
	}
	s.heal()
	var back []*mate
	for _, x := range s.g.nodes {
		if x.down {
			x.start()
			back = append(back, x)
		}
	}
	for _, x := range back {
		x.register()
	}
	s.wg.Wait()
	time.Sleep(20 * time.Second)
	s.look()
	require.Empty(s.t, s.early)
	s.settled()
}

// look notes who leads.
func (s *schedule) look() {
	for _, x := range s.g.nodes {
		if !x.down && x.leads() && s.led != x.identity {
			s.led = x.identity
			s.tally.leaders++
		}
	}
}

func (s *schedule) act() {
	x := s.g.nodes[s.rnd.IntN(3)]
	y := s.g.nodes[s.rnd.IntN(3)]
	switch s.rnd.IntN(16) {
	case 0, 1, 2, 3:
		s.grant(x)
	case 4, 5:
		kind := []string{"raft", "peer"}[s.rnd.IntN(2)]
		s.g.net.setKind(x.identity, y.identity, kind, etherFault{lost: true})
	case 6, 7:
		s.g.net.setKind(x.identity, y.identity, "peer", etherFault{delay: time.Duration(s.rnd.Int64N(int64(4 * time.Second)))})
	case 8:
		s.g.net.setKind(x.identity, y.identity, "raft", etherFault{delay: time.Duration(s.rnd.Int64N(int64(400 * time.Millisecond)))})
	case 9, 10:
		s.g.net.isolate(x.identity, true)
	case 11, 12, 13:
		s.heal()
	case 14:
		x.ahead.Add(s.rnd.Int64N(int64(20*time.Second)) - int64(10*time.Second))
	case 15:
		s.restart(x)
	}
}

func (s *schedule) heal() {
	for _, x := range s.g.nodes {
		for _, y := range s.g.nodes {
			s.g.net.set(x.identity, y.identity, etherFault{})
		}
	}
}

func (s *schedule) grant(x *mate) {
	if x.down {
		return
	}
	m := x.Member
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
		defer cancel()
		if _, err := m.Grant(ctx, 8, 0); err == nil {
			s.mu.Lock()
			s.tally.grants++
			s.mu.Unlock()
		}
	})
}

// restart crashes a node that runs, and starts one that does not.
func (s *schedule) restart(x *mate) {
	if !x.down {
		x.crash()
		return
	}
	s.tally.restarts++
	x.start()
	m, boot := x.Member, x.boot
	s.wg.Go(func() {
		_, _ = m.Propose(s.t.Context(), x.bootCommand(m, boot)) // it may be closed before
	})
}

// settled checks that nothing hangs in the air.
func (s *schedule) settled() {
	lead := s.g.leader()
	require.NoError(s.t, lead.Confirm(s.t.Context()))
	lead.View(func(state *fsm.State) {
		for c := range state.Unsealed() {
			m := s.g.net.member(c.Node)
			held := m != nil && m.boot.Number == c.Boot && m.Lease(c.Epoch).Held()
			require.Equal(s.t, c.State == fsm.ChainOpen, held, "chain %v of boot %d of %s is %v; %d runs", c.Epoch, c.Boot, c.Node, c.State, m.boot.Number)
			if c.State == fsm.ChainSealing {
				require.NotNil(s.t, s.g.net.member(c.Sealer), "%s shall seal chain %v", c.Sealer, c.Epoch)
			}
		}
	})
}
