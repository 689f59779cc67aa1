package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// crowdEntry is what wakes them.
const crowdEntry = "wake up"

// followersBenchmark measures what followers cost a server that have nothing to
// read.
type followersBenchmark struct {
	followers     int
	perConnection int
	duration      time.Duration // of the idle window
	compare       string

	addr     string
	dial     func(ctx context.Context) (*wpd.Client, error)
	admin    benchAdmin
	requests func(ctx context.Context, s *adminv1.GetStatusResponse) (uint64, error)
	p        *progress
}

// followersResult is what it found.
type followersResult struct {
	Case          string  `json:"case"`
	Followers     int     `json:"followers"`
	Connections   int     `json:"connections"`
	Seconds       float64 `json:"seconds"`          // of the idle window
	RSSBefore     int64   `json:"rss_before_bytes"` // of the server, with the log there and nobody connected but us
	RSSAfter      int64   `json:"rss_after_bytes"`  // at the end of the window
	BytesEach     float64 `json:"bytes_per_follower"`
	StoreRequests *uint64 `json:"store_requests,omitempty"` // of the server in the window
	ServerCPU     float64 `json:"server_cpu_percent"`       // of one processor, in the window
	WakeMs        float64 `json:"wake_ms"`                  // from an append until the last follower had it
	verification          // each follower got that entry, and nothing else

	Addr            string `json:"addr"`
	RequestsMissing string `json:"store_requests_missing,omitempty"` // why they are not known
}

