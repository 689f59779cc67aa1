package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
)

// scaleBenchmark appends to a cluster and to a single node in turns.
type scaleBenchmark struct {
	clusterBench
	benchConfig benchConfig
}

// scaleResult is what it found. Rates and ratios are medians of the rounds.
type scaleResult struct {
	Case         string    `json:"case"`
	Nodes        int       `json:"nodes"`
	Size         int64     `json:"size"`
	Logs         int       `json:"logs"`
	Producers    int       `json:"producers"`
	Rounds       int       `json:"rounds"`
	Ratio        float64   `json:"ratio"` // the cluster's rate over the single node's, of the same round
	MBPerS       float64   `json:"mb_per_s"`
	SingleMBPerS float64   `json:"single_mb_per_s"`
	RawMBPerS    float64   `json:"raw_mb_per_s"` // of the store without wpd, in the same rounds
	Ratios       []float64 `json:"rounds_ratio"`
	MBRounds     []float64 `json:"rounds_mb_per_s"`
	SingleRounds []float64 `json:"rounds_single_mb_per_s"`
	Writers      int       `json:"writers"` // how many nodes wrote
	Entries      int64     `json:"entries"` // of both
	verification
}

func newBenchScaleCommand() *cobra.Command {
	b := &scaleBenchmark{benchConfig: benchConfig{kind: "append", name: "scale", size: 1024, inFlight: 64 << 20, bytes: 256 << 20}}
	c := &b.benchConfig
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Append to a cluster, and to a single node, on the same machine",
		Long: `Start a cluster and a single node beside it, each node in a process of its own, on
directories of the same file system, and append to each in turns as fast as it goes: to as
many logs as there are nodes, of which each node writes one, with the same load for both.
ratio is the rate of the cluster's nodes together over that of the single node, in the
same round; the raw limit is measured beside it.`,
		Example: "  wpd bench scale\n  wpd bench scale --size 64KiB -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.logs == 0 {
				c.logs = b.nodes
			}
			c.producers, c.rounds = min(c.logs, b.nodes), b.rounds
			if err := c.validate(); err != nil {
				return usage(cmd, err)
			}
			return b.runAndPrint(cmd, c.key(), b.run)
		},
	}
	b.addFlags(cmd)
	f := cmd.Flags()
	f.Var(&c.size, "size", "bytes of an entry, at least 32")
	f.Var(&c.bytes, "bytes", "bytes of entries that each of both gets, in all rounds together")
	f.Var(&c.inFlight, "in-flight", "bytes that wait for their acknowledgement, in all")
	f.IntVar(&c.logs, "logs", 0, "logs, taken in turn (default: as many as nodes)")
	f.IntVar(&b.rounds, "rounds", 5, "rounds, each of both and the raw one; results are medians")
	f.DurationVar(&c.warmup, "warmup", 500*time.Millisecond, "time of either before the first round")
	f.Uint32Var(&c.log.Window, "window", 8, "raw creates at once")
	return cmd
}

