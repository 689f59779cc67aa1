package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/peer"
	"github.com/wpd-io/wpd/rpc/server"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// siegeEnv makes a process of this test's binary the server of a siege; its
// value are the server's limits.
const siegeEnv = "WPD_TEST_SIEGE"

// longLog is a log that has 900 KB to read.
const longLog = 2

// besieged is that process: it serves a service that acknowledges everything,
// says where on its standard output, and then answers each name of a metric
// with its value, until its standard input ends.
func besieged() int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p := producer{id: 1, epoch: 1, next: 1}
	long, err := fragment.OpenBatch(p.batch(make([]byte, 900_000)), fragment.Limits{})
	if err != nil {
		return fail(err)
	}
	long.Stamp(fragment.Stamp{Log: longLog, Attachment: 1, Epoch: 1, From: 1, Time: 1})
	registry := prometheus.NewRegistry()
	config := server.Config{
		ClusterID: clusterID, Registerer: registry,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Logs: &script{
			append: func(_ context.Context, _ api.AppendRequest, done func(api.Ack, error)) error {
				done(api.Ack{From: 1, To: 2}, nil)
				return nil
			},
			read: func(_ context.Context, r api.ReadRequest) (api.Stream, error) {
				return &source{at: 1, next: func(ctx context.Context) (api.Chunk, error) {
					if r.Log == longLog {
						return api.Chunk{Batches: []fragment.Batch{long}, From: 1, To: 2, Tail: 2}, nil
					}
					<-ctx.Done()
					return api.Chunk{}, ctx.Err()
				}}, nil
			},
			tail: func(context.Context, fragment.LogID, api.Level) (fragment.LSN, error) { return 7, nil },
		},
		Register: peer.Register(clusterID, &leader{}),
	}
	if err := json.Unmarshal([]byte(os.Getenv(siegeEnv)), &config.Limits); err != nil {
		return fail(err)
	}
	s, err := server.New(config)
	if err != nil {
		return fail(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fail(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	fmt.Println(l.Addr())
	for names := bufio.NewScanner(os.Stdin); names.Scan(); {
		value, err := metricOf(registry, names.Text())
		if err != nil {
			return fail(err)
		}
		fmt.Println(value)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = s.Close(ctx) // cuts whatever the siege left
	if err := <-served; err != nil {
		return fail(err)
	}
	return 0
}

// siege is a server in a process of its own, under attack: another client uses
// it all the time, and its memory is watched.
type siege struct {
	*served
	child  *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	before int64 // resident bytes

	stop context.CancelFunc
	wg   sync.WaitGroup
	uses atomic.Int64
	err  error // of the other client
}

func besiege(t *testing.T, l server.Limits) *siege {
	t.Helper()
	limits, err := json.Marshal(l)
	require.NoError(t, err)
	x := &siege{child: exec.Command(os.Args[0])}
	x.served = &served{t: t, log: &logged{}}
	x.child.Env = append(os.Environ(), siegeEnv+"="+string(limits))
	x.child.Stderr = x.log
	x.in, err = x.child.StdinPipe()
	require.NoError(t, err)
	out, err := x.child.StdoutPipe()
	require.NoError(t, err)
	x.out = bufio.NewScanner(out)
	require.NoError(t, x.child.Start())
	t.Cleanup(func() {
		_ = x.in.Close()
		require.NoError(t, x.child.Wait(), "%s", x.log.lines())
	})
	x.addr = x.line()
	x.dial = func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", x.addr)
	}
	x.use()
	return x
}

func (x *siege) line() string {
	x.t.Helper()
	require.True(x.t, x.out.Scan(), "the server is gone: %s", x.log.lines())
	return x.out.Text()
}

// metric asks the server for a metric.
func (x *siege) metric(name string) float64 {
	x.t.Helper()
	_, err := fmt.Fprintln(x.in, name)
	require.NoError(x.t, err)
	value, err := strconv.ParseFloat(x.line(), 64)
	require.NoError(x.t, err)
	return value
}

// use lets another client use the server, from now on.
func (x *siege) use() {
	conn := x.conn()
	client := logv1.NewLogServiceClient(conn)
	stream := openAppend(x.t, conn)
	p := producer{id: 1, epoch: 1, next: 1}
	request := uint64(0)
	use := func() error {
		if _, err := client.GetTail(x.t.Context(), &logv1.GetTailRequest{LogId: 1}); err != nil {
			return err
		}
		request++
		stream.send(part{request: request, log: 1, data: p.batch([]byte("x"))})
		var m logv1.AppendResponse
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		return rpc.FromError(m.Results[0].Error)
	}
	for range 100 {
		require.NoError(x.t, use())
	}
	x.before = x.resident("VmRSS")
	ctx, cancel := context.WithCancel(context.Background())
	x.stop = cancel
	x.t.Cleanup(func() { // of a test that failed
		x.stop()
		x.wg.Wait()
	})
	x.wg.Go(func() {
		for ctx.Err() == nil && x.err == nil {
			x.err = use()
			x.uses.Add(1)
		}
	})
}

// resident returns what the kernel says of the server's memory: VmRSS is what
// is resident, VmHWM the most that ever was.
func (x *siege) resident(field string) int64 {
	x.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", x.child.Process.Pid))
	require.NoError(x.t, err)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == field+":" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			require.NoError(x.t, err)
			return kib << 10
		}
	}
	require.Failf(x.t, "no such field", "%s in %s", field, b)
	return 0
}

// says waits until the server's log, which takes its time, has a line with all
// of these.
func (x *siege) says(with ...string) {
	x.t.Helper()
	eventually(x.t, "the log says so", func() bool { return len(x.log.lines(with...)) > 0 })
}

// lift ends the siege: the other client is served, and was all the time, and
// the server's memory has stayed within bounds.
func (x *siege) lift() {
	x.t.Helper()
	was := x.uses.Load()
	eventually(x.t, "others are served", func() bool { return x.uses.Load() > was+10 })
	x.stop()
	x.wg.Wait()
	require.NoError(x.t, x.err)
	grown, most := x.resident("VmHWM")-x.before, int64(64<<20)
	require.Less(x.t, grown, most*shadow, "bytes that the server has grown by")
	x.t.Logf("grown by %d KiB, others were served %d times", grown>>10, x.uses.Load())
}
