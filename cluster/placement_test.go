package cluster

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

func TestChoose(t *testing.T) {
	const mb = 1 << 20
	for name, c := range map[string]struct {
		nodes []nodeLoad
		zone  string
		want  []string // any of these
	}{
		"nobody":              {nil, "", []string{""}},
		"all drain":           {[]nodeLoad{{identity: "a", leaves: true}}, "", []string{""}},
		"the only one":        {[]nodeLoad{{identity: "a", leaves: true}, {identity: "b", takes: true, logs: 9}}, "", []string{"b"}},
		"fewest logs":         {[]nodeLoad{{identity: "a", takes: true, logs: 3}, {identity: "b", takes: true, logs: 2}}, "", []string{"b"}},
		"fewest bytes":        {[]nodeLoad{{identity: "a", takes: true, logs: 2, rate: 20 * mb}, {identity: "b", takes: true, logs: 2, rate: 10 * mb}}, "", []string{"b"}},
		"bytes before logs":   {[]nodeLoad{{identity: "a", takes: true, logs: 9, rate: 100 * mb}, {identity: "b", takes: true, logs: 11, rate: mb}}, "", []string{"b"}},
		"noise":               {[]nodeLoad{{identity: "a", takes: true, logs: 9, rate: 1000}, {identity: "b", takes: true, logs: 11}}, "", []string{"a"}},
		"zone":                {[]nodeLoad{{identity: "a", takes: true, zone: "x", logs: 99}, {identity: "b", takes: true, zone: "y"}}, "x", []string{"a"}},
		"zone of nobody":      {[]nodeLoad{{identity: "a", takes: true, zone: "x", logs: 99}, {identity: "b", takes: true, zone: "y"}}, "z", []string{"b"}},
		"zone that drains":    {[]nodeLoad{{identity: "a", leaves: true, zone: "x"}, {identity: "b", takes: true, zone: "y"}}, "x", []string{"b"}},
		"no zone asked for":   {[]nodeLoad{{identity: "a", takes: true}, {identity: "b", takes: true, zone: "y", logs: 1}}, "", []string{"a"}},
		"fewest of two zones": {[]nodeLoad{{identity: "a", takes: true, zone: "x", logs: 2}, {identity: "b", takes: true, zone: "x", logs: 1}, {identity: "c", takes: true, zone: "y"}}, "x", []string{"b"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, c.want, choose(c.nodes, &fsm.Log{ID: 1, Config: fsm.LogConfig{Zone: c.zone}}))
		})
	}
	// Equal nodes share the logs.
	count := map[string]int{}
	for id := range 300 {
		count[choose([]nodeLoad{{identity: "a", takes: true}, {identity: "b", takes: true}, {identity: "c", takes: true}}, &fsm.Log{ID: fragment.LogID(id)})]++
	}
	for _, n := range []string{"a", "b", "c"} {
		require.Greater(t, count[n], 70)
	}
}

// Place spreads logs evenly, also those that nobody has attached yet, tells all
// who ask the same, and avoids nodes that are dead, drain, or have a wrong clock.
func TestPlace(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x, y := g.others(lead)[0], g.others(lead)[1]
		var ids []fragment.LogID
		for i := range 90 {
			r, err := x.Propose(t.Context(), fsm.NewCreateLog(fmt.Sprint(i), fsm.LogConfig{EntryBytesMax: 1}, 0))
			require.NoError(t, err)
			ids = append(ids, r.Log.ID)
		}
		time.Sleep(time.Second)
		placed := map[string]int{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, id := range ids {
			wg.Go(func() {
				a, err := x.Place(t.Context(), id)
				require.NoError(t, err)
				b, err := lead.Place(t.Context(), id)
				require.NoError(t, err)
				require.Equal(t, a, b)
				mu.Lock()
				defer mu.Unlock()
				placed[a]++
			})
		}
		wg.Wait()
		require.Equal(t, map[string]int{lead.identity: 30, x.identity: 30, y.identity: 30}, placed)

		// Who writes it is who writes it.
		e := y.grant()
		for _, id := range ids[:10] {
			_, err := y.Propose(t.Context(), fsm.NewAttach(id, e, 1, 0, false))
			require.NoError(t, err)
			at, err := x.Place(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, y.identity, at)
		}

		// A choice does not outlive the node, nor its wish to get any.
		time.Sleep(10 * time.Second)
		x.SetDraining(true)
		lead.ahead.Add(int64(time.Hour)) // the leader's is the clock that counts
		y.ahead.Add(int64(time.Hour))
		time.Sleep(time.Second)
		at := func(id fragment.LogID) string {
			at, err := x.Place(t.Context(), id)
			require.NoError(t, err)
			return at
		}
		for _, id := range ids[10:20] {
			require.NotEqual(t, x.identity, at(id))
		}
		y.ahead.Add(int64(time.Hour))
		time.Sleep(time.Second)
		for _, id := range ids[10:20] {
			require.Equal(t, lead.identity, at(id))
		}
		lead.SetDraining(true)
		time.Sleep(time.Second)
		_, err := x.Place(t.Context(), ids[20])
		require.ErrorIs(t, err, ErrRefused)
		require.ErrorContains(t, err, x.identity+" is being drained")
		require.ErrorContains(t, err, y.identity+" has a clock that is more than 1s from the leader's")
		_, err = x.Place(t.Context(), 12345)
		require.ErrorIs(t, err, ErrRefused)
		require.ErrorContains(t, err, "no log 12345")
		x.SetDraining(false)
		lead.SetDraining(false)
		g.net.isolate(y.identity, true)
		time.Sleep(4 * time.Second)
		require.Equal(t, fsm.ChainSealing, lead.chain(e).State)
		for _, id := range ids {
			require.NotEqual(t, y.identity, at(id))
		}
	})
}

// A new leader that is asked at once waits for the others' renewals, rather than
// giving all to itself, but not for the dead.
func TestPlaceAtNewLeader(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		old := g.leader()
		var ids []fragment.LogID
		for i := range 40 {
			r, err := old.Propose(t.Context(), fsm.NewCreateLog(fmt.Sprint(i), fsm.LogConfig{EntryBytesMax: 1}, 0))
			require.NoError(t, err)
			ids = append(ids, r.Log.ID)
		}
		x, y := g.others(old)[0], g.others(old)[1]
		g.net.setKind(x.identity, y.identity, "peer", etherFault{delay: 500 * time.Millisecond})
		g.net.setKind(y.identity, x.identity, "peer", etherFault{delay: 500 * time.Millisecond})
		old.crash()
		lead := g.leader()
		placed := map[string]int{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		begin := time.Now()
		for _, id := range ids {
			wg.Go(func() {
				at, err := lead.Place(t.Context(), id)
				require.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				placed[at]++
			})
		}
		wg.Wait()
		require.LessOrEqual(t, time.Since(begin), 1100*time.Millisecond)
		t.Log(placed, "after", time.Since(begin))
		require.Len(t, placed, 2)
		require.NotContains(t, placed, old.identity)
		for _, n := range placed {
			require.Equal(t, 20, n)
		}
	})
}