func (b *scaleBenchmark) run(ctx context.Context, p *progress) (_ clusterResult, err error) {
	p.say("starting %d nodes, and a single one", b.nodes)
	c, err := startBenchCluster(ctx, b.dir, b.nodes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if _, err := c.settled(ctx); err != nil {
		return nil, c.blame(err)
	}
	addr, stop, err := serveForBench(ctx, b.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	together, err := b.begin(ctx, p, c.addrs())
	if err != nil {
		return nil, c.blame(err)
	}
	defer func() { err = errors.Join(err, together.close()) }()
	single, err := b.begin(ctx, p, addr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, single.close()) }()
	r := &scaleResult{Case: "scale", Nodes: b.nodes, Size: int64(b.benchConfig.size), Logs: b.benchConfig.logs, Producers: b.benchConfig.producers}
	if err := b.compare(ctx, r, together, single); err != nil {
		return nil, c.blame(err)
	}
	if r.Writers, err = writersOf(ctx, together.logs); err != nil {
		return nil, c.blame(err)
	}
	r.verification = verified(errors.Join(together.end(ctx), single.end(ctx)))
	return r, ctx.Err()
}

// scaleSide is one of the two that are compared.
type scaleSide struct {
	*bench
	load *load
}

func (b *scaleBenchmark) begin(ctx context.Context, p *progress, addrs string) (_ *scaleSide, err error) {
	c := b.benchConfig
	t := target{addrs: addrs}
	c.addr, c.open = addrs, t.openBench
	s := &scaleSide{}
	if s.bench, err = openBench(ctx, &c, p); err != nil {
		return nil, err
	}
	if err = s.createLogs(ctx); err == nil {
		s.load, err = s.newLoad(ctx)
	}
	if err == nil {
		p.say("warming up")
		_, err = s.load.run(ctx, quota{duration: c.warmup})
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// end closes the writers and reads everything back.
func (s *scaleSide) end(ctx context.Context) error {
	for _, x := range s.load.streams {
		if err := x.writer.Close(); err != nil {
			return err
		}
	}
	err := s.verify(ctx, s.load)
	s.leave = err != nil
	return err
}

// writersOf is how many nodes write some logs.
func writersOf(ctx context.Context, logs []*wpd.Log) (int, error) {
	nodes := map[string]bool{}
	for _, l := range logs {
		info, err := l.Info(ctx)
		if err != nil {
			return 0, err
		}
		nodes[info.Writer] = true
	}
	return len(nodes), nil
}

// compare measures both in turns, in changing order.
func (b *scaleBenchmark) compare(ctx context.Context, r *scaleResult, together, single *scaleSide) error {
	var raw []float64
	quotas := b.benchConfig.quotas()
	for i, q := range quotas {
		sides := []*scaleSide{together, single}
		if i%2 == 1 {
			sides = []*scaleSide{single, together}
		}
		rate := map[*scaleSide]float64{}
		var bytes int64
		for _, s := range sides {
			what := "a single node"
			if s == together {
				what = fmt.Sprintf("%d nodes", b.nodes)
			}
			s.p.say("round %d of %d: %s", i+1, len(quotas), what)
			part, err := s.load.run(ctx, q)
			if err != nil {
				return err
			}
			rate[s], bytes = perSecond(float64(part.bytes)/1e6, part.took), part.bytes
			r.Entries += part.entries
		}
		single.p.say("round %d of %d: the store itself", i+1, len(quotas))
		x, err := single.at.rawCreates(ctx, bytes, 0)
		if err != nil {
			return err
		}
		if x.missing == "" {
			raw = append(raw, perSecond(float64(x.bytes)/1e6, x.took))
		}
		r.Rounds++
		r.Ratios = append(r.Ratios, round(rate[together]/max(rate[single], 1e-9)))
		r.MBRounds, r.SingleRounds = append(r.MBRounds, round(rate[together])), append(r.SingleRounds, round(rate[single]))
	}
	r.Ratio, r.MBPerS, r.SingleMBPerS, r.RawMBPerS = round(median(r.Ratios)), round(median(r.MBRounds)), round(median(r.SingleRounds)), round(median(raw))
	return nil
}

func (r *scaleResult) print(w io.Writer, ink ink) error {
	return printFields(w, ink, [][2]string{
		{"appended", fmt.Sprintf("%s entries of %s to %s, %s", countText(r.Entries), sizeText(r.Size), plural(r.Logs, "log"), plural(r.Rounds, "round"))},
		{fmt.Sprintf("%d nodes", r.Nodes), fmt.Sprintf("%s MB/s  %s", ink.bold(digits(r.MBPerS)), ink.dim(fmt.Sprintf("rounds: %s; %d of them wrote", spread(r.MBRounds), r.Writers)))},
		{"a single node", fmt.Sprintf("%s MB/s  %s", digits(r.SingleMBPerS), ink.dim("rounds: "+spread(r.SingleRounds)))},
		{"the store itself", fmt.Sprintf("%s MB/s", digits(r.RawMBPerS))},
		{"ratio", fmt.Sprintf("%s of the single node's  %s", ink.bold(digits(r.Ratio)), ink.dim("rounds: "+spread(r.Ratios)))},
		{"verified", r.text(ink)},
	})
}
