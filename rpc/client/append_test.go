package client_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

// TestAppendFrames: batches come as they were appended, in their order, large
// ones in several messages, small ones of several logs in one; no message is
// larger than agreed.
func TestAppendFrames(t *testing.T) {
	var mu sync.Mutex
	var got []received
	partsMax := 0
	begun, goOn := make(chan struct{}, 1), make(chan struct{})
	f := (&fake{onAppend: func(s appendStream) error {
		begun <- struct{}{}
		<-goOn // so that there is something to put together
		next := uint64(1)
		return receiveBatches(s, func(parts, bytes int) {
			mu.Lock()
			defer mu.Unlock()
			partsMax = max(partsMax, parts)
			if bytes > rpc.AppendFrameBytes {
				t.Errorf("a message of %d bytes", bytes)
			}
		}, func(b received) error {
			mu.Lock()
			got = append(got, b)
			mu.Unlock()
			a := acked(b, next)
			next = a.ToLsn
			return send(s, a)
		})
	}}).serve(t)
	s := f.client(t)
	o := newOutcomes()
	sizes := []int{1, 100, 70 << 10, 1, 2 << 20, 10, 256 << 10, 256<<10 - 200, 8 << 20, 5}
	var want []fragment.Batch
	for i := range 2000 {
		b := batch(t, uint64(i+1), 1+i%3, 10)
		if i%200 == 0 {
			b = batch(t, uint64(i+1), 1, sizes[i/200])
		}
		want = append(want, b)
		require.NoError(t, o.append(t.Context(), s, fragment.LogID(1+i%5), b))
		if i == 0 {
			<-begun
		}
	}
	close(goOn)
	o.wait(t, len(want))
	mu.Lock()
	defer mu.Unlock()
	lsn := fragment.LSN(1)
	for i, b := range want {
		require.Equal(t, fragment.LogID(1+i%5), got[i].Log)
		require.EqualValues(t, i+1, got[i].Request)
		require.True(t, bytes.Equal(b.Bytes(), got[i].data), "batch %d", i)
		x := o.of(t, b.FirstSeq())
		require.NoError(t, x.err)
		require.Equal(t, lsn, x.ack.From)
		lsn = x.ack.To
	}
	require.True(t, slices.IsSorted(o.in), "the callbacks come in the order of the answers")
	require.Greater(t, partsMax, 100, "batches share messages")
}

// TestAppendRefused: a refused batch is answered with what the node said; the
// stream and the others go on.
func TestAppendRefused(t *testing.T) {
	f := (&fake{onAppend: func(s appendStream) error {
		return receiveBatches(s, nil, func(b received) error {
			switch b.Request {
			case 2:
				return send(s, &logv1.AppendResult{Request: 2, Error: rpc.ToError(&api.TailError{Want: 9, Tail: 3})})
			case 3:
				return send(s, &logv1.AppendResult{Request: 3, Error: rpc.ToError(errors.New("what?"))})
			}
			return send(s, acked(b, b.Request))
		})
	}}).serve(t)
	s := f.client(t)
	require.ErrorIs(t, s.Append(t.Context(), api.AppendRequest{Log: 1}, nil), api.ErrInvalid)
	o := newOutcomes()
	for seq := range uint64(4) {
		require.NoError(t, o.append(t.Context(), s, 1, batch(t, seq+1, 1, 10)))
	}
	o.wait(t, 4)
	require.NoError(t, o.of(t, 1).err)
	require.Equal(t, &api.TailError{Want: 9, Tail: 3}, o.of(t, 2).err)
	require.ErrorIs(t, o.of(t, 3).err, api.ErrUncertain)
	require.Equal(t, api.Ack{From: 4, To: 5, Time: 1}, o.of(t, 4).ack)
}

// TestAppendBroken: what was handed over to a stream that breaks is uncertain,
// what was not is unavailable; each is answered once, and in order. Then the
// client goes on with another stream.
func TestAppendBroken(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var life atomic.Int32
		f := (&fake{}).serve(t)
		f.onAppend = func(s appendStream) error {
			if life.Add(1) > 1 {
				return receiveBatches(s, nil, func(b received) error { return send(s, acked(b, b.Request)) })
			}
			err := receiveBatches(s, nil, func(b received) error {
				if b.Request == 3 {
					return errors.New("enough")
				}
				return nil
			})
			// It takes no more, so that the rest stays with the client.
			time.Sleep(time.Second)
			return rpc.Status(err)
		}
		s := f.client(t)
		o := newOutcomes()
		const n = 20
		for seq := range uint64(n) {
			require.NoError(t, o.append(t.Context(), s, 1, batch(t, seq+1, 1, 1<<20)))
		}
		o.wait(t, n)
		require.True(t, slices.IsSorted(o.in))
		unsure := 0
		for seq := range uint64(n) {
			err := o.of(t, seq+1).err
			switch {
			case errors.Is(err, api.ErrUncertain):
				unsure++
				require.EqualValues(t, unsure, seq+1, "they come first")
			default:
				require.ErrorIs(t, err, api.ErrUnavailable)
			}
		}
		require.GreaterOrEqual(t, unsure, 3)
		require.Less(t, unsure, n, "some were not sent")
		require.NoError(t, o.append(t.Context(), s, 1, batch(t, 100, 1, 10)))
		o.wait(t, 1)
		require.NoError(t, o.of(t, 100).err)
		require.NoError(t, s.Close())
		f.stop()
	})
}

