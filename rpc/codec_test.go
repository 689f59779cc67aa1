package rpc

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// pieces cuts bytes as a transport might.
func pieces(b []byte, size int) (s mem.BufferSlice) {
	for len(b) > 0 {
		n := min(size, len(b))
		s = append(s, mem.SliceBuffer(b[:n]))
		b = b[n:]
	}
	return s
}

type part struct {
	Head AppendHead
	Data []byte
}

func takeParts(f *AppendFrame) (parts []part, err error) {
	for {
		h, ok, err := f.Next()
		if err != nil || !ok {
			return parts, err
		}
		data := make([]byte, h.DataBytes)
		half := len(data) / 2
		f.Copy(data[:half])
		f.Copy(data[half:])
		parts = append(parts, part{h, data})
	}
}

var someParts = []part{
	{AppendHead{Request: 1, Log: 1 << 40, IfTail: 7, BatchBytes: 9, ReadyBytes: 1 << 20, DataBytes: 5}, []byte("abcde")},
	{AppendHead{DataBytes: 4}, []byte("fghi")},
	{AppendHead{Request: 2, Log: 3, BatchBytes: 300, DataBytes: 300}, bytes.Repeat([]byte("x"), 300)},
}

// TestAppendFrame: what the codec makes is what protobuf makes, and either
// reads the other, however the bytes are cut.
func TestAppendFrame(t *testing.T) {
	var f AppendFrame
	want := &logv1.AppendRequest{}
	for _, p := range someParts {
		f.Add(p.Head, p.Data)
		want.Parts = append(want.Parts, &logv1.AppendPart{
			Request: p.Head.Request, LogId: uint64(p.Head.Log), IfTail: uint64(p.Head.IfTail), BatchBytes: uint32(p.Head.BatchBytes), Data: p.Data,
			ReadyBytes: uint64(p.Head.ReadyBytes),
		})
	}
	b, err := Codec{}.Marshal(&f)
	require.NoError(t, err)
	require.Equal(t, f.Len(), b.Len())
	plain, err := proto.Marshal(want)
	require.NoError(t, err)
	require.Equal(t, len(plain), b.Len())
	read := &logv1.AppendRequest{}
	require.NoError(t, proto.Unmarshal(b.Materialize(), read))
	require.True(t, proto.Equal(want, read))

	var got AppendFrame
	require.NoError(t, Codec{}.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b.Materialize())}, &got))
	parts, err := takeParts(&got)
	require.NoError(t, err)
	require.Equal(t, someParts, parts)
	got.Free()

	// Protobuf has the hint behind the data, where it is worth nothing any more.
	late := slices.Clone(someParts)
	late[0].Head.ReadyBytes = 0
	for _, size := range []int{1, 2, 3, 7, 64, 1 << 20} {
		var got AppendFrame
		require.NoError(t, Codec{}.Unmarshal(pieces(plain, size), &got))
		parts, err := takeParts(&got)
		require.NoError(t, err)
		require.Equal(t, late, parts)
		got.Free()
		got.Free()

		// What is not copied is passed over.
		require.NoError(t, Codec{}.Unmarshal(pieces(plain, size), &got))
		for i := range someParts {
			h, ok, err := got.Next()
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, late[i].Head, h)
		}
		_, ok, err := got.Next()
		require.NoError(t, err)
		require.False(t, ok)
	}
}

func TestAppendFrameMalformed(t *testing.T) {
	var f AppendFrame
	f.Add(someParts[0].Head, someParts[0].Data)
	whole := f.marshal().Materialize()
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"another field", []byte{0x12, 0}},
		{"a number in place of a part", []byte{0x08, 1}},
		{"longer than the message", []byte{0x0a, 5, 0x08, 1}},
		{"no tag", []byte{0x02, 1}},
		{"a tag that is too large", []byte{0x0a, 8, 0x80, 0x80, 0x80, 0x80, 0x30, 1, 0x2a, 0}},
		{"a fixed field", []byte{0x0a, 9, 0x09, 1, 2, 3, 4, 5, 6, 7, 8}},
		{"a number without end", bytes.Repeat([]byte{0xff}, 11)},
		{"more than 64 bits", []byte{0x0a, 11, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}},
		{"fields behind the data", []byte{0x0a, 5, 0x2a, 1, 'a', 0x08, 1}},
		{"a hint behind the data that is no number", []byte{0x0a, 6, 0x2a, 1, 'a', 0x32, 1, 'a'}},
		{"a hint that is longer than its part", []byte{0x0a, 5, 0x2a, 1, 'a', 0x30, 0x80, 1}},
		{"a field that is longer than its part", []byte{0x0a, 2, 0x2a, 3, 'a', 'b', 'c'}},
		{"a number that is longer than its part", []byte{0x0a, 2, 0x08, 0x80, 1}},
		{"other bytes", []byte{0x0a, 3, 0x3a, 1, 'a'}},
		{"a batch of 4 GiB", []byte{0x0a, 6, 0x20, 0xff, 0xff, 0xff, 0xff, 0x0f}},
		{"the end is missing", whole[:len(whole)-1]},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f AppendFrame
			require.NoError(t, Codec{}.Unmarshal(pieces(c.b, 2), &f))
			defer f.Free()
			_, err := takeParts(&f)
			require.ErrorIs(t, err, api.ErrInvalid)
		})
	}
}

