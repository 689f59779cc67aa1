package segment

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
)

// built is a chain as its writer left it: objects 0..n, all acknowledged.
type built struct {
	*store
	*appender
	n        uint64
	attached []Stay
	cuts     []Cut
}

// build makes a chain of n fragments; pick says which logs are in the i-th,
// from 0.
func build(t testing.TB, n int, o Options, pick func(i int) []fragment.LogID) *built {
	t.Helper()
	b := &built{store: newStore(), n: uint64(n)}
	o.FlushInterval = time.Hour // so that each round is one fragment
	every := o.CutFragments     // cut by hand, so that it is always there
	if o.CutFragments = 0; every > 0 {
		o.Commit = func(_ context.Context, c Cut) error { b.cuts = append(b.cuts, c); return nil }
	}
	w := create(t, b.store, o)
	w.sent = time.Now()
	b.appender = newAppender(t, w)
	for i := range n {
		appendRounds(t, w, b.appender, 1, func(int) []fragment.LogID { return pick(i) })
		if every > 0 && (i+1)%int(every) == 0 {
			require.NoError(t, w.CutNow(t.Context()))
		}
	}
	require.NoError(t, w.Close(t.Context()))
	require.EqualValues(t, n, w.Durable())
	for log := range b.next {
		b.attached = append(b.attached, Stay{Log: log, Attachment: fragment.Attachment(log), First: 1})
	}
	return b
}

// on returns the same chain on another store.
func (b *built) on(mem *blobtest.Mem) *built {
	c := *b
	c.store = onMem(mem)
	return &c
}

func (b *built) request(window uint64) SealRequest {
	c := testChain
	c.Window = window
	return SealRequest{Chain: c, Sealer: testSealer, Attached: b.attached, Cuts: b.cuts}
}

// object returns an object of the chain, to be damaged, or to land late.
func (b *built) object(n uint64) []byte {
	body, ok := b.mem.Object(chainKey(n))
	require.True(b.t, ok)
	return body
}

func (b *built) lose(ns ...uint64) {
	for _, n := range ns {
		require.True(b.t, b.mem.Lose(chainKey(n)))
	}
}

// check holds what a seal found against the chain's objects, read one by one:
// of every log, rows stand for its LSNs from 1 to its end, once each and in
// order; those of objects that are there say what their directories say; all
// others are where an object is lost. No log ends before its last entry that
// counts, nor, where exact, behind it.
func (b *built) check(x Sealed, at uint64, exact bool) {
	t := b.t
	t.Helper()
	require.Equal(t, at, x.At)
	kinds := make(map[uint64]*fragment.Frozen)
	for n := uint64(1); n <= at; n++ {
		body, ok := b.mem.Object(chainKey(n))
		if f, err := fragment.Decode(body); ok && err == nil && f.Head.Kind == fragment.KindFragment && f.Head.N == n {
			kinds[n] = &f
		}
		if f, ok := fragment.ReadFooter(body); n == at && (!ok || f.Kind != fragment.KindSeal) {
			t.Fatalf("no seal at %d", at)
		}
	}
	base, _, err := loadIndex(t.Context(), b.store, testChain, b.cuts, nil)
	require.NoError(t, err)
	for log, batches := range b.sent {
		want := fragment.LSN(1)
		for _, batch := range batches {
			for n := uint64(1); n < at; n++ {
				if f := kinds[n]; f != nil && contains(f, log, batch.From()) {
					want = batch.To()
				}
			}
		}
		st, ok := x.Content.State(log)
		require.True(t, ok || want == 1, "log %d", log)
		if exact {
			want = b.next[log]
			require.Equal(t, want, st.End, "log %d", log)
		}
		require.GreaterOrEqual(t, st.End, want, "log %d", log)
		next := fragment.LSN(1)
		if s, ok := base.State(log); ok {
			next = s.End
		}
		for _, r := range x.Content.Find(log, fragment.Attachment(log)) {
			require.Equal(t, next, r.First, "log %d: %+v", log, r)
			next = r.End()
			f := kinds[r.N]
			if f == nil {
				continue // lost, whether the row says so or not: a sum can't know
			}
			require.False(t, r.Lost, "%+v", r)
			require.True(t, contains(f, log, r.First))
		}
		require.Equal(t, st.End, next, "log %d", log)
	}
}

