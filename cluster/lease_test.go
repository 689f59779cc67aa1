package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// A lease is held from the grant on, and as long as renewals are answered; a
// node that is cut off loses it a TTL after the last one, by its own clocks,
// before its chain is given to another node.
func TestLease(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x, y := g.others(lead)[0], g.others(lead)[1]
		e := x.grant()
		l := x.Lease(e)
		require.Same(t, l, x.Lease(e))
		require.True(t, l.Held())
		time.Sleep(time.Minute)
		require.True(t, l.Held())
		require.Equal(t, fsm.ChainOpen, lead.chain(e).State)
		require.False(t, y.Lease(e).Held(), "another node's chain")

		changed := l.Changed()
		g.net.isolate(x.identity, true)
		begin := time.Now()
		<-changed
		require.False(t, l.Held())
		require.LessOrEqual(t, time.Since(begin), 3*time.Second)
		require.Greater(t, time.Since(begin), 2*time.Second)
		require.Equal(t, fsm.ChainOpen, lead.chain(e).State, "lapsed by our clock, not by the leader's")
		g.await(time.Second, func() bool { return lead.chain(e).State == fsm.ChainSealing })
		require.Contains(t, []string{lead.identity, y.identity}, lead.chain(e).Sealer)
		require.Positive(t, g.net.count("peer"))

		// Back again, it can't have that chain, but another.
		changed = l.Changed()
		g.net.isolate(x.identity, false)
		time.Sleep(10 * time.Second)
		require.False(t, l.Held())
		require.True(t, x.Lease(x.grant()).Held())
		select {
		case <-changed:
			t.Fatal("the lease was held again")
		default:
		}
	})
}

// An answer that comes in time lifts a lapse as long as the chain is not being
// sealed: here the leader is new, and waits.
func TestLeaseLapseLifted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x := g.others(lead)[0]
		e := x.grant()
		l := x.Lease(e)
		for _, y := range g.nodes { // nobody renews with anybody
			g.net.setKind(x.identity, y.identity, "peer", etherFault{lost: true})
		}
		time.Sleep(2500 * time.Millisecond)
		lead.crash()
		for l.Held() {
			<-l.Changed()
		}
		next := g.leader()
		require.Equal(t, fsm.ChainOpen, next.chain(e).State)
		for _, y := range g.nodes {
			g.net.setKind(x.identity, y.identity, "peer", etherFault{})
		}
		for !l.Held() {
			<-l.Changed()
		}
		time.Sleep(time.Minute)
		require.True(t, l.Held())
		require.Equal(t, fsm.ChainOpen, next.chain(e).State)
	})
}

// A new leader lets nobody lapse before a full TTL, and answers from the start.
func TestLeaseNewLeader(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x := g.others(lead)[0]
		es := []fragment.Epoch{lead.grant(), x.grant()}
		time.Sleep(time.Second)
		lead.crash()
		crashed := time.Now()
		next := g.leader()
		since := time.Now()
		t.Log("led after", since.Sub(crashed))
		g.await(time.Minute, func() bool { return next.chain(es[0]).State == fsm.ChainSealing })
		waited := time.Since(since)
		require.GreaterOrEqual(t, waited, 2990*time.Millisecond, "a full TTL")
		require.Less(t, waited, 3500*time.Millisecond)
		require.Equal(t, fsm.ChainOpen, next.chain(es[1]).State)
		require.True(t, x.Lease(es[1]).Held())
	})
}

// Neither a leader that swallows what it gets nor one that nobody can hear holds
// up a renewal to the next one.
func TestLeaseBlackHole(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x, y := g.others(lead)[0], g.others(lead)[1]
		e := x.grant()
		l := x.Lease(e)
		time.Sleep(time.Second)
		// From here on the leader is gone for everybody, without a word.
		g.net.isolate(lead.identity, true)
		begin := time.Now()
		for time.Since(begin) < time.Minute {
			time.Sleep(10 * time.Millisecond)
			if !l.Held() {
				require.GreaterOrEqual(t, time.Since(begin), 2*time.Second)
			}
		}
		require.True(t, l.Held())
		require.Equal(t, fsm.ChainOpen, y.chain(e).State)
	})
}

