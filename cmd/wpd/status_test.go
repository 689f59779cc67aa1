package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// statsAt are the counters of a node that has done n things after n seconds.
func statsAt(n uint64) *adminv1.Stats {
	return &adminv1.Stats{
		NowMicros: int64(n) * 1e6, AppendedBatches: 10 * n, AppendedEntries: 1000 * n, AppendedBytes: 2e6 * n,
		ReadBytes: 3e6 * n, Creates: 4 * n, CreatedBytes: 2e6 * n, CacheHits: 3 * n, CacheMisses: n,
		InFlightBytes: 1 << 20, AppendStreams: 2, ReadStreams: 1500, RssBytes: 64 << 20, CpuMicros: 250_000 * n,
		AckP50Micros: 900, AckP99Micros: 12_000, AckMaxMicros: 20_000, RssPeakBytes: 70 << 20, CacheBytes: 5 << 20,
	}
}

// fakeNode is a node's admin side that tells what it is told to tell.
type fakeNode struct {
	stats    []*adminv1.Stats
	statsErr error // after them
	status   *adminv1.GetStatusResponse
	interval time.Duration // that was asked for
}

func (f *fakeNode) WatchStats(_ context.Context, interval time.Duration) iter.Seq2[*adminv1.Stats, error] {
	f.interval = interval
	return func(yield func(*adminv1.Stats, error) bool) {
		for _, s := range f.stats {
			if !yield(s, nil) {
				return
			}
		}
		if f.statsErr != nil {
			yield(nil, f.statsErr)
		}
	}
}

func (f *fakeNode) Status(context.Context) (*adminv1.GetStatusResponse, error) {
	return f.status, nil
}

func TestRates(t *testing.T) {
	r := ratesOf(statsAt(10), statsAt(12))
	require.Equal(t, time.Unix(12, 0).UTC(), r.Time)
	hits := 75.0
	require.Equal(t, rates{
		Time: r.Time, Seconds: 2, EntriesPerS: 1000, MBPerS: 2, BatchesPerS: 10, AckP50: 900, AckP99: 12_000, AckMax: 20_000,
		ReadMBPerS: 3, CreatesPerS: 4, CreateMBPerS: 2, CacheHits: &hits, InFlight: 1 << 20, Appenders: 2, Readers: 1500, CPU: 25, RSS: 64 << 20,
	}, r)

	again := ratesOf(statsAt(100), &adminv1.Stats{NowMicros: 101e6, AppendedEntries: 50})
	require.EqualValues(t, 50, again.EntriesPerS, "a node that has started anew counts from its start")
	require.Zero(t, again.CreatesPerS)
	require.Nil(t, again.CacheHits)
	still := ratesOf(statsAt(5), statsAt(5))
	require.Zero(t, still.EntriesPerS, "no time has passed")
	require.Nil(t, still.CacheHits)
}

// runStat runs wpd stat on a fake.
func runStat(t *testing.T, a *fakeNode, c statCommand, format string) (string, error) {
	var out bytes.Buffer
	cmd := &cobra.Command{SilenceUsage: true, SilenceErrors: true, RunE: func(cmd *cobra.Command, _ []string) error { return c.watch(cmd.Context(), cmd, a) }}
	addOutputFlags(cmd)
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"-o", format})
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestStatLines(t *testing.T) {
	var many []*adminv1.Stats
	for n := range uint64(30) {
		many = append(many, statsAt(n+1))
	}
	for _, c := range []struct {
		name  string
		stats []*adminv1.Stats
		count uint64
		lines int // with the header
	}{
		{"nothing yet", many[:1], 0, 0},
		{"one", many[:2], 0, 2},
		{"as many as there are", many[:4], 0, 4},
		{"as many as wanted", many, 3, 4},
		{"no second header without a terminal", many, 25, 26},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &fakeNode{stats: c.stats}
			out, err := runStat(t, a, statCommand{interval: 3 * time.Second, count: c.count}, "table")
			require.NoError(t, err)
			require.Equal(t, 3*time.Second, a.interval)
			require.Equal(t, c.lines, strings.Count(out, "\n"))
			if c.lines == 0 {
				return
			}
			lines := strings.Split(out, "\n")
			require.Equal(t, strings.Fields("time append/s MB/s ack p50 ack p99 create/s read MB/s hit % in flight writers readers CPU % RSS"), strings.Fields(lines[0]))
			require.Regexp(t, `^\d\d:\d\d:\d\d +1,000 +2.00 +900 µs +12.0 ms +4.00 +3.00 +75.0 +1.00 MiB +2 +1,500 +25.0 +64.0 MiB$`, lines[1])
			require.Len(t, []rune(lines[0]), len([]rune(lines[1])), "columns stand below their titles")
		})
	}
	out, err := runStat(t, &fakeNode{stats: many[:3], statsErr: wpd.ErrUnavailable}, statCommand{}, "json")
	require.ErrorIs(t, err, wpd.ErrUnavailable)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2)
	var r rates
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &r))
	require.Equal(t, ratesOf(many[1], many[2]), r)
}