func contains(f *fragment.Frozen, log fragment.LogID, lsn fragment.LSN) bool {
	for _, s := range f.Directory.Slices {
		if s.Log == log && s.First <= lsn && lsn < s.End() {
			return true
		}
	}
	return false
}

// A world is what a sealer may find. All sealers, on it, at once or after one
// another, however often they die, must come to the same end.
type sealWorld struct {
	n      int // fragments that were acknowledged
	window uint64
	cut    uint64 // CutFragments
	pick   func(int) []fragment.LogID
	alter  func(b *built) // what the store did to them
	hint   uint64
	at     uint64
	vague  bool // some ends can't be told
	lost   int
}

var sealWorlds = map[string]sealWorld{
	"empty chain":           {n: 0, at: 1},
	"one fragment":          {n: 1, at: 2},
	"no object 0":           {n: 3, alter: func(b *built) { b.lose(0) }, at: 4},
	"full blocks":           {n: 128, at: 129},
	"just before a block":   {n: 127, at: 128},
	"behind a block":        {n: 129, at: 130},
	"cut":                   {n: 150, cut: 50, at: 151},
	"cut at its end":        {n: 150, cut: 150, at: 151},
	"window 1":              {n: 150, window: 1, at: 151},
	"window above length":   {n: 5, window: 100, at: 6},
	"hole at the end":       {n: 20, alter: func(b *built) { b.lose(20) }, at: 20, vague: true},
	"lost below later ones": {n: 20, alter: func(b *built) { b.lose(12) }, at: 21, lost: 1},
	"lost first":            {n: 20, alter: func(b *built) { b.lose(1) }, at: 21, lost: 1},
	"lost within the window, told by a header": {n: 20, alter: func(b *built) { b.lose(18) }, at: 21, lost: 1},
	"lost, told by the next header":            {n: 20, alter: func(b *built) { b.lose(19) }, at: 21, lost: 1},
	"lost, hint says so":                       {n: 20, alter: func(b *built) { b.lose(20) }, hint: 20, at: 21, vague: true, lost: 1},
	"two lost in a row":                        {n: 20, alter: func(b *built) { b.lose(11, 12) }, at: 21, lost: 2},
	"three lost, tail hint":                    {n: 20, alter: func(b *built) { b.lose(18, 19, 20) }, hint: 20, at: 21, vague: true, lost: 3},
	"two runs lost":                            {n: 40, alter: func(b *built) { b.lose(11, 12, 20, 21, 22) }, at: 41, lost: 5},
	"lost in a summed block":                   {n: 140, alter: func(b *built) { b.lose(20, 21) }, at: 141},
	"lost sum":                                 {n: 140, alter: func(b *built) { b.lose(64) }, at: 141, lost: 1},
	"lost sum and before":                      {n: 140, alter: func(b *built) { b.lose(63, 64) }, at: 141, lost: 2},
	"lost sum and behind":                      {n: 140, alter: func(b *built) { b.lose(64, 65) }, at: 141, lost: 2, vague: true},
	"lost near a sum":                          {n: 68, alter: func(b *built) { b.lose(60) }, at: 69, lost: 1},
	"damaged in the middle":                    {n: 20, alter: func(b *built) { b.damage(10) }, at: 21, lost: 1},
	"damaged at the end":                       {n: 20, alter: func(b *built) { b.damage(20) }, at: 21, lost: 1, vague: true},
	"foreign in the middle":                    {n: 20, alter: func(b *built) { b.mem.Put(chainKey(10), b.object(9)) }, at: 21, lost: 1},
	"no index of a cut":                        {n: 150, cut: 50, alter: func(b *built) { b.mem.Lose(b.cuts[1].Index.Key); b.mem.Lose(b.cuts[2].Index.Key) }, at: 151},
	"damaged index of a cut":                   {n: 150, cut: 60, alter: func(b *built) { b.mem.Put(b.cuts[1].Index.Key, []byte("x")) }, at: 151},
	"sealed already":                           {n: 20, alter: func(b *built) { b.mem.Put(chainKey(21), sealObject(21, fragment.KindSeal, testChain)) }, at: 21},
	"sealed, landed behind": {n: 20, alter: func(b *built) {
		b.mem.Put(chainKey(15), sealObject(15, fragment.KindSeal, testChain))
		for n := uint64(19); n <= 20; n++ {
			b.lose(n)
		}
	}, at: 15, vague: true},
	"damaged seal": {n: 20, alter: func(b *built) {
		body := sealObject(21, fragment.KindSeal, testChain)
		body[40] ^= 1
		b.mem.Put(chainKey(21), body)
	}, at: 21, vague: true},
	"gap from an earlier sealer": {n: 20, alter: func(b *built) { b.mem.Put(chainKey(19), sealObject(19, fragment.KindGap, testChain)) }, at: 21, lost: 1},
}

