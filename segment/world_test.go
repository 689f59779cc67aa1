package segment

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
)

// store is a Store over a faulty one: creates go on until their ctx ends, as
// those of a bucket do.
type store struct {
	*blobtest.Faults
	mem *blobtest.Mem

	own bool // resolves conflicts with our own object, as a bucket does
}

func newStore() *store { return onMem(blobtest.NewMem()) }

func onMem(mem *blobtest.Mem) *store {
	return &store{Faults: blobtest.NewFaults(mem), mem: mem, own: true}
}

// Create implements Store.
func (s *store) Create(ctx context.Context, key string, parts ...[]byte) error {
	first := bytes.Join(parts, nil)
	for {
		err := s.Faults.Create(ctx, key, parts)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		have, ok := s.mem.Object(key)
		if s.own && ok && bytes.Equal(have, first) {
			return nil
		}
		if ok {
			return fmt.Errorf("create %s: %w", key, fs.ErrExist)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// List implements Store.
func (s *store) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return s.Faults.List(ctx, prefix, after)
}

var testChain = Chain{
	Cluster: fragment.ClusterID{1}, Incarnation: 1, Epoch: 7, Node: "node-a", Boot: 3, Nonce: fragment.Nonce{9}, Window: 8,
}

var testSealer = Chain{Node: "node-b", Boot: 1, Nonce: fragment.Nonce{8}, Incarnation: 1}

func chainKey(n uint64) string { return fragment.ChainKey(testChain.Epoch, n) }

// makeBatch makes a stamped batch of so many entries.
func makeBatch(log fragment.LogID, p fragment.ProducerID, seq uint64, from fragment.LSN, entries, size int) fragment.Batch {
	var b fragment.BatchBuilder
	for i := range entries {
		data := make([]byte, size)
		copy(data, fmt.Sprintf("log %d entry %d", log, uint64(from)+uint64(i)))
		if err := b.Add(nil, data); err != nil {
			panic(err)
		}
	}
	batch := b.Finish(fragment.BatchMeta{Producer: p, ProducerEpoch: 1, FirstSeq: seq, LowestSeq: seq})
	batch.Stamp(fragment.Stamp{Log: log, Attachment: fragment.Attachment(log), Epoch: testChain.Epoch, From: from, Time: now()})
	return batch
}

// ack is a Waiter that keeps what it was told, and fails the test if it is
// told twice.
type ack struct {
	t    testing.TB
	done chan struct{}
	err  error
	tell func()
}

func newAck(t testing.TB) *ack { return &ack{t: t, done: make(chan struct{})} }

func (a *ack) Settled(err error) {
	select {
	case <-a.done:
		a.t.Error("settled twice")
		return
	default:
	}
	a.err = err
	if a.tell != nil {
		a.tell()
	}
	close(a.done)
}

func (a *ack) wait() error { <-a.done; return a.err }

func (a *ack) settled() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// appender hands batches of some logs to a writer.
type appender struct {
	t    testing.TB
	w    *Writer
	next map[fragment.LogID]fragment.LSN
	sent map[fragment.LogID][]fragment.Batch
	// ready is what it says of how much is to come, see Writer.Append.
	ready int
}

func newAppender(t testing.TB, w *Writer) *appender {
	return &appender{t: t, w: w, next: make(map[fragment.LogID]fragment.LSN), sent: make(map[fragment.LogID][]fragment.Batch)}
}

// add appends one batch of a log, and returns its fragment.
func (a *appender) add(log fragment.LogID, size int) (*ack, uint64) {
	a.t.Helper()
	x := newAck(a.t)
	n, err := a.put(log, size, x)
	require.NoError(a.t, err)
	return x, n
}

func (a *appender) put(log fragment.LogID, size int, x Waiter) (uint64, error) {
	from := max(a.next[log], 1)
	b := makeBatch(log, fragment.ProducerID(log), uint64(from), from, 1, size)
	if err := a.w.Reserve(context.Background(), b.Len()); err != nil {
		return 0, err
	}
	n, err := a.w.Append(log, b, a.ready, x)
	if err != nil {
		a.w.Unreserve(b.Len())
		return 0, err
	}
	a.next[log] = b.To()
	a.sent[log] = append(a.sent[log], b)
	return n, nil
}

// roomBytes is the room of a writer under test that shares it with nobody.
const roomBytes = 3 * fragment.FragmentBytes

func create(t testing.TB, s Store, o Options) *Writer {
	t.Helper()
	if o.Room == nil {
		o.Room = semaphore.NewWeighted(roomBytes)
	}
	w, err := Create(context.Background(), s, testChain, o)
	require.NoError(t, err)
	return w
}

// whole reads an object of the chain as it stands.
func whole(t testing.TB, s *store, n uint64) fragment.Frozen {
	t.Helper()
	b, ok := s.mem.Object(chainKey(n))
	require.True(t, ok, "object %d", n)
	f, err := fragment.Decode(b)
	require.NoError(t, err)
	return f
}

// requireRoom checks that nothing of a writer's room, of roomBytes, is still taken.
func requireRoom(t testing.TB, w *Writer) {
	t.Helper()
	require.True(t, w.room.TryAcquire(roomBytes), "reserved bytes leaked")
	w.room.Release(roomBytes)
	require.Empty(t, w.unsettled)
}

// requireSame checks that two indexes are the same, to the byte.
func requireSame(t testing.TB, want, got *fragment.Index, what ...any) {
	t.Helper()
	a, b := encodeIndex(testChain.Cluster, 1, want, 1<<30), encodeIndex(testChain.Cluster, 1, got, 1<<30)
	if bytes.Equal(bytes.Join(a.Parts, nil), bytes.Join(b.Parts, nil)) {
		return
	}
	if len(want.States)+len(got.States) > 20 {
		t.Fatal(append([]any{"other index"}, what...)...)
	}
	for i := range max(len(want.Logs), len(got.Logs)) {
		if i >= len(want.Logs) || i >= len(got.Logs) {
			t.Fatalf("logs: want %d, got %d %v", len(want.Logs), len(got.Logs), what)
		}
		a, b := want.Logs[i], got.Logs[i]
		for j := range min(len(a.Rows), len(b.Rows)) {
			if a.Rows[j] != b.Rows[j] {
				t.Fatalf("log %d row %d: want %+v, got %+v %v", a.Log, j, a.Rows[j], b.Rows[j], what)
			}
		}
		if len(a.Rows) != len(b.Rows) {
			t.Fatalf("log %d: want %d rows, got %d %v", a.Log, len(a.Rows), len(b.Rows), what)
		}
	}
	t.Fatalf("[%d, %d) and [%d, %d): states: want %+v, got %+v %v", want.From, want.To, got.From, got.To, want.States, got.States, what)
}
