package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc/siege"
)

// siegeBenchmark measures how a server serves while it is attacked.
type siegeBenchmark struct {
	rate     float64       // of appends, and of reads, per second
	duration time.Duration // of each attack, and of the calm before it
	names    []string      // of the attacks; none: all
	compare  string

	addr  string
	dial  func(ctx context.Context) (*wpd.Client, error)
	admin benchAdmin
	p     *progress
}

// siegeResult is what it found. Times are those that 99 of 100 took at most,
// from when they were due.
type siegeResult struct {
	Case         string        `json:"case"`
	Rate         float64       `json:"rate"`
	Seconds      float64       `json:"seconds"`       // of each attack
	AppendP99    float64       `json:"append_p99_us"` // in all calms
	ReadP99      float64       `json:"read_p99_us"`
	RSSBefore    int64         `json:"rss_before_bytes"` // of the server
	RSSGrowth    int64         `json:"rss_growth_bytes"` // the most, under any attack
	AppendRatio  float64       `json:"append_ratio"`     // the worst, of an attack to the calms
	ReadRatio    float64       `json:"read_ratio"`
	verification               // everybody was served, and all that was acknowledged is there
	Attacks      []siegeAttack `json:"attacks"`

	Addr string `json:"addr"`
}

// siegeAttack is what was found under one attack.
type siegeAttack struct {
	Name        string  `json:"name"`
	AppendP99   float64 `json:"append_p99_us"`
	ReadP99     float64 `json:"read_p99_us"`
	AppendRatio float64 `json:"append_ratio"` // to the calms
	ReadRatio   float64 `json:"read_ratio"`
	RSSGrowth   int64   `json:"rss_growth_bytes"`
	siege.Report
}

