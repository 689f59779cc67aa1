package server

import (
	"google.golang.org/grpc/mem"

	"github.com/wpd-io/wpd/rpc"
)

// codec keeps the errors of messages that can't be decoded for the handler,
// which tells them in our terms; gRPC would tell them by itself.
type codec struct{ rpc.Codec }

// received is a message with the error that it had.
type received struct {
	message any
	err     error
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if in, ok := v.(*received); ok {
		in.err = c.Codec.Unmarshal(data, in.message)
		return nil
	}
	return c.Codec.Unmarshal(data, v)
}