func (b *built) damage(n uint64) {
	body := b.object(n)
	body[len(body)-70] ^= 4
	b.mem.Put(chainKey(n), body)
}

func (w sealWorld) build(t testing.TB) *built {
	pick := threeLogs
	if w.pick != nil {
		pick = w.pick
	}
	b := build(t, w.n, Options{CutFragments: w.cut}, pick)
	if w.alter != nil {
		w.alter(b)
	}
	return b
}

func (w sealWorld) request(b *built) SealRequest {
	r := b.request(max(w.window, 1))
	if w.window == 0 {
		r.Chain.Window = 8
	}
	r.Durable = w.hint
	return r
}

func TestSealWorlds(t *testing.T) {
	for name, world := range sealWorlds {
		t.Run(name, func(t *testing.T) {
			b := world.build(t)
			before := b.mem.Clone()
			x, err := Seal(t.Context(), b.store, world.request(b))
			require.NoError(t, err)
			b.check(x, world.at, !world.vague)
			require.Len(t, x.Lost, world.lost)
			if body, ok := b.mem.Object(x.Index.Key); !ok || uint64(len(body)) != x.Index.Size {
				t.Fatal("no index object")
			}
			y, err := Seal(t.Context(), b.store, world.request(b))
			require.NoError(t, err)
			require.Equal(t, x.Index, y.Index, "sealed again")

			two := b.on(before.Clone())
			var both [2]Sealed
			var wg sync.WaitGroup
			for i := range both {
				wg.Go(func() {
					r := world.request(two)
					r.Sealer.Nonce[1] = byte(i)
					var err error
					if both[i], err = Seal(t.Context(), two.store, r); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			require.Equal(t, both[0].Index, both[1].Index, "sealed by two at once")
			require.Equal(t, x.Index, both[0].Index)

			for after := range 2 { // it dies at each create, before or behind it
				for k := 0; ; k++ {
					dies := b.on(before.Clone())
					ctx, cancel := context.WithCancel(t.Context())
					var creates atomic.Int64 // gaps are created side by side
					dies.Hook(func(_ context.Context, op blobtest.Op) error {
						if op.Kind != blobtest.Create {
							return nil
						}
						if creates.Add(1) == int64(k+1) {
							if after == 1 {
								_ = dies.mem.Create(t.Context(), op.Key, op.Parts)
							}
							cancel()
							return errors.New("died")
						}
						return nil
					})
					_, err := Seal(ctx, dies.store, world.request(dies))
					cancel()
					if creates.Load() <= int64(k) {
						require.NoError(t, err)
						break
					}
					dies.Clear()
					z, err := Seal(t.Context(), dies.store, world.request(dies))
					require.NoError(t, err)
					require.Equal(t, x.Index, z.Index, "died at create %d", k)
				}
			}
		})
	}
}

// A sealer that loses its create to a late fragment goes on, however often.
// A fragment that a later one calls durable but is only late is no gap.
func TestSealLosesToLateFragments(t *testing.T) {
	b := build(t, 30, Options{}, threeLogs)
	late := make(map[string][]byte)
	for n := uint64(11); n <= 30; n++ {
		if n == 14 || n == 15 {
			continue // they are there: 13 is late while 15 calls 12 durable
		}
		late[chainKey(n)] = b.object(n)
		b.lose(n)
	}
	b.Hook(func(_ context.Context, op blobtest.Op) error {
		if body := late[op.Key]; op.Kind == blobtest.Create && body != nil {
			b.mem.Put(op.Key, body) // it lands just before
			delete(late, op.Key)
		}
		return nil
	})
	x, err := Seal(t.Context(), b.store, b.request(8))
	require.NoError(t, err)
	require.Empty(t, late)
	require.Empty(t, x.Lost)
	b.check(x, 31, true)
}

// A sealer that put a gap, and then walked on over a sum that tells what the
// lost fragment held, comes to the same end as one that starts later, reads by
// sums, and never looks at the gap.
func TestSealWithAndWithoutSums(t *testing.T) {
	b := build(t, 90, Options{}, threeLogs)
	b.lose(60)
	late := make(map[uint64][]byte)
	for n := uint64(64); n <= 90; n++ {
		late[n] = b.object(n)
		b.lose(n)
	}
	b.Hook(func(_ context.Context, op blobtest.Op) error {
		if op.Kind == blobtest.Create && op.Key == chainKey(60) {
			for n, body := range late {
				b.mem.Put(chainKey(n), body)
			}
		}
		return nil
	})
	x, err := Seal(t.Context(), b.store, b.request(8))
	require.NoError(t, err)
	b.Clear()
	y, err := Seal(t.Context(), b.store, b.request(8))
	require.NoError(t, err)
	requireSame(t, x.Content, y.Content)
	b.check(x, 91, true)
	got, damage := readAll(t, NewReader(b.store, nil), View{Chain: testChain, Sealed: &Cut{From: 1, To: x.At, Index: x.Index}}, stayOf(3), 1)
	require.Len(t, damage, 1)
	require.Len(t, got, len(b.sent[3])-1)
}

// What follows a lost run may tell nothing of a log that the run held: then
// its LSNs are given up, also if many fragments of other logs come behind.
func TestSealGivesUpWhatNothingTells(t *testing.T) {
	pick := func(i int) []fragment.LogID {
		if i < 8 {
			return []fragment.LogID{1, 2, 3}
		}
		if i == 9 || i == 15 {
			return []fragment.LogID{2}
		}
		return []fragment.LogID{1}
	}
	for _, lost := range [][]uint64{{8, 9}, {8, 9, 16}, {7, 8, 9, 14, 15}} {
		b := build(t, 40, Options{}, pick)
		b.lose(lost...)
		x, err := Seal(t.Context(), b.store, b.request(8))
		require.NoError(t, err)
		b.check(x, 41, false)
		for log, exact := range map[fragment.LogID]bool{1: true, 3: false} {
			st, _ := x.Content.State(log)
			if exact {
				require.Equal(t, b.next[log], st.End, "%v: log %d", lost, log)
			} else {
				require.GreaterOrEqual(t, st.End, b.next[log]+1<<31, "%v: log %d", lost, log)
			}
		}
		y, err := readIndex(t.Context(), b.store, x.Index) // it can be decoded
		require.NoError(t, err)
		requireSame(t, x.Content, y)
	}
}

// Check sees every head that counts, the seal's too, and may stop it.
func TestSealChecksHeads(t *testing.T) {
	b := build(t, 20, Options{}, threeLogs)
	seen := make(map[string]bool)
	r := b.request(8)
	r.Check = func(key string, h fragment.Head) error { seen[key] = true; return nil }
	_, err := Seal(t.Context(), b.store, r)
	require.NoError(t, err)
	require.Len(t, seen, 21)
	r.Check = func(key string, h fragment.Head) error {
		if h.N == 17 {
			return fmt.Errorf("rolled back")
		}
		return nil
	}
	_, err = Seal(t.Context(), b.store, r)
	require.ErrorContains(t, err, "rolled back")
}

// What is damaged on its way only is not lost.
func TestSealRereads(t *testing.T) {
	b := build(t, 140, Options{CutFragments: 50}, threeLogs)
	want, err := Seal(t.Context(), onMem(b.mem.Clone()), b.request(8))
	require.NoError(t, err)
	seen := make(map[string]bool)
	b.Add(blobtest.Fault{Kind: blobtest.Read, Flip: 30, Match: func(op blobtest.Op) bool {
		first := !seen[op.Key]
		seen[op.Key] = true
		return first
	}})
	x, err := Seal(t.Context(), b.store, b.request(8))
	require.NoError(t, err)
	require.Equal(t, want.Index, x.Index)
	require.Empty(t, x.Lost)
}
