package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// readersBenchmark lets readers follow a log at a node that does not write it.
type readersBenchmark struct {
	clusterBench
	readers  int
	duration time.Duration
	size     byteSize
}

// readersResult is what it found. Times are in microseconds, from when an entry
// was due to be appended.
type readersResult struct {
	Case            string  `json:"case"`
	Nodes           int     `json:"nodes"`
	Size            int64   `json:"size"`
	Rate            float64 `json:"rate"`
	Followers       int     `json:"followers"`
	Entries         int64   `json:"entries"` // that each of them got
	P50             float64 `json:"p50_us"`  // until a reader had it
	P99             float64 `json:"p99_us"`
	Max             float64 `json:"max_us"`
	AppendP50       float64 `json:"append_p50_us"` // until it was acknowledged
	AppendP99       float64 `json:"append_p99_us"`
	Behind          float64 `json:"behind_p50_us"` // how much later than the acknowledgement: the difference of the two medians
	Fragments       uint64  `json:"fragments"`     // that the writer made meanwhile
	Gets            *uint64 `json:"gets,omitempty"`
	GetsPerFragment float64 `json:"gets_per_fragment"`
	RSSPeak         int64   `json:"rss_peak_bytes"` // of the followers' node
	CPU             float64 `json:"follower_cpu_percent"`
	GetsMissing     string  `json:"gets_missing,omitempty"` // why they are not known
	verification
}

func newBenchReadersCommand() *cobra.Command {
	b := &readersBenchmark{clusterBench: clusterBench{rounds: 1}, size: 1024}
	cmd := &cobra.Command{
		Use:   "readers",
		Short: "Follow a log at a node that does not write it",
		Long: `Start a cluster, each node in a process of its own, and append to a log at a rate. A
node that neither writes the log nor leads is killed and started again, so that it knows
nothing; all readers are connected to it and follow the log there. Measured is how long
entries took until a reader had them, and, of that node, how often it read from the store
for each fragment, and its memory. Each reader checks all that it gets.`,
		Example: "  wpd bench readers\n  wpd bench readers --readers 1 --rate 500 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case b.readers < 1 || b.readers > 20_000:
				return usagef(cmd, "--readers is %d; want 1 to 20,000", b.readers)
			case b.rate == 0:
				return usagef(cmd, "--rate is 0; want up to 10,000")
			case b.duration <= 0:
				return usagef(cmd, "--duration is %v; want a time", b.duration)
			case b.size < payloadHeaderBytes || b.size > 1<<20:
				return usagef(cmd, "--size is %d; want %d to 1,048,576 bytes", b.size, payloadHeaderBytes)
			}
			return b.runAndPrint(cmd, benchKey{Case: "readers", Size: int64(b.size), Rate: b.rate, Followers: b.readers}, b.run)
		},
	}
	b.addFlags(cmd)
	f := cmd.Flags()
	f.IntVar(&b.readers, "readers", 1000, "how many")
	f.Float64Var(&b.rate, "rate", 50, "appends a second")
	f.DurationVar(&b.duration, "duration", 20*time.Second, "how long they follow")
	f.Var(&b.size, "size", "bytes of an entry, at least 32")
	return cmd
}

// readersWarm is how long is appended before the readers come.
const readersWarm = time.Second

