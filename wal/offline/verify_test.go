package offline_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/offline"
)

// twoChains is a world of two sealed chains and one in use: log 1 is on all of
// them, log 2 on the first two, log 3 on the second. The first has cuts, and
// sums. Each fragment holds 3 entries of each log that is in it.
func twoChains(t *testing.T) *world {
	w := newWorld(t)
	c := w.chain(1)
	a, b := w.attach(c, 1, "a"), w.attach(c, 2, "b")
	for i := range 150 {
		w.fragment(c, 3, a)
		if i%10 == 0 {
			w.fragment(c, 3, a, b)
		}
		if i == 100 {
			require.NoError(t, c.CutNow(t.Context()))
		}
	}
	w.seal(c)
	c = w.chain(2)
	w.attach(c, 1, "a")
	for range 10 {
		w.fragment(c, 3, a)
	}
	w.attach(c, 2, "b")
	d := w.attach(c, 3, "d")
	for range 10 {
		w.fragment(c, 3, a, b, d)
	}
	w.seal(c)
	c = w.chain(4)
	w.attach(c, 1, "a")
	for range 5 {
		w.fragment(c, 3, a)
	}
	return w
}

func key(e fragment.Epoch, n uint64) string { return fragment.ChainKey(e, n) }

func TestVerifyHealthy(t *testing.T) {
	w := twoChains(t)
	r := w.report()
	require.Empty(t, r.Problems)
	require.True(t, r.OK())
	var entries int
	for _, m := range w.logs {
		entries += len(m.entries)
	}
	require.Equal(t, uint64(entries), r.Entries)
	require.Equal(t, uint64(3), r.Chains)
	require.Equal(t, uint64(2), r.Sealed)
	require.Equal(t, uint64(3), r.Logs)
	require.Equal(t, uint64(len(w.mem.Keys(""))), r.Objects)
	require.Equal(t, []string{"open chains/0000000000000004/"}, notes(r))
}

// TestVerifyToAndFro: a log that went to a chain of a lower epoch and back is in
// order, though its chains are not.
func TestVerifyToAndFro(t *testing.T) {
	w := newWorld(t)
	first, second := w.chain(1), w.chain(2)
	var stays [2][]segment.Stay
	for i, at := range []int{1, 0, 1, 0} {
		cw := []*segment.Writer{first, second}[at]
		w.stays = nil
		m := w.attach(cw, 1, "a")
		for range 3 + i {
			w.fragment(cw, 3, m)
		}
		stays[at] = append(stays[at], w.stays...)
	}
	for i, cw := range []*segment.Writer{first, second} {
		w.stays = stays[i]
		w.seal(cw)
	}
	require.Empty(t, w.verify())
}

