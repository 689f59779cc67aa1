package offline_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/offline"
)

// forge appends one batch with a wrong stamp or sequence, which a node in
// order would never make.
func (w *world) forge(cw *segment.Writer, m *model, n int, change func(s *fragment.Stamp, meta *fragment.BatchMeta)) {
	var bb fragment.BatchBuilder
	for range n {
		require.NoError(w.t, bb.Add([]fragment.Header{{Key: "k", Value: []byte("v")}}, []byte("forged")))
	}
	m.time += 10
	s := fragment.Stamp{Log: m.id, Attachment: m.attachment, Epoch: cw.Chain().Epoch, From: fragment.LSN(len(m.entries) + 1), Time: m.time}
	meta := fragment.BatchMeta{Producer: fragment.ProducerID(m.id), ProducerEpoch: 1, FirstSeq: m.seq + 1, LowestSeq: 1}
	change(&s, &meta)
	b := bb.Finish(meta)
	b.Stamp(s)
	require.NoError(w.t, cw.Reserve(w.t.Context(), b.Len()))
	_, err := cw.Append(m.id, b, 0, ignore{})
	require.NoError(w.t, err)
	w.flush(cw)
	m.seq = meta.FirstSeq + uint64(n) - 1
}

// TestVerifyForged: objects that are whole, each by itself, and contradict one
// another.
func TestVerifyForged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *fragment.Stamp, meta *fragment.BatchMeta)
		want   string
	}{
		"nothing":        {func(s *fragment.Stamp, meta *fragment.BatchMeta) {}, ""},
		"hole":           {func(s *fragment.Stamp, meta *fragment.BatchMeta) { s.From += 5 }, "hole " + key(1, 7) + " log 1 [11, 16)"},
		"double":         {func(s *fragment.Stamp, meta *fragment.BatchMeta) { s.From -= 2 }, "double " + key(1, 7) + " log 1 [9, 11)"},
		"time":           {func(s *fragment.Stamp, meta *fragment.BatchMeta) { s.Time = 1 }, "order " + key(1, 7) + " log 1 [11, 13)"},
		"sequence gap":   {func(s *fragment.Stamp, meta *fragment.BatchMeta) { meta.FirstSeq += 3 }, "order " + key(1, 7) + " log 1 [11, 13)"},
		"sequence again": {func(s *fragment.Stamp, meta *fragment.BatchMeta) { meta.FirstSeq -= 4 }, "order " + key(1, 7) + " log 1 [11, 13)"},
		"new producer": {func(s *fragment.Stamp, meta *fragment.BatchMeta) { meta.Producer, meta.FirstSeq = 99, 2 },
			"order " + key(1, 7) + " log 1 [11, 13)"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cw := w.chain(1)
			m := w.attach(cw, 1, "a")
			for range 5 {
				w.fragment(cw, 2, m)
			}
			w.forge(cw, m, 2, c.change)
			got := w.verify()
			if c.want == "" {
				require.Empty(t, got)
				return
			}
			require.Contains(t, got, c.want)
			require.LessOrEqual(t, len(got), 2, "states may disagree too")
		})
	}
}

// TestVerifyTwice: an older chain holds batches past the LSN where the log went
// on in a newer one. They are reported, and never read.
func TestVerifyTwice(t *testing.T) {
	w := newWorld(t)
	c := w.chain(1)
	m := w.attach(c, 1, "a")
	for range 5 {
		w.fragment(c, 2, m)
	}
	w.seal(c)
	m.entries, m.seq = m.entries[:6], 6
	c = w.chain(2)
	w.attach(c, 1, "a")
	w.fragment(c, 3, m)
	require.Equal(t, []string{
		"double " + key(1, 5) + " log 1 [7, 9)",
		"double " + key(1, 6) + " log 1 [9, 11)",
	}, w.verify())
	got, losses := w.read("a", offline.ReadOptions{})
	require.Empty(t, losses)
	require.Len(t, got, 9)
	for lsn, text := range got {
		require.Equal(t, fmt.Sprintf("a/%d", lsn), text)
	}
}

