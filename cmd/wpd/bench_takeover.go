package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// takeoverBenchmark kills a node that writes many logs on a long chain, on a
// store that answers late.
type takeoverBenchmark struct {
	clusterBench
	logs      int
	fragments uint64
	delay     time.Duration
}

// takeoverResult is what it found. Times are in milliseconds.
type takeoverResult struct {
	Case      string    `json:"case"`
	Nodes     int       `json:"nodes"`
	Logs      int       `json:"logs"`
	Wanted    uint64    `json:"fragments_wanted"` // of the chain, at least
	Fragments uint64    `json:"fragments"`        // of the chain, in the last round
	DelayMs   float64   `json:"delay_ms"`
	Rounds    int       `json:"rounds"`
	P50       float64   `json:"p50_ms"`     // from when the lease had lapsed until an append was acknowledged; median
	Max       float64   `json:"max_ms"`     // likewise, the worst
	Sealed    float64   `json:"sealed_ms"`  // likewise, until the chain was sealed; median
	AllLogs   float64   `json:"all_ms"`     // likewise, until one was to each of the logs; median
	Lapse     float64   `json:"lapse_ms"`   // from the kill until the lease had lapsed; median
	All       []float64 `json:"rounds_ms"`  // of P50
	AllRounds []float64 `json:"rounds_all"` // of AllLogs
	Entries   int64     `json:"entries"`
	verification
}

func newBenchTakeoverCommand() *cobra.Command {
	b := &takeoverBenchmark{}
	cmd := &cobra.Command{
		Use:   "takeover",
		Short: "Kill the writer of many logs on a slow store, and measure the take-over",
		Long: `Start a cluster, each node in a process of its own, on a store that answers every
request late. Let one node write all logs, on a chain of that many fragments in one
segment, and kill -9 it. Measured is the time from when the leader lets its lease lapse
until an append to one of the logs is acknowledged by another node, and until one to each
of them is; these are appended all at once, when the first is there.`,
		Example: "  wpd bench takeover\n  wpd bench takeover --logs 1000 --fragments 1000 --rounds 1",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case b.logs < 1 || b.logs > 50_000:
				return usagef(cmd, "--logs is %d; want 1 to 50,000", b.logs)
			case b.fragments < 1 || b.fragments > 100_000:
				return usagef(cmd, "--fragments is %d; want 1 to 100,000", b.fragments)
			case b.delay < 0 || b.delay > time.Second:
				return usagef(cmd, "--delay is %v; want up to 1s", b.delay)
			}
			return b.runAndPrint(cmd, benchKey{Case: "takeover", Logs: b.logs, DelayMs: b.delay.Seconds() * 1e3, Wanted: b.fragments}, b.run)
		},
	}
	b.addFlags(cmd)
	f := cmd.Flags()
	f.IntVar(&b.logs, "logs", 10_000, "how many logs the killed node writes")
	f.Uint64Var(&b.fragments, "fragments", 4096, "how many fragments its chain has, at least")
	f.DurationVar(&b.delay, "delay", 30*time.Millisecond, "how late the store answers")
	f.IntVar(&b.rounds, "rounds", 3, "kills")
	return cmd
}

// takeoverProducers append at a time while a chain is filled.
const takeoverProducers = 64

