package server_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// part is a part of a batch as a test sends it.
type part struct {
	request uint64
	log     fragment.LogID
	ifTail  fragment.LSN
	bytes   int // of the batch; 0: those of data, if it has a request; -1: none
	data    []byte
}

// appendStream is an Append stream, driven by hand.
type appendStream struct {
	grpc.ClientStream
	t testing.TB
}

func openAppend(t testing.TB, conn *grpc.ClientConn, md ...string) *appendStream {
	t.Helper()
	s, err := conn.NewStream(with(t.Context(), md...), &logv1.LogService_ServiceDesc.Streams[0], logv1.LogService_Append_FullMethodName)
	require.NoError(t, err)
	return &appendStream{s, t}
}

// send sends parts in one message. That the stream is over shows later.
func (s *appendStream) send(parts ...part) {
	s.t.Helper()
	var f rpc.AppendFrame
	for _, p := range parts {
		switch {
		case p.bytes == 0 && p.request != 0:
			p.bytes = len(p.data)
		case p.bytes < 0:
			p.bytes = 0
		}
		f.Add(rpc.AppendHead{Request: p.request, Log: p.log, IfTail: p.ifTail, BatchBytes: p.bytes}, p.data)
	}
	if err := s.SendMsg(&f); err != io.EOF {
		require.NoError(s.t, err)
	}
}

// answers receives n answers, by their number.
func (s *appendStream) answers(n int) map[uint64]*logv1.AppendResult {
	s.t.Helper()
	all := make(map[uint64]*logv1.AppendResult)
	for len(all) < n {
		var m logv1.AppendResponse
		require.NoError(s.t, s.RecvMsg(&m))
		for _, r := range m.Results {
			require.NotContains(s.t, all, r.Request, "answered twice")
			all[r.Request] = r
		}
	}
	require.Len(s.t, all, n)
	return all
}

// answer receives one answer.
func (s *appendStream) answer(request uint64) *logv1.AppendResult {
	s.t.Helper()
	r := s.answers(1)[request]
	require.NotNil(s.t, r)
	return r
}

// acknowledged receives the answer to a batch, which got these LSNs.
func (s *appendStream) acknowledged(request, from, to uint64) {
	s.t.Helper()
	r := s.answer(request)
	require.NoError(s.t, rpc.FromError(r.Error))
	require.Equal(s.t, []uint64{from, to}, []uint64{r.FromLsn, r.ToLsn})
	require.NotZero(s.t, r.TimeMicros)
}

// end ends the client's side and returns the status; there are no answers any
// more.
func (s *appendStream) end() error {
	s.t.Helper()
	require.NoError(s.t, s.CloseSend())
	return s.over()
}

// over returns the status of a stream that the server ends.
func (s *appendStream) over() error {
	s.t.Helper()
	var m logv1.AppendResponse
	err := s.RecvMsg(&m)
	if err == io.EOF {
		return nil
	}
	require.Error(s.t, err, "%v", &m)
	return err
}

// got is one thing that a Read stream sent.
type got struct {
	start uint64
	chunk *logv1.ReadChunk
	bytes []byte // of the chunk
	loss  *api.DataLossError
}

// readStream is a Read stream.
type readStream struct {
	grpc.ClientStream
	t testing.TB
}

func openRead(t testing.TB, conn *grpc.ClientConn, r *logv1.ReadRequest) *readStream {
	t.Helper()
	s, err := conn.NewStream(t.Context(), &logv1.LogService_ServiceDesc.Streams[1], logv1.LogService_Read_FullMethodName)
	require.NoError(t, err)
	require.NoError(t, s.SendMsg(r))
	require.NoError(t, s.CloseSend())
	return &readStream{s, t}
}

// next receives what comes next: a start, a whole chunk, or a loss.
func (s *readStream) next() (g got, err error) {
	s.t.Helper()
	var f rpc.ReadFrame
	defer f.Free()
	if err := s.RecvMsg(&f); err != nil {
		return g, err
	}
	require.NotNil(s.t, f.Message, "bytes without a chunk")
	switch k := f.Message.Kind.(type) {
	case *logv1.ReadResponse_Start:
		g.start = k.Start.Position
	case *logv1.ReadResponse_Loss:
		g.loss = requireAs[*api.DataLossError](s.t, rpc.FromError(k.Loss))
	case *logv1.ReadResponse_Chunk:
		g.chunk = k.Chunk
		for len(g.bytes) < int(k.Chunk.Bytes) {
			if err := s.RecvMsg(&f); err != nil {
				return g, err
			}
			n := f.DataBytes()
			require.LessOrEqual(s.t, n, rpc.ReadFrameBytes)
			require.Positive(s.t, n)
			g.bytes = append(g.bytes, make([]byte, n)...)
			f.Copy(g.bytes[len(g.bytes)-n:])
		}
		require.Len(s.t, g.bytes, int(k.Chunk.Bytes))
	}
	return g, nil
}

// start receives the first message.
func (s *readStream) start() uint64 {
	s.t.Helper()
	g, err := s.next()
	require.NoError(s.t, err)
	require.NotZero(s.t, g.start)
	return g.start
}

// chunk receives a chunk.
func (s *readStream) chunk() got {
	s.t.Helper()
	g, err := s.next()
	require.NoError(s.t, err)
	require.NotNil(s.t, g.chunk)
	return g
}

// entries decodes the entries of a chunk, with their LSNs, but for what lies
// outside of it.
func (g got) entries(t testing.TB, log fragment.LogID) (all []string, first uint64) {
	t.Helper()
	first = g.chunk.FromLsn
	for b := g.bytes; len(b) > 0; {
		batch, rest, err := fragment.ReadBatch(b, log)
		require.NoError(t, err)
		b = rest
		lsn := batch.From()
		r, err := batch.Entries()
		require.NoError(t, err)
		for {
			e, ok := r.Next()
			if !ok {
				break
			}
			if uint64(lsn) >= g.chunk.FromLsn && uint64(lsn) < g.chunk.ToLsn {
				all = append(all, string(e.Data))
			}
			lsn++
		}
		require.NoError(t, r.Err())
	}
	require.Len(t, all, int(g.chunk.ToLsn-g.chunk.FromLsn))
	return all, first
}

// all receives everything until the stream ends well, and checks that nothing
// is missing between from and the end.
func (s *readStream) all(log fragment.LogID) (entries []string) {
	s.t.Helper()
	at := s.start()
	for {
		g, err := s.next()
		if err == io.EOF {
			return entries
		}
		require.NoError(s.t, err)
		require.NotNil(s.t, g.chunk)
		more, first := g.entries(s.t, log)
		require.Equal(s.t, at, first)
		at = g.chunk.ToLsn
		entries = append(entries, more...)
	}
}

// rawCodec sends and receives bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// reflected lists the services that a server tells of.
func reflected(t testing.TB, conn *grpc.ClientConn) (names []string) {
	t.Helper()
	s, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Send(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	}))
	r, err := s.Recv()
	require.NoError(t, err)
	for _, x := range r.GetListServicesResponse().GetService() {
		names = append(names, x.Name)
	}
	require.NoError(t, s.CloseSend())
	return names
}
