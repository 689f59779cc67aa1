package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// metadataBenchmark measures what many logs cost each node of a cluster.
type metadataBenchmark struct {
	clusterBench
	logs int
}

// metadataResult is what it found. Bytes and times are the highest of all nodes,
// unless their comments say otherwise.
type metadataResult struct {
	Case          string    `json:"case"`
	Nodes         int       `json:"nodes"`
	Logs          int       `json:"logs"`
	MakeSeconds   float64   `json:"make_seconds"` // until all were made and written to
	RaftIndex     uint64    `json:"raft_index"`   // then
	RSS           int64     `json:"rss_bytes"`
	RSSPeak       int64     `json:"rss_peak_bytes"`         // since its start
	RSSRestarted  int64     `json:"rss_restarted_bytes"`    // of nodes that were restarted, once they were ready
	Snapshot      int64     `json:"snapshot_bytes"`         // of all metadata
	SnapshotMs    float64   `json:"snapshot_ms"`            // median of the rounds
	SnapshotMax   float64   `json:"snapshot_max_ms"`        // of all rounds
	RestartMs     float64   `json:"restart_ms"`             // from the start of the process until it was ready; median of the rounds
	RestartMax    float64   `json:"restart_max_ms"`         // of all rounds
	RestartCPU    float64   `json:"restart_cpu_ms"`         // processor time of the process until then; median of the rounds
	SnapshotRound []float64 `json:"rounds_snapshot_ms"`     // of each
	RestartRound  []float64 `json:"rounds_restart_ms"`      // of each
	RSSNodes      []int64   `json:"nodes_rss_bytes"`        // of each node, before the restarts
	BytesPerLog   float64   `json:"snapshot_bytes_per_log"` // with what the nodes and chains take
	Rounds        int       `json:"rounds"`
	verification
}

const (
	// metadataLogsMax bounds what a run asks of a machine.
	metadataLogsMax = 1_000_000
	// metadataAtOnce is how many logs are made at a time.
	metadataAtOnce = 64
	// metadataTries is how often it is tried to make one whose outcome is not
	// known.
	metadataTries = 10
	// metadataRest is for how long nodes do nothing before their memory is
	// measured: two minutes would be until Go has given back all it can.
	metadataRest = 5 * time.Second
	// metadataRead is how many logs, about, are read in the end: one in so many.
	metadataRead = 1000
	// metadataEntry is what is appended to each log.
	metadataEntry = "an entry"
)

func newBenchMetadataCommand() *cobra.Command {
	b := &metadataBenchmark{}
	cmd := &cobra.Command{
		Use:   "metadata",
		Short: "Make many logs, and measure what they cost each node, a snapshot and a restart",
		Long: `Start a cluster, each node in a process of its own, make many logs and append an entry to
each. Measured is the memory of the nodes' processes, as the system counts it; how long
it takes to save all metadata; and how long a node that was killed with kill -9 takes
until it is ready again, one node after the other. In the end all logs are listed, and
about 1,000 of them read, through the node that was restarted last.`,
		Example: "  wpd bench metadata\n  wpd bench metadata --logs 100000 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.logs < 1 || b.logs > metadataLogsMax {
				return usagef(cmd, "--logs is %d; want 1 to 1,000,000", b.logs)
			}
			return b.runAndPrint(cmd, benchKey{Case: "metadata", Logs: b.logs}, b.run)
		},
	}
	b.addFlags(cmd)
	f := cmd.Flags()
	f.IntVar(&b.logs, "logs", 10_000, "how many logs")
	f.IntVar(&b.rounds, "rounds", 3, "snapshots and restarts")
	return cmd
}