// TestVerifyChainsOfOneBoot: a node may write several chains at a time, and give
// any of them up; what an earlier boot wrote, it has sealed.
func TestVerifyChainsOfOneBoot(t *testing.T) {
	w := newWorld(t)
	c := w.identity(1)
	cw := w.chain(1)
	m := w.attach(cw, 1, "a")
	w.fragment(cw, 3, m)
	c.Epoch = 2
	own, err := segment.Create(t.Context(), w.store, c, segment.Options{FlushInterval: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { _ = own.Close(context.Background()) })
	w.fragment(own, 2, w.attach(own, 2, "hot"))
	require.Empty(t, w.verify())

	next := w.chain(3) // of another boot
	w.fragment(next, 2, w.attach(next, 1, "a"))
	require.Equal(t, []string{
		"missing chains/0000000000000001/0000000000000003",
		"missing chains/0000000000000002/0000000000000003",
	}, w.verify())
}

// TestVerifyProbe: a node's probe object belongs there, that of another does not.
func TestVerifyProbe(t *testing.T) {
	w := twoChains(t)
	probe := map[string]any{"version": 1, "identity": node, "nonce": "00"}
	w.json("nodes/"+node+"/probe", probe)
	require.Empty(t, w.verify())
	w.json("nodes/n2-0123456789abcdef/probe", probe)
	require.Equal(t, []string{"misplaced nodes/n2-0123456789abcdef/probe"}, w.verify())
}

func notes(r *offline.Report) []string {
	var all []string
	for _, p := range r.Notes {
		all = append(all, short(p))
	}
	return all
}

// lsnsOf returns the range of a log's entries in a fragment.
func (w *world) lsnsOf(id fragment.LogID, key string) string {
	var from, to fragment.LSN
	for lsn := fragment.LSN(1); lsn <= fragment.LSN(len(w.logs[id].entries)); lsn++ {
		if w.logs[id].where[lsn] == key {
			if from == 0 {
				from = lsn
			}
			to = lsn + 1
		}
	}
	return fmt.Sprintf("log %d [%d, %d)", id, from, to)
}

func (w *world) flip(key string, offset int) {
	b, ok := w.mem.Object(key)
	require.True(w.t, ok, key)
	if offset < 0 {
		offset += len(b)
	}
	b[offset] ^= 0x10
	w.mem.Put(key, b)
}

func (w *world) truncate(key string, size int) {
	b, ok := w.mem.Object(key)
	require.True(w.t, ok, key)
	if size < 0 {
		size += len(b)
	}
	w.mem.Put(key, b[:size])
}

func (w *world) swap(a, b string) {
	x, ok := w.mem.Object(a)
	y, ok2 := w.mem.Object(b)
	require.True(w.t, ok && ok2)
	w.mem.Put(a, y)
	w.mem.Put(b, x)
}

func (w *world) copy(from, to string) {
	x, ok := w.mem.Object(from)
	require.True(w.t, ok)
	w.mem.Put(to, x)
}

func (w *world) index(e fragment.Epoch, i int) string {
	return w.mem.Keys(fragment.IndexPrefix(e))[i]
}

// TestVerifyDamage does one thing to a healthy bucket, and wants to hear just
// of that.
func TestVerifyDamage(t *testing.T) {
	healthy := twoChains(t)
	const sealed1, sealed2 = 167, 23
	// In chain 1, fragment 1 attaches, 3 holds logs a and b, 64 a sum; most
	// others hold only a. In chain 2, from 13 on, all hold all three.
	for name, c := range map[string]struct {
		do   func(w *world)
		want []string
	}{
		"delete a fragment of one log": {
			func(w *world) { w.mem.Lose(key(1, 4)) },
			[]string{"missing " + key(1, 4) + " " + healthy.lsnsOf(1, key(1, 4))},
		},
		"delete a fragment of two logs": {
			func(w *world) { w.mem.Lose(key(1, 3)) },
			[]string{"missing " + key(1, 3) + " " + healthy.lsnsOf(1, key(1, 3)), "missing " + key(1, 3) + " " + healthy.lsnsOf(2, key(1, 3))},
		},
		"delete a fragment with a sum": {
			func(w *world) { w.mem.Lose(key(1, 64)) },
			[]string{"missing " + key(1, 64) + " " + healthy.lsnsOf(1, key(1, 64))},
		},
		"delete the fragment that attaches": {
			func(w *world) { w.mem.Lose(key(1, 1)) },
			[]string{"missing " + key(1, 1)}, // it holds no entries
		},
		"delete the last fragment before a seal": {
			func(w *world) { w.mem.Lose(key(1, sealed1-1)) },
			[]string{"missing " + key(1, sealed1-1) + " " + healthy.lsnsOf(1, key(1, sealed1-1))},
		},
		"delete the last fragment of the last seal": {
			func(w *world) { w.mem.Lose(key(2, sealed2-1)) },
			[]string{
				"missing " + key(2, sealed2-1) + " " + healthy.lsnsOf(1, key(2, sealed2-1)),
				"missing " + key(2, sealed2-1) + " " + healthy.lsnsOf(2, key(2, sealed2-1)),
				"missing " + key(2, sealed2-1) + " " + healthy.lsnsOf(3, key(2, sealed2-1)),
			},
		},
		"delete an opening": {
			func(w *world) { w.mem.Lose(key(1, 0)) },
			[]string{"missing " + key(1, 0)},
		},
		"delete a seal": {
			func(w *world) { w.mem.Lose(key(1, sealed1)) },
			[]string{"missing " + key(1, sealed1)},
		},
		"delete an index": {
			func(w *world) { w.mem.Lose(w.index(1, 1)) },
			[]string{"missing " + fragment.IndexPrefix(1)},
		},
		"delete an index of a cut": {
			func(w *world) { w.mem.Lose(w.index(1, 0)) },
			[]string{"missing " + fragment.IndexPrefix(1)},
		},
		"delete a whole chain": {
			func(w *world) {
				for _, k := range append(w.mem.Keys(fragment.ChainPrefix(2)), w.mem.Keys(fragment.IndexPrefix(2))...) {
					w.mem.Lose(k)
				}
			},
			[]string{fmt.Sprintf("missing %s log 1 [%d, %d)", key(1, sealed1), 495+1, 495+60+1)},
		},
		"delete all but the index of a chain": {
			func(w *world) {
				for _, k := range w.mem.Keys(fragment.ChainPrefix(2)) {
					w.mem.Lose(k)
				}
			},
			[]string{
				"missing " + key(2, 0),
				fmt.Sprintf("missing %s x22 log 1 [%d, %d)", key(2, 1), 495+1, 495+60+1),
				fmt.Sprintf("missing %s x22 log 2 [%d, %d)", key(2, 1), 45+1, 45+30+1),
				fmt.Sprintf("missing %s x22 log 3 [1, 31)", key(2, 1)),
			},
		},
		"delete a run of fragments": {
			func(w *world) {
				for n := uint64(40); n < 90; n++ {
					w.mem.Lose(key(1, n))
				}
			},
			nil, // checked below
		},
		"delete the cluster's object": {
			func(w *world) { w.mem.Lose("cluster.json") },
			[]string{"missing cluster.json"},
		},
		"delete a boot": {
			func(w *world) { w.mem.Lose(fmt.Sprintf("nodes/%s/%016x", node, 2)) },
			[]string{"missing " + fmt.Sprintf("nodes/%s/%016x", node, 2)},
		},
		"damage a boot": {
			func(w *world) { w.truncate(fmt.Sprintf("nodes/%s/%016x", node, 2), 20) },
			[]string{"corrupt " + fmt.Sprintf("nodes/%s/%016x", node, 2)},
		},
		"truncate a fragment to nothing": {
			func(w *world) { w.truncate(key(1, 4), 0) },
			[]string{"corrupt " + key(1, 4) + " " + healthy.lsnsOf(1, key(1, 4))},
		},
		"truncate a fragment's footer": {
			func(w *world) { w.truncate(key(1, 4), -10) },
			[]string{"corrupt " + key(1, 4)}, // its batches are whole
		},
		"truncate the first fragment's footer": {
			func(w *world) { w.truncate(key(1, 1), -10) },
			[]string{"corrupt " + key(1, 1)},
		},
		"truncate a fragment inside its second slice": {
			func(w *world) { w.truncate(key(1, 3), 112+150+60) },
			[]string{"corrupt " + key(1, 3) + " " + healthy.lsnsOf(2, key(1, 3))},
		},
		"flip a header":       {func(w *world) { w.flip(key(1, 4), 30) }, []string{"corrupt " + key(1, 4)}},
		"flip a header's n":   {func(w *world) { w.flip(key(1, 4), 16) }, []string{"corrupt " + key(1, 4)}},
		"flip a footer":       {func(w *world) { w.flip(key(1, 4), -20) }, []string{"corrupt " + key(1, 4)}},
		"flip a directory":    {func(w *world) { w.flip(key(1, 4), -80) }, []string{"corrupt " + key(1, 4)}},
		"flip an opening":     {func(w *world) { w.flip(key(1, 0), -80) }, []string{"corrupt " + key(1, 0)}},
		"flip a seal":         {func(w *world) { w.flip(key(1, sealed1), 50) }, []string{"corrupt " + key(1, sealed1)}},
		"flip a seal's end":   {func(w *world) { w.flip(key(1, sealed1), -2) }, []string{"corrupt " + key(1, sealed1)}},
		"flip an index":       {func(w *world) { w.flip(w.index(1, 0), 200) }, []string{"corrupt " + healthy.index(1, 0)}},
		"flip an entry":       {func(w *world) { w.flip(key(1, 4), 112+110) }, []string{"corrupt " + key(1, 4) + " " + healthy.lsnsOf(1, key(1, 4))}},
		"flip a batch's sum":  {func(w *world) { w.flip(key(1, 4), 112+17) }, []string{"corrupt " + key(1, 4) + " " + healthy.lsnsOf(1, key(1, 4))}},
		"flip a batch's time": {func(w *world) { w.flip(key(1, 4), 112+32) }, []string{"corrupt " + key(1, 4) + " " + healthy.lsnsOf(1, key(1, 4))}},
		"swap two fragments": {
			func(w *world) { w.swap(key(1, 5), key(1, 30)) },
			[]string{"misplaced " + key(1, 5) + " " + healthy.lsnsOf(1, key(1, 5)), "misplaced " + key(1, 30) + " " + healthy.lsnsOf(1, key(1, 30))},
		},
		"swap fragments of two chains": {
			func(w *world) { w.swap(key(1, 5), key(2, 5)) },
			[]string{"misplaced " + key(1, 5) + " " + healthy.lsnsOf(1, key(1, 5)), "misplaced " + key(2, 5) + " " + healthy.lsnsOf(1, key(2, 5))},
		},
		"swap two indexes": {
			func(w *world) { w.swap(w.index(1, 0), w.index(1, 1)) },
			[]string{"misplaced " + healthy.index(1, 0), "misplaced " + healthy.index(1, 1)},
		},
		"copy a fragment over another": {
			func(w *world) { w.copy(key(1, 5), key(1, 9)) },
			[]string{"misplaced " + key(1, 9) + " " + healthy.lsnsOf(1, key(1, 9))},
		},
		"copy a fragment behind the end":     {func(w *world) { w.copy(key(4, 5), key(4, 7)) }, []string{"misplaced " + key(4, 7)}},
		"copy a fragment far behind the end": {func(w *world) { w.copy(key(4, 5), key(4, 500)) }, []string{"misplaced " + key(4, 500)}},
		"copy a fragment behind a seal":      {func(w *world) { w.copy(key(1, 5), key(1, sealed1+1)) }, []string{"misplaced " + key(1, sealed1+1)}},
		"an object of ours under a foreign key": {
			func(w *world) { w.copy(key(1, 5), "backup/5") }, []string{},
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			w := *healthy
			w.t, w.mem = t, healthy.mem.Clone()
			w.useMem()
			c.do(&w)
			got := w.verify()
			if name == "delete a run of fragments" {
				require.Len(t, got, 2, "%v", got)
				for _, p := range got {
					require.Contains(t, p, "missing "+key(1, 40)+" x50 log ")
				}
			} else {
				require.Equal(t, c.want, got)
			}
			w.readsAround(got)
		})
	}
}

