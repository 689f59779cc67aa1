package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

func createLog(name string) (string, fsm.LogConfig, fragment.Micros) {
	return name, fsm.LogConfig{EntryBytesMax: 1}, 0
}

// A proposal and a confirmation work at any member, and a refusal comes with its
// facts though no error of the fsm crosses the wire.
func TestForward(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x := g.others(lead)[0]
		forwarded := func(call string) float64 {
			return testutil.ToFloat64(x.metrics.lease.forwardings.WithLabelValues(call, "answered"))
		}
		proposed := forwarded("propose")
		for i, x := range g.nodes {
			name := fmt.Sprint(i)
			r, err := x.Propose(t.Context(), fsm.NewCreateLog(createLog(name)))
			require.NoError(t, err)
			require.Equal(t, name, r.Log.Name)
			require.Contains(t, logNames(x.Member), name, "applied here")
			r, err = x.Propose(t.Context(), fsm.NewCreateLog(createLog(name)))
			require.ErrorIs(t, err, fs.ErrExist)
			e, ok := errors.AsType[*fsm.ExistsError](err)
			require.True(t, ok)
			require.EqualValues(t, i+1, e.ID)
			require.Zero(t, r)
			for _, y := range g.nodes {
				require.NoError(t, y.Confirm(t.Context()))
				require.Contains(t, logNames(y.Member), name)
			}
		}
		require.Equal(t, proposed+2, forwarded("propose"))
		require.EqualValues(t, 3, forwarded("confirm"))

		// Changed tells of what others did.
		changed := x.Changed()
		_, err := lead.Propose(t.Context(), fsm.NewCreateLog(createLog("x")))
		require.NoError(t, err)
		<-changed
	})
}

// The serving side refuses unless it leads, and what raft must not see.
func TestServe(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x := g.others(lead)[0]
		command, err := fsm.Encode(fsm.NewCreateLog(createLog("a")))
		require.NoError(t, err)
		_, err = x.ServePropose(t.Context(), command)
		notLeader(t, lead, err)
		_, err = x.ServeConfirm(t.Context())
		notLeader(t, lead, err)
		_, err = x.ServeRenew(t.Context(), Renewal{})
		notLeader(t, lead, err)
		_, err = x.ServePlace(t.Context(), 1)
		notLeader(t, lead, err)
		_, err = x.Moves(t.Context(), 1)
		notLeader(t, lead, err)
		_, err = x.Standings(t.Context())
		notLeader(t, lead, err)

		last := lead.raft.LastIndex()
		for name, bad := range map[string][]byte{
			"empty":    nil,
			"garbage":  {1, 2, 3},
			"unknown":  {0x9a, 0x06, 0x00},
			"too long": append(command, make([]byte, fsm.CommandBytesMax)...),
		} {
			_, err = lead.ServePropose(t.Context(), bad)
			require.ErrorIs(t, err, ErrRefused, name)
			require.NotErrorIs(t, err, fsm.ErrStop, name)
		}
		require.Equal(t, last, lead.raft.LastIndex(), "raft has seen nothing")
		index, err := lead.ServePropose(t.Context(), command)
		require.NoError(t, err)
		require.Equal(t, last+1, index)
		again, err := lead.ServePropose(t.Context(), command)
		require.NoError(t, err, "the fsm's refusal is for the asking member to see")
		require.Equal(t, last+2, again)
		confirmed, err := lead.ServeConfirm(t.Context())
		require.NoError(t, err)
		require.Equal(t, again, confirmed)
	})
}

func notLeader(t *testing.T, lead *mate, err error) {
	t.Helper()
	e, ok := errors.AsType[*NotLeaderError](err)
	require.True(t, ok, err)
	require.Equal(t, lead.identity, e.Leader)
}

// Without a leader nothing is done, and who asks waits as long as its ctx lasts.
func TestForwardWaitsForLeader(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x, y := g.others(lead)[0], g.others(lead)[1]
		for _, z := range g.nodes {
			g.net.isolate(z.identity, true)
		}
		time.Sleep(10 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		_, err := x.Propose(ctx, fsm.NewCreateLog(createLog("a")))
		require.ErrorIs(t, err, ErrNotLeader)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, ErrUncertain)
		require.Equal(t, 5*time.Second, time.Since(begin))
		err = y.Confirm(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, ErrUncertain)

		var wg sync.WaitGroup
		for i, z := range g.nodes {
			wg.Go(func() {
				_, err := z.Propose(t.Context(), fsm.NewCreateLog(createLog(fmt.Sprint(i))))
				require.NoError(t, err)
				require.NoError(t, z.Confirm(t.Context()))
			})
		}
		time.Sleep(time.Minute)
		for _, z := range g.nodes {
			g.net.isolate(z.identity, false)
		}
		wg.Wait()
		require.Equal(t, []string{"0", "1", "2"}, logNames(x.Member))
	})
}

