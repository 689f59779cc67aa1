package offline_test

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/offline"
)

// TestFinder: what chains there are, who wrote them and how far they go, what is
// cut off them, and which stays of logs are on them; before and after a seal.
func TestFinder(t *testing.T) {
	w := newWorld(t)
	_, err := offline.NewFinder(t.Context(), blobstore.New(blobtest.NewMem(), blobstore.Options{}), offline.Options{})
	require.ErrorIs(t, err, fs.ErrNotExist, "a bucket of nobody's")
	f, err := offline.NewFinder(t.Context(), w.store, offline.Options{})
	require.NoError(t, err)

	cw := w.chain(3)
	a, b := w.attach(cw, 1, "a"), w.attach(cw, 2, "b")
	w.fragment(cw, 2, a)
	require.NoError(t, cw.CutNow(t.Context()))
	w.fragment(cw, 1, a, b)
	require.NoError(t, cw.CutNow(t.Context()))
	w.fragment(cw, 3, b)
	find := func() *offline.FoundChain {
		t.Helper()
		epochs, err := f.Epochs(t.Context())
		require.NoError(t, err)
		require.Equal(t, []fragment.Epoch{3}, epochs)
		all, err := f.Find(t.Context(), epochs)
		require.NoError(t, err)
		require.Len(t, all, 1)
		return all[0]
	}
	x := find()
	require.Equal(t, node, x.Opening.Node)
	require.EqualValues(t, 4, x.Opening.Window)
	require.True(t, x.Written())
	require.False(t, x.Sealed)
	require.EqualValues(t, 1, x.Incarnation)
	require.Equal(t, cw.Durable()+1, x.End)
	cuts, err := f.Cuts(t.Context(), x, 1)
	require.NoError(t, err)
	require.Equal(t, w.cuts, cuts)
	cuts, err = f.Cuts(t.Context(), x, w.cuts[0].To)
	require.NoError(t, err)
	require.Equal(t, w.cuts[1:], cuts)
	cuts, err = f.Cuts(t.Context(), x, w.cuts[0].To+1)
	require.NoError(t, err)
	require.Empty(t, cuts)
	check := func(x *offline.FoundChain) {
		t.Helper()
		require.Len(t, x.Stays, 2)
		for i, m := range []*model{a, b} {
			s := x.Stays[i]
			require.Equal(t, m.id, s.Log)
			require.Equal(t, m.attachment, s.Attachment)
			require.Equal(t, m.name, s.Attached.Name)
			require.EqualValues(t, 1, s.First)
			require.EqualValues(t, len(m.entries)+1, s.End)
			require.False(t, s.Missing)
		}
	}
	check(x)
	sealed := w.seal(cw)
	x = find()
	require.True(t, x.Sealed)
	require.Equal(t, sealed.At, x.End)
	check(x)
	cuts, err = f.Cuts(t.Context(), x, 1)
	require.NoError(t, err)
	require.Equal(t, w.cuts, cuts, "the seal's own index is none")
	require.Same(t, x, find(), "a sealed chain is not read again")

	// An index that can't be read is none; the next chain has only a seal.
	require.True(t, w.mem.Lose(w.cuts[1].Index.Key))
	cuts, err = f.Cuts(t.Context(), x, 1)
	require.NoError(t, err)
	require.Equal(t, w.cuts[:1], cuts)
	w.cuts, w.stays = nil, nil
	w.sealAs(w.identity(4), 0)
	all, err := f.Find(t.Context(), []fragment.Epoch{4})
	require.NoError(t, err)
	require.False(t, all[0].Written())
	require.True(t, all[0].Sealed)
}