func (b *readersBenchmark) run(ctx context.Context, p *progress) (_ clusterResult, err error) {
	p.say("starting %d nodes", b.nodes)
	c, err := startBenchCluster(ctx, b.dir, b.nodes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	log, err := c.client.Create(ctx, "bench/readers", wpd.LogConfig{})
	if err != nil {
		return nil, c.blame(err)
	}
	load, err := newLoad(ctx, &benchConfig{size: b.size, logs: 1, producers: 1, rate: b.rate, seed: 1}, func(ctx context.Context, _ int) (*wpd.Writer, error) {
		return log.Writer(ctx)
	})
	if err != nil {
		return nil, c.blame(err)
	}
	if _, err := load.run(ctx, quota{duration: readersWarm}); err != nil {
		return nil, c.blame(err)
	}
	p.say("starting a node anew")
	writer, follower, err := b.choose(ctx, c, log)
	if err != nil {
		return nil, c.blame(err)
	}
	m := &readersMeasurement{b: b, c: c, p: p, stream: load.streams[0], load: load}
	defer func() { err = errors.Join(err, m.close()) }()
	if m.writer, err = dialOne(ctx, c.nodes[writer].grpc); err == nil {
		m.follower, err = dialOne(ctx, c.nodes[follower].grpc)
	}
	if err != nil {
		return nil, c.blame(err)
	}
	r, err := m.run(ctx, c.nodes[follower].grpc, log.Name())
	if err != nil {
		return nil, c.blame(err)
	}
	return r, load.streams[0].writer.Close()
}

func dialOne(ctx context.Context, addr string) (*client.Admin, error) {
	return client.DialAdmin(ctx, client.Config{Addrs: []string{addr}})
}

// choose returns the node that writes the log, and another one, which does not
// lead and was started anew.
func (b *readersBenchmark) choose(ctx context.Context, c *benchCluster, log *wpd.Log) (writer, follower int, err error) {
	nodes, err := c.settled(ctx)
	if err != nil {
		return 0, 0, err
	}
	info, err := log.Info(ctx)
	if err != nil {
		return 0, 0, err
	}
	if writer, err = c.index(info.Writer); err != nil {
		return 0, 0, err
	}
	i := slices.IndexFunc(nodes, func(n *adminv1.Node) bool { return n.GetNodeId() != info.Writer && n.GetRole() != "leader" })
	if i < 0 {
		return 0, 0, fmt.Errorf("no node does neither write log %s nor lead", log.Name())
	}
	if follower, err = c.index(nodes[i].GetNodeId()); err != nil {
		return 0, 0, err
	}
	if err := c.nodes[follower].cmd.Process.Kill(); err != nil {
		return 0, 0, err
	}
	if err := c.restart(ctx, follower); err != nil {
		return 0, 0, err
	}
	_, err = c.settled(ctx)
	return writer, follower, err
}

// readersMeasurement is a crowd of readers of a log, and what is known of the
// nodes meanwhile.
type readersMeasurement struct {
	b                *readersBenchmark
	c                *benchCluster
	p                *progress
	load             *load
	stream           *stream
	writer, follower *client.Admin
	lap              []*lapping // of each connection
}

// lapping is the readers of one connection.
type lapping struct {
	mu   sync.Mutex
	seen *hdrhistogram.Histogram // ns; guarded by mu
}

// readersPerConnection is how many share a connection.
const readersPerConnection = 100

// run connects the readers, appends, and waits until all have everything.
func (m *readersMeasurement) run(ctx context.Context, addr, name string) (_ *readersResult, err error) {
	b := m.b
	r := &readersResult{Case: "readers", Nodes: b.nodes, Size: int64(b.size), Rate: b.rate, Followers: b.readers}
	crowd := &crowd{
		dial:   func(ctx context.Context) (*wpd.Client, error) { return wpd.Dial(ctx, addr) },
		status: m.follower.Status, per: readersPerConnection, noun: "reader", p: m.p,
	}
	following := crowd.begin(ctx)
	defer func() { err = errors.Join(err, crowd.close()) }()
	var want atomic.Int64
	want.Store(-1)
	if err := m.connect(following, crowd, name, &want); err != nil {
		return nil, err
	}
	from, err := m.usage(ctx, addr, r)
	if err != nil {
		return nil, err
	}
	m.p.say("%s follow for %v", plural(b.readers, "reader"), b.duration)
	begin := time.Now()
	part, err := m.load.run(ctx, quota{duration: b.duration})
	if err != nil {
		crowd.stop()
		return nil, errors.Join(err, crowd.g.Wait())
	}
	took := time.Since(begin)
	want.Store(int64(m.stream.seq))
	_, err = m.stream.writer.Append(ctx, m.load.producers[0].payloads.next(m.stream, sinceStart())) // whoever has everything already sees that
	if err != nil {
		crowd.stop()
		return nil, errors.Join(err, crowd.g.Wait())
	}
	problem := crowd.finish(followWait)
	if ctx.Err() != nil || errors.Is(problem, context.Canceled) { // readers that were given up have lost nothing
		return nil, cmp.Or(ctx.Err(), problem)
	}
	to, err := m.usage(ctx, addr, r)
	if err != nil {
		return nil, err
	}
	m.sum(r, part, from, to, took)
	r.verification = verified(problem)
	return r, nil
}

// sum computes the result.
func (m *readersMeasurement) sum(r *readersResult, part *part, from, to readersUsage, took time.Duration) {
	seen := newLatencies()
	for _, l := range m.lap {
		seen.Merge(l.seen)
	}
	us := func(h *hdrhistogram.Histogram, q float64) float64 {
		return round(float64(h.ValueAtPercentile(q)) / 1e3)
	}
	r.Entries = part.entries
	r.P50, r.P99, r.Max = us(seen, 50), us(seen, 99), us(seen, 100)
	r.AppendP50, r.AppendP99 = us(part.latency, 50), us(part.latency, 99)
	r.Behind = round(r.P50 - r.AppendP50)
	r.Fragments, r.RSSPeak = to.creates-from.creates, to.rss
	r.CPU = round(float64(to.cpu-from.cpu) / float64(took) * 100)
	if r.GetsMissing == "" {
		gets := to.gets - from.gets
		r.Gets, r.GetsPerFragment = &gets, round(float64(gets)/float64(max(r.Fragments, 1)))
	}
}

// connect starts the readers where the log ends now, and waits until the node has
// them all.
func (m *readersMeasurement) connect(ctx context.Context, crowd *crowd, name string, want *atomic.Int64) error {
	at := *m.stream // all of it is acknowledged
	for n := 0; n < m.b.readers; n += readersPerConnection {
		m.lap = append(m.lap, &lapping{seen: newLatencies()})
	}
	return crowd.connect(ctx, m.b.readers, name, wpd.From(wpd.LSN(at.seq+1)), 0, func(conn int, r *wpd.Reader) error {
		checks := newChecker(0)
		checks.next, checks.chains[0] = at.seq+1, &chainPos{seq: at.seq, prev: at.prev}
		return m.lap[conn].read(ctx, r, checks, want)
	})
}

// read follows the log until it has more entries than want says, once that is
// not negative.
func (l *lapping) read(ctx context.Context, r *wpd.Reader, checks *checker, want *atomic.Int64) error {
	for {
		entries, err := r.NextBatch(ctx)
		if err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		now := sinceStart()
		last := int64(0)
		for _, e := range entries {
			p, err := checks.check(uint64(e.LSN), e.Data)
			if err != nil {
				return fmt.Errorf("follow: %w", err)
			}
			last = int64(p.seq)
			l.mu.Lock()
			record(l.seen, now-p.due)
			l.mu.Unlock()
		}
		if most := want.Load(); most >= 0 && last > most {
			return nil
		}
	}
}

// readersUsage is what the nodes have used so far.
type readersUsage struct {
	creates uint64        // of the writer
	gets    uint64        // of the followers' node
	rss     int64         // likewise, the most so far
	cpu     time.Duration // likewise
}

func (m *readersMeasurement) usage(ctx context.Context, addr string, r *readersResult) (u readersUsage, err error) {
	w, err := m.writer.Status(ctx)
	if err != nil {
		return u, err
	}
	f, err := m.follower.Status(ctx)
	if err != nil {
		return u, err
	}
	u.creates = w.GetStats().GetCreates()
	u.rss, u.cpu = int64(f.GetStats().GetRssPeakBytes()), time.Duration(f.GetStats().GetCpuMicros())*time.Microsecond
	host, _, _ := net.SplitHostPort(addr) // it was dialled
	if u.gets, err = storeReads(ctx, host, f); err != nil {
		r.GetsMissing = err.Error()
	}
	return u, nil
}

func (m *readersMeasurement) close() error {
	var errs []error
	for _, a := range []*client.Admin{m.writer, m.follower} {
		if a != nil {
			errs = append(errs, a.Close())
		}
	}
	return errors.Join(errs...)
}

func (r *readersResult) print(w io.Writer, ink ink) error {
	gets := "not known: " + r.GetsMissing
	if r.Gets != nil {
		gets = fmt.Sprintf("%s for %s: %s each", countText(*r.Gets), plural(int(r.Fragments), "fragment"), ink.bold(digits(r.GetsPerFragment)))
	}
	return printFields(w, ink, [][2]string{
		{"readers", fmt.Sprintf("%s, of %s entries of %s each, %s a second", countText(r.Followers), countText(r.Entries), sizeText(r.Size), digits(r.Rate))},
		{"end to end", fmt.Sprintf("p50 %s  p99 %s  max %s", ink.bold(microsText(r.P50)), microsText(r.P99), microsText(r.Max))},
		{"append", fmt.Sprintf("p50 %s  p99 %s", microsText(r.AppendP50), microsText(r.AppendP99))},
		{"reads of the store", gets},
		{"followers' node", fmt.Sprintf("peak RSS %s, %s %% of a processor", ink.bold(sizeText(r.RSSPeak)), digits(r.CPU))},
		{"verified", r.text(ink)},
	})
}
