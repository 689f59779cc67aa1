package server_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/server"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

const (
	appendMethod = logv1.LogService_Append_FullMethodName
	tailMethod   = logv1.LogService_GetTail_FullMethodName
	readMethod   = logv1.LogService_Read_FullMethodName
)

// TestWrongPreface: what does not speak HTTP/2 is closed at once.
func TestWrongPreface(t *testing.T) {
	x := besiege(t, server.Limits{HandshakeTimeout: time.Minute})
	for _, hello := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", strings.Repeat("\x00", 64), "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 100),
		http2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x00abcdefgh", // no SETTINGS first
	} {
		c, err := x.dial(t.Context())
		require.NoError(t, err)
		_, err = c.Write([]byte(hello))
		require.NoError(t, err)
		gone(t, c)
		require.NoError(t, c.Close())
	}
	require.GreaterOrEqual(t, x.metric("wpd_rpc_failed_handshakes_total"), 5.0)
	x.lift()
}

// TestSilentSockets: those that say nothing, or stop in the middle of their
// hello, are closed after the handshake's time; those that have said hello stay.
func TestSilentSockets(t *testing.T) {
	x := besiege(t, server.Limits{HandshakeTimeout: 500 * time.Millisecond})
	var silent []net.Conn
	for i := range 200 {
		c, err := x.dial(t.Context())
		require.NoError(t, err)
		_, err = io.WriteString(c, http2.ClientPreface[:i%(len(http2.ClientPreface)+1)])
		require.NoError(t, err)
		silent = append(silent, c)
	}
	polite := x.raw(false)
	for _, c := range silent {
		gone(t, c)
		require.NoError(t, c.Close())
	}
	require.GreaterOrEqual(t, x.metric("wpd_rpc_failed_handshakes_total"), 200.0)
	polite.headers(1, tailMethod)
	require.NoError(t, polite.flush())
	select {
	case <-polite.closed:
		require.Fail(t, "it had spoken")
	default:
	}
	x.lift()
}

// TestConnectionLimit: what is too much is closed at once, and there is room
// again when others leave.
func TestConnectionLimit(t *testing.T) {
	x := besiege(t, server.Limits{Connections: 50})
	var open []*raw
	for range 49 { // and the siege's
		open = append(open, x.raw(false))
	}
	eventually(t, "all are in", func() bool { return x.metric("wpd_rpc_connections") == 50 })
	var late []net.Conn
	for i := range 100 { // half of them say nothing, for as long as they are let
		c, err := x.dial(t.Context())
		require.NoError(t, err)
		if i%2 == 0 {
			_, err = io.WriteString(c, http2.ClientPreface)
			require.NoError(t, err)
		}
		late = append(late, c)
	}
	for _, c := range late {
		gone(t, c)
		require.NoError(t, c.Close())
	}
	require.Equal(t, 100.0, x.metric("wpd_rpc_refused_connections_total"))
	x.says("refused a connection", "limit=50")
	require.Less(t, len(x.log.lines("refused a connection")), 60, "at most one a second")
	require.NoError(t, open[0].c.Close())
	eventually(t, "there is room", func() bool { return x.metric("wpd_rpc_connections") == 49 })
	_, err := x.logs().Hello(t.Context(), &logv1.HelloRequest{})
	require.NoError(t, err)
	x.lift()
}

// TestHeaderFlood: headers over 16 KiB, as one block and as one that never
// ends.
func TestHeaderFlood(t *testing.T) {
	x := besiege(t, server.Limits{})
	r := x.raw(false)
	field := strings.Repeat("x", 6<<10)
	r.headers(1, tailMethod, "x-a", field, "x-b", field, "x-c", field)
	require.NoError(t, r.flush())
	eventually(t, "the stream is reset", func() (is bool) {
		r.got(func() { is = r.resets[http2.ErrCodeFrameSize] == 1 })
		return is
	})
	for i := range uint32(100) { // as large as is allowed
		r.headers(3+2*i, tailMethod, "x-a", field, "x-b", field, "x-c", field[:3<<10])
	}
	require.NoError(t, r.flush())
	eventually(t, "these are calls", func() bool { return x.metric("wpd_rpc_calls") > 100 })

	single := x.raw(false)
	single.headers(1, tailMethod, "x-a", strings.Repeat("x", 20<<10))
	require.NoError(t, single.flush())
	single.isClosed()

	for range 20 {
		endless := x.raw(true)
		endless.hb.Reset()
		require.NoError(t, endless.hp.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("x", 12_000), Sensitive: true}))
		_ = endless.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
		sent := 0
		for ; sent < 4000; sent++ { // 48 MB
			_ = endless.fr.WriteContinuation(1, false, endless.hb.Bytes())
			if endless.flush() != nil {
				break
			}
		}
		require.Less(t, sent, 4000)
		gone(t, endless.c)
	}
	x.lift()
}

