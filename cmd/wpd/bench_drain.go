package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// drainBenchmark takes all logs off a node, again and again, and measures how
// long appends stand still.
type drainBenchmark struct {
	clusterBench
	logs int
	calm time.Duration // measured before each drain
}

// drainResult is what it found. Times are in milliseconds.
type drainResult struct {
	Case         string    `json:"case"`
	Nodes        int       `json:"nodes"`
	Logs         int       `json:"logs"`
	Rate         float64   `json:"rate"`
	Rounds       int       `json:"rounds"`
	P99          float64   `json:"p99_ms"`               // of the entries that were due while a node was drained; median of the rounds
	WorstP99     float64   `json:"worst_of_logs_p99_ms"` // of each log's slowest entry; median of the rounds
	Max          float64   `json:"max_ms"`               // of all rounds
	CalmP99      float64   `json:"calm_p99_ms"`          // before; median of the rounds
	Drain        float64   `json:"drain_ms"`             // until the node may be stopped; median of the rounds
	Acknowledged int64     `json:"acknowledged"`
	Drains       []waits   `json:"rounds_drains"`
	DrainRounds  []float64 `json:"rounds_drain_ms"`
	verification
}

func newBenchDrainCommand() *cobra.Command {
	b := &drainBenchmark{}
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Take all logs off a node, and measure how long appends wait meanwhile",
		Long: `Start a cluster, each node in a process of its own, and append to many logs in turn at
a steady rate. Then, in each round, let one node write all of them, and take them off it
as wpd cluster drain does. Measured is how long the entries took that were due meanwhile,
each from when it was due until it was acknowledged, by whichever node; and of each log,
the slowest of them. In the end everything is read back and checked.`,
		Example: "  wpd bench drain\n  wpd bench drain --logs 5000 --rounds 5 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.logs < 1 || b.logs > 20_000 {
				return usagef(cmd, "--logs is %d; want 1 to 20,000", b.logs)
			}
			if b.rate == 0 {
				return usagef(cmd, "--rate is 0; want up to 10,000")
			}
			if b.calm <= 0 {
				return usagef(cmd, "--calm is %v; want a time", b.calm)
			}
			return b.runAndPrint(cmd, benchKey{Case: "drain", Logs: b.logs, Rate: b.rate}, b.run)
		},
	}
	b.addFlags(cmd)
	f := cmd.Flags()
	f.IntVar(&b.logs, "logs", 1000, "how many logs the node writes")
	f.Float64Var(&b.rate, "rate", 2000, "appends a second, in all")
	f.IntVar(&b.rounds, "rounds", 5, "drains, of one node after the other")
	f.DurationVar(&b.calm, "calm", 3*time.Second, "how long appends are measured before each drain")
	return cmd
}

func (b *drainBenchmark) run(ctx context.Context, p *progress) (_ clusterResult, err error) {
	p.say("starting %d nodes", b.nodes)
	c, err := startBenchCluster(ctx, b.dir, b.nodes, "--moves-per-second", "0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if _, err := c.settled(ctx); err != nil {
		return nil, c.blame(err)
	}
	if err := c.gather(ctx, 0, 0); err != nil { // so that all logs begin there
		return nil, c.blame(err)
	}
	p.say("making %s logs", countText(b.logs))
	load, logs, err := c.writers(ctx, b.logs)
	if err != nil {
		return nil, c.blame(err)
	}
	t := startTrickle(ctx, logs, load, b.rate)
	r := &drainResult{Case: "drain", Nodes: b.nodes, Logs: b.logs, Rate: b.rate}
	var p99, worst, calm []float64
	for i := range b.rounds {
		p.say("round %d of %d", i+1, b.rounds)
		before, during, took, err := b.round(ctx, c, t, i%b.nodes)
		if err != nil {
			t.stop()
			return nil, c.blame(errors.Join(fmt.Errorf("round %d: %w", i+1, err), t.end()))
		}
		w := during.waits()
		r.Rounds++
		r.Max = max(r.Max, w.Max)
		r.Drains, r.DrainRounds = append(r.Drains, w), append(r.DrainRounds, round(took.Seconds()*1e3))
		p99, worst, calm = append(p99, w.P99), append(worst, w.WorstP99), append(calm, before.waits().P99)
	}
	r.P99, r.WorstP99, r.CalmP99, r.Drain = round(median(p99)), round(median(worst)), round(median(calm)), round(median(r.DrainRounds))
	problem := t.end()
	r.Acknowledged = t.entries()
	if problem == nil {
		p.say("reading everything back")
		problem = t.verify(ctx)
	}
	r.verification = verified(problem)
	return r, ctx.Err()
}

// round has a node write all logs, and takes them off it.
func (b *drainBenchmark) round(ctx context.Context, c *benchCluster, t *trickle, node int) (before, during *stretch, took time.Duration, err error) {
	if err := c.gather(ctx, node, uint64(b.logs)); err != nil {
		return nil, nil, 0, err
	}
	for i, x := range c.nodes {
		if i != node {
			if err := c.admin.FillNode(ctx, x.name); err != nil {
				return nil, nil, 0, err
			}
		}
	}
	if _, err := t.next(); err != nil {
		return nil, nil, 0, err
	}
	if err := wait(ctx, b.calm); err != nil {
		return nil, nil, 0, err
	}
	if before, err = t.next(); err != nil {
		return nil, nil, 0, err
	}
	begin := time.Now()
	if err := c.admin.DrainNode(ctx, c.nodes[node].name, nil); err != nil {
		return nil, nil, 0, err
	}
	took = time.Since(begin)
	during, err = t.next()
	return before, during, took, err
}

// gather drains all nodes but one, and waits until that one writes so many logs.
func (c *benchCluster) gather(ctx context.Context, node int, logs uint64) error {
	if err := c.admin.FillNode(ctx, c.nodes[node].name); err != nil {
		return err
	}
	for i, x := range c.nodes {
		if i != node {
			if err := c.admin.DrainNode(ctx, x.name, nil); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, clusterStartWait)
	defer cancel()
	for {
		nodes, err := c.admin.Nodes(ctx)
		if err != nil {
			return err
		}
		ready, has := true, uint64(0)
		for _, n := range nodes {
			if n.GetNodeId() == c.nodes[node].name {
				has, ready = n.GetLogs(), ready && !n.GetDraining()
			} else {
				ready = ready && n.GetDraining() && n.GetLogs() == 0
			}
		}
		if ready && has >= logs {
			return nil
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("node %s writes %d of %d logs: %w", c.nodes[node].name, has, logs, err)
		}
	}
}

func (r *drainResult) print(w io.Writer, ink ink) error {
	return printFields(w, ink, [][2]string{
		{"drained", fmt.Sprintf("%s logs, one of %d nodes, in %s  (%s)", countText(r.Logs), r.Nodes, msText(r.Drain), plural(r.Rounds, "round"))},
		{"appends meanwhile", fmt.Sprintf("p99 %s  worst %s  (%s a second; p99 before %s)", msText(r.P99), msText(r.Max), digits(r.Rate), msText(r.CalmP99))},
		{"slowest of each log", fmt.Sprintf("p99 %s", msText(r.WorstP99))},
		{"acknowledged", entriesText(uint64(r.Acknowledged))},
		{"verified", r.text(ink)},
	})
}
