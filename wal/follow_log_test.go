package wal

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
	"github.com/wpd-io/wpd/segment"
)

// viewed is a Meta that can only be viewed.
type viewed struct {
	Meta
	view func(f func(*fsm.State))
}

func (m *viewed) View(f func(*fsm.State)) { m.view(f) }

// TestViewWaitsForNoFollower: whoever views the metadata keeps new commands from
// being applied, and must not wait for a chain that is taking in its feed. So the
// metadata are viewed here while the Follower is in the middle of that: it calls
// Reset then.
func TestViewWaitsForNoFollower(t *testing.T) {
	state := fsm.New()
	for i, c := range []*fsmpb.Command{
		fsm.NewInitCluster(fragment.ClusterID{7}, 1),
		fsm.NewRegisterBoot(fsm.Node{Identity: "b-1", Name: "b", Boot: 1, Nonce: fragment.Nonce{1}}),
		fsm.NewGrantChain("b-1", 1, 4, fsm.KindObjects, 0),
	} {
		r, err := state.Apply(uint64(i+1), c)
		require.NoError(t, err)
		require.NoError(t, r.Err)
	}
	c, ok := state.Chain(1)
	require.True(t, ok)
	f := &follow{epoch: c.Epoch}
	_, f.cancel = context.WithCancel(t.Context())
	defer f.cancel()
	look := func() {}
	f.chain = segment.NewFollower(chainOf(fragment.ClusterID{7}, c), nil, segment.FollowerOptions{Reset: func() { look() }})
	s := &Service{follows: newFollows()}
	s.follows.chains[c.Epoch] = f
	looked := 0
	s.cfg.Meta = &viewed{view: func(see func(*fsm.State)) {
		look = func() {
			see(state)
			looked++
		}
		f.chain.Committed([]segment.Cut{{From: 1, To: 9}}) // more than it knew
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.lookAtFollowed()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a view of the metadata waits for the Follower")
	}
	require.Equal(t, 1, looked)
}
