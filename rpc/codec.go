package rpc

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Codec is gRPC's protobuf codec, but for the two messages that carry batches:
// *AppendFrame travels as an AppendRequest and *ReadFrame as a ReadResponse,
// without copying the batches into a message and out of it. They are valid
// protobuf, and mean what protobuf would read; but for the place of ready_bytes,
// which goes before the data, they are the same bytes. Either end may use plain
// protobuf.
type Codec struct{}

var _ encoding.CodecV2 = Codec{}

// Name implements encoding.CodecV2.
func (Codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *AppendFrame:
		return m.marshal(), nil
	case *ReadFrame:
		return m.marshal()
	case proto.Message:
		return marshalProto(m)
	}
	return nil, fmt.Errorf("encode: a %T is no message", v)
}

// Unmarshal implements encoding.CodecV2.
func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *AppendFrame:
		m.unmarshal(data)
		return nil
	case *ReadFrame:
		return m.unmarshal(data)
	case proto.Message:
		return unmarshalProto(data, m)
	}
	return fmt.Errorf("decode: a %T is no message", v)
}

func marshalProto(m proto.Message) (mem.BufferSlice, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func unmarshalProto(data mem.BufferSlice, m proto.Message) error {
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	return proto.Unmarshal(b.ReadOnlyData(), m)
}