// TestGiantFrames: frames that say they are larger than any may be.
func TestGiantFrames(t *testing.T) {
	x := besiege(t, server.Limits{})
	for _, kind := range []http2.FrameType{http2.FrameData, http2.FrameHeaders, http2.FrameSettings, http2.FramePing, 0x77} {
		r := x.raw(false)
		r.headers(1, appendMethod)
		r.w.Write([]byte{0xff, 0xff, 0xff, byte(kind), 0, 0, 0, 0, 1})
		_ = r.flush()
		for range 200 {
			if _, err := r.c.Write(make([]byte, 64<<10)); err != nil {
				break
			}
		}
		r.isClosed()
	}
	x.lift()
}

// grpcMessage is the head of a message of a length.
func grpcMessage(bytes int, data []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(bytes)), data...)
}

// TestLyingLengths: messages that say they have a gigabyte, fifty at a time.
func TestLyingLengths(t *testing.T) {
	x := besiege(t, server.Limits{})
	r := x.raw(false)
	const n = 50
	for i := range uint32(n) {
		stream := 1 + 2*i
		r.headers(stream, []string{appendMethod, tailMethod, readMethod}[i%3])
		require.NoError(t, r.fr.WriteData(stream, false, grpcMessage(1<<30, make([]byte, 1000))))
	}
	require.NoError(t, r.flush())
	eventually(t, "all are refused", func() bool { return r.statuses(codes.ResourceExhausted) == n })
	r.got(func() { require.Contains(t, r.last, fmt.Sprint(rpc.MessageBytesMax)) })
	x.lift()
}

// TestHundredMegabytes: an entry of 100 MB, fifty times at once: each is
// refused as a limit, whatever comes of it.
func TestHundredMegabytes(t *testing.T) {
	x := besiege(t, server.Limits{})
	var all sync.WaitGroup
	piece := make([]byte, rpc.AppendFrameBytes-100)
	for i := range 50 {
		s := openAppend(t, x.conn())
		all.Go(func() {
			s.send(part{request: 1, log: 1, bytes: 100 << 20, data: piece})
			limit := requireAs[*api.LimitError](t, rpc.FromError(s.answer(1).Error))
			require.EqualValues(t, 100<<20, limit.Value)
			for range 4 * (1 + i%10) { // 1 to 10 MB of them come all the same
				s.send(part{data: piece})
			}
		})
	}
	all.Wait()
	x.lift()
}

// TestRapidResets: calls that are begun and taken back at once. The connection
// is closed after a number of them.
func TestRapidResets(t *testing.T) {
	for _, c := range []struct {
		name string
		call func(r *raw, stream uint32)
	}{
		{"without a request", func(r *raw, stream uint32) { r.headers(stream, tailMethod) }},
		{"with one", func(r *raw, stream uint32) {
			r.headers(stream, readMethod)
			_ = r.fr.WriteData(stream, true, grpcMessage(0, nil))
		}},
		{"of a stream", func(r *raw, stream uint32) {
			r.headers(stream, appendMethod)
			_ = r.fr.WriteData(stream, false, grpcMessage(0, nil))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := besiege(t, server.Limits{Resets: 5000})
			r := x.raw(false)
			resets := 0
			for ; resets < 1_000_000; resets++ {
				stream := uint32(1 + 2*resets)
				c.call(r, stream)
				_ = r.fr.WriteRSTStream(stream, http2.ErrCodeCancel)
				if resets%100 == 0 && r.flush() != nil {
					break
				}
			}
			r.isClosed()
			require.Less(t, resets, 1_000_000)
			x.says("takes back its calls", "limit=5000")
			x.lift()
		})
	}
}

// TestHalfOpenStreams: 20,000 of them over 80 connections, of each kind: calls
// whose request never comes, and calls that then do nothing. What is too much
// is refused at once, and the former end by themselves.
func TestHalfOpenStreams(t *testing.T) {
	const connections, each = 80, 250
	for _, c := range []struct {
		name    string
		request func(r *raw, stream uint32)
		held    int
		ends    bool
	}{
		{"without a request", func(r *raw, stream uint32) { r.headers(stream, tailMethod) }, 512, true},
		{"with half of one", func(r *raw, stream uint32) {
			r.headers(stream, readMethod)
			_ = r.fr.WriteData(stream, false, grpcMessage(100, make([]byte, 50)))
		}, 512, true},
		{"followers", func(r *raw, stream uint32) {
			r.headers(stream, readMethod)
			_ = r.fr.WriteData(stream, true, grpcMessage(2, []byte{0x40, 1}))
		}, 1000, false},
		{"that append nothing", func(r *raw, stream uint32) { r.headers(stream, appendMethod) }, 512, false},
		{"that append half a message", func(r *raw, stream uint32) {
			r.headers(stream, appendMethod)
			_ = r.fr.WriteData(stream, false, grpcMessage(100_000, make([]byte, 10)))
		}, 512, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := besiege(t, server.Limits{StallTimeout: 3 * time.Second, Calls: 1000})
			var all []*raw
			for range connections {
				r := x.raw(false)
				for i := range uint32(each) {
					c.request(r, 1+2*i)
				}
				require.NoError(t, r.flush())
				all = append(all, r)
			}
			refused := func() (n int) {
				for _, r := range all {
					n += r.statuses(codes.Unavailable)
				}
				return n
			}
			// Each connection has eight of its own; and one that ends makes room.
			most := c.held + connections*8
			eventually(t, "what is too much is refused", func() bool { return refused() >= connections*each-5*most })
			require.True(t, slices.ContainsFunc(all, func(r *raw) (is bool) {
				r.got(func() { is = strings.Contains(r.last, "too many calls") })
				return is
			}))
			if c.ends {
				eventually(t, "the others end", func() bool { return x.metric("wpd_rpc_calls") < 10 })
			} else {
				eventually(t, "just as many are in", func() bool { return refused() >= connections*each-most-10 })
				require.InDelta(t, most, x.metric("wpd_rpc_calls"), 10)
			}
			x.says("level=INFO", "too many calls")
			x.lift()
		})
	}
}

