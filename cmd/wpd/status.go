package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// addServerFlags adds the flags of commands that are about a server and nothing
// else.
func addServerFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSlice("addr", nil, "address of the server, HOST:PORT (default $"+addrEnv+", or else "+addrDefault+")")
	f.Duration("timeout", 0, "end the command after this long (0: never)")
}

// joinDone ends a connection, and adds the error of that, if there was none
// before.
func joinDone(err error, done func() error) error {
	if closing := done(); err == nil {
		return closing
	}
	return err
}

// statusRateTime is how long wpd status looks on to tell rates.
const statusRateTime = 500 * time.Millisecond

// nodeAdmin is what wpd status asks a node for.
type nodeAdmin interface {
	statsWatcher
	Status(ctx context.Context) (*adminv1.GetStatusResponse, error)
}

// nodeStatus is a node at a glance.
type nodeStatus struct {
	Node        string         `json:"node"`
	Identity    string         `json:"identity"`
	State       string         `json:"state"` // serving, refusing, draining or failed
	Failure     string         `json:"failure,omitempty"`
	Refusal     string         `json:"refusal,omitempty"` // why it takes no appends for now
	Cluster     string         `json:"cluster"`
	Version     string         `json:"version"`
	Commit      string         `json:"commit,omitempty"`
	Started     time.Time      `json:"started"`
	UptimeS     float64        `json:"uptime_seconds"`
	Bucket      string         `json:"bucket"`
	DataDir     string         `json:"data_dir,omitempty"`
	Listeners   []listenerJSON `json:"listeners"`
	Boot        uint64         `json:"boot"`
	Incarnation uint64         `json:"incarnation"`
	RaftIndex   uint64         `json:"raft_index"`
	Chain       uint64         `json:"chain_epoch"` // 0: none is open
	Logs        uint64         `json:"logs"`
	Scrub       *scrubStatus   `json:"scrub,omitempty"`
	Totals      statusTotals   `json:"since_start"`
	Rates       rates          `json:"now"`
}

type listenerJSON struct {
	Name string `json:"name"`
	Addr string `json:"addr"`
}

// statusTotals are a node's counters since its start.
type statusTotals struct {
	Entries    uint64 `json:"appended_entries"`
	Batches    uint64 `json:"appended_batches"`
	Bytes      uint64 `json:"appended_bytes"`
	ReadBytes  uint64 `json:"read_bytes"`
	Creates    uint64 `json:"creates"`
	CreatedB   uint64 `json:"created_bytes"`
	CacheHits  uint64 `json:"cache_hits"`
	CacheMiss  uint64 `json:"cache_misses"`
	CacheBytes uint64 `json:"cache_bytes"` // now
	RSSPeak    uint64 `json:"rss_peak_bytes"`
	CPUMicros  uint64 `json:"cpu_us"`
}

func newStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show a node at a glance",
		Long: `Show which node answers, how it is, where it keeps its data, and what it does now:
rates are those of half a second. What its scrub knows to be damaged, missing or
not wpd's in the bucket is named, each object with the entries lost with it.`,
		Example: `  wpd status
  wpd status --addr 10.0.0.5:7070 -o json | jq .now`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx, a, done, err := connectAdmin(cmd)
			if err != nil {
				return err
			}
			defer func() { err = joinDone(err, done) }()
			s, err := readStatus(ctx, a)
			if err != nil {
				return err
			}
			return printResult(cmd, s, s.print)
		},
	}
	addServerFlags(cmd)
	return cmd
}

// readStatus asks a node how it is, and looks on for a while.
func readStatus(ctx context.Context, a nodeAdmin) (*nodeStatus, error) {
	var first, last *adminv1.Stats
	for s, err := range a.WatchStats(ctx, statusRateTime) {
		if err != nil {
			return nil, err
		}
		if first != nil {
			last = s
			break
		}
		first = s
	}
	if last == nil {
		return nil, errors.New("the node ended its answer before it told its rates")
	}
	s, err := a.Status(ctx)
	if err != nil {
		return nil, err
	}
	return statusOf(s, ratesOf(first, last)), nil
}

