package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// failoverBenchmark kills the node that writes a log, again and again, and
// measures how long appends stand still.
type failoverBenchmark struct {
	clusterBench
	leading float64 // share of the rounds
}

// failoverResult is what it found. Times are in milliseconds.
type failoverResult struct {
	Case         string    `json:"case"`
	Nodes        int       `json:"nodes"`
	Rate         float64   `json:"rate"`
	Leading      float64   `json:"leading"` // share of the rounds in which the killed one was to lead
	Rounds       int       `json:"rounds"`
	TTL          float64   `json:"lease_ttl_ms"`
	Followers    int       `json:"rounds_of_followers"` // the killed one did not lead
	P50          float64   `json:"p50_ms"`              // of these
	Max          float64   `json:"max_ms"`
	Leaders      int       `json:"rounds_of_leaders"` // the killed one led as well
	LeaderP50    float64   `json:"leader_p50_ms"`
	LeaderMax    float64   `json:"leader_max_ms"`
	All          []float64 `json:"rounds_ms"`
	Acknowledged int64     `json:"acknowledged"`
	verification
}

func newBenchFailoverCommand() *cobra.Command {
	b := &failoverBenchmark{}
	cmd := &cobra.Command{
		Use:   "failover",
		Short: "Kill the writer again and again, and measure until another has taken over",
		Long: `Start a cluster, each node in a process of its own, append to a log at a steady rate,
and kill -9 the node that writes it, again and again; each is started anew before the
next is killed. Measured is the time from the kill until an append that was begun after
it is acknowledged: by another node. In the end everything is read back and checked.

A writer that also leads the raft group takes longer to replace: a leader is elected
first. --leading is the share of the rounds in which it does, which a transfer of
leadership before the kill sees to; both kinds are told apart.`,
		Example: "  wpd bench failover --rounds 20\n  wpd bench failover --rounds 20 --leading 1\n  wpd bench failover --nodes 5 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case !(b.leading >= 0 && b.leading <= 1):
				return usagef(cmd, "--leading is %v; want 0 to 1", b.leading)
			case b.rate == 0:
				return usagef(cmd, "--rate is 0; want up to 10,000")
			}
			return b.runAndPrint(cmd, benchKey{Case: "failover", Rate: b.rate, Leading: b.leading}, b.run)
		},
	}
	b.addFlags(cmd)
	f := cmd.Flags()
	f.IntVar(&b.rounds, "rounds", 20, "how often the writer is killed")
	f.Float64Var(&b.leading, "leading", 0.5, "share of the rounds in which the writer also leads: 0 to 1")
	f.Float64Var(&b.rate, "rate", 500, "appends a second")
	return cmd
}

