package segment_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// scanWorld makes chain 1 by hand: an opening with a window of 4, and what
// objects says of each number.
type scanWorld struct {
	t     *testing.T
	mem   *blobtest.Mem
	store *blobstore.Bucket
	chain segment.Chain
}

func newScanWorld(t *testing.T) *scanWorld {
	w := &scanWorld{t: t, mem: blobtest.NewMem(), chain: segment.Chain{Cluster: fragment.ClusterID{1}, Epoch: 1}}
	w.store = blobstore.New(w.mem, blobstore.Options{})
	w.put(0, w.encode(fragment.KindOpening, 0, 0, &fragment.Directory{Opening: &fragment.Opening{Node: "n", Boot: 1, Window: 4}}))
	return w
}

func (w *scanWorld) encode(k fragment.Kind, n, durable uint64, d *fragment.Directory) []byte {
	o := fragment.Encode(fragment.Head{Kind: k, Epoch: 1, N: n, Cluster: w.chain.Cluster, Durable: durable}, d)
	var b []byte
	for _, p := range o.Parts {
		b = append(b, p...)
	}
	return b
}

func (w *scanWorld) put(n uint64, b []byte) { w.mem.Put(fragment.ChainKey(1, n), b) }

// fragment puts one without slices.
func (w *scanWorld) fragment(n, durable uint64) {
	w.put(n, w.encode(fragment.KindFragment, n, durable, &fragment.Directory{}))
}

func (w *scanWorld) fragments(from, to uint64) {
	for n := from; n < to; n++ {
		w.fragment(n, n-1)
	}
}

func (w *scanWorld) mark(k fragment.Kind, n uint64) {
	w.put(n, w.encode(k, n, 0, &fragment.Directory{Seal: &fragment.Seal{Node: "n", Boot: 2}}))
}

// scan tells what a scan finds, a letter per place: o f g s for the kinds, - for
// a missing one, ! for a damaged, x for a misplaced one; in brackets what is
// beyond the end.
func (w *scanWorld) scan(o segment.ScanOptions) string {
	w.t.Helper()
	l, err := segment.ListChain(w.t.Context(), w.store, 1)
	require.NoError(w.t, err)
	out, beyond := "", ""
	for x, err := range segment.ScanChain(w.t.Context(), w.store, w.chain, l, o) {
		require.NoError(w.t, err)
		letter := map[fragment.Kind]string{fragment.KindOpening: "o", fragment.KindFragment: "f", fragment.KindGap: "g", fragment.KindSeal: "s"}[x.Kind]
		_, misplaced := errors.AsType[*segment.MisplacedError](x.Damage)
		switch {
		case errors.Is(x.Damage, fs.ErrNotExist):
			letter = "-"
		case misplaced:
			letter = "x"
		case x.Damage != nil:
			letter = "!"
		}
		if x.Beyond {
			beyond += letter
		} else {
			out += letter
		}
	}
	if beyond != "" {
		out += "(" + beyond + ")"
	}
	return out
}

