package node_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/wal"
)

// small are settings that make chains of many small fragments and segments.
func small() wal.Config {
	return wal.Config{Window: 4, FragmentBytes: 64 << 10, CutFragments: 8}
}

// underStore is what tests do to a store behind a node's back.
type underStore interface {
	blobstore.Raw
	Keys(prefix string) []string
	Object(key string) ([]byte, bool)
	Put(key string, body []byte)
	Lose(key string) bool
	Clone() *blobtest.Mem
}

// newStore makes an empty store: in memory, or, where the environment names a
// bucket, a part of that.
func newStore(t testing.TB) underStore {
	t.Helper()
	if outside == nil {
		return blobtest.NewMem()
	}
	b, err := outside.Open(os.Getenv(bucketEnv))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.CloseBucket()) })
	return b
}

// newWorld makes a world on an empty store.
func newWorld(t testing.TB) (*testcluster.World, underStore) {
	t.Helper()
	mem := newStore(t)
	return worldOn(t, mem), mem
}

func worldOn(t testing.TB, raw blobstore.Raw) *testcluster.World {
	t.Helper()
	return &testcluster.World{Raw: raw, Dir: filepath.Join(t.TempDir(), "node"), Config: node.Config{Log: small()}}
}

// start opens a node that is closed, or was crashed, at the test's end.
func start(t testing.TB, w *testcluster.World) *testcluster.Proc {
	t.Helper()
	p, err := w.Start(t.Context())
	require.NoError(t, err)
	return p
}

// crash crashes a node, and deletes everything of it but Raft's files.
func crash(t testing.TB, w *testcluster.World, p *testcluster.Proc) {
	t.Helper()
	p.Crash()
	require.NoError(t, testcluster.KeepRaftOnly(w.Dir))
}

// stop closes a node in good order.
func stop(t testing.TB, p *testcluster.Proc) {
	t.Helper()
	require.NoError(t, p.Stop())
}

// readBack reads logs through a node.
func readBack(t testing.TB, p *testcluster.Proc, l *testcluster.Ledger, names ...string) []testcluster.Contents {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all []testcluster.Contents
	for _, name := range names {
		log, err := testcluster.OpenLog(ctx, p.Client(), name)
		require.NoError(t, err)
		c, err := testcluster.ReadBack(ctx, log, name, l)
		require.NoError(t, err)
		all = append(all, c)
	}
	return all
}

// check reads all back through a node, stops it, reads all back from the
// bucket alone, and holds both against the ledger.
func check(t testing.TB, w *testcluster.World, p *testcluster.Proc, l *testcluster.Ledger, names []string, expect testcluster.Expect) {
	t.Helper()
	r := testcluster.Check(l, readBack(t, p, l, names...), expect)
	require.NoError(t, r.Err())
	stop(t, p)
	all, err := testcluster.ReadBucket(t.Context(), blobstore.New(w.Raw, blobstore.Options{}), names, l)
	require.NoError(t, err)
	r = testcluster.Check(l, all, expect)
	require.NoError(t, r.Err(), "from the bucket alone")
}

// create makes a log.
func create(t testing.TB, p *testcluster.Proc, name string) *wpd.Log {
	t.Helper()
	log, err := testcluster.OpenLog(t.Context(), p.Client(), name)
	require.NoError(t, err)
	return log
}