// TestAppendNobody: without a connection, batches are answered soon, and once
// there is one, they are sent.
func TestAppendNobody(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var dead atomic.Bool
		f := (&fake{onAppend: func(s appendStream) error {
			return receiveBatches(s, nil, func(b received) error { return send(s, acked(b, b.Request)) })
		}}).serve(t)
		c := f.config()
		alive := c.Dialer
		var conn net.Conn
		c.Dialer = func(ctx context.Context, addr string) (_ net.Conn, err error) {
			if dead.Load() {
				return nil, syscall.ECONNREFUSED
			}
			conn, err = alive(ctx, addr)
			return conn, err
		}
		s := dial(t, c)
		dead.Store(true)
		require.NoError(t, conn.Close())
		synctest.Wait()
		o := newOutcomes()
		before := time.Now()
		const n = 10
		for seq := range uint64(n) {
			require.NoError(t, o.append(t.Context(), s, 1, batch(t, seq+1, 1, 10)))
			o.wait(t, 1)
			require.ErrorIs(t, o.of(t, seq+1).err, api.ErrUnavailable)
		}
		require.Less(t, time.Since(before), 30*time.Second)
		dead.Store(false)
		before = time.Now()
		for seq := uint64(n + 1); ; seq++ {
			require.NoError(t, o.append(t.Context(), s, 1, batch(t, seq, 1, 10)))
			o.wait(t, 1)
			if o.of(t, seq).err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		require.Less(t, time.Since(before), 5*time.Second, "a node that is back is noticed soon")
		require.NoError(t, s.Close())
		f.stop()
	})
}

// TestAppendRoom: what is taken and not answered is bounded, in bytes and in
// batches; who waits for room leaves with its ctx, or when the client is
// closed; what is in flight then is uncertain.
func TestAppendRoom(t *testing.T) {
	for _, size := range []int{1 << 20, 10} {
		bubble.Test(t, func(t *testing.T) {
			f := (&fake{onAppend: func(s appendStream) error {
				var hold []received
				return receiveBatches(s, nil, func(b received) error {
					if hold = append(hold, b); b.Request == 2 {
						return send(s, acked(b, 1))
					}
					return nil
				})
			}}).serve(t)
			s := f.client(t)
			o := newOutcomes()
			data := batch(t, 1, 1, size) // one for all: its bytes are only sent
			n := 0
			for ; ; n++ {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				err := s.Append(ctx, api.AppendRequest{Log: 1, Batch: data}, func(ack api.Ack, err error) {
					o.mu.Lock()
					defer o.mu.Unlock()
					o.got[0] = append(o.got[0], outcome{ack, err})
				})
				cancel()
				if err != nil {
					require.ErrorIs(t, err, api.ErrUnavailable)
					require.ErrorIs(t, err, context.DeadlineExceeded)
					break
				}
			}
			most := 64 << 20 / max(data.Len(), 4<<10)
			require.Equal(t, most+1, n, "one was answered")
			waiting := make(chan error, 1)
			go func() {
				waiting <- s.Append(context.Background(), api.AppendRequest{Log: 1, Batch: data}, func(api.Ack, error) { t.Error("it was taken") })
			}()
			synctest.Wait()
			require.NoError(t, s.Close())
			require.ErrorIs(t, <-waiting, api.ErrClosed)
			require.ErrorIs(t, s.Append(t.Context(), api.AppendRequest{Log: 1, Batch: data}, nil), api.ErrClosed)
			require.Len(t, o.got[0], n, "each was answered once")
			require.NoError(t, o.got[0][0].err)
			unsure := 0
			for _, x := range o.got[0][1:] {
				if errors.Is(x.err, api.ErrUncertain) {
					unsure++
				} else {
					require.ErrorIs(t, x.err, api.ErrClosed)
				}
			}
			require.Positive(t, unsure)
			f.stop()
		})
	}
}

// TestAppendOtherCluster: the node refuses the stream; nothing was taken, and
// that is said for good.
func TestAppendOtherCluster(t *testing.T) {
	f := (&fake{onAppend: func(appendStream) error { return rpc.Status(&api.WrongClusterError{Have: "c2"}) }}).serve(t)
	s := f.client(t)
	o := newOutcomes()
	for seq := range uint64(3) {
		require.NoError(t, o.append(t.Context(), s, 1, batch(t, seq+1, 1, 10)))
	}
	o.wait(t, 3)
	for seq := range uint64(3) {
		require.Equal(t, &api.WrongClusterError{Have: "c2"}, o.of(t, seq+1).err)
	}
}