// TestVerifyCrash: what a writer leaves behind that dies is no damage.
func TestVerifyCrash(t *testing.T) {
	for name, do := range map[string]func(w *world, c *segment.Writer, m *model){
		"nothing but an opening": func(w *world, c *segment.Writer, m *model) {
			for n := uint64(1); n <= 11; n++ {
				w.mem.Lose(key(1, n))
			}
		},
		"fragments in flight": func(w *world, c *segment.Writer, m *model) {
			// The last three were in flight: the first of them was lost.
			b := m.batch(w.t, 2)
			from := fragment.LSN(len(m.entries) + 1)
			b.Stamp(fragment.Stamp{Log: 1, Attachment: m.attachment, Epoch: 1, From: from + 10, Time: m.time})
			var fb fragment.Builder
			fb.Add(1, b)
			d := &fragment.Directory{}
			fb.Layout(d)
			f := fb.Freeze(fragment.Head{Kind: fragment.KindFragment, Epoch: 1, N: 13, Nonce: w.identity(1).Nonce, Cluster: w.cluster, Durable: 10}, d)
			require.NoError(w.t, w.store.Create(w.t.Context(), key(1, 13), f.Parts...))
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			w := newWorld(t)
			c := w.chain(1)
			m := w.attach(c, 1, "a")
			for range 10 {
				w.fragment(c, 1, m)
			}
			do(w, c, m)
			require.Empty(t, w.verify())
			w.sealAs(c.Chain(), 0)
			require.Empty(t, w.verify())
		})
	}
}

