package siege

import (
	"bytes"
	"context"
	"net"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frameBytes is the most that a frame may have.
const frameBytes = 16 << 10

// conn is a connection that speaks HTTP/2 frame by frame. One goroutine sends;
// another one reads what comes back.
type conn struct {
	s    *siege
	c    net.Conn
	gone chan struct{} // closed when the server, or we, have closed it

	sending sync.Mutex // guards what follows
	fr      *http2.Framer
	out     bytes.Buffer // of fr, until flush
	fields  *hpack.Encoder
	block   bytes.Buffer // of fields

	mu      sync.Mutex       // guards what follows
	room    int64            // bytes that the connection may carry
	initial int64            // that a stream may carry at first
	rooms   map[uint32]int64 // of the streams that are open
	ended   int              // streams that the server has ended
	moved   chan struct{}    // closed when one of these has changed
}

// connect makes a connection and says hello.
func (s *siege) connect(ctx context.Context) (*conn, error) {
	nc, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{
		s: s, c: nc, gone: make(chan struct{}), moved: make(chan struct{}),
		room: 1<<16 - 1, initial: 1<<16 - 1, rooms: make(map[uint32]int64),
	}
	c.fr = http2.NewFramer(&c.out, nc)
	c.fr.AllowIllegalWrites = true
	c.fields = hpack.NewEncoder(&c.block)
	s.wg.Go(c.read)
	return c, c.send(func() {
		c.out.WriteString(http2.ClientPreface)
		_ = c.fr.WriteSettings()
	})
}

// close closes the connection, and counts it if the server was faster.
func (c *conn) close(ctx context.Context) {
	select {
	case <-c.gone:
		if ctx.Err() == nil {
			c.s.refused.Add(1)
		}
	default:
	}
	_ = c.c.Close()
	<-c.gone
}

// send writes frames, and sends them. An error means that the connection is
// gone.
func (c *conn) send(write func()) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.out.Reset()
	write()
	n, err := c.c.Write(c.out.Bytes())
	c.s.bytes.Add(int64(n))
	return err
}

// begin begins a call, within send.
func (c *conn) begin(stream uint32, method string, more ...hpack.HeaderField) {
	c.mu.Lock()
	c.rooms[stream] = c.initial
	c.mu.Unlock()
	c.headers(stream, method, more...)
}

// headers writes the headers of a call, within send.
func (c *conn) headers(stream uint32, method string, more ...hpack.HeaderField) {
	c.s.streams.Add(1)
	c.block.Reset()
	for _, f := range append([]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: method},
		{Name: ":authority", Value: "x"}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	}, more...) {
		_ = c.fields.WriteField(f) // to a buffer
	}
	block := c.block.Bytes()
	first := block[:min(len(block), frameBytes)]
	_ = c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndHeaders: len(first) == len(block)})
	for block = block[len(first):]; len(block) > 0; {
		n := min(len(block), frameBytes)
		_ = c.fr.WriteContinuation(stream, n == len(block), block[:n])
		block = block[n:]
	}
}

// data sends bytes of a stream, as fast as the server allows. false: it does
// not want them any more.
func (c *conn) data(ctx context.Context, stream uint32, b []byte) bool {
	for len(b) > 0 {
		n := c.take(ctx, stream, min(len(b), frameBytes))
		if n == 0 || c.send(func() { _ = c.fr.WriteData(stream, false, b[:n]) }) != nil {
			return false
		}
		b = b[n:]
	}
	return true
}

// take takes room for up to n bytes of a stream, waiting for it; 0: there will
// be none.
func (c *conn) take(ctx context.Context, stream uint32, n int) int {
	for {
		c.mu.Lock()
		room, open := c.rooms[stream]
		if !open {
			c.mu.Unlock()
			return 0
		}
		if have := min(int64(n), room, c.room); have > 0 {
			c.rooms[stream] -= have
			c.room -= have
			c.mu.Unlock()
			return int(have)
		}
		moved := c.moved
		c.mu.Unlock()
		select {
		case <-moved:
		case <-c.gone:
			return 0
		case <-ctx.Done():
			return 0
		}
	}
}

// awaitEnded waits until the server has ended so many streams; false: it won't.
func (c *conn) awaitEnded(ctx context.Context, n int) bool {
	for {
		c.mu.Lock()
		ended, moved := c.ended, c.moved
		c.mu.Unlock()
		if ended >= n {
			return true
		}
		select {
		case <-moved:
		case <-c.gone:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// read takes in what the server says, until the connection is closed.
func (c *conn) read() {
	defer close(c.gone)
	for {
		f, err := c.fr.ReadFrame()
		if err != nil {
			_ = c.c.Close()
			return
		}
		var answer func()
		c.mu.Lock()
		switch f := f.(type) {
		case *http2.WindowUpdateFrame:
			if f.StreamID == 0 {
				c.room += int64(f.Increment)
			} else if _, open := c.rooms[f.StreamID]; open {
				c.rooms[f.StreamID] += int64(f.Increment)
			}
		case *http2.SettingsFrame:
			if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
				for stream := range c.rooms {
					c.rooms[stream] += int64(v) - c.initial
				}
				c.initial = int64(v)
			}
			if !f.IsAck() {
				answer = func() { _ = c.fr.WriteSettingsAck() }
			}
		case *http2.PingFrame:
			if data := f.Data; !f.IsAck() {
				answer = func() { _ = c.fr.WritePing(true, data) }
			}
		case *http2.RSTStreamFrame:
			c.endLocked(f.StreamID)
		case *http2.HeadersFrame:
			if f.StreamEnded() {
				c.endLocked(f.StreamID)
			}
		}
		close(c.moved)
		c.moved = make(chan struct{})
		c.mu.Unlock()
		if answer != nil {
			c.s.wg.Go(func() { _ = c.send(answer) }) // a server that does not read must not keep us from it
		}
	}
}

func (c *conn) endLocked(stream uint32) {
	if _, open := c.rooms[stream]; open {
		delete(c.rooms, stream)
		c.ended++
		c.s.ended.Add(1)
	}
}

// hold waits until the connection is gone, or ctx ends.
func (c *conn) hold(ctx context.Context) {
	select {
	case <-c.gone:
	case <-ctx.Done():
	}
}