// One-way cuts: what the leader gets but can't answer renews nothing, and what
// it does not get neither. The cut of one node does not touch another.
func TestLeaseOneWay(t *testing.T) {
	for name, cut := range map[string]func(g *crew, x, lead string){
		"to the leader":   func(g *crew, x, lead string) { g.net.setKind(x, lead, "peer", etherFault{lost: true}) },
		"from the leader": func(g *crew, x, lead string) { g.net.setKind(lead, x, "peer", etherFault{lost: true}) },
		"too slow": func(g *crew, x, lead string) {
			g.net.setKind(lead, x, "peer", etherFault{delay: 3100 * time.Millisecond})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				g := newCrew(t, 3)
				lead := g.leader()
				x, y := g.others(lead)[0], g.others(lead)[1]
				e, f := x.grant(), y.grant()
				time.Sleep(time.Second)
				cut(g, x.identity, lead.identity)
				time.Sleep(4 * time.Second)
				require.False(t, x.Lease(e).Held())
				if name == "to the leader" {
					require.Equal(t, fsm.ChainSealing, lead.chain(e).State)
				} else { // it answers, so it can't know
					require.Equal(t, fsm.ChainOpen, lead.chain(e).State)
				}
				require.True(t, y.Lease(f).Held())
				require.True(t, lead.leads(), "raft's own connections go on")
			})
		})
	}
}

// The leader renews with itself. Cut off, it loses its lease like any other
// node, and another leader has its chain sealed.
func TestLeaseOfLeader(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		e := lead.grant()
		l := lead.Lease(e)
		time.Sleep(time.Minute)
		require.True(t, l.Held())
		g.net.isolate(lead.identity, true)
		begin := time.Now()
		for l.Held() {
			<-l.Changed()
		}
		require.LessOrEqual(t, time.Since(begin), 3*time.Second)
		other := g.others(lead)[0]
		require.Equal(t, fsm.ChainOpen, other.chain(e).State)
		g.await(10*time.Second, func() bool { return other.chain(e).State == fsm.ChainSealing })
		require.NotEqual(t, lead.identity, other.chain(e).Sealer)
	})
}

// Held goes by the clock that went further. A day forward ends the lease until
// the next renewal is answered, a day back does not lengthen it.
func TestLeaseClockJumps(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 24 * time.Hour, "back": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				g := newCrew(t, 3)
				lead := g.leader()
				x := g.others(lead)[0]
				e := x.grant()
				l := x.Lease(e)
				time.Sleep(time.Second)
				skew, ok := x.ClockSkew()
				require.True(t, ok)
				require.Zero(t, skew)
				changed := l.Changed()
				x.ahead.Store(int64(jump))
				require.Equal(t, jump < 0, l.Held())
				skew, ok = x.ClockSkew()
				require.False(t, ok, "known before the next answer")
				require.InDelta(t, jump, skew, float64(10*time.Millisecond))
				if jump > 0 {
					<-changed // that of the lapse
					for !l.Held() {
						<-l.Changed()
					}
				}
				time.Sleep(time.Minute)
				require.True(t, l.Held())
				skew, ok = x.ClockSkew()
				require.False(t, ok)
				require.InDelta(t, jump, skew, float64(10*time.Millisecond))
				require.Equal(t, fsm.ChainOpen, lead.chain(e).State, "the leader looks at nobody's clock")

				// Cut off, it lapses within a TTL all the same, also if the clock
				// jumps back (to what is right, or further away) meanwhile.
				g.net.isolate(x.identity, true)
				time.Sleep(time.Second)
				x.ahead.Store(min(0, 2*int64(jump)))
				require.True(t, l.Held())
				time.Sleep(2 * time.Second)
				require.False(t, l.Held())
				g.net.isolate(x.identity, false)
				x.ahead.Store(0)
				time.Sleep(time.Second)
				_, ok = x.ClockSkew()
				require.True(t, ok)
			})
		})
	}
}

// A jump of the leader's clock lets nobody lapse; the others see it as theirs.
func TestLeaseClockOfLeaderJumps(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x := g.others(lead)[0]
		e := x.grant()
		time.Sleep(time.Second)
		for _, jump := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
			lead.ahead.Store(int64(jump))
			for range 1000 {
				time.Sleep(10 * time.Millisecond)
				require.True(t, x.Lease(e).Held())
			}
			skew, ok := x.ClockSkew()
			require.False(t, ok)
			require.InDelta(t, -jump, skew, float64(10*time.Millisecond))
			_, ok = lead.ClockSkew()
			require.True(t, ok)
		}
		require.Equal(t, fsm.ChainOpen, lead.chain(e).State)
	})
}

