package fragment

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// requireTyped: whatever the input was, the error is one of ours, and at an
// offset that is in it.
func requireTyped(t testing.TB, err error, size int) {
	t.Helper()
	if l, ok := errors.AsType[*LimitError](err); ok {
		require.Greater(t, l.Value, l.Limit)
		return
	}
	at := int64(0)
	if c, ok := errors.AsType[*CorruptError](err); ok {
		require.NotEmpty(t, c.Reason)
		at = c.Offset
	} else if v, ok := errors.AsType[*VersionError](err); ok {
		require.NotEmpty(t, v.What)
		at = v.Offset
	} else {
		t.Fatalf("error %v is a %T", err, err)
	}
	if at < 0 || at > int64(size) {
		t.Fatalf("error %v: offset outside of %d bytes", err, size)
	}
}

// sealObject makes all lengths and checksums of a forged object fit, as far as
// its parts can be told apart, so that a fuzzer gets behind them.
func sealObject(b []byte) []byte {
	b = slices.Clone(b)
	if len(b) < headLen+footLen || len(b) > ObjectBytesMax {
		return b
	}
	offset := le.Uint64(b[offHeadDirOffset:])
	if offset < headLen || offset > uint64(len(b)-footLen) {
		offset = headLen
	}
	dir := b[offset : len(b)-footLen]
	h := Head{
		Kind: Kind(b[offHeadKind]), Epoch: Epoch(le.Uint64(b[offHeadEpoch:])), N: le.Uint64(b[offHeadN:]),
		Nonce: Nonce(b[offHeadNonce:offHeadDurable]), dirOffset: int(offset), dirLen: len(dir),
	}
	if d, err := decodeDirectory(dir, 0); err == nil {
		sealSlices(b[:offset], h, d)
		if encoded := d.encode(); len(encoded) == len(dir) {
			copy(dir, encoded)
		}
	}
	head := h.encode()
	copy(head[offHeadCluster:], b[offHeadCluster:offHeadLen])
	copy(head[offHeadDurable:], b[offHeadDurable:offHeadDirOffset])
	head[offHeadRequired], head[offHeadOptional] = b[offHeadRequired], b[offHeadOptional]
	h.sum = headerSum(head)
	le.PutUint32(head[offHeadSum:], h.sum)
	copy(b, head)
	copy(b[len(b)-footLen:], h.footer(head, dir))
	return b
}

// sealSlices does the same for the batches of the slices, and the slices'
// checksums.
func sealSlices(body []byte, h Head, d *Directory) {
	for i := range d.Slices {
		s := &d.Slices[i]
		if s.Offset < headLen || uint64(s.Offset)+uint64(s.Length) > uint64(len(body)) {
			return
		}
		s.Sum = 0
		for left := body[s.Offset : s.Offset+s.Length]; len(left) > 0; {
			batch, rest, err := SplitBatch(left)
			if err != nil {
				break
			}
			sealStored(batch, s.Log)
			s.Sum = checksumAdd(s.Sum, batch.header())
			left = rest
		}
	}
}

func sealStored(b Batch, log LogID) {
	le.PutUint32(b.b[offBatchPayloadSum:], payloadSum(b.b, b.headerLen()))
	le.PutUint32(b.b[offBatchStampSum:], b.stampSum(log))
}

func FuzzDecode(f *testing.F) {
	for _, b := range samples(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, sealObject(b)} {
			var got Frozen
			var err error
			used := allocated(func() { got, err = Decode(b) })
			// Other goroutines of the fuzzer allocate too: this is for what is out of all proportion.
			require.LessOrEqual(t, used, uint64(decodedPerByte*len(b)+64<<20))
			if err != nil {
				requireTyped(t, err, len(b))
				continue
			}
			checkCanonical(t, b, got)
		}
	})
}

// checkCanonical: a decoded object encodes to the same bytes again, but for
// what a reader skips.
func checkCanonical(t testing.TB, b []byte, f Frozen) {
	h := f.Head
	again := f.Directory.encode()
	if !hasOptional(b[h.dirOffset : h.dirOffset+h.dirLen]) {
		require.True(t, bytes.Equal(b[h.dirOffset:h.dirOffset+h.dirLen], again))
	}
	d, err := decodeDirectory(again, h.dirOffset)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(f.Directory, d))
	var body []byte
	for i, s := range f.Directory.Slices {
		for _, batch := range f.Batches[i] {
			body = append(body, batch.Bytes()...)
			require.NoError(t, batch.Verify(s.Log))
		}
	}
	require.True(t, bytes.Equal(b[headLen:h.dirOffset], body))
}

func hasOptional(dir []byte) bool {
	for len(dir) > 0 {
		tag := dir[0]
		if tag < 0x80 {
			return true
		}
		_, dir, _ = cutBytes(dir[1:])
	}
	return false
}