// TestVerifyTwoWriters: a fragment of another boot in a chain.
func TestVerifyTwoWriters(t *testing.T) {
	w := newWorld(t)
	c := w.chain(1)
	m := w.attach(c, 1, "a")
	w.fragment(c, 2, m)
	o := fragment.Encode(fragment.Head{Kind: fragment.KindFragment, Epoch: 1, N: 3, Nonce: fragment.Nonce{9}, Cluster: w.cluster, Durable: 2},
		&fragment.Directory{PrevEnds: []fragment.End{{Log: 1, Attachment: 1, LSN: 3}}})
	require.NoError(t, w.store.Create(t.Context(), key(1, 3), o.Parts...))
	require.Equal(t, []string{"mismatch " + key(1, 3)}, w.verify())
	// And one that calls more durable than can be.
	o = fragment.Encode(fragment.Head{Kind: fragment.KindFragment, Epoch: 1, N: 4, Nonce: c.Chain().Nonce, Cluster: w.cluster, Durable: 4}, &fragment.Directory{})
	require.NoError(t, w.store.Create(t.Context(), key(1, 4), o.Parts...))
	require.Equal(t, []string{"mismatch " + key(1, 3), "mismatch " + key(1, 4)}, w.verify())
}

// TestVerifyOtherIndex: an index object that is whole, and says otherwise than
// the chain.
func TestVerifyOtherIndex(t *testing.T) {
	w := newWorld(t)
	c := w.chain(1)
	m := w.attach(c, 1, "a")
	w.fragment(c, 2, m)
	w.fragment(c, 2, m)
	s := w.seal(c)
	require.Empty(t, w.verify())
	for name, change := range map[string]func(x *fragment.Index){
		"row":     func(x *fragment.Index) { x.Logs[0].Rows[1].Length++ },
		"missing": func(x *fragment.Index) { x.Logs[0].Rows = x.Logs[0].Rows[:1] },
		"more": func(x *fragment.Index) {
			x.Logs[0].Rows = append(x.Logs[0].Rows, fragment.Row{N: 3, First: 5, Count: 1})
		},
		"end":   func(x *fragment.Index) { x.States[0].End++ },
		"state": func(x *fragment.Index) { x.States = nil },
		"log":   func(x *fragment.Index) { x.States = append(x.States, fragment.LogState{Log: 7, Attachment: 9, End: 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.t, w.mem = t, w.mem.Clone()
			w.useMem()
			w.mem.Lose(s.Index.Key)
			x := *s.Content
			x.Logs = []fragment.IndexLog{{Log: 1, Attachment: 1, Rows: append([]fragment.Row(nil), x.Logs[0].Rows...)}}
			x.States = append([]fragment.LogState(nil), x.States...)
			change(&x)
			o := fragment.Encode(fragment.Head{Kind: fragment.KindIndex, Epoch: 1, N: x.To, Cluster: w.cluster}, &fragment.Directory{Index: &x})
			k := fragment.IndexKey(1, x.From, x.To, fragment.Checksum(o.Parts...))
			require.NoError(t, w.store.Create(t.Context(), k, o.Parts...))
			require.Equal(t, []string{"mismatch " + k}, w.verify())
		})
	}
}

// TestNewer: an object of a later format is not damage. Verify says that it
// could not check it, and a read does not call it lost.
func TestNewer(t *testing.T) {
	w := twoChains(t)
	b, _ := w.mem.Object(key(1, 4))
	b[4], b[110] = 2, 1 // the version, and something that version 1 does not have
	w.mem.Put(key(1, 4), b)
	r := w.report()
	require.Equal(t, []string{"newer " + key(1, 4) + " " + w.lsnsOf(1, key(1, 4))}, w.verify())
	require.False(t, r.OK())
	require.False(t, r.Damaged())
	require.Zero(t, r.Lost)

	x, err := offline.Open(t.Context(), w.store, offline.Options{})
	require.NoError(t, err)
	l, err := x.Find("a")
	require.NoError(t, err)
	var last error
	for _, err := range x.Read(t.Context(), l, offline.ReadOptions{}) {
		last = err
	}
	var newer *fragment.VersionError
	require.ErrorAs(t, last, &newer)
}
