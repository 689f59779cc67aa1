package node_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/wal/offline"
)

// put appends entries one by one.
func put(t *testing.T, w *wpd.Writer, entries ...string) {
	t.Helper()
	for _, e := range entries {
		_, err := w.Append(t.Context(), []byte(e))
		require.NoError(t, err)
	}
}

// many are entries that take more than one segment.
func many(what string) (all []string) {
	for i := range 40 {
		all = append(all, fmt.Sprintf("%s-%d", what, i))
	}
	return all
}

func openWriter(t *testing.T, l *wpd.Log, o ...wpd.WriterOption) *wpd.Writer {
	t.Helper()
	w, err := l.Writer(t.Context(), o...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.Close() }) // its node may be gone
	return w
}

// content is all that a log holds, by LSN.
func content(t *testing.T, p *testcluster.Proc, name string) map[wpd.LSN]string {
	t.Helper()
	log, err := p.Client().Log(t.Context(), name)
	require.NoError(t, err)
	all := map[wpd.LSN]string{}
	for e, err := range log.Read(t.Context(), wpd.Earliest) {
		require.NoError(t, err)
		all[e.LSN] = string(e.Data)
	}
	return all
}

// openRecovery opens one in a world whose node does not run.
func openRecovery(t *testing.T, w *testcluster.World, snapshot []byte) (*node.Recovery, error) {
	c := node.RecoverConfig{Store: blobstore.New(w.Raw, blobstore.Options{}), DataDir: w.Dir}
	if snapshot != nil {
		c.Snapshot = bytes.NewReader(snapshot)
	}
	r, err := node.OpenRecovery(t.Context(), c)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, r.Close()) })
	}
	return r, err
}

func recovered(t *testing.T, w *testcluster.World, snapshot []byte) *cluster.RecoveryReport {
	t.Helper()
	r, err := openRecovery(t, w, snapshot)
	require.NoError(t, err)
	_, err = r.Look(t.Context())
	require.NoError(t, err)
	report, err := r.Run(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return report
}

func saved(t *testing.T, p *testcluster.Proc) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, p.Node.SaveSnapshot(t.Context(), &b))
	return b.Bytes()
}

func whole(t *testing.T, w *testcluster.World) {
	t.Helper()
	r, err := offline.Verify(t.Context(), blobstore.New(w.Raw, blobstore.Options{}), offline.VerifyOptions{})
	require.NoError(t, err)
	require.True(t, r.OK(), "%v", r.Problems)
}

// found is a log in a report; nil if it is not there.
func found(r *cluster.RecoveryReport, name string) *cluster.RecoveredLog {
	for i, l := range r.Logs {
		if l.Name == name {
			return &r.Logs[i]
		}
	}
	return nil
}