// A node that does nothing shows nothing, and a terminal sees the header again.
func TestStatLine(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, printStatLine(&out, ink{}, ratesOf(&adminv1.Stats{}, &adminv1.Stats{NowMicros: 1e6}), false))
	require.Regexp(t, `^\d\d:\d\d:\d\d( +-){8} +0 +0 +- +-\n$`, out.String())
	out.Reset()
	require.NoError(t, printStatLine(&out, ink{}, rates{}, true))
	require.Equal(t, 2, strings.Count(out.String(), "\n"))
	require.Equal(t, "1.50", statRate(1.5))
	require.Equal(t, "12", statRate(11.6))
}

func TestStatus(t *testing.T) {
	whole := func() *adminv1.GetStatusResponse {
		return &adminv1.GetStatusResponse{
			NodeId: "n1", Identity: "n1-abc", ClusterId: "c1", Version: "v1.2.3", Commit: "deadbeef",
			StartedMicros: 1e6, NowMicros: 1e6 + 3*3600e6 + 120e6, Bucket: "file:///d", DataDir: "/n",
			Listeners: []*adminv1.Listener{{Name: "grpc", Addr: "127.0.0.1:7070"}, {Name: "http", Addr: "127.0.0.1:7073"}},
			Boot:      4, Incarnation: 1, RaftIndex: 99, ChainEpoch: 7, Logs: 1234, Stats: statsAt(3),
		}
	}
	for _, c := range []struct {
		name   string
		change func(s *adminv1.GetStatusResponse)
		want   []string
		not    string
	}{
		{"serving", func(*adminv1.GetStatusResponse) {}, []string{
			"n1  serving  n1-abc", "c1  boot 4, incarnation 1, raft index 99", "v1.2.3  deadbeef", "3h 2m", "grpc       127.0.0.1:7070",
			"http       127.0.0.1:7073", "bucket     file:///d", "data       /n", "chain      epoch 7", "logs       1,234",
			"3,000 entries, 5.72 MiB in 30 batches and 12 objects", "1,000 entries/s, 2.00 MB/s, 4.00 creates/s, acknowledged in p50 900 µs  p99 12.0 ms; 1.00 MiB in flight",
			"2 streams of writers, 1,500 streams of readers, read 3.00 MB/s", "25.0 % of a processor, RSS 64.0 MiB (at most 70.0 MiB), cache 5.00 MiB",
		}, "\x1b"},
		{"draining", func(s *adminv1.GetStatusResponse) { s.Draining = true }, []string{"n1  draining"}, "serving"},
		{"failed", func(s *adminv1.GetStatusResponse) { s.Failure, s.Draining = "it is broken", true }, []string{"n1  failed", "it is broken"}, "serving"},
		{"refusing", func(s *adminv1.GetStatusResponse) { s.Refusal = "its disk is nearly full" }, []string{"n1  refusing", "its disk is nearly full"}, "serving"},
		{"no chain", func(s *adminv1.GetStatusResponse) { s.ChainEpoch, s.Commit = 0, "" }, []string{"chain      none is open", "commit unknown"}, ""},
		{"scrub that is off", func(s *adminv1.GetStatusResponse) { s.Scrub = &adminv1.Scrub{Off: true} }, []string{"scrub      off: scrub_rate is 0"}, ""},
		{"scrub to come", func(s *adminv1.GetStatusResponse) { s.Scrub = &adminv1.Scrub{} }, []string{"scrub      the first pass has not begun"}, ""},
		{"scrub under way", func(s *adminv1.GetStatusResponse) {
			s.Scrub = &adminv1.Scrub{Passes: 1, BeganMicros: 9e6, EndedMicros: 8e6, Objects: 10, ObjectsOf: 2000, Bytes: 3 << 20}
		}, []string{"scrub      nothing wrong; reading: 10 of about 2,000 objects, 3.00 MiB  a pass ended 19"}, "could not"},
		{"scrub that found nothing", func(s *adminv1.GetStatusResponse) {
			s.Scrub = &adminv1.Scrub{Passes: 1, BeganMicros: 8e6, EndedMicros: 9e6, Objects: 2000, ObjectsOf: 2000, Bytes: 3 << 20, Skipped: 2}
		}, []string{"scrub      nothing wrong; has read 2,000 objects, 3.00 MiB  a pass ended 19", "2 objects could not be read"}, ""},
		{"scrub that found something", func(s *adminv1.GetStatusResponse) {
			s.Scrub = &adminv1.Scrub{Passes: 1, BeganMicros: 8e6, EndedMicros: 9e6, Objects: 2000, ProblemsTotal: 14}
			for i := range 12 {
				s.Scrub.Problems = append(s.Scrub.Problems, &adminv1.ScrubProblem{
					Kind: "missing", Object: fmt.Sprintf("chains/%d", i), LogId: 3, Log: "x", From: 1, To: 9, Detail: "is not there", SinceMicros: 9e6,
				})
			}
		}, []string{"scrub      14 problems; has read 2,000 objects", "           missing    chains/9  log x@3 [1, 9): is not there", "           … and 4 more problems"}, "chains/10"},
		{"nothing told", (*adminv1.GetStatusResponse).Reset, []string{"0 entries, 0 B in 0 batches"}, "data "},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &fakeNode{stats: []*adminv1.Stats{statsAt(2), statsAt(3)}, status: whole()}
			c.change(a.status)
			s, err := readStatus(t.Context(), a)
			require.NoError(t, err)
			require.Equal(t, statusRateTime, a.interval)
			var out bytes.Buffer
			require.NoError(t, s.print(&out, ink{}))
			for _, want := range c.want {
				require.Contains(t, out.String(), want)
			}
			if c.not != "" {
				require.NotContains(t, out.String(), c.not)
			}
		})
	}
	_, err := readStatus(t.Context(), &fakeNode{stats: []*adminv1.Stats{statsAt(1)}, status: whole()})
	require.Error(t, err, "one look tells no rates")
	_, err = readStatus(t.Context(), &fakeNode{statsErr: wpd.ErrUnavailable})
	require.ErrorIs(t, err, wpd.ErrUnavailable)
}

