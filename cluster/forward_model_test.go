package cluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

var forwardSeed = flag.Uint64("forward.seed", 0, "run only this schedule of TestForwardTruth, which prints it where it fails")

// Whatever leaders and networks do, what a proposal at any member says is the
// truth: what is reported done is in the state, exactly once; what is refused,
// or not done, never is; what is uncertain at most once.
//
// A log of a name of its own shows which proposal took effect, and a second try
// of one that had would be refused. A grant shows a command that ran twice.
func TestForwardTruth(t *testing.T) {
	from, to := uint64(1), uint64(201)
	if *forwardSeed != 0 {
		from, to = *forwardSeed, *forwardSeed+1
	}
	total := map[string]int{}
	for seed := from; seed < to && !t.Failed(); seed++ {
		bubble.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("reproduce with -forward.seed %d", seed)
				}
			}()
			newTruth(t, seed, total).run()
		})
	}
	t.Log(total)
	if *forwardSeed == 0 {
		for _, outcome := range []string{"done", "refused", "not done", "uncertain", "leaders", "restarts"} {
			require.Greater(t, total[outcome], 100, outcome)
		}
	}
}

type truth struct {
	t     *testing.T
	rnd   *rand.Rand
	g     *crew
	wg    sync.WaitGroup
	total map[string]int

	mu       sync.Mutex        // guards total, too
	outcomes map[string]string // by log name
	ids      map[string]uint64
	grants   map[string]int // by outcome
	wrong    []error        // of no kind that Propose promises
}

func newTruth(t *testing.T, seed uint64, total map[string]int) *truth {
	return &truth{
		t: t, rnd: rand.New(rand.NewPCG(seed, 2)), g: newCrew(t, 3), total: total,
		outcomes: map[string]string{}, ids: map[string]uint64{}, grants: map[string]int{},
	}
}

func (u *truth) run() {
	led := ""
	for i := range 300 {
		x := u.g.nodes[u.rnd.IntN(3)]
		if !x.down {
			most := time.Duration(u.rnd.Int64N(int64(8 * time.Second)))
			switch u.rnd.IntN(4) {
			case 0:
				u.grant(x.Member, most)
			case 1: // a configuration that no log may have
				u.create(x.Member, fmt.Sprintf("bad-%d", i), 0, most)
			default:
				u.create(x.Member, fmt.Sprintf("good-%d", i), 1, most)
			}
		}
		if u.rnd.IntN(4) == 0 {
			u.disturb()
		}
		time.Sleep(time.Duration(u.rnd.Int64N(int64(200 * time.Millisecond))))
		for _, x := range u.g.nodes {
			if !x.down && x.leads() && x.identity != led {
				led = x.identity
				u.count("leaders")
			}
		}
	}
	u.heal()
	for _, x := range u.g.nodes {
		if x.down {
			x.start()
		}
	}
	u.wg.Wait()
	u.judge()
}

func (u *truth) count(what string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.total[what]++
}

func (u *truth) disturb() {
	x, y := u.g.nodes[u.rnd.IntN(3)], u.g.nodes[u.rnd.IntN(3)]
	switch u.rnd.IntN(12) {
	case 0, 1, 2: // answers of proposals, and proposals
		u.g.net.setKind(x.identity, y.identity, "peer", etherFault{lost: true})
	case 3:
		u.g.net.setKind(x.identity, y.identity, "peer", etherFault{delay: time.Duration(u.rnd.Int64N(int64(2 * time.Second)))})
	case 4:
		u.g.net.isolate(x.identity, true)
	case 5, 6:
		if !x.down && x.leads() {
			m := x.Member
			u.wg.Go(func() { _ = m.raft.LeadershipTransfer().Error() })
		}
	case 7:
		if x.down {
			x.start()
		} else {
			u.count("restarts")
			x.crash()
		}
	default:
		u.heal()
	}
}

func (u *truth) heal() {
	for _, x := range u.g.nodes {
		for _, y := range u.g.nodes {
			u.g.net.set(x.identity, y.identity, etherFault{})
		}
	}
}

func (u *truth) create(m *Member, name string, entryBytesMax uint32, most time.Duration) {
	u.wg.Go(func() {
		ctx, cancel := context.WithTimeout(u.t.Context(), most)
		defer cancel()
		r, err := m.Propose(ctx, fsm.NewCreateLog(name, fsm.LogConfig{EntryBytesMax: entryBytesMax}, 0))
		u.mu.Lock()
		defer u.mu.Unlock()
		u.outcomes[name] = u.sort(err)
		if err == nil {
			u.ids[name] = uint64(r.Log.ID)
		}
	})
}

// grant does not use Grant, which would say that this boot is unknown after a
// restart: registering it is not what is tested here.
func (u *truth) grant(m *Member, most time.Duration) {
	u.wg.Go(func() {
		ctx, cancel := context.WithTimeout(u.t.Context(), most)
		defer cancel()
		_, err := m.Propose(ctx, fsm.NewGrantChain(m.me.Identity, 1, 8, fsm.KindObjects, 0))
		u.mu.Lock()
		defer u.mu.Unlock()
		u.grants[u.sort(err)]++
	})
}

// sort names what Propose says, by what its comment promises.
func (u *truth) sort(err error) string {
	_, invalid := errors.AsType[*fsm.InvalidError](err)
	outcome := "wrong"
	switch {
	case err == nil:
		outcome = "done"
	case errors.Is(err, ErrUncertain):
		outcome = "uncertain"
	case invalid, errors.Is(err, fsm.ErrExists):
		outcome = "refused"
	case errors.Is(err, ErrNotLeader), errors.Is(err, ErrBusy), errors.Is(err, ErrUnreachable), errors.Is(err, ErrClosed),
		errors.Is(err, context.DeadlineExceeded):
		outcome = "not done"
	default:
		u.wrong = append(u.wrong, err)
	}
	u.total[outcome]++
	return outcome
}

func (u *truth) judge() {
	lead := u.g.leader()
	require.NoError(u.t, lead.Confirm(u.t.Context()))
	require.Empty(u.t, u.wrong)
	logs := map[string]uint64{}
	var granted int
	lead.View(func(s *fsm.State) {
		for l := range s.Logs("") {
			logs[l.Name] = uint64(l.ID)
		}
		granted = int(s.HighestEpoch())
	})
	for name, outcome := range u.outcomes {
		id, there := logs[name]
		switch outcome {
		case "done":
			require.True(u.t, there, name)
			require.Equal(u.t, u.ids[name], id, name)
		case "refused", "not done":
			require.False(u.t, there, "%s was %s", name, outcome)
		}
		require.False(u.t, there && name[:3] == "bad", name)
	}
	require.GreaterOrEqual(u.t, granted, u.grants["done"])
	require.LessOrEqual(u.t, granted, u.grants["done"]+u.grants["uncertain"])
	for _, x := range u.g.others(lead) { // and all agree
		require.NoError(u.t, x.Confirm(u.t.Context()))
		require.Equal(u.t, logNames(lead.Member), logNames(x.Member))
	}
}
