package fsm

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// TestRecovery goes back to an old snapshot and puts in what a bucket would
// tell of what happened since. Afterwards each log must be where it was, and
// whatever is given out must be new.
func TestRecovery(t *testing.T) {
	r := seeded(t)
	told := map[string]int{}
	for range 3 * *roundFlag {
		lost, w := New(), newTwin()
		mustApply(t, lost, NewInitCluster(fragment.ClusterID{15: 7}, 1))
		var old *Frozen
		for i := range 400 {
			if i == 200 {
				old = lost.Freeze()
			}
			c := w.randomCommand(r)
			switch c.GetCommand().(type) {
			case *fsmpb.Command_AdoptChain, *fsmpb.Command_AdoptLog, *fsmpb.Command_AdoptExtents:
				continue // they make up a past that no bucket would tell of
			}
			w.apply(c)
			_, err := lost.Apply(lost.AppliedIndex()+1, c)
			require.NoError(t, err)
		}
		s := thaw(t, old)
		recoverChains(t, s, lost)
		recoverLogs(t, s, lost, told)
		require.NoError(t, s.Check())
		for l := range lost.Logs("") {
			compareLogs(t, s, l)
		}
		require.Equal(t, lost.Cluster().Incarnation+1, s.Cluster().Incarnation)
		e := mustApply(t, s, NewGrantChain("z", 1, 8, KindObjects, 0)).Epoch
		require.Greater(t, e, lost.HighestEpoch())
		l := mustApply(t, s, NewCreateLog("new", LogConfig{EntryBytesMax: 1}, 0)).Log
		require.Greater(t, l.ID, lost.HighestLog())
		a := mustApply(t, s, NewAttach(l.ID, e, 1, 0, false)).Attachment
		require.Greater(t, a, lost.HighestAttachment())
	}
	t.Log(told)
	require.Len(t, told, 3, "logs must have been put in, have gone on, and have been blank")
}

// TestAdoptCuts: a chain is put in with its cuts, which follow each other from
// the first fragment on and end before its seal.
func TestAdoptCuts(t *testing.T) {
	s := New()
	mustApply(t, s, NewInitCluster(fragment.ClusterID{15: 7}, 1))
	mustApply(t, s, NewNextIncarnation(1, 10, 10, 10, []string{"z"}, "z"))
	mustApply(t, s, NewRegisterBoot(Node{Identity: "z", Name: "a", Boot: 1}))
	ref := Ref{Key: "index", Size: 1}
	c := Chain{Epoch: 7, Node: "y", Boot: 3, Incarnation: 1, Window: 8, Kind: KindObjects, Sealer: "z"}
	for _, wrong := range [][]Cut{{{2, 5, ref}}, {{1, 5, ref}, {6, 9, ref}}, {{1, 1, ref}}, {{1, 5, Ref{}}}} {
		c.Cuts = wrong
		r, err := s.Apply(s.AppliedIndex()+1, NewAdoptChain(c))
		require.NoError(t, err)
		var invalid *InvalidError
		require.ErrorAs(t, r.Err, &invalid)
	}
	c.Cuts = []Cut{{1, 5, ref}, {5, 9, ref}}
	mustApply(t, s, NewAdoptChain(c))
	there, ok := s.Chain(7)
	require.True(t, ok)
	require.Equal(t, c.Cuts, there.Cuts)
	r, err := s.Apply(s.AppliedIndex()+1, NewSeal(7, Seal{At: 8, Index: ref}))
	require.NoError(t, err)
	require.Error(t, r.Err, "below its cuts")
	mustApply(t, s, NewSeal(7, Seal{At: 9, Index: ref}))
	require.NoError(t, s.Check())
}

// recoverChains begins the next incarnation, with one new node, and puts in
// the chains that were granted since, with the seals that are known.
func recoverChains(t *testing.T, s, lost *State) {
	for s.Cluster().Incarnation <= lost.Cluster().Incarnation {
		mustApply(t, s, NewNextIncarnation(s.Cluster().Incarnation, lost.HighestEpoch(), lost.HighestLog(), lost.HighestAttachment(), []string{"z"}, "z"))
	}
	mustApply(t, s, NewRegisterBoot(Node{Identity: "z", Name: "a", Boot: 1}))
	for c := range lost.Chains() {
		adopted := *c
		adopted.Sealer = "z"
		mustApply(t, s, NewAdoptChain(adopted))
		mustApply(t, s, NewAdoptChain(adopted))
		if c.State == ChainSealed {
			mustApply(t, s, NewSeal(c.Epoch, c.Seal))
		}
	}
	require.Equal(t, lost.ChainCount(), s.ChainCount())
}

// recoverLogs puts in the logs that were made since, and where the others went.
func recoverLogs(t *testing.T, s, lost *State, told map[string]int) {
	for _, l := range slices.Collect(s.Logs("")) {
		if _, ok := lost.Log(l.ID); !ok {
			mustApply(t, s, NewDeleteLog(l.ID))
		}
	}
	for l := range lost.Logs("") {
		known, ok := s.Log(l.ID)
		if !ok {
			told["put in"]++
			mustApply(t, s, NewAdoptLog(*l))
			mustApply(t, s, NewAdoptLog(*l))
			continue
		}
		last, _ := known.Last()
		there := slices.ContainsFunc(l.Extents, func(x Extent) bool { return x.Attachment == last.Attachment })
		since := slices.DeleteFunc(slices.Clone(l.Extents), func(x Extent) bool { return x.Attachment <= last.Attachment })
		blank := false
		if len(since) > 0 {
			told["went on"]++
			if c, ok := s.Chain(last.Epoch); ok && !there && c.State == ChainSealed && since[0].First == last.First {
				told["went on after a blank one"]++
				blank = true
			}
		}
		gone := *l
		gone.Extents = since
		for range 2 {
			mustApply(t, s, NewAdoptExtents(gone, last.Attachment, blank))
		}
	}
}

// compareLogs tells whether the log is where it was. The end of a last stay is
// known to the seal of its chain only, if it was detached since.
func compareLogs(t *testing.T, s *State, lost *Log) {
	l, ok := s.Log(lost.ID)
	require.True(t, ok, "log %d", lost.ID)
	want, have := slices.Clone(lost.Extents), slices.Clone(l.Extents)
	if n := len(have); n > 0 && have[n-1].End == 0 {
		require.Len(t, want, n, "log %d: %+v, not %+v", lost.ID, l, lost)
		want[n-1].End = 0
	}
	require.Equal(t, want, have, "log %d", lost.ID)
	require.Equal(t, lost.First, l.First, "log %d", lost.ID)
	require.Equal(t, lost.Generation, l.Generation, "log %d", lost.ID)
}