// TestAppendNonsense: whatever a node answers, every batch gets one outcome,
// and it is not a wrong one.
func TestAppendNonsense(t *testing.T) {
	for name, answer := range map[string]func(b received) any{
		"unknown request": func(b received) any { return result(&logv1.AppendResult{Request: 77, FromLsn: 1, ToLsn: 3}) },
		"request 0":       func(b received) any { return result(&logv1.AppendResult{FromLsn: 1, ToLsn: 3}) },
		"LSN 0":           func(b received) any { return result(&logv1.AppendResult{Request: b.Request, ToLsn: 2}) },
		"too few LSNs":    func(b received) any { return result(&logv1.AppendResult{Request: b.Request, FromLsn: 5, ToLsn: 6}) },
		"LSNs go back":    func(b received) any { return result(&logv1.AppendResult{Request: b.Request, FromLsn: 5, ToLsn: 3}) },
		"LSNs wrap around": func(b received) any {
			return result(&logv1.AppendResult{Request: b.Request, FromLsn: 1<<64 - 1, ToLsn: 1})
		},
		"no protobuf":       func(b received) any { return raw{0xff, 0xff, 0xff} },
		"more than allowed": func(b received) any { return raw(make([]byte, rpc.MessageBytesMax+1)) },
		"the end":           func(b received) any { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			lives := atomic.Int32{}
			f := (&fake{onAppend: func(s appendStream) error {
				life := lives.Add(1)
				return receiveBatches(s, nil, func(b received) error {
					if life > 1 {
						return send(s, acked(b, b.Request))
					}
					m := answer(b)
					if m == nil {
						return errEnd
					}
					return s.SendMsg(m)
				})
			}}).serve(t)
			inner := f.onAppend
			f.onAppend = func(s appendStream) error {
				if err := inner(s); err != errEnd {
					return err
				}
				return nil
			}
			s := f.client(t)
			o := newOutcomes()
			require.NoError(t, o.append(t.Context(), s, 1, batch(t, 1, 2, 10)))
			o.wait(t, 1)
			require.ErrorIs(t, o.of(t, 1).err, api.ErrUncertain)
			require.Eventually(t, func() bool {
				o := newOutcomes()
				return o.append(t.Context(), s, 1, batch(t, 2, 2, 10)) == nil && func() bool { o.wait(t, 1); return o.of(t, 2).err == nil }()
			}, 10*time.Second, time.Millisecond, "it goes on with another stream")
		})
	}
}

var errEnd = errors.New("end of the stream")

func result(r *logv1.AppendResult) *logv1.AppendResponse {
	return &logv1.AppendResponse{Results: []*logv1.AppendResult{r}}
}

// TestAppendTwice: a second answer to the same batch ends the stream, and is
// not passed on.
func TestAppendTwice(t *testing.T) {
	f := (&fake{onAppend: func(s appendStream) error {
		var first received
		return receiveBatches(s, nil, func(b received) error {
			if b.Request == 1 {
				first = b
				return nil
			}
			return send(s, acked(first, 1), acked(first, 1), acked(b, 2))
		})
	}}).serve(t)
	s := f.client(t)
	o := newOutcomes()
	for seq := range uint64(2) {
		require.NoError(t, o.append(t.Context(), s, 1, batch(t, seq+1, 1, 10)))
	}
	o.wait(t, 2)
	require.NoError(t, o.of(t, 1).err)
	require.ErrorIs(t, o.of(t, 2).err, api.ErrUncertain)
}

// TestAppendLog: at level debug, a batch is logged under the name that the node
// has of it, when it is sent and when it is answered; a broken stream is worth
// a warning.
func TestAppendLog(t *testing.T) {
	request := make(chan string, 1)
	f := (&fake{onAppend: func(s appendStream) error {
		request <- incoming(s.Context(), rpc.MetadataRequest)
		return receiveBatches(s, nil, func(b received) error {
			if b.Request == 2 {
				return errEnd
			}
			return send(s, acked(b, 5))
		})
	}}).serve(t)
	var log lockedBuffer
	c := f.config()
	c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := dial(t, c)
	o := newOutcomes()
	for seq := range uint64(2) {
		require.NoError(t, o.append(t.Context(), s, 7, batch(t, seq+1, 1, 10)))
		o.wait(t, 1)
	}
	id := <-request
	text := log.String()
	require.Contains(t, text, "msg=append request="+id+"/1 log=7 producer=1 sequence=1 entries=1")
	require.Contains(t, text, `msg="append answered" request=`+id+"/1 from=5 to=6")
	require.Contains(t, text, "msg=append request="+id+"/2 ")
	require.Eventually(t, func() bool {
		return strings.Contains(log.String(), `level=WARN msg="append stream broke" request=`+id+" addr=fake:1 unanswered=1")
	}, 10*time.Second, time.Millisecond)
}

// lockedBuffer is written to by several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
