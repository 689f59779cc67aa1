package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// An answer to what a leader sent before it was deposed does not confirm it,
// though raft itself takes it for one.
func TestConfirmOldAnswers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x, y := g.others(lead)[0], g.others(lead)[1]
		slow := etherFault{delay: 250 * time.Millisecond}
		g.net.setKind(x.identity, lead.identity, "raft", slow)
		g.net.setKind(y.identity, lead.identity, "raft", slow)
		time.Sleep(time.Second)
		lead.raft.VerifyLeader() // sends heartbeats, which are there at once
		time.Sleep(time.Millisecond)
		g.net.setKind(lead.identity, x.identity, "raft", etherFault{lost: true})
		g.net.setKind(lead.identity, y.identity, "raft", etherFault{lost: true})
		require.NoError(t, y.transport.TimeoutNow(raft.ServerID(x.identity), raft.ServerAddress(x.identity), &raft.TimeoutNowRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(y.identity), Addr: []byte(y.identity)},
		}, &raft.TimeoutNowResponse{}))
		g.await(100*time.Millisecond, x.leads)
		_, err := x.Propose(t.Context(), fsm.NewCreateLog("a", fsm.LogConfig{EntryBytesMax: 1}, 0))
		require.NoError(t, err)
		require.True(t, lead.leads(), "it knows nothing yet")

		verified := make(chan error, 1)
		go func() { verified <- lead.raft.VerifyLeader().Error() }()
		_, err = lead.confirmHere(t.Context())
		require.ErrorIs(t, err, ErrNotLeader)
		require.NoError(t, <-verified, "raft believes it")
		_, err = lead.ServeRenew(t.Context(), Renewal{Identity: y.identity, Boot: 1, Incarnation: 1})
		require.ErrorIs(t, err, ErrNotLeader)
	})
}

// A leader that only members without a vote can hear is none.
func TestAnswersMajority(t *testing.T) {
	voter, other := raft.Voter, raft.Nonvoter
	servers := []raft.Server{
		{Suffrage: voter, ID: "a"}, {Suffrage: voter, ID: "b"}, {Suffrage: voter, ID: "c"},
		{Suffrage: other, ID: "d"}, {Suffrage: other, ID: "e"},
	}
	var a answers
	says := func(from raft.ServerID, term, sent uint64) {
		a.note(from, term, sent, &raft.AppendEntriesResponse{Success: true, Term: term})
	}
	yes := func(term, since uint64) bool {
		ok, _ := a.majority(servers, "a", term, since)
		return ok
	}
	before := a.now()
	d, e, b := a.begin(), a.begin(), a.begin()
	says("d", 7, d)
	says("e", 7, e)
	require.False(t, yes(7, before))
	_, newer := a.majority(servers, "a", 7, before)
	says("b", 7, b)
	<-newer
	require.True(t, yes(7, before))
	require.False(t, yes(8, before), "another term")
	require.False(t, yes(7, a.now()), "sent before")
	says("b", 7, a.begin())
	says("b", 7, b)
	require.True(t, yes(7, b), "a late answer takes nothing back")
	says("b", 6, a.begin())
	require.True(t, yes(7, b))

	servers[0].Suffrage = other // it leads though it lost its vote
	require.False(t, yes(7, before))
	says("c", 7, a.begin())
	require.True(t, yes(7, before))
	ok, _ := a.majority(servers[1:2], "b", 1, a.now())
	require.True(t, ok, "alone")

	// A no is a sign of life, and takes back nothing that was said before.
	says("b", 9, a.begin())
	for _, no := range []raft.AppendEntriesResponse{{Term: 9, LastLog: 5}, {Term: 10, Success: true, LastLog: 6}} {
		before = a.now()
		a.note("b", 9, a.begin(), &no)
		ok, _ = a.majority(servers[1:2], "", 9, before)
		require.False(t, ok)
		ok, _ = a.majority(servers[1:2], "", 9, 0)
		require.True(t, ok)
		x, _ := a.get("b")
		require.Equal(t, no.LastLog, x.last)
	}
	a.keep(servers[2:])
	_, ok = a.get("b")
	require.False(t, ok)
	_, ok = a.get("c")
	require.True(t, ok)
}