func (b *takeoverBenchmark) run(ctx context.Context, p *progress) (_ clusterResult, err error) {
	p.say("starting %d nodes", b.nodes)
	c, err := startBenchClusterAs(ctx, b.dir, b.nodes, func(x *devNode) {
		x.args = append([]string{"bench", "node", "--delay", b.delay.String()}, x.args[1:]...) // in place of serve
		x.args = append(x.args, "--moves-per-second", "0", "--cut-fragments", fmt.Sprint(1<<20), "--cut-age", "24h")
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	t := &takeover{b: b, c: c, p: p}
	if err := t.begin(ctx); err != nil {
		return nil, c.blame(err)
	}
	r := &takeoverResult{Case: "takeover", Nodes: b.nodes, Logs: b.logs, DelayMs: b.delay.Seconds() * 1e3, Wanted: b.fragments}
	var lapse, sealed []float64
	for r.Rounds < b.rounds {
		x, err := t.round(ctx, r.Rounds)
		if err != nil {
			return nil, c.blame(fmt.Errorf("round %d: %w", r.Rounds+1, err))
		}
		r.Rounds++
		r.Fragments = x.fragments
		lapse, sealed = append(lapse, x.lapse), append(sealed, x.sealed)
		r.All, r.AllRounds = append(r.All, x.first), append(r.AllRounds, x.all)
	}
	r.P50, r.Max, r.AllLogs, r.Lapse, r.Sealed = round(median(r.All)), slices.Max(r.All), round(median(r.AllRounds)), round(median(lapse)), round(median(sealed))
	p.say("reading everything back")
	var problem error
	for _, s := range t.load.streams {
		problem = errors.Join(problem, s.writer.Close())
		r.Entries += int64(s.acked.seq)
	}
	if problem == nil {
		problem = verifyStreams(ctx, t.logs, t.load.streams)
	}
	r.verification = verified(problem)
	return r, ctx.Err()
}

// takeover is one of them under way.
type takeover struct {
	b    *takeoverBenchmark
	c    *benchCluster
	p    *progress
	logs []*wpd.Log
	load *load
}

// begin makes the logs, at a node that does not lead.
func (t *takeover) begin(ctx context.Context) error {
	victim, err := t.victim(ctx)
	if err != nil {
		return err
	}
	if err := t.c.gather(ctx, victim, 0); err != nil {
		return err
	}
	t.p.say("making %s logs", countText(t.b.logs))
	t.load, t.logs, err = t.c.writers(ctx, t.b.logs)
	return err
}

// victim is a node that does not lead.
func (t *takeover) victim(ctx context.Context) (int, error) {
	nodes, err := t.c.settled(ctx)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(nodes, func(n *adminv1.Node) bool { return n.GetRole() != "leader" })
	if i < 0 {
		return 0, errors.New("all nodes lead")
	}
	return t.c.index(nodes[i].GetNodeId())
}

// takenOver is what a round has found, in milliseconds.
type takenOver struct {
	fragments                 uint64
	lapse, sealed, first, all float64
}

// round fills a chain, kills its node, and measures.
func (t *takeover) round(ctx context.Context, n int) (x takenOver, err error) {
	t.p.say("round %d of %d: filling a chain", n+1, t.b.rounds)
	victim, err := t.victim(ctx)
	if err != nil {
		return x, err
	}
	if x.fragments, err = t.fill(ctx, victim, n == 0); err != nil {
		return x, err
	}
	watching, err := t.c.watch(ctx, victim)
	if err != nil {
		return x, err
	}
	defer watching.Close() //nolint:errcheck // nothing is under way
	t.p.say("round %d of %d: waiting for the take-over", n+1, t.b.rounds)
	killed := time.Now()
	if err := t.c.nodes[victim].cmd.Process.Kill(); err != nil {
		return x, err
	}
	s := t.load.streams[0]
	pending := s.writer.AppendAsync(ctx, wpd.Entry{Data: t.load.producers[0].payloads.next(s, sinceStart())})
	lapsed, sealed, err := awaitTakeover(ctx, watching)
	if err != nil {
		return x, err
	}
	lsn, err := pending.Wait(ctx)
	if err != nil {
		return x, err
	}
	first := time.Now()
	s.ack(s.seq, lsn)
	if _, err := t.load.run(ctx, quota{entries: int64(len(t.load.streams))}); err != nil {
		return x, err
	}
	ms := func(from, to time.Time) float64 { return round(to.Sub(from).Seconds() * 1e3) }
	x.lapse, x.sealed, x.first, x.all = ms(killed, lapsed), ms(lapsed, sealed), ms(lapsed, first), ms(lapsed, time.Now())
	return x, t.c.restart(ctx, victim)
}

// fill has a node write all logs, and its chain grow.
func (t *takeover) fill(ctx context.Context, victim int, fresh bool) (uint64, error) {
	if !fresh {
		if err := t.c.gather(ctx, victim, 0); err != nil {
			return 0, err
		}
	}
	admin, err := dialOne(ctx, t.c.nodes[victim].grpc)
	if err != nil {
		return 0, err
	}
	defer admin.Close() //nolint:errcheck // nothing is under way
	// All logs, and then so many of them at a time that each fragment has few
	// entries.
	if _, err := t.load.run(ctx, quota{entries: int64(len(t.load.streams))}); err != nil {
		return 0, err
	}
	few := &load{producers: make([]*producer, takeoverProducers), sync: true}
	for i := range few.producers {
		few.producers[i] = &producer{payloads: newPayloads(t.load.producers[0].payloads.size, 1, i)}
	}
	for i, s := range t.load.streams {
		p := few.producers[i%len(few.producers)]
		p.streams = append(p.streams, s)
	}
	few.producers = slices.DeleteFunc(few.producers, func(p *producer) bool { return len(p.streams) == 0 })
	for {
		s, err := admin.Status(ctx)
		if err != nil {
			return 0, err
		}
		have := s.GetStats().GetCreates()
		if have >= t.b.fragments {
			break
		}
		more := min(int64(t.b.fragments-have), 1024) // about, as each fragment has one or a few
		if _, err := few.run(ctx, quota{entries: max(more, int64(len(few.producers)))}); err != nil {
			return 0, err
		}
	}
	if err := t.c.gather(ctx, victim, uint64(t.b.logs)); err != nil {
		return 0, err
	}
	for i, x := range t.c.nodes {
		if i != victim {
			if err := t.c.admin.FillNode(ctx, x.name); err != nil {
				return 0, err
			}
		}
	}
	s, err := admin.Status(ctx)
	return s.GetStats().GetCreates(), err
}

// watch connects to a node that leads, which is not the victim.
func (c *benchCluster) watch(ctx context.Context, victim int) (*client.Admin, error) {
	nodes, err := c.settled(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(nodes, func(n *adminv1.Node) bool { return n.GetRole() == "leader" })
	if i < 0 || nodes[i].GetNodeId() == c.nodes[victim].name {
		return nil, errors.New("the lead has changed")
	}
	return dialOne(ctx, nodes[i].GetGrpcAddr())
}

// awaitTakeover waits until a chain is being sealed, and until none is any more.
func awaitTakeover(ctx context.Context, leader *client.Admin) (lapsed, sealed time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, clusterStartWait)
	defer cancel()
	for {
		s, err := leader.Cluster(ctx)
		switch {
		case err != nil:
			return lapsed, sealed, err
		case lapsed.IsZero() && s.GetChainsSealing() > 0:
			lapsed = time.Now()
		case !lapsed.IsZero() && s.GetChainsSealing() == 0:
			return lapsed, time.Now(), nil
		}
		if err := wait(ctx, 2*time.Millisecond); err != nil {
			return lapsed, sealed, fmt.Errorf("nobody has taken over: %w", err)
		}
	}
}

func (r *takeoverResult) print(w io.Writer, ink ink) error {
	return printFields(w, ink, [][2]string{
		{"taken over", fmt.Sprintf("%s logs, %s fragments, a store that answers after %s  (%s)", countText(r.Logs), countText(r.Fragments), msText(r.DelayMs), plural(r.Rounds, "round"))},
		{"lease lapsed", fmt.Sprintf("%s after the kill", msText(r.Lapse))},
		{"sealed", fmt.Sprintf("%s after that", msText(r.Sealed))},
		{"first append", fmt.Sprintf("p50 %s  worst %s", ink.bold(msText(r.P50)), msText(r.Max))},
		{"one to each log", fmt.Sprintf("p50 %s", msText(r.AllLogs))},
		{"acknowledged", entriesText(uint64(r.Entries))},
		{"verified", r.text(ink)},
	})
}

// newBenchNodeCommand is a node of bench takeover: wpd serve, on a store that
// answers late.
func newBenchNodeCommand() *cobra.Command {
	s := newSettings()
	var delay time.Duration
	cmd := &cobra.Command{
		Use:    "node",
		Short:  "A node of bench takeover",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			s.noteFlags(cmd)
			ctx, cancel := untilClosed(cmd.Context(), cmd.InOrStdin())
			defer cancel()
			bucket, err := blobstore.Open(ctx, s.node.Bucket, blobstore.Options{})
			if err != nil {
				return err
			}
			s.node.Store = newSlowStore(bucket, delay, delay)
			defer func() { err = errors.Join(err, s.node.Store.Close()) }()
			return (&service{settings: s, out: cmd.ErrOrStderr()}).run(ctx)
		},
	}
	s.addFlags(cmd)
	cmd.Flags().DurationVar(&delay, "delay", 0, "how late the store answers")
	cmd.Flags().Bool("end-with-stdin", true, "it always does")
	return cmd
}