// A member that closes ends what it forwarded; nobody waits for the other side.
func TestForwardClose(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x := g.others(lead)[0]
		g.net.setKind(x.identity, lead.identity, "peer", etherFault{lost: true})
		errs := make(chan error, 2)
		go func() {
			_, err := x.Propose(t.Context(), fsm.NewCreateLog(createLog("a")))
			errs <- err
		}()
		go func() { errs <- x.Confirm(t.Context()) }()
		time.Sleep(time.Second)
		begin := time.Now()
		x.crash()
		for range 2 {
			err := <-errs
			require.True(t, errors.Is(err, ErrClosed) || errors.Is(err, ErrUncertain), err)
		}
		require.Less(t, time.Since(begin), time.Second)
	})
}

// A lost answer leaves the outcome unknown, as soon as another leader is there
// and at the latest after a while.
func TestForwardLostAnswer(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x := g.others(lead)[0]
		g.net.setKind(lead.identity, x.identity, "peer", etherFault{lost: true})
		begin := time.Now()
		_, err := x.Propose(t.Context(), fsm.NewCreateLog(createLog("a")))
		require.ErrorIs(t, err, ErrUncertain)
		require.Equal(t, forwardTimeout, time.Since(begin))
		require.Equal(t, []string{"a"}, logNames(x.Member), "it was done")
		require.Positive(t, g.net.count("peer"))

		go func() {
			time.Sleep(time.Second)
			lead.crash()
		}()
		begin = time.Now()
		_, err = x.Propose(t.Context(), fsm.NewCreateLog(createLog("b")))
		require.ErrorIs(t, err, ErrUncertain)
		require.Less(t, time.Since(begin), forwardTimeout)
		// A confirmation does nothing: it goes on at the next leader.
		require.NoError(t, x.Confirm(t.Context()))
		require.Equal(t, []string{"a", "b"}, logNames(x.Member))
	})
}

// A member that a snapshot brings past the command does not learn the outcome;
// nor does one that was asked too late.
func TestForwardPassed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x := g.others(lead)[0]
		cut := raft.ReloadableConfig{SnapshotInterval: time.Hour, SnapshotThreshold: 1 << 20, HeartbeatTimeout: time.Second, ElectionTimeout: time.Second}
		require.NoError(t, lead.raft.ReloadConfig(cut))
		g.net.setKind(lead.identity, x.identity, "raft", etherFault{delay: 200 * time.Millisecond}) // what is lost would depose the leader
		g.net.setKind(x.identity, lead.identity, "raft", etherFault{lost: true})
		g.net.setKind(lead.identity, x.identity, "raft", etherFault{lost: true})
		errs := make(chan error, 1)
		go func() {
			_, err := x.Propose(t.Context(), fsm.NewCreateLog(createLog("a")))
			errs <- err
		}()
		g.await(time.Second, func() bool { return len(logNames(lead.Member)) == 1 })
		require.NoError(t, lead.raft.Snapshot().Error())
		g.net.setKind(x.identity, lead.identity, "raft", etherFault{})
		g.net.setKind(lead.identity, x.identity, "raft", etherFault{})
		err := <-errs
		require.ErrorIs(t, err, ErrUncertain)
		require.ErrorIs(t, err, errPassed)
		require.Equal(t, []string{"a"}, logNames(x.Member))

		index := lead.Applied()
		_, err = x.learn(t.Context(), index)
		require.Error(t, err)
		_, err = lead.learn(t.Context(), index)
		require.NoError(t, err)
		for range resultsKept {
			_, err := lead.Propose(t.Context(), fsm.NewDeleteLog(9))
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
		_, err = lead.learn(t.Context(), index)
		require.ErrorIs(t, err, errPassed)
		_, err = lead.learn(t.Context(), lead.Applied())
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}