// TestVerifyNoOpening: a chain that was granted and sealed before its writer
// created anything.
func TestVerifyNoOpening(t *testing.T) {
	w := twoChains(t)
	w.cuts, w.stays = nil, nil
	c := w.identity(5)
	c.Boot, c.Nonce = 4, fragment.Nonce{4, 7}
	w.sealAs(c, 0)
	require.Empty(t, w.verify())
}

// TestVerifyGap: a loss that a sealer found is told of, once.
func TestVerifyGap(t *testing.T) {
	w := newWorld(t)
	c := w.chain(1)
	m := w.attach(c, 1, "a")
	for range 10 {
		w.fragment(c, 2, m)
	}
	w.mem.Lose(key(1, 6))
	require.Len(t, w.seal(c).Lost, 1)
	got := w.verify()
	require.Equal(t, []string{"gap " + key(1, 6) + " log 1 [9, 11)"}, got)
	w.readsAround(got)
}

// TestVerifyGapAtEnd: nothing tells how much was lost, so that the sealer
// skips LSNs; the log goes on behind them.
func TestVerifyGapAtEnd(t *testing.T) {
	w := newWorld(t)
	c := w.chain(1)
	m := w.attach(c, 1, "a")
	for range 5 {
		w.fragment(c, 2, m)
	}
	w.mem.Lose(key(1, 6))
	w.seal(c)
	want := []string{fmt.Sprintf("gap %s log 1 [9, %d)", key(1, 6), 9+1<<32)}
	require.Equal(t, want, w.verify())
	_, losses := w.read("a", offline.ReadOptions{})
	require.Equal(t, []string{fmt.Sprintf("[9, %d)", 9+1<<32)}, losses)
}