func FuzzDirectory(f *testing.F) {
	for _, b := range samples(f) {
		h, err := DecodeHead(b)
		require.NoError(f, err)
		f.Add(b[h.dirOffset:h.dirOffset+h.dirLen], uint8(h.Kind), h.N)
	}
	f.Fuzz(func(t *testing.T, dir []byte, kind uint8, n uint64) {
		if len(dir) > 1<<20 {
			return
		}
		b := withDirectory(Kind(kind), n, dir)
		got, err := Decode(b)
		if err == nil {
			checkCanonical(t, b, got)
		} else {
			requireTyped(t, err, len(b))
		}
		d, err := decodeDirectory(dir, 0) // also one that does not fit an object without slices
		if err != nil {
			requireTyped(t, err, len(dir))
			return
		}
		if !hasOptional(dir) {
			require.True(t, bytes.Equal(dir, d.encode()))
		}
		for i := range d.States { // no order of states makes these panic
			d.States[i].Merge(d.States[0])
			for j := range d.States[i].Producers {
				d.States[i].Producers[j].Remember(Batch{plain(1, []byte{0})})
			}
		}
	})
}

func FuzzOpenBatch(f *testing.F) {
	for _, b := range storedBatches(f) {
		c := slices.Clone(b.Bytes())
		clear(c[offBatchStampSum:offBatchCount])
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sealed := sealBatch(b)
		if len(sealed) > batchHeaderLen {
			clear(sealed[offBatchStampSum:offBatchCount])
		}
		for _, b := range [][]byte{b, sealed} {
			batch, err := OpenBatch(b, Limits{})
			if err != nil {
				requireTyped(t, err, max(len(b), Limits{}.BatchBytesMax()))
				continue
			}
			checkEntries(t, batch)
			batch.Stamp(Stamp{Log: 1, From: 1})
			read, rest, err := ReadBatch(b, 1)
			require.NoError(t, err)
			require.Empty(t, rest)
			require.Equal(t, batch.Bytes(), read.Bytes())
		}
	})
}

// checkEntries: the entries of a batch encode to the same bytes again.
func checkEntries(t testing.TB, batch Batch) {
	raw := batch.b[batch.headerLen():]
	if c := batch.Codec(); c != CodecNone {
		var err error
		raw, err = c.decompress(raw, batch.RawLen())
		require.NoError(t, err)
	}
	again := BatchBuilder{Limits: Limits{EntryBytesMax: EntryBytesMax}}
	for _, it := range walk(t, batch) {
		require.NoError(t, again.Add(it.headers, it.data))
	}
	require.Equal(t, batch.Count(), again.Count())
	require.True(t, bytes.Equal(raw, bytes.Join(again.chunks, nil)[batchHeaderLen:]))
}

func FuzzReadBatch(f *testing.F) {
	for _, b := range storedBatches(f) {
		f.Add(b.Bytes(), uint64(4))
	}
	f.Fuzz(func(t *testing.T, b []byte, log uint64) {
		sealed := sealBatch(b)
		if split, _, err := SplitBatch(sealed); err == nil {
			sealStored(split, LogID(log))
		}
		for _, b := range [][]byte{b, sealed} {
			batch, rest, err := ReadBatch(b, LogID(log))
			if err != nil {
				requireTyped(t, err, len(b))
				continue
			}
			require.Equal(t, len(b), batch.Len()+len(rest))
			require.Greater(t, batch.To(), batch.From())
			entries, err := batch.Entries()
			for ok := err == nil; ok; _, ok = entries.Next() {
			}
			if err = errors.Join(err, entries.Err()); err != nil {
				requireTyped(t, err, BatchBytesMax)
			}
		}
	})
}

func FuzzEntries(f *testing.F) {
	for _, b := range storedBatches(f) {
		f.Add(uint8(b.Codec()), uint16(b.Count()), uint32(b.RawLen()), b.Bytes()[b.headerLen():])
	}
	f.Fuzz(func(t *testing.T, codec uint8, count uint16, rawLen uint32, entries []byte) {
		if Codec(codec) == CodecNone {
			rawLen = uint32(len(entries))
		}
		b := rawBatch(Codec(codec), int(count), int(rawLen), entries)
		batch, err := OpenBatch(b, Limits{})
		if err != nil {
			requireTyped(t, err, max(len(b), Limits{}.BatchBytesMax()))
			return
		}
		checkEntries(t, batch)
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(ChainKey(1, 2), ClusterID{1}.String(), "s2")
	f.Add(ChainKey(^Epoch(0), 1<<63), "", "zstd")
	f.Add("chains/0000000000000001", "FF", "")
	f.Add("chains/00000000000000AB/+000000000000001", "", "none")
	f.Fuzz(func(t *testing.T, key, cluster, codec string) {
		if e, n, err := ParseChainKey(key); err == nil {
			require.Equal(t, key, ChainKey(e, n))
		}
		if e, err := ParseEpoch(key); err == nil {
			require.Equal(t, key, e.String())
		}
		if id, err := ParseClusterID(cluster); err == nil {
			require.Equal(t, cluster, id.String())
		}
		if c, err := ParseCodec(codec); err == nil {
			require.Equal(t, codec, c.String())
		}
	})
}
