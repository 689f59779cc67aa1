package offline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/offline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a bucket in memory, written by segment.Writer and segment.Seal as a
// node would, and what must be in it.
type world struct {
	t           *testing.T
	mem         *blobtest.Mem
	store       *blobstore.Bucket
	cluster     fragment.ClusterID
	attachments fragment.Attachment
	logs        map[fragment.LogID]*model
	cuts        []segment.Cut // of the present chain
	stays       []segment.Stay
}

// model is what a log must hold.
type model struct {
	id         fragment.LogID
	name       string
	attachment fragment.Attachment
	entries    []string // LSN 1 first
	seq        uint64
	time       fragment.Micros
	where      map[fragment.LSN]string // key of the fragment of each entry
}

const node = "n1-0123456789abcdef"

func newWorld(t *testing.T) *world {
	w := &world{t: t, mem: blobtest.NewMem(), logs: make(map[fragment.LogID]*model), cluster: fragment.ClusterID{1, 2, 3}}
	w.store = blobstore.New(w.mem, blobstore.Options{})
	w.json("cluster.json", map[string]any{"version": 1, "cluster": w.cluster.String()})
	return w
}

func (w *world) json(key string, v any) {
	b, err := json.Marshal(v)
	require.NoError(w.t, err)
	w.mem.Put(key, b)
}

// chain opens the chain of an epoch, in a boot of its own.
func (w *world) chain(e fragment.Epoch) *segment.Writer {
	c := w.identity(e)
	w.json(fmt.Sprintf("nodes/%s/%016x", node, c.Boot), map[string]any{
		"version": 1, "cluster": w.cluster.String(), "identity": node, "boot": c.Boot, "nonce": c.Nonce.String(),
	})
	w.cuts, w.stays = nil, nil
	// Fragments end where the test flushes, and nowhere else.
	cw, err := segment.Create(w.t.Context(), w.store, c, segment.Options{FlushInterval: time.Hour, Commit: func(_ context.Context, c segment.Cut) error {
		w.cuts = append(w.cuts, c)
		return nil
	}})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = cw.Close(context.Background()) })
	return cw
}

func (w *world) identity(e fragment.Epoch) segment.Chain {
	return segment.Chain{Cluster: w.cluster, Incarnation: 1, Epoch: e, Node: node, Boot: uint64(e), Nonce: fragment.Nonce{byte(e), 7}, Window: 4}
}

// attach begins a stay of a log on a chain.
func (w *world) attach(cw *segment.Writer, id fragment.LogID, name string) *model {
	m := w.logs[id]
	if m == nil {
		m = &model{id: id, name: name, where: make(map[fragment.LSN]string)}
		w.logs[id] = m
	}
	w.attachments++
	m.attachment = w.attachments
	first := fragment.LSN(len(m.entries) + 1)
	w.stays = append(w.stays, segment.Stay{Log: id, Attachment: m.attachment, First: first})
	_, err := cw.Note(&fragment.Attached{Log: id, Attachment: m.attachment, Name: name, First: first, Trim: 1},
		fragment.LogState{Log: id, Attachment: m.attachment, End: first, Time: m.time})
	require.NoError(w.t, err)
	return m
}

// batch builds the next batch of a log, n entries, not stamped.
func (m *model) batch(t *testing.T, n int) fragment.Batch {
	var bb fragment.BatchBuilder
	for i := range n {
		text := fmt.Sprintf("%s/%d", m.name, len(m.entries)+1+i)
		require.NoError(t, bb.Add([]fragment.Header{{Key: "k", Value: []byte("v")}}, []byte(text)))
	}
	b := bb.Finish(fragment.BatchMeta{Producer: fragment.ProducerID(m.id), ProducerEpoch: 1, FirstSeq: m.seq + 1, LowestSeq: m.seq + 1})
	m.seq += uint64(n)
	return b
}

// append hands a batch of n entries to a chain.
func (w *world) append(cw *segment.Writer, m *model, n int) {
	b := m.batch(w.t, n)
	from := fragment.LSN(len(m.entries) + 1)
	m.time += 10
	b.Stamp(fragment.Stamp{Log: m.id, Attachment: m.attachment, Epoch: cw.Chain().Epoch, From: from, Time: m.time})
	require.NoError(w.t, cw.Reserve(w.t.Context(), b.Len()))
	at, err := cw.Append(m.id, b, 0, ignore{})
	require.NoError(w.t, err)
	for i := range n {
		m.entries = append(m.entries, fmt.Sprintf("%s/%d", m.name, int(from)+i))
		m.where[from+fragment.LSN(i)] = fragment.ChainKey(cw.Chain().Epoch, at)
	}
}

type ignore struct{}

func (ignore) Settled(error) {}

// fragment makes a fragment of a batch of n entries of each log. What was
// attached before is in one of its own.
func (w *world) fragment(cw *segment.Writer, n int, logs ...*model) {
	w.flush(cw)
	for _, m := range logs {
		w.append(cw, m, n)
	}
	w.flush(cw)
}

func (w *world) flush(cw *segment.Writer) { require.NoError(w.t, cw.Flush(w.t.Context())) }

// seal ends a chain.
func (w *world) seal(cw *segment.Writer) segment.Sealed {
	require.NoError(w.t, cw.Close(w.t.Context()))
	return w.sealAs(cw.Chain(), cw.Durable())
}

func (w *world) sealAs(c segment.Chain, durable uint64) segment.Sealed {
	s, err := segment.Seal(w.t.Context(), w.store, segment.SealRequest{Chain: c, Cuts: w.cuts, Attached: w.stays, Sealer: c, Durable: durable})
	require.NoError(w.t, err)
	return s
}

// verify returns what Verify finds: problems as text, without their details.
func (w *world) verify() []string {
	w.t.Helper()
	r := w.report()
	got := []string{}
	for _, p := range r.Problems {
		w.t.Log(p)
		got = append(got, short(p))
	}
	for _, p := range r.Notes {
		w.t.Log("note: ", p)
	}
	return got
}

func (w *world) report() *offline.Report {
	w.t.Helper()
	r, err := offline.Verify(w.t.Context(), w.store, offline.VerifyOptions{})
	require.NoError(w.t, err)
	return r
}

func short(p offline.Problem) string {
	s := string(p.Kind) + " " + p.Object
	if p.Objects > 1 {
		s += fmt.Sprintf(" x%d", p.Objects)
	}
	if p.Log != 0 {
		s += fmt.Sprintf(" log %d", p.Log)
	}
	if p.From != 0 {
		s += fmt.Sprintf(" [%d, %d)", p.From, p.To)
	}
	return s
}