func (b *metadataBenchmark) run(ctx context.Context, p *progress) (_ clusterResult, err error) {
	p.say("starting %d nodes", b.nodes)
	c, err := startBenchCluster(ctx, b.dir, b.nodes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	r := &metadataResult{Case: "metadata", Nodes: b.nodes, Logs: b.logs}
	begin := time.Now()
	if err := b.makeLogs(ctx, c, p); err != nil {
		return nil, c.blame(err)
	}
	r.MakeSeconds = round(time.Since(begin).Seconds())
	for _, step := range []func(context.Context, *benchCluster, *progress) error{r.memory, r.snapshots(b.rounds), r.restarts(b.rounds)} {
		if err := step(ctx, c, p); err != nil {
			return nil, c.blame(err)
		}
	}
	r.Rounds = b.rounds
	p.say("listing all logs, and reading some of them")
	r.verification = verified(b.check(ctx, c.nodes[(b.rounds-1)%b.nodes].grpc))
	return r, ctx.Err()
}

func metadataLog(i int) string { return fmt.Sprintf("tenant-%03d/orders/%06d", i%1000, i) }

// makeLogs makes all logs, and appends an entry to each.
func (b *metadataBenchmark) makeLogs(ctx context.Context, c *benchCluster, p *progress) error {
	if _, err := c.settled(ctx); err != nil {
		return err
	}
	var made atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(metadataAtOnce)
	for i := 0; i < b.logs && gctx.Err() == nil; i++ {
		g.Go(func() error {
			if err := makeLog(gctx, c.client, metadataLog(i)); err != nil {
				return fmt.Errorf("make log %s: %w", metadataLog(i), err)
			}
			if n := made.Add(1); n%100 == 0 {
				p.say("making logs: %s of %s", countText(n), countText(b.logs))
			}
			return nil
		})
	}
	return g.Wait()
}

func makeLog(ctx context.Context, c *wpd.Client, name string) error {
	log, err := createLog(ctx, c, name)
	if err != nil {
		return err
	}
	w, err := log.Writer(ctx)
	if err != nil {
		return err
	}
	_, err = w.Append(ctx, []byte(metadataEntry))
	return errors.Join(err, w.Close())
}

// createLog makes a log, also if another node gets to lead just then.
func createLog(ctx context.Context, c *wpd.Client, name string) (*wpd.Log, error) {
	for try := 1; ; try++ {
		log, err := c.Create(ctx, name, wpd.LogConfig{})
		switch {
		case errors.Is(err, wpd.ErrExists): // the try before has made it
			return c.Log(ctx, name)
		case !errors.Is(err, wpd.ErrUncertain) || try == metadataTries:
			return log, err
		}
		if err := wait(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

// statusAt asks one node, and no other.
func (c *benchCluster) statusAt(ctx context.Context, node int) (*adminv1.GetStatusResponse, error) {
	a, err := dialOne(ctx, c.nodes[node].grpc)
	if err != nil {
		return nil, err
	}
	s, err := a.Status(ctx)
	return s, errors.Join(err, a.Close())
}

// memory measures what the nodes have in memory.
func (r *metadataResult) memory(ctx context.Context, c *benchCluster, p *progress) error {
	p.say("letting the nodes rest")
	if err := wait(ctx, metadataRest); err != nil {
		return err
	}
	for i := range c.nodes {
		s, err := c.statusAt(ctx, i)
		if err != nil {
			return err
		}
		now := int64(s.GetStats().GetRssBytes())
		r.RSSNodes = append(r.RSSNodes, now)
		r.RSS, r.RSSPeak = max(r.RSS, now), max(r.RSSPeak, int64(s.GetStats().GetRssPeakBytes()))
		r.RaftIndex = max(r.RaftIndex, s.GetRaftIndex())
	}
	return nil
}

// snapshots saves all metadata several times.
func (r *metadataResult) snapshots(rounds int) func(context.Context, *benchCluster, *progress) error {
	return func(ctx context.Context, c *benchCluster, p *progress) error {
		for i := range rounds {
			p.say("snapshot %d of %d", i+1, rounds)
			var n countingWriter
			begin := time.Now()
			if err := c.admin.SaveSnapshot(ctx, &n); err != nil {
				return err
			}
			r.SnapshotRound = append(r.SnapshotRound, round(time.Since(begin).Seconds()*1e3))
			r.Snapshot = max(r.Snapshot, int64(n))
		}
		r.SnapshotMs, r.SnapshotMax = round(median(r.SnapshotRound)), most(r.SnapshotRound)
		r.BytesPerLog = round(float64(r.Snapshot) / float64(r.Logs))
		return nil
	}
}

// countingWriter counts bytes.
type countingWriter int64

func (w *countingWriter) Write(b []byte) (int, error) {
	*w += countingWriter(len(b))
	return len(b), nil
}

// restarts kills one node after the other, and starts it again.
func (r *metadataResult) restarts(rounds int) func(context.Context, *benchCluster, *progress) error {
	return func(ctx context.Context, c *benchCluster, p *progress) error {
		var cpu []float64
		for i := range rounds {
			p.say("restart %d of %d", i+1, rounds)
			at := i % len(c.nodes)
			if err := c.nodes[at].cmd.Process.Kill(); err != nil {
				return err
			}
			<-c.nodes[at].ended
			begin := time.Now()
			if err := c.restart(ctx, at); err != nil {
				return err
			}
			r.RestartRound = append(r.RestartRound, round(time.Since(begin).Seconds()*1e3))
			s, err := c.statusAt(ctx, at)
			if err != nil {
				return err
			}
			cpu = append(cpu, float64(s.GetStats().GetCpuMicros())/1e3)
			r.RSSRestarted = max(r.RSSRestarted, int64(s.GetStats().GetRssBytes()))
			if _, err := c.settled(ctx); err != nil {
				return err
			}
		}
		r.RestartMs, r.RestartMax, r.RestartCPU = round(median(r.RestartRound)), most(r.RestartRound), round(median(cpu))
		return nil
	}
}

// check lists all logs through one node: those that were made are there, and no
// others. Some of them, which stand for all, are there with their entry.
func (b *metadataBenchmark) check(ctx context.Context, addr string) (err error) {
	c, err := wpd.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	there := make(map[string]bool, b.logs)
	for info, err := range c.Logs(ctx, "") {
		if err != nil {
			return err
		}
		there[info.Name] = true
	}
	for i := range b.logs {
		if !there[metadataLog(i)] {
			return fmt.Errorf("log %s is not there; there are %d logs, want %d", metadataLog(i), len(there), b.logs)
		}
	}
	if len(there) != b.logs {
		return fmt.Errorf("there are %d logs, want %d", len(there), b.logs)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(metadataAtOnce)
	for i := 0; i < b.logs && gctx.Err() == nil; i += max(b.logs/metadataRead, 1) {
		g.Go(func() error { return checkLog(gctx, c, metadataLog(i)) })
	}
	return g.Wait()
}

// checkLog reads a log to its tail.
func checkLog(ctx context.Context, c *wpd.Client, name string) error {
	log, err := c.Log(ctx, name)
	if err != nil {
		return err
	}
	var got []string
	for e, err := range log.Read(ctx, wpd.Earliest, wpd.Linearizable()) {
		if err != nil {
			return fmt.Errorf("read log %s: %w", name, err)
		}
		got = append(got, string(e.Data))
	}
	if len(got) != 1 || got[0] != metadataEntry {
		return fmt.Errorf("log %s has %d entries %.100q, want the one", name, len(got), strings.Join(got, ", "))
	}
	return nil
}

func (r *metadataResult) print(w io.Writer, ink ink) error {
	return printFields(w, ink, [][2]string{
		{"metadata", fmt.Sprintf("%s logs on %d nodes, made in %s, raft index %d", countText(r.Logs), r.Nodes, timeText(seconds(r.MakeSeconds)), r.RaftIndex)},
		{"memory", fmt.Sprintf("%s a node  (peak %s; restarted %s)", sizeText(r.RSS), sizeText(r.RSSPeak), sizeText(r.RSSRestarted))},
		{"snapshot", fmt.Sprintf("%s in %s  (worst %s; %s bytes a log)", sizeText(r.Snapshot), msText(r.SnapshotMs), msText(r.SnapshotMax), digits(r.BytesPerLog))},
		{"ready after restart", fmt.Sprintf("%s  (worst %s of %s; %s of a processor)", msText(r.RestartMs), msText(r.RestartMax), plural(r.Rounds, "round"), msText(r.RestartCPU))},
		{"verified", r.text(ink)},
	})
}