// All who ask at a time share a round, and none gets one that began before it
// asked.
func TestRounds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := newMember(Config{TTL: 3 * time.Second, Renew: time.Second, Logger: discard()})
		began := 0
		ended := make(chan error, 1)
		r := rounds{m: m}
		r.run = func(ctx context.Context) (uint64, error) {
			began++
			n := uint64(began)
			select {
			case <-time.After(time.Second):
				return n, nil
			case <-ctx.Done():
				ended <- ctx.Err()
				return 0, ctx.Err()
			}
		}
		got := make(chan uint64, 100)
		ask := func(n int) {
			for range n {
				go func() {
					v, err := r.do(t.Context())
					require.NoError(t, err)
					got <- v
				}()
			}
		}
		ask(1)
		time.Sleep(100 * time.Millisecond)
		ask(50)
		require.EqualValues(t, 1, <-got)
		for range 50 {
			require.EqualValues(t, 2, <-got)
		}
		require.Equal(t, 2, began)

		// A round that nobody waits for any more ends.
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error)
		go func() {
			_, err := r.do(ctx)
			errs <- err
		}()
		time.Sleep(100 * time.Millisecond)
		cancel()
		require.ErrorIs(t, <-errs, context.Canceled)
		require.ErrorIs(t, <-ended, context.Canceled)

		// One that hangs holds up nobody who gives up, nor a member that fails.
		go func() {
			_, err := r.do(t.Context())
			errs <- err
		}()
		time.Sleep(100 * time.Millisecond)
		m.fail(errStore)
		require.ErrorIs(t, <-errs, ErrFailed)
		require.NoError(t, m.Close())
		_, err := r.do(t.Context())
		require.ErrorIs(t, err, ErrClosed)
	})
}

// What a confirmation at any member shows holds all that was committed before.
func TestConfirmAnywhere(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x, y := g.others(lead)[0], g.others(lead)[1]
		g.net.setKind(lead.identity, x.identity, "raft", etherFault{delay: 300 * time.Millisecond}) // x trails
		trailed := 0
		for range 20 {
			r, err := y.Propose(t.Context(), fsm.NewCreateLog("a", fsm.LogConfig{EntryBytesMax: 1}, 0))
			require.NoError(t, err)
			if len(logNames(x.Member)) == 0 {
				trailed++
			}
			require.NoError(t, x.Confirm(t.Context()))
			require.Len(t, logNames(x.Member), 1)
			_, err = y.Propose(t.Context(), fsm.NewDeleteLog(r.Log.ID))
			require.NoError(t, err)
			require.NoError(t, x.Confirm(t.Context()))
			require.Empty(t, logNames(x.Member))
		}
		require.Positive(t, trailed)
	})
}

// In company, what another node wrote may be newer than all that this one had
// when it began, and than it has now; but not than a confirmation shows.
func TestCheckRaftIndexInCompany(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x, y := g.others(lead)[0], g.others(lead)[1]
		g.net.setKind(lead.identity, x.identity, "raft", etherFault{delay: 300 * time.Millisecond})
		trailed := false
		for range 20 {
			y.grant()
			trailed = trailed || x.Applied() < y.Applied()
			require.NoError(t, x.CheckRaftIndex(t.Context(), "chains/1/1", y.Nonce(), 1, y.Applied()))
		}
		require.True(t, trailed)
		err := x.CheckRaftIndex(t.Context(), "chains/1/1", y.Nonce(), 1, y.Applied()+1)
		e, ok := errors.AsType[*RolledBackError](err)
		require.True(t, ok, err)
		require.Equal(t, "raft index", e.What)
	})
}