func newBenchSiegeCommand() *cobra.Command {
	b := &siegeBenchmark{}
	var about strings.Builder
	for _, a := range siege.Attacks() {
		fmt.Fprintf(&about, "  %-19s %s\n", a.Name, a.About)
	}
	cmd := &cobra.Command{
		Use:   "siege",
		Short: "Attack a server, and measure what others notice of it",
		Long: `Append and read at a rate, and attack the same server meanwhile, in one way after
the other, each for --duration, with as much of calm before:

` + about.String() + `
It measures how long appends and reads take, from when they were due: the time
that 99 of 100 took at most, under each attack, and in all calms together. And by
how much the server's memory grows.

Attackers are processes of their own, with the lowest priority, since real ones
have processors of their own. They attack nothing but the loopback.`,
		Example: `  wpd bench siege --addr 127.0.0.1:7070
  wpd bench siege --rate 20 --duration 20s -o json
  wpd bench siege --attack "rapid resets,header flood"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.runAndPrint(cmd) },
	}
	f := cmd.Flags()
	f.StringSlice("addr", nil, "use the server at HOST:PORT (default $"+addrEnv+", or else "+addrDefault+")")
	f.Float64Var(&b.rate, "rate", 100, "appends per second, and reads")
	f.DurationVar(&b.duration, "duration", 5*time.Second, "how long each attack takes")
	f.StringSliceVar(&b.names, "attack", nil, "only these (default all)")
	addCompareFlag(f, &b.compare)
	return cmd
}

// attacks are those that were asked for.
func (b *siegeBenchmark) attacks() ([]siege.Attack, error) {
	all := siege.Attacks()
	if len(b.names) == 0 {
		return all, nil
	}
	var some []siege.Attack
	for _, name := range b.names {
		i := slices.IndexFunc(all, func(a siege.Attack) bool { return a.Name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("--attack %q: there is none; see wpd bench siege --help", name)
		}
		some = append(some, all[i])
	}
	return some, nil
}

func (b *siegeBenchmark) runAndPrint(cmd *cobra.Command) error {
	if b.rate < 1 || b.rate > 10_000 {
		return usagef(cmd, "--rate is %v; want 1 to 10,000", b.rate)
	}
	if b.duration < time.Millisecond || b.duration > siege.TimeMax {
		return usagef(cmd, "--duration is %v; want 1ms to %v", b.duration, siege.TimeMax)
	}
	attacks, err := b.attacks()
	if err != nil {
		return usage(cmd, err)
	}
	t, err := targetOf(cmd)
	if err != nil {
		return err
	}
	b.addr = t.list()[0]
	if _, _, err := net.SplitHostPort(b.addr); err == nil { // or else dialling says so
		if err := siege.CheckAddr(cmd.Context(), b.addr); err != nil {
			return usage(cmd, err)
		}
	}
	old, err := findBaseline(b.compare, benchKey{Case: "siege", Rate: b.rate})
	if err != nil {
		return usage(cmd, err)
	}
	t.addrs = b.addr
	admin, err := t.dialAdmin(cmd.Context())
	if err != nil {
		return err
	}
	defer admin.Close() //nolint:errcheck // nothing is under way
	b.admin, b.dial, b.p = dialledAdmin{admin}, t.dial, newProgress(cmd)
	r, err := b.run(cmd.Context(), attacks)
	if err != nil {
		return err
	}
	return printVerified(cmd, r, old)
}

func (b *siegeBenchmark) run(ctx context.Context, attacks []siege.Attack) (_ *siegeResult, err error) {
	defer b.p.clear()
	c, err := b.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	log, err := c.Create(ctx, "bench/siege/"+newRunID(), wpd.LogConfig{})
	if err != nil {
		return nil, err
	}
	defer func() {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, c.Delete(cleaning, log.Name()))
	}()
	v, err := beginVictims(ctx, log, b.rate)
	if err != nil {
		return nil, err
	}
	r := &siegeResult{Case: "siege", Rate: b.rate, Seconds: round(b.duration.Seconds()), Addr: b.addr}
	err = b.attackAll(ctx, attacks, v, log, r)
	ended := v.end(ctx)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	r.verification = verified(ended)
	return r, nil
}

// settleTime is how long a server may need to forget an attack.
const settleTime = time.Second

// attackAll goes through the attacks, with calm before each.
func (b *siegeBenchmark) attackAll(ctx context.Context, attacks []siege.Attack, v *victims, log *wpd.Log, r *siegeResult) error {
	calm, under := newWatch(), []watch{}
	for i, a := range attacks {
		b.p.say("attack %d of %d: calm before it", i+1, len(attacks))
		if err := wait(ctx, min(settleTime, b.duration)); err != nil {
			return err
		}
		_, _ = v.watched() // whatever came of the last attack
		before, _, err := b.rss(ctx, b.duration)
		if err != nil {
			return err
		}
		w, err := v.watched()
		if err != nil {
			return err
		}
		calm.add(w)
		if i == 0 {
			r.RSSBefore = before
		}
		b.p.say("attack %d of %d: %s", i+1, len(attacks), a.Name)
		x, err := b.attack(ctx, a, log, before)
		if err != nil {
			return err
		}
		if w, err = v.watched(); err != nil {
			return fmt.Errorf("under the attack with %s: %w", a.Name, err)
		}
		r.Attacks, under = append(r.Attacks, *x), append(under, w)
		r.RSSGrowth = max(r.RSSGrowth, x.RSSGrowth)
	}
	r.finish(calm, under)
	return nil
}

// attack attacks once. before is the server's memory without it.
func (b *siegeBenchmark) attack(ctx context.Context, a siege.Attack, log *wpd.Log, before int64) (_ *siegeAttack, err error) {
	x := &siegeAttack{Name: a.Name}
	attacker, err := startAttack(ctx, siege.Config{Addr: b.addr, Attack: a.Name, Time: min(b.duration+settleTime, siege.TimeMax), Log: log.ID()})
	if err != nil {
		return nil, err
	}
	defer func() {
		report, endErr := attacker.end()
		x.Report, err = report, errors.Join(err, endErr)
	}()
	_, most, err := b.rss(ctx, b.duration)
	x.RSSGrowth = max(0, most-before)
	return x, err
}

// rss watches the server's memory for a while: how much it was in the end, and
// at most.
func (b *siegeBenchmark) rss(ctx context.Context, d time.Duration) (last, most int64, err error) {
	for start := time.Now(); ; {
		status, err := b.admin.Status(ctx)
		if err != nil {
			return 0, 0, fmt.Errorf("status of the server: %w", err)
		}
		last = int64(status.GetStats().GetRssBytes())
		most = max(most, last)
		left := d - time.Since(start)
		if left <= 0 {
			return last, most, nil
		}
		if err := wait(ctx, min(left, 100*time.Millisecond)); err != nil {
			return 0, 0, err
		}
	}
}

// finish compares what was seen under each attack with what was in the calms.
func (r *siegeResult) finish(calm watch, under []watch) {
	appends, reads := calm.p99s()
	r.AppendP99, r.ReadP99 = round(appends), round(reads)
	for i := range r.Attacks {
		x := &r.Attacks[i]
		a, b := under[i].p99s()
		x.AppendP99, x.AppendRatio = round(a), round(a/max(appends, 1))
		x.ReadP99, x.ReadRatio = round(b), round(b/max(reads, 1))
		r.AppendRatio, r.ReadRatio = max(r.AppendRatio, x.AppendRatio), max(r.ReadRatio, x.ReadRatio)
	}
}

func (r *siegeResult) print(w io.Writer, ink ink) error {
	verified := ink.green("yes") + " everybody was served, and what was acknowledged is there"
	if !r.Verified {
		verified = ink.red("NO") + " " + r.VerifyProblem
	}
	rows := [][]string{{"(calm)", microsText(r.AppendP99), "", microsText(r.ReadP99), "", sizeText(r.RSSBefore), ""}}
	for _, a := range r.Attacks {
		rows = append(rows, []string{
			a.Name, microsText(a.AppendP99), digits(a.AppendRatio), microsText(a.ReadP99), digits(a.ReadRatio), "+" + sizeText(a.RSSGrowth),
			fmt.Sprintf("%s, %s, %s sent", plural(int(a.Connections), "connection"), plural(int(a.Streams), "stream"), sizeText(a.Bytes)),
		})
	}
	if _, err := fmt.Fprintf(w, "%s  %s appends and reads a second, each attack for %s\n", ink.bold(r.Case), digits(r.Rate), timeText(seconds(r.Seconds))); err != nil {
		return err
	}
	err := printTable(w, ink, []column{
		{"attack", true}, {"append p99", false}, {"×", false}, {"read p99", false}, {"×", false}, {"memory", false}, {"", true},
	}, rows)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "verified  %s\n", verified)
	return err
}