// TestRestoreLogs: what becomes of a log, by what happened to it after the
// metadata were saved; and of those who write to it.
func TestRestoreLogs(t *testing.T) {
	w, _ := newWorld(t)
	p := start(t, w)
	kept := openWriter(t, create(t, p, "kept"), wpd.ProducerID("p"))
	put(t, kept, many("kept")...)
	doomed := create(t, p, "doomed")
	put(t, openWriter(t, doomed), "old")
	again := create(t, p, "again")
	put(t, openWriter(t, again), "first life")
	exclusive := create(t, p, "exclusive")
	put(t, openWriter(t, exclusive, wpd.Exclusive()), "one")
	create(t, p, "empty")
	metadata := saved(t, p)

	put(t, kept, many("more")...)
	keptAck, err := kept.AppendBatch(t.Context(), []wpd.Entry{{Data: []byte("last")}})
	require.NoError(t, err)
	require.NoError(t, p.Client().Delete(t.Context(), "doomed"))
	require.NoError(t, p.Client().Delete(t.Context(), "again"))
	put(t, openWriter(t, create(t, p, "again")), "second life")
	put(t, openWriter(t, exclusive, wpd.Exclusive()), "two")
	fresh := create(t, p, "fresh")
	put(t, openWriter(t, fresh), many("fresh")...)
	require.NoError(t, fresh.Trim(t.Context(), 11))
	create(t, p, "never-written")
	// The next chain: every log is attached anew, and what was trimmed is told.
	crash(t, w, p)
	p = start(t, w)
	put(t, openWriter(t, create(t, p, "fresh")), "after")
	crash(t, w, p)

	require.NoError(t, os.RemoveAll(w.Dir))
	r := recovered(t, w, metadata)
	require.Empty(t, r.Conflicts)
	require.Equal(t, "known", found(r, "kept").State)
	require.EqualValues(t, keptAck.To, found(r, "kept").Tail)
	require.Equal(t, "adopted", found(r, "again").State)
	require.EqualValues(t, 2, found(r, "again").Tail)
	require.Equal(t, "adopted", found(r, "fresh").State)
	require.EqualValues(t, 11, found(r, "fresh").First)
	require.True(t, found(r, "exclusive").Exclusive)
	require.Nil(t, found(r, "never-written"))
	require.Len(t, r.Dropped, 1)
	require.Equal(t, "again", r.Dropped[0].Name)
	require.Greater(t, r.BucketRaftIndex, r.RaftIndex)

	p = start(t, w)
	require.Len(t, content(t, p, "kept"), 81)
	require.Equal(t, "last", content(t, p, "kept")[keptAck.From])
	require.Equal(t, map[wpd.LSN]string{1: "old"}, content(t, p, "doomed"), "nobody knows that it was deleted")
	require.Equal(t, map[wpd.LSN]string{1: "second life"}, content(t, p, "again"))
	require.Equal(t, map[wpd.LSN]string{1: "one", 2: "two"}, content(t, p, "exclusive"))
	after := content(t, p, "fresh")
	require.Len(t, after, 31)
	require.Equal(t, "fresh-10", after[11])
	require.Equal(t, "after", after[41])
	require.Empty(t, content(t, p, "empty"))
	_, err = p.Client().Log(t.Context(), "never-written")
	require.ErrorIs(t, err, wpd.ErrNotFound)

	// A producer goes on where it was, and an exclusive writer opens again.
	resumed := openWriter(t, create(t, p, "kept"), wpd.ProducerID("p"))
	require.EqualValues(t, 81, resumed.Stored())
	put(t, resumed, "and on")
	put(t, openWriter(t, create(t, p, "exclusive"), wpd.Exclusive()), "three")
	var old, now fragment.LogID
	for _, l := range r.Logs {
		old = max(old, l.ID)
	}
	info, err := create(t, p, "made-after").Info(t.Context())
	require.NoError(t, err)
	now = fragment.LogID(info.ID)
	require.Greater(t, now, old+1000, "ids that the lost metadata may have given out are not given out again")
	metadataNow := metadataOf(t, saved(t, p))
	stop(t, p)
	whole(t, w)

	// What was cut off the chains is taken in as it was: nobody reads it again.
	for c := range metadataOf(t, metadata).Chains() {
		now, ok := metadataNow.Chain(c.Epoch)
		require.True(t, ok)
		require.Greater(t, len(now.Cuts), len(c.Cuts), "chain %d", c.Epoch)
	}
	adopted, ok := metadataNow.Chain(2)
	require.True(t, ok)
	require.Equal(t, fsm.ChainSealed, adopted.State)
}

func metadataOf(t *testing.T, b []byte) *fsm.State {
	t.Helper()
	s, err := fsm.Restore(bytes.NewReader(b))
	require.NoError(t, err)
	return s
}

// cutAt is a store whose user dies at its n-th create: right before it, or right
// after, without hearing of it. Nothing gets through to it afterwards.
type cutAt struct {
	blobstore.Raw
	left  int
	after bool
	die   context.CancelFunc
}

func (c *cutAt) dead() error {
	if c.left <= 0 {
		return testcluster.ErrCut
	}
	return nil
}

func (c *cutAt) Create(ctx context.Context, key string, parts [][]byte) error {
	if c.left--; c.left > 0 {
		return c.Raw.Create(ctx, key, parts)
	}
	if c.left == 0 && c.after {
		if err := c.Raw.Create(ctx, key, parts); err != nil {
			return err
		}
	}
	c.die()
	return testcluster.ErrCut
}

func (c *cutAt) ReadRange(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	if err := c.dead(); err != nil {
		return nil, 0, err
	}
	return c.Raw.ReadRange(ctx, key, offset, length)
}

func (c *cutAt) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	if err := c.dead(); err != nil {
		return func(yield func(string, error) bool) { yield("", err) }
	}
	return c.Raw.List(ctx, prefix, after)
}

