package client_test

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/client"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// The benchmarks compare, over the loopback and with a node that stores
// nothing, the frames of rpc.Codec with the same messages as plain protobuf,
// which copies each batch once more on either side.
//
//	go test -run '^$' -bench . ./rpc/client

const benchBatchBytes = 1 << 20

func listenLoopback(b *testing.B) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	return l
}

func benchBatch(b *testing.B) fragment.Batch {
	return stored(b, 1, 1, benchBatchBytes-200)
}

// BenchmarkAppend is one batch of 1 MiB per loop, 16 in flight.
func BenchmarkAppend(b *testing.B) {
	b.Run("frames", func(b *testing.B) {
		l := listenLoopback(b)
		(&fake{onAppend: func(s appendStream) error {
			var f rpc.AppendFrame
			buf, have := make([]byte, 0, benchBatchBytes), 0
			for {
				if err := s.RecvMsg(&f); err != nil {
					return err
				}
				for h, ok, err := f.Next(); ok || err != nil; h, ok, err = f.Next() {
					if err != nil {
						return err
					}
					if h.Request != 0 {
						// As a node does: the service keeps it.
						buf, have = make([]byte, h.BatchBytes), 0
						if err := send(s, &logv1.AppendResult{Request: h.Request, FromLsn: 1, ToLsn: 2}); err != nil {
							return err
						}
					}
					f.Copy(buf[have : have+h.DataBytes])
					have += h.DataBytes
				}
				f.Free()
			}
		}}).on(b, l)
		s := dial(b, client.Config{Addrs: []string{l.Addr().String()}})
		x := benchBatch(b)
		room := make(chan struct{}, 16)
		b.SetBytes(int64(x.Len()))
		b.ReportAllocs()
		for b.Loop() {
			room <- struct{}{}
			err := s.Append(b.Context(), api.AppendRequest{Log: 1, Batch: x}, func(_ api.Ack, err error) {
				if err != nil {
					b.Error(err)
				}
				<-room
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		for range cap(room) {
			room <- struct{}{}
		}
	})
	b.Run("protobuf", func(b *testing.B) {
		l := listenLoopback(b)
		c := plain(b, l, &fake{onAppend: func(s appendStream) error {
			buf, have := make([]byte, 0, benchBatchBytes), 0
			for {
				m, err := s.Recv()
				if err != nil {
					return err
				}
				for _, p := range m.Parts {
					if p.Request != 0 {
						buf, have = make([]byte, p.BatchBytes), 0
						if err := send(s, &logv1.AppendResult{Request: p.Request, FromLsn: 1, ToLsn: 2}); err != nil {
							return err
						}
					}
					have += copy(buf[have:], p.Data)
				}
			}
		}})
		s, err := c.Append(b.Context())
		require.NoError(b, err)
		room := make(chan struct{}, 16)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				m, err := s.Recv()
				if err != nil {
					return
				}
				for range m.Results {
					<-room
				}
			}
		}()
		x := benchBatch(b).Bytes()
		b.SetBytes(int64(len(x)))
		b.ReportAllocs()
		for n := uint64(1); b.Loop(); n++ {
			room <- struct{}{}
			for at := 0; at < len(x); at += rpc.AppendFrameBytes {
				p := &logv1.AppendPart{Data: x[at:min(at+rpc.AppendFrameBytes, len(x))]}
				if at == 0 {
					p.Request, p.LogId, p.BatchBytes = n, 1, uint32(len(x))
				}
				if err := s.Send(&logv1.AppendRequest{Parts: []*logv1.AppendPart{p}}); err != nil {
					b.Fatal(err)
				}
			}
		}
		for range cap(room) {
			room <- struct{}{}
		}
		require.NoError(b, s.CloseSend())
		<-done
	})
}

// BenchmarkRead is one chunk of 1 MiB per loop.
func BenchmarkRead(b *testing.B) {
	// serve sends chunks without an end; data makes a message of some bytes.
	serve := func(s readStream, head func(*logv1.ReadResponse) any, data func([]byte) any) error {
		x := benchBatch(b)
		err := s.SendMsg(head(start(1).Message))
		for lsn := 1; err == nil; lsn++ {
			x.Stamp(fragment.Stamp{Log: 7, From: fragment.LSN(lsn)})
			c := chunk(lsn, lsn+1, x.Len()).Message
			c.GetChunk().TailLsn = uint64(lsn + 1)
			err = s.SendMsg(head(c))
			for at := 0; err == nil && at < x.Len(); at += rpc.ReadFrameBytes {
				err = s.SendMsg(data(x.Bytes()[at:min(at+rpc.ReadFrameBytes, x.Len())]))
			}
		}
		return err
	}
	b.Run("frames", func(b *testing.B) {
		l := listenLoopback(b)
		(&fake{onRead: func(_ *logv1.ReadRequest, s readStream) error {
			return serve(s, func(m *logv1.ReadResponse) any { return &rpc.ReadFrame{Message: m} }, func(b []byte) any { return rpc.NewReadData(b) })
		}}).on(b, l)
		s := dial(b, client.Config{Addrs: []string{l.Addr().String()}})
		st, err := s.Read(b.Context(), api.ReadRequest{Log: 7})
		require.NoError(b, err)
		b.SetBytes(benchBatchBytes)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := st.Next(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		require.NoError(b, st.Close())
	})
	b.Run("protobuf", func(b *testing.B) {
		l := listenLoopback(b)
		c := plain(b, l, &fake{onRead: func(_ *logv1.ReadRequest, s readStream) error {
			return serve(s, func(m *logv1.ReadResponse) any { return m }, func(b []byte) any {
				return &logv1.ReadResponse{Kind: &logv1.ReadResponse_Data{Data: b}}
			})
		}})
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		s, err := c.Read(ctx, &logv1.ReadRequest{LogId: 7})
		require.NoError(b, err)
		_, err = s.Recv()
		require.NoError(b, err)
		b.SetBytes(benchBatchBytes)
		b.ReportAllocs()
		for b.Loop() {
			m, err := s.Recv()
			if err != nil {
				b.Fatal(err)
			}
			x := make([]byte, m.GetChunk().Bytes)
			for at := 0; at < len(x); {
				if m, err = s.Recv(); err != nil {
					b.Fatal(err)
				}
				at += copy(x[at:], m.GetData())
			}
		}
	})
}

// plain serves a fake with gRPC's own codec, and returns a client with it.
func plain(b *testing.B, l net.Listener, f *fake) logv1.LogServiceClient {
	f.server = grpc.NewServer(grpc.InitialWindowSize(4<<20), grpc.InitialConnWindowSize(16<<20))
	logv1.RegisterLogServiceServer(f.server, f)
	f.served.Go(func() { _ = f.server.Serve(l) })
	b.Cleanup(f.stop)
	cc, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(b, err)
	b.Cleanup(func() { _ = cc.Close() })
	return logv1.NewLogServiceClient(cc)
}
