package rpc

import (
	"fmt"
	"sync"

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
// ReadFrameBytes in all.
func NewReadData(data ...[]byte) *ReadFrame {
	n := 0
	for _, d := range data {
		n += len(d)
	}
	pool := mem.DefaultBufferPool()
	if n+readHeadBytes > defaultPoolBytes {
		pool = &fullFrames
	}
	b := pool.Get(n + readHeadBytes)
	to := protowire.AppendTag((*b)[:0], fieldReadData, protowire.BytesType)
	to = protowire.AppendVarint(to, uint64(n))
	for _, d := range data {
		to = append(to, d...)
	}
	*b = to
	return &ReadFrame{out: mem.BufferSlice{mem.NewBuffer(b, pool)}}
}

const (
	// readHeadBytes is more than what precedes the bytes of a frame.
	readHeadBytes = 8
	// defaultPoolBytes is the size above which gRPC's own pool gives out
	// buffers of 1 MiB, and so would let a slow reader pin sixteen times what
	// is sent to it.
	defaultPoolBytes = 32 << 10
)

// fullFrames has buffers for frames above defaultPoolBytes.
var fullFrames framePool

type framePool struct{ free sync.Pool }

// Get implements mem.BufferPool.
func (p *framePool) Get(n int) *[]byte {
	if b, ok := p.free.Get().(*[]byte); ok && cap(*b) >= n {
		*b = (*b)[:n]
		return b
	}
	b := make([]byte, n, max(n, ReadFrameBytes+readHeadBytes))
	return &b
}

// Put implements mem.BufferPool.
func (p *framePool) Put(b *[]byte) { p.free.Put(b) }

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