func TestScanChain(t *testing.T) {
	for name, c := range map[string]struct {
		do      func(w *scanWorld)
		durable uint64
		want    string
	}{
		"only an opening":           {func(w *scanWorld) {}, 0, "o"},
		"open":                      {func(w *scanWorld) { w.fragments(1, 6) }, 0, "offfff"},
		"sealed":                    {func(w *scanWorld) { w.fragments(1, 4); w.mark(fragment.KindSeal, 4) }, 0, "offfs"},
		"sealed, with an orphan":    {func(w *scanWorld) { w.fragments(1, 4); w.mark(fragment.KindSeal, 4); w.fragment(6, 3) }, 0, "offfs(f)"},
		"gap":                       {func(w *scanWorld) { w.fragments(1, 4); w.mark(fragment.KindGap, 4); w.fragments(5, 7) }, 0, "offfgff"},
		"in flight behind a hole":   {func(w *scanWorld) { w.fragments(1, 4); w.fragment(5, 3); w.fragment(7, 3) }, 0, "offf(ff)"},
		"hole below a durable one":  {func(w *scanWorld) { w.fragments(1, 4); w.fragment(5, 4) }, 0, "offf-f"},
		"hole, by a later one":      {func(w *scanWorld) { w.fragments(1, 4); w.fragment(5, 3); w.fragment(6, 4) }, 0, "offf-ff"},
		"hole, by the window":       {func(w *scanWorld) { w.fragments(1, 4); w.fragment(8, 3) }, 0, "offf-(f)"},
		"hole below a seal":         {func(w *scanWorld) { w.fragments(1, 4); w.fragment(5, 3); w.mark(fragment.KindSeal, 6) }, 0, "offf-fs"},
		"hole at the end, by index": {func(w *scanWorld) { w.fragments(1, 4) }, 5, "offf--"},
		"a run of holes":            {func(w *scanWorld) { w.fragments(1, 3); w.fragments(80, 82) }, 0, "off" + dashes(77) + "ff"},
		"no opening":                {func(w *scanWorld) { w.mem.Lose(fragment.ChainKey(1, 0)); w.fragments(1, 3) }, 0, "-ff"},
		"never opened":              {func(w *scanWorld) { w.mem.Lose(fragment.ChainKey(1, 0)); w.mark(fragment.KindSeal, 1) }, 0, "s"},
		"damaged":                   {func(w *scanWorld) { w.fragments(1, 6); w.put(3, []byte("what")) }, 0, "off!ff"},
		"misplaced": {func(w *scanWorld) {
			w.fragments(1, 6)
			w.put(3, w.encode(fragment.KindFragment, 4, 1, &fragment.Directory{}))
		}, 0, "offxff"},
		"misplaced far behind": {func(w *scanWorld) {
			w.fragments(1, 4)
			w.put(90, w.encode(fragment.KindFragment, 3, 2, &fragment.Directory{}))
		}, 0, "offf(x)"},
		"nothing at all, but index": {func(w *scanWorld) { w.mem.Lose(fragment.ChainKey(1, 0)) }, 2, "---"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newScanWorld(t)
			c.do(w)
			require.Equal(t, c.want, w.scan(segment.ScanOptions{Durable: c.durable}))
			require.Equal(t, c.want, w.scan(segment.ScanOptions{Durable: c.durable, Whole: true, Ahead: 1}))
		})
	}
}

func dashes(n int) string { return strings.Repeat("-", n) }

// TestScanLate: what lands between the listing and the walk is seen.
func TestScanLate(t *testing.T) {
	w := newScanWorld(t)
	w.fragments(1, 4)
	w.fragment(5, 3)
	l, err := segment.ListChain(t.Context(), w.store, 1)
	require.NoError(t, err)
	w.fragment(4, 3)
	var last *segment.Scanned
	for x, err := range segment.ScanChain(t.Context(), w.store, w.chain, l, segment.ScanOptions{}) {
		require.NoError(t, err)
		require.NoError(t, x.Damage)
		last = x
	}
	require.Equal(t, uint64(5), last.N)
	require.False(t, last.Beyond)
}

func TestListChain(t *testing.T) {
	w := newScanWorld(t)
	w.fragments(1, 4)
	w.fragments(9, 10)
	w.mem.Put(fragment.ChainPrefix(1)+"5", nil)
	l, err := segment.ListChain(t.Context(), w.store, 1)
	require.NoError(t, err)
	require.Equal(t, []segment.Run{{From: 0, To: 4}, {From: 9, To: 10}}, l.Runs)
	require.Equal(t, []string{fragment.ChainPrefix(1) + "5"}, l.Foreign)
	require.Equal(t, uint64(5), l.Len())
}

