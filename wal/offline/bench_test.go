package offline_test

import (
	"context"
	"testing"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/offline"
)

// BenchmarkLongChain opens, verifies and reads a chain of 100,000 small
// fragments in memory.
func BenchmarkLongChain(b *testing.B) {
	const fragments = 100_000
	ctx := b.Context()
	store := blobstore.New(blobtest.NewMem(), blobstore.Options{})
	c := segment.Chain{Cluster: fragment.ClusterID{1}, Epoch: 1, Node: node, Boot: 1, Nonce: fragment.Nonce{1}, Window: 64}
	w, err := segment.Create(ctx, store, c, segment.Options{FragmentBytes: 1, Commit: func(context.Context, segment.Cut) error { return nil }})
	if err != nil {
		b.Fatal(err)
	}
	_, err = w.Note(&fragment.Attached{Log: 1, Attachment: 1, Name: "a", First: 1, Trim: 1}, fragment.LogState{Log: 1, Attachment: 1, End: 1})
	if err != nil {
		b.Fatal(err)
	}
	for i := range uint64(fragments) {
		var bb fragment.BatchBuilder
		_ = bb.Add(nil, []byte("entry"))
		x := bb.Finish(fragment.BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: i + 1, LowestSeq: i + 1})
		x.Stamp(fragment.Stamp{Log: 1, Attachment: 1, Epoch: 1, From: fragment.LSN(i + 1), Time: fragment.Micros(i)})
		if err := w.Reserve(ctx, x.Len()); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Append(1, x, 0, ignore{}); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(ctx); err != nil {
		b.Fatal(err)
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			if _, err := offline.Open(ctx, store, offline.Options{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			r, err := offline.Verify(ctx, store, offline.VerifyOptions{})
			if err != nil || !r.OK() || r.Entries != fragments {
				b.Fatal(r, err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		x, err := offline.Open(ctx, store, offline.Options{})
		if err != nil {
			b.Fatal(err)
		}
		l, _ := x.Find("a")
		for b.Loop() {
			n := 0
			for _, err := range x.Read(ctx, l, offline.ReadOptions{}) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != fragments {
				b.Fatal(n)
			}
		}
	})
}