// TestVerifySealOverFragment: the store lost the last fragment, a sealer could
// not know, and then a late one says that it had been durable.
func TestVerifySealOverFragment(t *testing.T) {
	w := newWorld(t)
	c := w.chain(1)
	m := w.attach(c, 1, "a")
	for range 6 {
		w.fragment(c, 2, m)
	}
	late, _ := w.mem.Object(key(1, 7))
	w.mem.Lose(key(1, 6))
	w.mem.Lose(key(1, 7))
	w.sealAs(c.Chain(), 0)
	require.Empty(t, w.verify())
	w.mem.Put(key(1, 7), late)
	require.Equal(t, []string{"mismatch " + key(1, 6)}, w.verify())
}

func TestVerifyForeign(t *testing.T) {
	w := twoChains(t)
	for _, k := range []string{"a", "chains/x", "chains/0000000000000001/12", "index/0000000000000001/what", "index/stray", "zebra/1/2", "probe/XYZ", "scratch/1/2", "scratch/1/3", "scratch/2/3"} {
		w.mem.Put(k, []byte("what is this"))
	}
	r := w.report()
	require.Empty(t, r.Problems)
	require.Equal(t, []string{
		"foreign a", "foreign chains/0000000000000001/12", "open chains/0000000000000004/", "foreign chains/x",
		"foreign index/0000000000000001/what", "foreign index/stray", "foreign probe/XYZ",
		"foreign scratch/", "foreign zebra/1/2",
	}, notes(r))
	b, err := r.JSON(time.Second)
	require.NoError(t, err)
	require.Regexp(t, `^\{"ok":true,"cluster":".*"seconds":1\}$`, string(b))
}

// TestVerifyBounded: the report keeps no more than it was told to.
func TestVerifyBounded(t *testing.T) {
	w := twoChains(t)
	for n := uint64(2); n < 60; n += 2 {
		w.flip(key(1, n), 30)
	}
	r, err := offline.Verify(t.Context(), w.store, offline.VerifyOptions{Keep: 7})
	require.NoError(t, err)
	require.Len(t, r.Problems, 7)
	require.Equal(t, uint64(29), r.ProblemsTotal)
	require.True(t, r.Damaged())
}

// TestIncarnations: that an incarnation was begun is checked like all that the
// cluster says of itself.
func TestIncarnations(t *testing.T) {
	w := newWorld(t)
	say := func(key string, n int, cluster string) {
		w.json(key, map[string]any{"version": 1, "cluster": cluster, "incarnation": n, "identity": node, "nonce": "00"})
	}
	say("incarnations/0000000000000002", 2, w.cluster.String())
	require.Empty(t, w.verify())
	require.Empty(t, w.report().Notes)
	say("incarnations/0000000000000003", 2, w.cluster.String())
	say("incarnations/0000000000000004", 4, fragment.ClusterID{9}.String())
	w.mem.Put("incarnations/0000000000000005", []byte("{"))
	require.Equal(t, []string{
		"misplaced incarnations/0000000000000003", "misplaced incarnations/0000000000000004", "corrupt incarnations/0000000000000005",
	}, w.verify())
}