func newBenchFollowersCommand() *cobra.Command {
	b := &followersBenchmark{}
	cmd := &cobra.Command{
		Use:   "followers",
		Short: "Let many followers wait on a server, and measure what they cost it",
		Long: `Connect idle followers of one log to a server, let them wait for a while, then
append one entry, which each of them must get. It measures the server's memory
before and after, and, by its metrics, what it asks of the object store
meanwhile.

Memory is that of the whole process as the system counts it: for numbers that
mean something, use a server that does nothing else and has just been started, as
wpd bench all --daemon does.`,
		Example: `  wpd bench followers --addr 127.0.0.1:7070
  wpd bench followers --followers 500 --per-connection 1 --duration 1m -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.runAndPrint(cmd) },
	}
	f := cmd.Flags()
	f.StringSlice("addr", nil, "use the server at HOST:PORT (default $"+addrEnv+", or else "+addrDefault+")")
	f.IntVar(&b.followers, "followers", 1000, "how many")
	f.IntVar(&b.perConnection, "per-connection", 100, "how many of them share a connection")
	f.DurationVar(&b.duration, "duration", 10*time.Second, "how long they wait")
	addCompareFlag(f, &b.compare)
	return cmd
}

func (b *followersBenchmark) runAndPrint(cmd *cobra.Command) error {
	switch {
	case b.followers < 1 || b.followers > 100_000:
		return usagef(cmd, "--followers is %d; want 1 to 100,000", b.followers)
	case b.perConnection < 1 || b.perConnection > 200:
		return usagef(cmd, "--per-connection is %d; want 1 to 200: a connection has 256 streams", b.perConnection)
	case b.duration <= 0:
		return usagef(cmd, "--duration is %v; want a time", b.duration)
	}
	t, err := targetOf(cmd)
	if err != nil {
		return err
	}
	old, err := findBaseline(b.compare, benchKey{Case: "followers", Followers: b.followers})
	if err != nil {
		return usage(cmd, err)
	}
	admin, err := t.dialAdmin(cmd.Context())
	if err != nil {
		return err
	}
	defer admin.Close()                          //nolint:errcheck // nothing is under way
	host, _, _ := net.SplitHostPort(t.list()[0]) // it was dialled
	b.admin, b.addr, b.dial, b.p = dialledAdmin{admin}, t.addrs, t.dial, newProgress(cmd)
	b.requests = func(ctx context.Context, s *adminv1.GetStatusResponse) (uint64, error) {
		return storeRequests(ctx, host, s)
	}
	r, err := b.run(cmd.Context())
	if err != nil {
		return err
	}
	if r.RequestsMissing != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: store requests are not known: %s\n", cmd.CommandPath(), r.RequestsMissing)
	}
	return printVerified(cmd, r, old)
}

func (b *followersBenchmark) run(ctx context.Context) (_ *followersResult, err error) {
	defer b.p.clear()
	c, err := b.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	log, err := c.Create(ctx, "bench/followers/"+newRunID(), wpd.LogConfig{})
	if err != nil {
		return nil, err
	}
	defer func() {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, c.Delete(cleaning, log.Name()))
	}()
	before, err := b.admin.Status(ctx)
	if err != nil {
		return nil, err
	}
	crowd := &crowd{dial: b.dial, status: b.admin.Status, per: b.perConnection, noun: "follower", p: b.p}
	following := crowd.begin(ctx)
	defer func() { err = errors.Join(err, crowd.close()) }()
	err = crowd.connect(following, b.followers, log.Name(), wpd.Earliest, before.GetStats().GetReadStreams(), func(_ int, r *wpd.Reader) error {
		return follow(following, log.Name(), r)
	})
	if err != nil {
		return nil, err
	}
	r := &followersResult{
		Case: "followers", Addr: b.addr, Followers: b.followers, Connections: len(crowd.clients),
		RSSBefore: int64(before.GetStats().GetRssBytes()),
	}
	if err := b.idle(ctx, r); err != nil {
		return nil, err
	}
	b.p.say("waking all of them")
	took, err := crowd.wake(ctx, log)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	r.WakeMs, r.verification = round(took.Seconds()*1e3), verified(err)
	return r, nil
}

// follow is one follower, which waits for the entry.
func follow(ctx context.Context, log string, r *wpd.Reader) error {
	entries, err := r.NextBatch(ctx)
	if err == nil && (len(entries) != 1 || entries[0].LSN != 1 || string(entries[0].Data) != crowdEntry) {
		err = fmt.Errorf("a follower got %d entries, the first with LSN %d; want the one of LSN 1", len(entries), entries[0].LSN)
	}
	if err != nil {
		return fmt.Errorf("follow log %s: %w", log, err)
	}
	return nil
}

// wake appends the entry, and returns how long it took until all had it.
func (c *crowd) wake(ctx context.Context, log *wpd.Log) (time.Duration, error) {
	start := time.Now()
	w, err := log.Writer(ctx)
	if err == nil {
		_, err = w.Append(ctx, []byte(crowdEntry))
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		return 0, err
	}
	err = c.finish(crowdWait)
	return time.Since(start), err
}

// idle lets time pass, and measures the server.
func (b *followersBenchmark) idle(ctx context.Context, r *followersResult) error {
	from, err := b.admin.Status(ctx)
	if err != nil {
		return err
	}
	requests, err := b.requests(ctx, from)
	if err != nil {
		r.RequestsMissing = err.Error()
	}
	start := time.Now()
	b.p.say("%s wait for %v", plural(b.followers, "follower"), b.duration)
	if err := wait(ctx, b.duration); err != nil {
		return err
	}
	to, err := b.admin.Status(ctx)
	if err != nil {
		return err
	}
	took := time.Since(start)
	r.Seconds = round(took.Seconds())
	r.RSSAfter = int64(to.GetStats().GetRssBytes())
	r.BytesEach = round(max(0, float64(r.RSSAfter-r.RSSBefore)) / float64(b.followers))
	r.ServerCPU = round(float64(to.GetStats().GetCpuMicros()-from.GetStats().GetCpuMicros()) / 1e4 / took.Seconds())
	if r.RequestsMissing != "" {
		return nil
	}
	now, err := b.requests(ctx, to)
	if err != nil {
		r.RequestsMissing = err.Error()
		return nil
	}
	now -= requests
	r.StoreRequests = &now
	return nil
}

func (r *followersResult) print(w io.Writer, ink ink) error {
	requests := "not known"
	if r.StoreRequests != nil {
		requests = countText(*r.StoreRequests)
	}
	verified := ink.green("yes") + " each of them got the entry that woke them"
	if !r.Verified {
		verified = ink.red("NO") + " " + r.VerifyProblem
	}
	_, err := fmt.Fprintf(w, "%s  %s idle on %s for %s\n  %s %s each  (RSS %s, then %s)\n  %s %s requests to the store, %s %% of a processor\n  %s %s until the last of them had an entry\n  %s %s\n",
		ink.bold(r.Case), countText(r.Followers), plural(r.Connections, "connection"), timeText(seconds(r.Seconds)),
		ink.dim("memory   "), ink.bold(sizeText(int64(r.BytesEach))), sizeText(r.RSSBefore), sizeText(r.RSSAfter),
		ink.dim("server   "), ink.bold(requests), digits(r.ServerCPU),
		ink.dim("wake-up  "), timeText(time.Duration(r.WakeMs*1e6)),
		ink.dim("verified "), verified)
	return err
}