func statusOf(s *adminv1.GetStatusResponse, r rates) *nodeStatus {
	n := &nodeStatus{
		Node: s.GetNodeId(), Identity: s.GetIdentity(), State: "serving", Failure: s.GetFailure(), Refusal: s.GetRefusal(), Cluster: s.GetClusterId(),
		Version: s.GetVersion(), Commit: s.GetCommit(),
		Started: time.UnixMicro(s.GetStartedMicros()).UTC(), UptimeS: round(float64(s.GetNowMicros()-s.GetStartedMicros()) / 1e6),
		Bucket: s.GetBucket(), DataDir: s.GetDataDir(), Listeners: []listenerJSON{}, Boot: s.GetBoot(), Incarnation: s.GetIncarnation(),
		RaftIndex: s.GetRaftIndex(), Chain: s.GetChainEpoch(), Logs: s.GetLogs(), Scrub: scrubOf(s.GetScrub()), Rates: r,
	}
	switch {
	case n.Failure != "":
		n.State = "failed"
	case s.GetDraining():
		n.State = "draining"
	case n.Refusal != "":
		n.State = "refusing"
	}
	for _, l := range s.GetListeners() {
		n.Listeners = append(n.Listeners, listenerJSON{l.GetName(), l.GetAddr()})
	}
	c := s.GetStats()
	n.Totals = statusTotals{
		Entries: c.GetAppendedEntries(), Batches: c.GetAppendedBatches(), Bytes: c.GetAppendedBytes(), ReadBytes: c.GetReadBytes(),
		Creates: c.GetCreates(), CreatedB: c.GetCreatedBytes(), CacheHits: c.GetCacheHits(), CacheMiss: c.GetCacheMisses(),
		CacheBytes: c.GetCacheBytes(), RSSPeak: c.GetRssPeakBytes(), CPUMicros: c.GetCpuMicros(),
	}
	return n
}

func (s *nodeStatus) print(w io.Writer, ink ink) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%s  %s\n", ink.dim(fmt.Sprintf("%-9s", name)), fmt.Sprintf(format, args...))
	}
	state := ink.green(s.State)
	if s.State != "serving" {
		state = ink.red(s.State)
	}
	line("node", "%s  %s  %s", ink.bold(s.Node), state, ink.dim(s.Identity))
	for _, why := range []string{s.Failure, s.Refusal} {
		if why != "" {
			line("", "%s", ink.red(why))
		}
	}
	line("cluster", "%s  %s", s.Cluster, ink.dim(fmt.Sprintf("boot %d, incarnation %d, raft index %d", s.Boot, s.Incarnation, s.RaftIndex)))
	line("version", "%s  %s", s.Version, ink.dim(commitText(s.Commit, false)))
	line("up", "%s  %s", uptimeText(s.UptimeS), ink.dim("since "+s.Started.Local().Format(time.DateTime)))
	for _, l := range s.Listeners {
		line(l.Name, "%s", l.Addr)
	}
	line("bucket", "%s", s.Bucket)
	if s.DataDir != "" {
		line("data", "%s", s.DataDir)
	}
	chain := "none is open"
	if s.Chain > 0 {
		chain = fmt.Sprintf("epoch %d", s.Chain)
	}
	line("chain", "%s", chain)
	line("logs", "%s", countText(s.Logs))
	t := s.Totals
	line("appended", "%s, %s in %s and %s", entriesText(t.Entries), sizeText(int64(t.Bytes)), batchesText(t.Batches), plural(int(t.Creates), "object"))
	r := s.Rates
	ack := ""
	if r.AckP50 > 0 {
		ack = fmt.Sprintf(", acknowledged in p50 %s  p99 %s", microsText(float64(r.AckP50)), microsText(float64(r.AckP99)))
	}
	line("now", "%s entries/s, %s MB/s, %s creates/s%s; %s in flight", countText(int64(r.EntriesPerS+0.5)), digits(r.MBPerS), digits(r.CreatesPerS), ack, sizeText(int64(r.InFlight)))
	line("", "%s of writers, %s of readers, read %s MB/s", plural(int(r.Appenders), "stream"), plural(int(r.Readers), "stream"), digits(r.ReadMBPerS))
	if s.Scrub != nil {
		name := "scrub"
		for _, l := range s.Scrub.lines(ink) {
			line(name, "%s", l)
			name = ""
		}
	}
	line("uses", "%s %% of a processor, RSS %s (at most %s), cache %s", digits(r.CPU), sizeText(int64(r.RSS)), sizeText(int64(t.RSSPeak)), sizeText(int64(t.CacheBytes)))
	_, err := io.WriteString(w, b.String())
	return err
}

// uptimeText is a time in days, hours, minutes and seconds, the largest two.
func uptimeText(s float64) string {
	d := seconds(s).Truncate(time.Second)
	days, hours, minutes := d/(24*time.Hour), d/time.Hour%24, d/time.Minute%60
	switch {
	case days > 0:
		return fmt.Sprintf("%dd %dh", days, hours)
	case hours > 0:
		return fmt.Sprintf("%dh %dm", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%dm %ds", minutes, d/time.Second%60)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}
