package rpc

import (
	"fmt"
	"math"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// The fields of AppendRequest and AppendPart; log.proto.
const (
	fieldParts = 1

	fieldRequest    = 1
	fieldLogID      = 2
	fieldIfTail     = 3
	fieldBatchBytes = 4
	fieldPartData   = 5
	fieldReady      = 6
)

// AppendHead is a part of a batch without its data. Only in the first part of
// a batch is it more than DataBytes.
type AppendHead struct {
	Request    uint64 // 0 in the parts that follow the first
	Log        fragment.LogID
	IfTail     fragment.LSN
	BatchBytes int // of the whole batch
	ReadyBytes int // see api.AppendRequest; 0: not told
	DataBytes  int // of this part
}

// AppendFrame is an AppendRequest: parts of batches. One end adds parts and
// sends it, the other one receives it and takes them out with Next and Copy,
// then calls Free. The zero value is empty. Not safe for concurrent use.
type AppendFrame struct {
	out   mem.BufferSlice
	bytes int

	in   *mem.Reader
	left int // bytes of data of the part at hand that were not taken
	rest int // bytes of the part behind its data
}

// Add puts a part at the end; h.DataBytes is not looked at. data is sent as it
// is then, and must not change any more.
func (f *AppendFrame) Add(h AppendHead, data []byte) {
	head := make([]byte, 0, 56)
	for _, x := range []struct {
		field protowire.Number
		value uint64
	}{{fieldRequest, h.Request}, {fieldLogID, uint64(h.Log)}, {fieldIfTail, uint64(h.IfTail)}, {fieldBatchBytes, uint64(h.BatchBytes)}, {fieldReady, uint64(h.ReadyBytes)}} {
		if x.value != 0 {
			head = protowire.AppendTag(head, x.field, protowire.VarintType)
			head = protowire.AppendVarint(head, x.value)
		}
	}
	head = protowire.AppendTag(head, fieldPartData, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(len(data)))

	frame := make([]byte, 0, 8+len(head))
	frame = protowire.AppendTag(frame, fieldParts, protowire.BytesType)
	frame = protowire.AppendVarint(frame, uint64(len(head)+len(data)))
	frame = append(frame, head...)
	f.out = append(f.out, mem.SliceBuffer(frame), mem.SliceBuffer(data))
	f.bytes += len(frame) + len(data)
}

// Len is the size of what was added, in bytes.
func (f *AppendFrame) Len() int { return f.bytes }

func (f *AppendFrame) marshal() mem.BufferSlice { return f.out }

func (f *AppendFrame) unmarshal(data mem.BufferSlice) {
	f.Free()
	f.in, f.left, f.rest = data.Reader(), 0, 0 // which holds the data until Free
}

// Next returns the head of the next part, false at the end. What was not
// copied of the part before is passed over. An error, which Is ErrInvalid,
// means that the frame is malformed.
func (f *AppendFrame) Next() (h AppendHead, ok bool, err error) {
	if f.in == nil {
		return h, false, nil
	}
	if err := f.pass(); err != nil {
		return h, false, err
	}
	if f.in.Remaining() == 0 {
		return h, false, nil
	}
	r := wireReader{f.in}
	switch field, kind, n, err := r.field(); {
	case err != nil:
		return h, false, err
	case field != fieldParts || kind != protowire.BytesType:
		return h, false, malformed("field %d in place of a part", field)
	default:
		end := f.in.Remaining() - int(n)
		if err := r.head(&h, end); err != nil {
			return h, false, err
		}
		f.left, f.rest = h.DataBytes, f.in.Remaining()-h.DataBytes-end
	}
	return h, true, nil
}

// head reads the fields of a part; data, the last of them, stays where it is.
func (r wireReader) head(h *AppendHead, end int) error {
	for r.in.Remaining() > end {
		field, kind, n, err := r.field()
		switch {
		case err != nil:
			return err
		case r.in.Remaining() < end, kind == protowire.BytesType && r.in.Remaining()-int(n) < end:
			return malformed("field %d of a part goes beyond it", field)
		case field == fieldPartData && kind == protowire.BytesType:
			h.DataBytes = int(n)
			return nil
		case kind == protowire.BytesType:
			return malformed("unknown field %d in a part", field)
		case field == fieldRequest:
			h.Request = n
		case field == fieldLogID:
			h.Log = fragment.LogID(n)
		case field == fieldIfTail:
			h.IfTail = fragment.LSN(n)
		case field == fieldBatchBytes:
			if n > math.MaxInt32 {
				return malformed("a batch of %d bytes", n)
			}
			h.BatchBytes = int(n)
		case field == fieldReady:
			h.ReadyBytes = int(min(n, math.MaxInt32))
		}
	}
	return nil
}

// Copy takes the next len(to) bytes of the part's data; there must be as many.
func (f *AppendFrame) Copy(to []byte) {
	if len(to) > f.left {
		panic(fmt.Sprintf("%d bytes of a part that has %d left", len(to), f.left))
	}
	f.left -= len(to)
	for len(to) > 0 {
		n, err := f.in.Read(to)
		if err != nil {
			panic(fmt.Sprintf("%d bytes of a part are gone: %v", len(to), err)) // its length was checked
		}
		to = to[n:]
	}
}

// pass goes to the end of the part at hand. Behind the data there may be hints,
// as encoders have them there that go by the numbers of fields: it is too late
// for them then. Anything else there is an error.
func (f *AppendFrame) pass() error {
	if f.left > 0 {
		_, _ = f.in.Discard(f.left) // as many are there
	}
	f.left = 0
	r, end := wireReader{f.in}, f.in.Remaining()-f.rest
	f.rest = 0
	for f.in.Remaining() > end {
		switch field, kind, _, err := r.field(); {
		case err != nil:
			return err
		case field != fieldReady || kind != protowire.VarintType || f.in.Remaining() < end:
			return malformed("field %d behind the data of a part", field)
		}
	}
	return nil
}

// Free gives back what was received. Idempotent.
func (f *AppendFrame) Free() {
	if f.in != nil {
		_ = f.in.Close() // it never fails
		f.in = nil
	}
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: malformed message: %s", api.ErrInvalid, fmt.Sprintf(format, args...))
}