// TestRecoveryCutOff cuts a recovery off at each of its creates in the bucket.
// Whatever it had done, the node does not start on the directory again by
// itself, another recovery comes to the same end, and all is there.
func TestRecoveryCutOff(t *testing.T) {
	w, mem := newWorld(t)
	p := start(t, w)
	for _, name := range []string{"a", "b"} {
		put(t, openWriter(t, create(t, p, name)), many(name)...)
	}
	metadata := saved(t, p)
	crash(t, w, p)
	p = start(t, w)
	put(t, openWriter(t, create(t, p, "a")), many("more")...)
	put(t, openWriter(t, create(t, p, "c")), many("c")...)
	crash(t, w, p)
	base := mem.Clone()
	cuts := 0
	for _, from := range []struct {
		name     string
		metadata []byte
		dir      bool
	}{{"the data directory", nil, true}, {"a snapshot", metadata, false}, {"the bucket alone", nil, false}} {
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				mem := base.Clone()
				x := &testcluster.World{Raw: mem, Dir: filepath.Join(t.TempDir(), "node"), Config: w.Config}
				if from.dir {
					require.NoError(t, os.CopyFS(x.Dir, os.DirFS(w.Dir)))
				}
				ctx, die := context.WithCancel(t.Context())
				store := &cutAt{Raw: mem, left: n, after: after, die: die}
				c := node.RecoverConfig{Store: blobstore.New(store, blobstore.Options{}), DataDir: x.Dir}
				if from.metadata != nil {
					c.Snapshot = bytes.NewReader(from.metadata)
				}
				r, err := node.OpenRecovery(ctx, c)
				require.NoError(t, err)
				_, err = r.Look(ctx)
				require.NoError(t, err)
				_, err = r.Run(ctx)
				require.NoError(t, r.Close())
				die()
				if store.left > 0 {
					require.NoError(t, err)
					require.Greater(t, n, 4, "a boot, an incarnation, and a seal and an index at least")
					break
				}
				cuts++
				require.Error(t, err, "%s, create %d, after it: %t", from.name, n, after)
				_, err = x.Start(t.Context())
				var cut *cluster.RecoveryCutError
				require.ErrorAs(t, err, &cut, "%s, create %d", from.name, n)
				report := recovered(t, x, from.metadata)
				require.Empty(t, report.Conflicts)
				p := start(t, x)
				require.Len(t, content(t, p, "a"), 80)
				require.Len(t, content(t, p, "b"), 40)
				require.Len(t, content(t, p, "c"), 40)
				put(t, openWriter(t, create(t, p, "c")), "on")
				stop(t, p)
				whole(t, x)
			}
		}
	}
	require.Greater(t, cuts, 20)
}

// TestRecoveryRefuses: what can't be, is told, and changes nothing.
func TestRecoveryRefuses(t *testing.T) {
	w, mem := newWorld(t)
	p := start(t, w)
	put(t, openWriter(t, create(t, p, "a")), "x")
	metadata := saved(t, p)
	_, err := openRecovery(t, w, nil)
	var locked *cluster.LockedError
	require.ErrorAs(t, err, &locked, "a node runs on it")
	stop(t, p)
	keys := mem.Keys("")
	refused := func(x *testcluster.World, snapshot []byte, target any) {
		t.Helper()
		_, err := openRecovery(t, x, snapshot)
		require.ErrorAs(t, err, target)
	}
	elsewhere := func(raw blobstore.Raw) *testcluster.World {
		return &testcluster.World{Raw: raw, Dir: filepath.Join(t.TempDir(), "node")}
	}

	damaged := bytes.Clone(metadata)
	damaged[len(damaged)/2] ^= 1
	var corrupt *fsm.CorruptError
	x := elsewhere(mem)
	refused(x, damaged, &corrupt)
	refused(x, metadata[:len(metadata)-1], &corrupt)
	refused(x, []byte{}, &corrupt)
	require.NoDirExists(t, x.Dir)

	other, otherMem := newWorld(t)
	stop(t, start(t, other))
	var foreign *cluster.SnapshotError
	refused(elsewhere(otherMem), metadata, &foreign)
	var belongs *cluster.OtherClusterError
	refused(&testcluster.World{Raw: otherMem, Dir: w.Dir}, nil, &belongs)
	var empty *cluster.BucketError
	refused(elsewhere(blobtest.NewMem()), metadata, &empty)

	asked := []string{}
	_, err = node.OpenRecovery(t.Context(), node.RecoverConfig{
		Store: blobstore.New(mem, blobstore.Options{}), DataDir: w.Dir, Name: "another",
	})
	var name *cluster.NameError
	require.ErrorAs(t, err, &name)
	r, err := node.OpenRecovery(t.Context(), node.RecoverConfig{
		Store: blobstore.New(mem, blobstore.Options{}), DataDir: w.Dir,
		Alive: func(_ context.Context, cluster, addr string) bool { asked = append(asked, addr); return true },
	})
	require.NoError(t, err, "it had no address")
	require.NoError(t, r.Close())
	require.Empty(t, asked)
	require.Equal(t, keys, mem.Keys(""))
}