// FuzzAppendFrame: whatever comes, it is parts or an error, and parts are what
// protobuf would have read.
func FuzzAppendFrame(f *testing.F) {
	var frame AppendFrame
	for _, p := range someParts {
		frame.Add(p.Head, p.Data)
	}
	f.Add(frame.marshal().Materialize(), 3)
	f.Add([]byte{0x0a, 0}, 1)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if size < 1 || size > 64 {
			size = 64
		}
		var f AppendFrame
		require.NoError(t, Codec{}.Unmarshal(pieces(b, size), &f))
		defer f.Free()
		parts, err := takeParts(&f)
		if err != nil {
			require.ErrorIs(t, err, api.ErrInvalid)
			return
		}
		var m logv1.AppendRequest
		require.NoError(t, proto.Unmarshal(b, &m))
		require.Len(t, m.Parts, len(parts))
		for i, p := range m.Parts {
			require.True(t, bytes.Equal(p.Data, parts[i].Data))
			require.Equal(t, p.Request, parts[i].Head.Request)
			require.Equal(t, p.LogId, uint64(parts[i].Head.Log))
			require.Equal(t, p.IfTail, uint64(parts[i].Head.IfTail))
			require.EqualValues(t, p.BatchBytes, parts[i].Head.BatchBytes)
		}
	})
}

// TestReadFrame: as TestAppendFrame.
func TestReadFrame(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 6000)
	for _, n := range []int{0, 1, 100, 127, 128, len(data)} {
		b, err := Codec{}.Marshal(NewReadData(data[:n]))
		require.NoError(t, err)
		plain, err := proto.Marshal(&logv1.ReadResponse{Kind: &logv1.ReadResponse_Data{Data: data[:n]}})
		require.NoError(t, err)
		require.Equal(t, plain, b.Materialize())
		b.Free()
		b, err = Codec{}.Marshal(NewReadData(data[:n/3], nil, data[n/3:n]))
		require.NoError(t, err)
		require.Equal(t, plain, b.Materialize())
		b.Free()

		var f ReadFrame
		require.NoError(t, Codec{}.Unmarshal(pieces(plain, 16<<10), &f))
		require.Nil(t, f.Message)
		require.Equal(t, n, f.DataBytes())
		got := make([]byte, n)
		f.Copy(got[:n/3])
		f.Copy(got[n/3:])
		require.Zero(t, f.DataBytes())
		require.Equal(t, string(data[:n]), string(got))
		f.Free()
		f.Free()
	}
	for _, m := range []*logv1.ReadResponse{
		{Kind: &logv1.ReadResponse_Start{Start: &logv1.ReadStart{Position: 7}}},
		{Kind: &logv1.ReadResponse_Chunk{Chunk: &logv1.ReadChunk{FromLsn: 1, ToLsn: 9, TailLsn: 10, Bytes: 77}}},
		{Kind: &logv1.ReadResponse_Loss{Loss: &logv1.Error{Reason: logv1.ErrorReason_ERROR_REASON_DATA_LOSS, Message: "gone"}}},
	} {
		b, err := Codec{}.Marshal(&ReadFrame{Message: m})
		require.NoError(t, err)
		var f ReadFrame
		require.NoError(t, Codec{}.Unmarshal(b, &f))
		require.Empty(t, cmp.Diff(m, f.Message, protocmp.Transform()))
	}
	var f ReadFrame
	for _, b := range [][]byte{nil, {0x1a, 9}, {0x20}, {0x1a, 1, 'a', 0x1a, 1, 'b'}, {0x28, 1}} {
		require.Error(t, Codec{}.Unmarshal(pieces(b, 4), &f), "%v", b)
	}
}

func TestCodecOther(t *testing.T) {
	m := &logv1.GetTailRequest{LogId: 7, Level: &logv1.Level{Linearizable: true}}
	b, err := Codec{}.Marshal(m)
	require.NoError(t, err)
	got := &logv1.GetTailRequest{}
	require.NoError(t, Codec{}.Unmarshal(b, got))
	require.True(t, proto.Equal(m, got))
	_, err = Codec{}.Marshal(7)
	require.Error(t, err)
	require.Error(t, Codec{}.Unmarshal(b, new(int)))
}
