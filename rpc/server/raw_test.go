package server_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

// raw is a client that speaks HTTP/2 by hand, as badly as a test wants.
type raw struct {
	t  testing.TB
	c  net.Conn
	fr *http2.Framer
	w  bytes.Buffer // of fr, until flush
	hp *hpack.Encoder
	hb bytes.Buffer // of hp

	mu     sync.Mutex
	resets map[http2.ErrCode]int // streams that the server reset
	status map[string]int        // streams that ended with a gRPC status
	last   string                // message of one of these
	goAway *http2.ErrCode
	closed chan struct{} // closed when the server has closed the connection
}

// raw connects and says hello. Unless deaf, it reads what the server sends.
func (s *served) raw(deaf bool) *raw {
	s.t.Helper()
	c, err := s.dial(s.t.Context())
	require.NoError(s.t, err)
	r := &raw{t: s.t, c: c, resets: map[http2.ErrCode]int{}, status: map[string]int{}, closed: make(chan struct{})}
	r.fr = http2.NewFramer(&r.w, c)
	r.fr.AllowIllegalWrites = true
	r.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.hp = hpack.NewEncoder(&r.hb)
	r.w.WriteString(http2.ClientPreface)
	require.NoError(s.t, r.fr.WriteSettings())
	require.NoError(s.t, r.flush())
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		if !deaf {
			r.read()
		}
	}()
	s.t.Cleanup(func() {
		_ = c.Close()
		<-reading
	})
	return r
}

func (r *raw) read() {
	defer close(r.closed)
	for {
		f, err := r.fr.ReadFrame()
		if err != nil {
			return
		}
		r.mu.Lock()
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			r.resets[f.ErrCode]++
		case *http2.GoAwayFrame:
			r.goAway = new(http2.ErrCode)
			*r.goAway = f.ErrCode
		case *http2.MetaHeadersFrame:
			for _, h := range f.Fields {
				switch h.Name {
				case "grpc-status":
					r.status[h.Value]++
				case "grpc-message":
					r.last = h.Value
				}
			}
		}
		r.mu.Unlock()
	}
}

// flush sends what was written.
func (r *raw) flush() error {
	_, err := r.c.Write(r.w.Bytes())
	r.w.Reset()
	return err
}

// headers writes the beginning of a call.
func (r *raw) headers(stream uint32, method string, more ...string) {
	r.hb.Reset()
	fields := append([]string{":method", "POST", ":scheme", "http", ":path", method, ":authority", "x", "content-type", "application/grpc", "te", "trailers"}, more...)
	for i := 0; i < len(fields); i += 2 {
		_ = r.hp.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	block := r.hb.Bytes()
	first := block[:min(len(block), 16000)]
	_ = r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndHeaders: len(first) == len(block)})
	for block = block[len(first):]; len(block) > 0; {
		n := min(len(block), 16000)
		_ = r.fr.WriteContinuation(stream, n == len(block), block[:n])
		block = block[n:]
	}
}

// got reads what came back so far.
func (r *raw) got(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// statuses counts the streams that ended with a code.
func (r *raw) statuses(c codes.Code) (n int) {
	r.got(func() { n = r.status[string(rune('0'+c/10))+string(rune('0'+c%10))] + r.status[string(rune('0'+c))] })
	return n
}

// isClosed waits until the server has closed the connection.
func (r *raw) isClosed() {
	r.t.Helper()
	select {
	case <-r.closed:
	case <-time.After(20 * time.Second):
		require.Fail(r.t, "the server did not close the connection")
	}
}

// gone waits until the server has closed a connection that nobody reads.
func gone(t testing.TB, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err := io.Copy(io.Discard, c)
	if e, ok := err.(net.Error); ok {
		require.False(t, e.Timeout(), "the server did not close the connection")
	}
}