// TestFarDeadlines: calls that are refused, and had ten thousand years: gRPC
// would keep a timer for each that is refused too early.
func TestFarDeadlines(t *testing.T) {
	x := besiege(t, server.Limits{WaitingCalls: 1, CrowdRate: 1 << 20, StallTimeout: time.Hour})
	r := x.raw(false)
	stream := uint32(1)
	send := func(n int) {
		for range n {
			r.headers(stream, tailMethod, "grpc-timeout", "99999999H")
			stream += 2
		}
		require.NoError(t, r.flush())
	}
	send(9) // its own, and the one
	const calls = 150_000
	for sent := 0; sent < calls; {
		send(200)
		sent += 200
		eventually(t, "all are refused", func() bool { return r.statuses(codes.Unavailable) == sent })
	}
	x.lift()
}

// TestDeafReaders: a hundred of them, on connections that are not read at
// all, though their windows are wide open.
func TestDeafReaders(t *testing.T) {
	x := besiege(t, server.Limits{SlowBytes: 8 << 20})
	const connections, each = 4, 25
	for range connections {
		r := x.raw(true)
		require.NoError(t, r.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}))
		require.NoError(t, r.fr.WriteWindowUpdate(0, 1<<30))
		for i := range uint32(each) {
			r.headers(1+2*i, readMethod)
			require.NoError(t, r.fr.WriteData(1+2*i, true, grpcMessage(2, []byte{0x08, longLog})))
		}
		require.NoError(t, r.flush())
	}
	eventually(t, "all are stuck", func() bool { return x.metric("wpd_rpc_stalled_reads_total") >= connections*each })
	require.EqualValues(t, connections*each, x.metric("wpd_rpc_read_streams"))
	x.lift()
}

// TestStreamsOfOneConnection: more than 256 at a time are refused by HTTP/2.
func TestStreamsOfOneConnection(t *testing.T) {
	x := besiege(t, server.Limits{})
	r := x.raw(false)
	for i := range uint32(1000) {
		r.headers(1+2*i, appendMethod)
	}
	require.NoError(t, r.flush())
	eventually(t, "what is too much is refused", func() (is bool) {
		r.got(func() { is = r.resets[http2.ErrCodeRefusedStream] == 1000-rpc.StreamsMax })
		return is
	})
	x.lift()
}

// TestFloods: frames that ask for an answer, from a client that reads them and
// from one that does not.
func TestFloods(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame func(r *raw, i uint32)
	}{
		{"pings", func(r *raw, i uint32) { _ = r.fr.WritePing(false, [8]byte{byte(i)}) }},
		{"settings", func(r *raw, i uint32) {
			_ = r.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: i})
		}},
		{"window updates", func(r *raw, i uint32) { _ = r.fr.WriteWindowUpdate(0, 1) }},
		{"resets of nothing", func(r *raw, i uint32) { _ = r.fr.WriteRSTStream(1+2*(i%1000), http2.ErrCodeCancel) }},
		{"empty data", func(r *raw, i uint32) { _ = r.fr.WriteData(1, false, nil) }},
		{"data of one byte", func(r *raw, i uint32) { _ = r.fr.WriteData(1, false, []byte{0}) }},
		{"unknown methods", func(r *raw, i uint32) { r.headers(1+2*i, "/a/b") }},
		{"other HTTP", func(r *raw, i uint32) { r.headers(1+2*i, "/", ":method", "GET") }},
	} {
		for _, deaf := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, deaf: %v", c.name, deaf), func(t *testing.T) {
				x := besiege(t, server.Limits{})
				r := x.raw(deaf)
				if strings.Contains(c.name, "data") {
					r.headers(1, appendMethod)
				}
				require.NoError(t, r.c.SetWriteDeadline(time.Now().Add(2*time.Second))) // the server may stop reading
				for i := range uint32(50_000) {
					c.frame(r, i)
					if i%1000 == 0 && r.flush() != nil {
						break
					}
				}
				if c.name == "pings" && !deaf {
					r.isClosed()
					r.got(func() { require.Equal(t, http2.ErrCodeEnhanceYourCalm, *r.goAway) })
				}
				x.lift()
			})
		}
	}
}