func TestUptime(t *testing.T) {
	for s, want := range map[float64]string{0: "0s", 59.9: "59s", 61: "1m 1s", 3600: "1h 0m", 90061: "1d 1h"} {
		require.Equal(t, want, uptimeText(s))
	}
}

// runHealth runs wpd health on answers that come one after the other.
func runHealth(t *testing.T, patience time.Duration, format string, answers ...error) (out string, asked int, err error) {
	var b bytes.Buffer
	cmd := &cobra.Command{SilenceUsage: true, SilenceErrors: true, RunE: func(cmd *cobra.Command, _ []string) error {
		return tellHealth(cmd.Context(), cmd, "host:1", patience, func(context.Context) error {
			answer := answers[min(asked, len(answers)-1)]
			asked++
			return answer
		})
	}}
	addOutputFlags(cmd)
	cmd.SetOut(&b)
	cmd.SetArgs([]string{"-o", format})
	err = cmd.ExecuteContext(t.Context())
	return b.String(), asked, err
}

func TestHealth(t *testing.T) {
	down := fmt.Errorf("%w: draining", wpd.ErrUnavailable)
	out, asked, err := runHealth(t, 0, "table", nil)
	require.NoError(t, err)
	require.Equal(t, 1, asked)
	require.Equal(t, "serving  host:1\n", out)

	out, asked, err = runHealth(t, 0, "table", down, nil)
	var quiet *quietError
	require.ErrorAs(t, err, &quiet)
	require.Equal(t, exitUnavailable, quiet.code)
	require.Equal(t, 1, asked, "it does not wait")
	require.Equal(t, "not serving  host:1: unavailable: draining\n", out)

	out, asked, err = runHealth(t, 20*time.Second, "json", down, context.DeadlineExceeded, nil)
	require.NoError(t, err)
	require.Equal(t, 3, asked)
	require.Equal(t, `{"status":"serving","addr":"host:1"}`+"\n", out)

	_, asked, err = runHealth(t, 20*time.Second, "table", wpd.ErrInvalid)
	require.ErrorIs(t, err, wpd.ErrInvalid, "waiting does not help")
	require.Equal(t, 1, asked)
}
