package fsm

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
)

// TestProducersAreKept lets a log stay on one chain after another. Each first
// notes where the producers stand, but at times it ends before that note, or
// anything else, is durable. Whatever is trimmed on the way, the chain of the
// latest durable note must be that of one of the last two extents.
func TestProducersAreKept(t *testing.T) {
	r := seeded(t)
	s := New()
	mustApply(t, s, NewInitCluster(fragment.ClusterID{15: 7}, 1))
	mustApply(t, s, NewRegisterBoot(Node{Identity: "n1-a", Name: "n1", Boot: 1}))
	id := mustApply(t, s, NewCreateLog("a", LogConfig{EntryBytesMax: 1}, 0)).Log.ID
	tail, noted := fragment.LSN(1), true // noted: the latest stay's note is durable
	var previous, holder fragment.Attachment
	for range 500 {
		e := mustApply(t, s, NewGrantChain("n1-a", 1, 8, KindObjects, 0)).Epoch
		previous = mustApply(t, s, NewAttach(id, e, tail, previous, !noted)).Attachment
		check := func() {
			l, _ := s.Log(id)
			lastTwo := l.Extents[max(len(l.Extents)-2, 0):]
			require.NoError(t, s.Check())
			require.True(t, holder == 0 || slices.ContainsFunc(lastTwo, func(x Extent) bool { return x.Attachment == holder }),
				"attachment %d holds the producers: %+v", holder, l.Extents)
		}
		trim := func() {
			if r.IntN(2) == 0 {
				mustApply(t, s, NewTrim(id, tail-min(tail, fragment.LSN(r.IntN(4))), tail))
			}
			check()
		}
		trim()
		if noted = r.IntN(2) == 0; noted {
			holder, tail = previous, tail+fragment.LSN(r.IntN(3))
			trim()
		}
		if noted && r.IntN(3) == 0 {
			mustApply(t, s, NewDetach(id, previous, tail))
			continue
		}
		mustApply(t, s, NewBeginSeal(e, 0, "n1-a"))
		mustApply(t, s, NewSeal(e, Seal{At: 1, Index: Ref{Key: "seal", Size: 1}}))
		check()
	}
}