func (b *failoverBenchmark) run(ctx context.Context, p *progress) (_ clusterResult, err error) {
	p.say("starting %d nodes", b.nodes)
	c, err := startBenchCluster(ctx, b.dir, b.nodes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	log, err := c.client.Create(ctx, "failover", wpd.LogConfig{})
	if err != nil {
		return nil, c.blame(err)
	}
	load, err := startSteady(ctx, log, b.rate)
	if err != nil {
		return nil, c.blame(err)
	}
	r := &failoverResult{Case: "failover", Nodes: b.nodes, Rate: b.rate, Leading: b.leading, TTL: node.LeaseTTLDefault.Seconds() * 1e3}
	var followers, leaders []float64
	for r.Rounds < b.rounds {
		p.say("round %d of %d", r.Rounds+1, b.rounds)
		led := b.leads(r.Rounds)
		took, err := b.round(ctx, c, log, load, led)
		if err != nil {
			_ = load.stop() // what went wrong first is the error that counts
			return nil, c.blame(fmt.Errorf("round %d: %w", r.Rounds+1, err))
		}
		r.Rounds++
		ms := round(float64(took) / 1e6)
		if r.All = append(r.All, ms); led {
			leaders = append(leaders, ms)
		} else {
			followers = append(followers, ms)
		}
	}
	r.Followers, r.P50, r.Max = len(followers), round(median(followers)), most(followers)
	r.Leaders, r.LeaderP50, r.LeaderMax = len(leaders), round(median(leaders)), most(leaders)
	problem := load.stop()
	r.Acknowledged = int64(load.count())
	if problem == nil {
		p.say("reading everything back")
		problem = load.verify(ctx, log)
	}
	r.verification = verified(problem)
	return r, ctx.Err()
}

func most(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	return slices.Max(v)
}

// leads says whether the writer is to lead in a round, counted from 0: the rounds
// in which it does are spread evenly.
func (b *failoverBenchmark) leads(round int) bool {
	return math.Floor(float64(round+1)*b.leading) > math.Floor(float64(round)*b.leading)
}

// round kills the writer, which leads or does not, measures, and starts it again.
func (b *failoverBenchmark) round(ctx context.Context, c *benchCluster, log *wpd.Log, load *steady, leads bool) (took time.Duration, err error) {
	i, err := b.arrange(ctx, c, log, leads)
	if err != nil {
		return 0, err
	}
	if err := load.flows(ctx); err != nil {
		return 0, err
	}
	killed := time.Now()
	if err := c.nodes[i].cmd.Process.Kill(); err != nil {
		return 0, err
	}
	first, err := load.after(ctx, killed)
	if err != nil {
		return 0, err
	}
	return first.Sub(killed), c.restart(ctx, i)
}

// arrange sees to it that the writer of the log leads, or that another node does,
// and returns the writer's number.
func (b *failoverBenchmark) arrange(ctx context.Context, c *benchCluster, log *wpd.Log, leads bool) (writer int, err error) {
	ctx, cancel := context.WithTimeout(ctx, clusterStartWait)
	defer cancel()
	for {
		nodes, err := c.settled(ctx)
		if err != nil {
			return 0, err
		}
		info, err := log.Info(ctx)
		if err != nil {
			return 0, err
		}
		led := slices.ContainsFunc(nodes, func(n *adminv1.Node) bool { return n.GetNodeId() == info.Writer && n.GetRole() == "leader" })
		if led == leads {
			return c.index(info.Writer)
		}
		to := info.Writer
		if led {
			to = "" // any other
		}
		if _, err := c.admin.TransferLeader(ctx, to); err != nil && !errors.Is(err, wpd.ErrUnavailable) && !errors.Is(err, wpd.ErrUncertain) {
			return 0, fmt.Errorf("transfer leadership to %q: %w", to, err)
		}
	}
}

func (r *failoverResult) print(w io.Writer, ink ink) error {
	line := func(n int, p50, most float64) string {
		if n == 0 {
			return "never happened"
		}
		return fmt.Sprintf("p50 %s  worst %s  (%s)", msText(p50), msText(most), plural(n, "round"))
	}
	return printFields(w, ink, [][2]string{
		{"nodes", fmt.Sprintf("%d, leases of %s", r.Nodes, msText(r.TTL))},
		{"writer killed", line(r.Followers, r.P50, r.Max)},
		{"writer that also led", line(r.Leaders, r.LeaderP50, r.LeaderMax)},
		{"acknowledged", entriesText(uint64(r.Acknowledged))},
		{"verified", r.text(ink)},
	})
}

func msText(ms float64) string { return timeText(time.Duration(ms * float64(time.Millisecond))) }

// steady appends numbered entries at a steady rate, whatever happens, and
// remembers which were acknowledged and when.
type steady struct {
	w      *wpd.Writer
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex // guards what follows
	acked  map[uint64]wpd.LSN
	newest time.Time     // when the youngest append that is acknowledged was begun
	moved  chan struct{} // closed and replaced with each answer
	err    error         // the first append that failed
}

func startSteady(ctx context.Context, log *wpd.Log, rate float64) (*steady, error) {
	w, err := log.Writer(ctx)
	if err != nil {
		return nil, err
	}
	s := &steady{w: w, acked: make(map[uint64]wpd.LSN), moved: make(chan struct{})}
	ctx, s.cancel = context.WithCancel(ctx)
	s.wg.Go(func() { s.run(ctx, time.Duration(float64(time.Second)/rate)) })
	return s, nil
}

func (s *steady) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := uint64(1); ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		begun := time.Now()
		pending := s.w.AppendAsync(ctx, wpd.Entry{Data: binary.BigEndian.AppendUint64(make([]byte, 0, 100), n)[:100]})
		s.wg.Go(func() {
			lsn, err := pending.Wait(context.Background())
			s.mu.Lock()
			defer s.mu.Unlock()
			switch {
			case err == nil:
				s.acked[n] = lsn
				if begun.After(s.newest) {
					s.newest = begun
				}
			case s.err == nil && ctx.Err() == nil:
				s.err = err
			}
			close(s.moved)
			s.moved = make(chan struct{})
		})
	}
}

// after waits until an append that was begun after a moment is acknowledged, and
// returns when.
func (s *steady) after(ctx context.Context, moment time.Time) (time.Time, error) {
	for {
		s.mu.Lock()
		newest, moved, err := s.newest, s.moved, s.err
		s.mu.Unlock()
		switch {
		case err != nil:
			return time.Time{}, err
		case newest.After(moment):
			return time.Now(), nil
		}
		select {
		case <-moved:
		case <-time.After(clusterStartWait):
			return time.Time{}, fmt.Errorf("no append was acknowledged within %v", clusterStartWait)
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

// flows waits until appends are acknowledged.
func (s *steady) flows(ctx context.Context) error {
	_, err := s.after(ctx, time.Now())
	return err
}

func (s *steady) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked)
}

// stop ends the appends, and waits for those under way.
func (s *steady) stop() error {
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), clusterStartWait)
	defer cancel()
	err := s.w.Flush(ctx)
	err = errors.Join(err, s.w.Close())
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.err)
}

// verify reads the log, and finds every acknowledged entry where it was
// acknowledged, and each number once and in order.
func (s *steady) verify(ctx context.Context, log *wpd.Log) error {
	found, last := 0, uint64(0)
	for e, err := range log.Read(ctx, wpd.Earliest, wpd.Linearizable()) {
		if err != nil {
			return err
		}
		if len(e.Data) != 100 {
			return fmt.Errorf("LSN %d has %d bytes, of which 100 were appended", e.LSN, len(e.Data))
		}
		n := binary.BigEndian.Uint64(e.Data)
		if n <= last {
			return fmt.Errorf("LSN %d has entry %d, after entry %d", e.LSN, n, last)
		}
		last = n
		if at, ok := s.acked[n]; ok {
			if at != e.LSN {
				return fmt.Errorf("entry %d was acknowledged at LSN %d, and is at %d", n, at, e.LSN)
			}
			found++
		}
	}
	if found != len(s.acked) {
		return fmt.Errorf("%d of %d acknowledged entries are missing", len(s.acked)-found, len(s.acked))
	}
	return nil
}
