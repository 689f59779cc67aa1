package server_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/server"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// TestFollowersWithTheirConnections: each follower has a connection of its
// own, over TCP.
func TestFollowersWithTheirConnections(t *testing.T) {
	s := serveTCP(t, server.Config{Logs: &script{read: func(context.Context, api.ReadRequest) (api.Stream, error) {
		return &source{at: 1, next: func(ctx context.Context) (api.Chunk, error) {
			<-ctx.Done()
			return api.Chunk{}, ctx.Err()
		}}, nil
	}}})
	open := func(n int) {
		for range n {
			x := openRead(t, s.conn(), &logv1.ReadRequest{LogId: 1, Follow: true})
			x.start()
		}
	}
	open(50) // what is made once
	before := memory()
	const n = 300
	open(n)
	size := (memory() - before) / n
	require.EqualValues(t, n+50, s.metric("wpd_rpc_connections"))
	require.Less(t, size, int64(shadow*2*64<<10), "bytes of both ends of one connection")
	require.Greater(t, s.metric("wpd_rpc_received_bytes_total"), 100.0*n)
	t.Logf("%d KiB for both ends of one connection with a follower", size>>10)
}

// TestIdleFollowers: a thousand followers of a hundred logs, all at the tail,
// for ten minutes. They ask nothing of the store, nothing but keepalives goes
// over their connections, and each takes little memory. Then all of them hear
// of the next entry.
func TestIdleFollowers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{CutAge: time.Hour, ScrubBytesPerSec: -1}) // cuts and the scrub ask for themselves
		const logs, each = 100, 10
		var ids []fragment.LogID
		var producers []producer
		for i := range logs {
			id, p := w.create(fmt.Sprint("log-", i))
			w.fill(id, &p, 3, 30_000)
			ids, producers = append(ids, id), append(producers, p)
		}
		connected := w.conn()
		open := func(n int) (all []*readStream) {
			for i := range n {
				if i%(rpc.StreamsMax-1) == 0 {
					connected = w.conn()
				}
				// From the middle, so that each has read something.
				x := openRead(t, connected, &logv1.ReadRequest{
					LogId: uint64(ids[i%logs]), From: logv1.ReadFrom_READ_FROM_LAST, Value: 1, Follow: true,
				})
				x.start()
				x.chunk()
				all = append(all, x)
			}
			return all
		}
		open(logs) // what is made once
		synctest.Wait()
		before := memory()
		followers := open(logs * each)
		synctest.Wait()
		size := (memory() - before) / (logs * each)
		require.Less(t, size, int64(64<<10), "bytes of one follower, both ends of it")
		t.Logf("%d KiB for a follower, both ends of it", size>>10)
		_, reads := w.Stats()
		require.Equal(t, logs*(each+1), reads)

		asked := 0
		w.node.Faults.Hook(func(context.Context, blobtest.Op) error {
			asked++
			return nil
		})
		bytes := func() float64 { return w.metric("wpd_rpc_received_bytes_total") + w.metric("wpd_rpc_sent_bytes_total") }
		quiet := bytes()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Zero(t, asked, "requests to the store")
		pings := (bytes() - quiet) / w.metric("wpd_rpc_connections")
		const ping = 9 + 8 // bytes, there and back
		require.InDelta(t, 2*ping*float64(10*time.Minute/rpc.ServerPingEvery), pings, 2*ping, "bytes of keepalives on a connection")

		s := openAppend(t, w.conn())
		for i := range logs {
			s.send(part{request: uint64(i + 1), log: ids[i], data: producers[i].batch([]byte("news"))})
		}
		s.answers(logs)
		require.NoError(t, s.end())
		for i, x := range followers {
			got, _ := x.chunk().entries(t, ids[i%logs])
			require.Equal(t, []string{"news"}, got)
		}
		require.Positive(t, asked)
		w.node.Faults.Hook(nil)
	})
}
