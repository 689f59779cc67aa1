package rpc

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
)

// fieldReadData is the field of ReadResponse that has bytes of batches.
const fieldReadData = 3

// ReadFrame is a ReadResponse: a Message (start, chunk or loss), or bytes of
// batches. Call Free on one that was received, once it was looked at. Not safe
// for concurrent use.
type ReadFrame struct {
	Message *logv1.ReadResponse // nil: bytes

	out  mem.BufferSlice
	in   *mem.Reader
	left int
}

// NewReadData makes a frame of a copy of data, which must have at most
// ReadFrameBytes.
func NewReadData(data []byte) *ReadFrame {
	pool := mem.DefaultBufferPool()
	b := pool.Get(len(data) + 8)
	head := protowire.AppendTag((*b)[:0], fieldReadData, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(len(data)))
	*b = append(head, data...)
	return &ReadFrame{out: mem.BufferSlice{mem.NewBuffer(b, pool)}}
}

func (f *ReadFrame) marshal() (mem.BufferSlice, error) {
	if f.Message != nil {
		return marshalProto(f.Message)
	}
	return f.out, nil
}

func (f *ReadFrame) unmarshal(data mem.BufferSlice) error {
	f.Free()
	in := data.Reader()
	field, kind, n, err := wireReader{in}.field()
	if err == nil && field == fieldReadData && kind == protowire.BytesType && int(n) == in.Remaining() {
		f.Message, f.in, f.left = nil, in, int(n)
		return nil
	}
	_ = in.Close() // it never fails
	f.Message = new(logv1.ReadResponse)
	if err := unmarshalProto(data, f.Message); err != nil {
		return err
	}
	if _, ok := f.Message.Kind.(*logv1.ReadResponse_Data); ok || f.Message.Kind == nil {
		return malformed("a ReadResponse with none or with more than one of its fields")
	}
	return nil
}

// DataBytes is how many bytes are left to copy.
func (f *ReadFrame) DataBytes() int { return f.left }

// Copy takes the next len(to) bytes; there must be as many.
func (f *ReadFrame) Copy(to []byte) {
	if len(to) > f.left {
		panic(fmt.Sprintf("%d bytes of a message that has %d left", len(to), f.left))
	}
	f.left -= len(to)
	for len(to) > 0 {
		n, err := f.in.Read(to)
		if err != nil {
			panic(fmt.Sprintf("%d bytes of a message are gone: %v", len(to), err)) // its length was checked
		}
		to = to[n:]
	}
}

// Free gives back what was received. Idempotent.
func (f *ReadFrame) Free() {
	if f.in != nil {
		_ = f.in.Close() // it never fails
		f.in, f.left = nil, 0
	}
}
