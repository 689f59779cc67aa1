package siege

import (
	"context"
	"encoding/binary"
	"io"
	"strings"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/wpd-io/wpd/rpc"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
)

// How much of everything there is.
const (
	halfOpenConnections = 80
	halfOpenEach        = 250
	silentConnections   = 400
	rudeConnections     = 8
	resetsAtOnce        = 100
	giantConnections    = 5
	giantEach           = 10
	giantBytes          = 100 << 20
	malformedAtOnce     = 10
)

const (
	appendMethod = logv1.LogService_Append_FullMethodName
	tailMethod   = logv1.LogService_GetTail_FullMethodName
	readMethod   = logv1.LogService_Read_FullMethodName
)

// halfOpen begins calls and leaves them there: a third of them without a
// request, a third with half of one, a third that could append.
func halfOpen(ctx context.Context, s *siege) {
	s.each(ctx, halfOpenConnections, func(c *conn, _ int) {
		for i := range uint32(halfOpenEach) {
			stream := 1 + 2*i
			if c.send(func() {
				c.begin(stream, []string{tailMethod, readMethod, appendMethod}[i%3])
				if i%3 == 1 {
					_ = c.fr.WriteData(stream, false, message(100, make([]byte, 50)))
				}
			}) != nil {
				return
			}
		}
		c.hold(ctx)
	})
}

// silentSockets connects, and says nothing, or up to the whole of its hello.
func silentSockets(ctx context.Context, s *siege) {
	for i := range silentConnections {
		s.wg.Go(func() {
			for ctx.Err() == nil {
				if c, err := s.dial(ctx); err == nil {
					n, _ := io.WriteString(c, http2.ClientPreface[:i%(len(http2.ClientPreface)+1)])
					s.bytes.Add(int64(n))
					if _, _ = io.Copy(io.Discard, c); ctx.Err() == nil {
						s.refused.Add(1)
					}
					_ = c.Close()
				}
				pause(ctx, again)
			}
		})
	}
}

// headerFlood sends headers that are too large, and headers that never end.
func headerFlood(ctx context.Context, s *siege) {
	large := hpack.HeaderField{Name: "x", Value: strings.Repeat("x", 20<<10)}
	s.each(ctx, rudeConnections, func(c *conn, client int) {
		if client%2 == 0 {
			for stream := uint32(1); c.send(func() { c.begin(stream, tailMethod, large) }) == nil; stream += 2 {
			}
			return
		}
		var block []byte
		if c.send(func() {
			c.begin(1, tailMethod)
			_ = c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3})
			c.block.Reset()
			_ = c.fields.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("x", 12_000), Sensitive: true})
			block = append(block, c.block.Bytes()...)
		}) != nil {
			return
		}
		for c.send(func() { _ = c.fr.WriteContinuation(3, false, block) }) == nil {
		}
	})
}

// rapidResets begins calls and takes them back at once.
func rapidResets(ctx context.Context, s *siege) {
	s.each(ctx, rudeConnections, func(c *conn, _ int) {
		for stream := uint32(1); c.send(func() {
			for range resetsAtOnce {
				c.headers(stream, tailMethod)
				_ = c.fr.WriteRSTStream(stream, http2.ErrCodeCancel)
				stream += 2
			}
		}) == nil; {
		}
	})
}

// giantEntries announces entries of 100 MB, all at once, and sends them as far
// as the server lets it.
func giantEntries(ctx context.Context, s *siege) {
	piece := make([]byte, rpc.AppendFrameBytes/2)
	s.each(ctx, giantConnections, func(c *conn, _ int) {
		if c.send(func() {
			for i := range uint32(giantEach) {
				c.begin(1+2*i, appendMethod)
			}
		}) != nil {
			return
		}
		var all sync.WaitGroup
		for i := range uint32(giantEach) {
			all.Go(func() {
				head := rpc.AppendHead{Request: 1, Log: s.log, BatchBytes: giantBytes}
				for sent := 0; sent < giantBytes && c.data(ctx, 1+2*i, appendMessage(head, piece)); sent += len(piece) {
					head = rpc.AppendHead{}
				}
			})
		}
		all.Wait()
	})
}

// giantFrames sends frames that say they have 16 MB.
func giantFrames(ctx context.Context, s *siege) {
	kinds := []http2.FrameType{http2.FrameData, http2.FrameHeaders, http2.FrameSettings, http2.FramePing, 0x77}
	s.each(ctx, rudeConnections, func(c *conn, client int) {
		_ = c.send(func() {
			c.begin(1, appendMethod)
			c.out.Write([]byte{0xff, 0xff, 0xff, byte(kinds[client%len(kinds)]), 0, 0, 0, 0, 1})
		})
		for i := 0; i < 1<<24/frameBytes && c.send(func() { c.out.Write(make([]byte, frameBytes)) }) == nil; i++ {
		}
		c.hold(ctx)
	})
}

// malformedMessages sends messages that are none, and waits for what the server
// has to say to them.
func malformedMessages(ctx context.Context, s *siege) {
	part := appendMessage(rpc.AppendHead{Request: 1, Log: s.log, BatchBytes: 1000}, make([]byte, 10))
	bad := []struct {
		method string
		data   []byte
	}{
		{tailMethod, message(3, []byte{0xff, 0xff, 0xff})},                            // no protobuf
		{tailMethod, message(1<<30, make([]byte, 100))},                               // too long
		{readMethod, message(10, []byte{0x0a})},                                       // cut off
		{readMethod, append([]byte{1}, message(1, []byte{0})[1:]...)},                 // compressed, it says
		{appendMethod, message(2, []byte{0x0a, 0x7f})},                                // a part that is not there
		{appendMethod, append(part, part...)},                                         // a batch within another
		{appendMethod, appendMessage(rpc.AppendHead{Log: s.log}, make([]byte, 10))},   // a part of nothing
		{appendMethod, appendMessage(rpc.AppendHead{Request: 1, BatchBytes: 1}, nil)}, // without data
	}
	s.each(ctx, rudeConnections, func(c *conn, _ int) {
		stream := uint32(1)
		for n := malformedAtOnce; ; n += malformedAtOnce {
			if c.send(func() {
				for range malformedAtOnce {
					b := bad[stream/2%uint32(len(bad))]
					c.begin(stream, b.method)
					_ = c.fr.WriteData(stream, true, b.data)
					stream += 2
				}
			}) != nil || !c.awaitEnded(ctx, n) {
				return
			}
		}
	})
}

// message is a gRPC message that says it has so many bytes.
func message(bytes int, data []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(bytes)), data...)
}

// appendMessage is the message of one part of a batch.
func appendMessage(h rpc.AppendHead, data []byte) []byte {
	var f rpc.AppendFrame
	f.Add(h, data)
	b, _ := rpc.Codec{}.Marshal(&f) // it can't fail
	return message(f.Len(), b.Materialize())
}