// A node that stood still learns nothing from timers: its first look at the
// clock must tell. Nothing of the keeper runs here.
func TestLeaseAfterPause(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		k := newKeeper(&Config{TTL: 3 * time.Second}, newLeaseMetrics())
		k.granted(1, k.clock.now())
		l := k.leaseLocked(1)
		number, sent := k.send()
		changed := l.Changed()
		time.Sleep(2999 * time.Millisecond)
		require.True(t, l.Held())
		time.Sleep(time.Millisecond)
		require.False(t, l.Held())
		<-changed // who looked meanwhile and waits is woken for the yes below
		changed = l.Changed()
		k.renewed(number, sent, Renewed{Epochs: []fragment.Epoch{1}})
		require.False(t, l.Held(), "the answer waited in a buffer")
		number, sent = k.send()
		k.renewed(number, sent, Renewed{Epochs: []fragment.Epoch{1}})
		<-changed
		require.True(t, l.Held())
	})
}

// Answers may overtake each other, and grants.
func TestLeaseOrder(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		k := newKeeper(&Config{TTL: 3 * time.Second}, newLeaseMetrics())
		with, without := Renewed{Epochs: []fragment.Epoch{1}}, Renewed{}
		held := func(e fragment.Epoch) bool { return k.leaseLocked(e).Held() }

		// A renewal that was sent before the grant was known can't end it.
		number, sent := k.send()
		time.Sleep(time.Second)
		k.granted(1, k.clock.now())
		k.renewed(number, sent, without)
		require.True(t, held(1))

		// One that was sent later does, whatever comes from earlier ones.
		n1, s1 := k.send()
		n2, s2 := k.send()
		n3, s3 := k.send()
		k.renewed(n2, s2, without)
		require.False(t, held(1))
		k.renewed(n1, s1, with)
		require.False(t, held(1))
		// A leader that was deposed before it had the chain sealed was wrong.
		k.renewed(n3, s3, with)
		require.True(t, held(1))
		k.renewed(n2, s2, without)
		require.True(t, held(1))
		n4, _ := k.send()
		k.refused(n4)
		require.False(t, held(1))

		// A renewal may be faster than the answer to the grant.
		asked := k.clock.now()
		time.Sleep(2 * time.Second)
		n5, s5 := k.send()
		k.renewed(n5, s5, Renewed{Epochs: []fragment.Epoch{2}})
		k.granted(2, asked)
		time.Sleep(2 * time.Second)
		require.True(t, held(2))
		k.prune(func(fragment.Epoch) bool { return true })
		require.Len(t, k.leases, 1, "only those that are not held")
	})
}

// Ages counts from what the leader told, and is never too young.
func TestLeaseAges(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x, y := g.others(lead)[0], g.others(lead)[1]
		time.Sleep(2 * time.Second)
		for _, a := range g.nodes {
			for _, b := range g.nodes {
				age, ok := a.Ages(b.identity)
				require.True(t, ok)
				require.LessOrEqual(t, age, 1100*time.Millisecond)
			}
			_, ok := a.Ages("nobody")
			require.False(t, ok)
		}
		g.net.isolate(y.identity, true)
		gone := time.Now()
		time.Sleep(10 * time.Second)
		age, ok := x.Ages(y.identity)
		require.True(t, ok)
		require.GreaterOrEqual(t, age, time.Since(gone))
		require.LessOrEqual(t, age, time.Since(gone)+600*time.Millisecond)
		// By y's own clock, what it knows of the others grows old, too.
		age, ok = y.Ages(x.identity)
		require.True(t, ok)
		require.GreaterOrEqual(t, age, time.Since(gone))
		// A new leader has not heard of it.
		lead.crash()
		g.net.isolate(y.identity, false)
		g.net.isolate(lead.identity, true)
		g.leader()
		time.Sleep(time.Second)
		_, ok = x.Ages(lead.identity)
		require.False(t, ok)
	})
}

// Alone, the lease is held as long as the member leads and has not failed.
func TestLeaseAlone(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m, err := Open(t.Context(), Config{Bucket: newBucket()})
		require.NoError(t, err)
		e, err := m.Grant(t.Context(), 8, 0)
		require.NoError(t, err)
		l := m.Lease(e)
		require.True(t, l.Held())
		time.Sleep(time.Hour)
		require.True(t, l.Held())
		place, err := m.Place(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, m.Identity(), place)
		age, ok := m.Ages(m.Identity())
		require.True(t, ok)
		require.Zero(t, age)
		_, ok = m.ClockSkew()
		require.True(t, ok)
		changed := l.Changed()
		m.fail(errStore)
		<-changed
		require.False(t, l.Held())
		require.NoError(t, m.Close())
	})
	bubble.Test(t, func(t *testing.T) {
		m, err := Open(t.Context(), Config{Bucket: newBucket()})
		require.NoError(t, err)
		l := m.Lease(1)
		changed := l.Changed()
		require.NoError(t, m.Close())
		<-changed
		require.False(t, l.Held())
	})
}
