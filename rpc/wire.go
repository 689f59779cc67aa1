package rpc

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// wireReader reads protobuf's encoding from buffers.
type wireReader struct{ in *mem.Reader }

// field reads the tag of a field and the number that follows: its value, or
// the length of its bytes, which are there and not read yet. Fields of other
// types are passed over, none of ours has them.
func (r wireReader) field() (protowire.Number, protowire.Type, uint64, error) {
	tag, err := r.varint()
	if err != nil {
		return 0, 0, 0, err
	}
	field, kind := protowire.DecodeTag(tag)
	if field < protowire.MinValidNumber || field > protowire.MaxValidNumber {
		return 0, 0, 0, malformed("tag %d", tag)
	}
	switch kind {
	case protowire.VarintType:
		n, err := r.varint()
		return field, kind, n, err
	case protowire.BytesType:
		n, err := r.varint()
		if err == nil && n > uint64(r.in.Remaining()) {
			err = malformed("field %d has %d bytes, %d are left", field, n, r.in.Remaining())
		}
		return field, kind, n, err
	}
	return 0, 0, 0, malformed("field %d of type %d", field, kind)
}

func (r wireReader) varint() (uint64, error) {
	var n uint64
	for shift := 0; shift < 64; shift += 7 {
		b, err := r.in.ReadByte()
		if err != nil {
			return 0, malformed("it ends in the middle of a number")
		}
		if shift == 63 && b > 1 {
			break
		}
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, malformed("a number of more than 64 bits")
}