// TestScanFails: a store that does not answer is an error, not damage.
func TestScanFails(t *testing.T) {
	w := newScanWorld(t)
	w.fragments(1, 50)
	faults := blobtest.NewFaults(w.mem)
	faults.Add(blobtest.Fault{Kind: blobtest.Read, Prefix: fragment.ChainKey(1, 7), Before: errors.ErrUnsupported})
	store := blobstore.New(faults, blobstore.Options{MaxAttempts: 1})
	var n uint64
	var failed error
	for x, err := range segment.ScanRange(t.Context(), store, w.chain, 1, 50, segment.ScanOptions{}) {
		if failed = err; err == nil {
			n = x.N
		}
	}
	require.ErrorIs(t, failed, errors.ErrUnsupported)
	require.Equal(t, uint64(6), n)
}

// TestScanFlicker: bytes that were damaged on their way only are read again.
func TestScanFlicker(t *testing.T) {
	w := newScanWorld(t)
	w.fragments(1, 4)
	faults := blobtest.NewFaults(w.mem)
	faults.Add(blobtest.Fault{Kind: blobtest.Read, Prefix: fragment.ChainKey(1, 2), Flip: 30, Count: 1})
	w.store = blobstore.New(faults, blobstore.Options{})
	require.Equal(t, "offf", w.scan(segment.ScanOptions{}))
}

// TestSalvage: of an object whose directory is damaged, whole batches of known
// attachments are found, and only those.
func TestSalvage(t *testing.T) {
	w := newScanWorld(t)
	var b fragment.Builder
	seq := uint64(1)
	add := func(log fragment.LogID, a fragment.Attachment, from fragment.LSN) int {
		var bb fragment.BatchBuilder
		require.NoError(t, bb.Add(nil, []byte("some entry")))
		x := bb.Finish(fragment.BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: seq, LowestSeq: seq})
		x.Stamp(fragment.Stamp{Log: log, Attachment: a, Epoch: 1, From: from, Time: 1})
		b.Add(log, x)
		seq++
		return x.Len()
	}
	size := add(1, 11, 5)
	add(1, 11, 6)
	add(1, 11, 7)
	add(2, 12, 1)
	d := &fragment.Directory{}
	b.Layout(d)
	var whole []byte
	for _, p := range b.Freeze(fragment.Head{Kind: fragment.KindFragment, Epoch: 1, N: 1, Cluster: w.chain.Cluster}, d).Parts {
		whole = append(whole, p...)
	}
	logOf := func(a fragment.Attachment) (fragment.LogID, bool) { return fragment.LogID(a - 10), true }
	for name, c := range map[string]struct {
		do       func(b []byte) []byte
		one, two int
		complete bool
	}{
		"directory": {func(b []byte) []byte { b[len(b)-70] ^= 1; return b }, 3, 1, true},
		"header":    {func(b []byte) []byte { b[9] ^= 1; return b }, 3, 1, true},
		"footer":    {func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, 3, 1, true},
		"a batch":   {func(b []byte) []byte { b[fragment.HeadLen+size+40] ^= 1; return b }, 2, 1, false},
		"a length":  {func(b []byte) []byte { b[fragment.HeadLen+8] ^= 4; return b }, 2, 1, false},
		"the end":   {func(b []byte) []byte { return b[:fragment.HeadLen+2*size+9] }, 2, 0, false},
		"all":       {func(b []byte) []byte { return nil }, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			w.put(1, c.do(append([]byte(nil), whole...)))
			s, err := segment.Salvage(t.Context(), w.store, 1, 1, logOf)
			require.NoError(t, err)
			require.Len(t, s.Batches[11], c.one)
			require.Len(t, s.Batches[12], c.two)
			require.Equal(t, c.complete, s.Complete)
		})
	}
	w.put(1, whole)
	s, err := segment.Salvage(t.Context(), w.store, 1, 1, func(a fragment.Attachment) (fragment.LogID, bool) { return 1, a == 11 })
	require.NoError(t, err)
	require.False(t, s.Complete, "log 2 is not known")
	require.Empty(t, s.Batches[12])
}
