package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// benchJSON runs a benchmark, in memory where it can be, and returns its
// result.
func benchJSON(t *testing.T, line string) (benchResult, string) {
	args := append([]string{"bench"}, strings.Fields(line)...)
	code, stdout, stderr := runWpd(append(args, "-o", "json", "--warmup", "10ms")...)
	require.Zero(t, code, stderr)
	require.Empty(t, stderr)
	require.Equal(t, 1, strings.Count(stdout, "\n"))
	var r benchResult
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	require.True(t, r.Verified)
	return r, stdout
}

func TestBench(t *testing.T) {
	for _, c := range []struct {
		line    string
		entries int64 // 0: depends on time
		rounds  int
	}{
		{"append --size 1KiB --bytes 1MiB --rounds 2 --window 2", 1024, 2},
		{"append --size 100 --entries 1001 --logs 7 --producers 3 --rounds 3 --window 1", 1001, 3},
		{"append --size 64KiB --bytes 4MiB --producers 3 --in-flight 256KiB --rounds 1 --window 1", 64, 1},
		{"append --entries 30 --logs 20 --rounds 5 --window 1", 30, 1},
		{"append --entries 20 --sync --producers 2 --rounds 2 --window 1", 20, 2},
		{"append --rate 2000 --duration 100ms --producers 2 --rounds 2 --window 1", 200, 2},
		{"append --entries 4 --delay 5ms --flush-interval 1ms --cache 1MiB --rounds 1 --window 1", 4, 1},
		{"append --size 2MiB --entries 3 --rounds 1 --window 1", 3, 1},
		{"tail --rate 1000 --duration 100ms --rounds 2 --window 1 --cut-fragments 10", 100, 2},
		{"read --entries 3000 --logs 2 --rounds 2 --window 1", 6000, 2},
	} {
		t.Run(c.line, func(t *testing.T) {
			t.Parallel() // they mostly wait for the disk
			r, _ := benchJSON(t, c.line)
			require.Equal(t, c.entries, r.Entries)
			require.Equal(t, c.entries*r.Size, r.Bytes)
			require.Equal(t, c.rounds, r.Rounds)
			require.Positive(t, r.MBPerS)
			require.Positive(t, r.RawMBPerS)
			require.Positive(t, r.RawCreateP50)
			require.LessOrEqual(t, r.P50, r.P999)
			require.LessOrEqual(t, r.P50, r.Max)
			require.Equal(t, r.Case == "read", r.Creates == 0)
		})
	}
}

// The keys stand in the order that others rely on.
func TestBenchKeys(t *testing.T) {
	_, line := benchJSON(t, "append --entries 10 --rounds 1 --window 1")
	require.Regexp(t, keysOfBench, line)
}

var keysOfBench = regexp.MustCompile(`^\{"case":"\w+","size":\d+,"logs":\d+,"entries":\d+,"bytes":\d+,"seconds":[\d.]+,` +
	`"mb_per_s":[\d.]+,"entries_per_s":[\d.]+,"p50_us":[\d.]+,"p99_us":[\d.]+,"p999_us":[\d.]+,"max_us":[\d.]+,` +
	`"client_cpu_us_per_entry":[\d.]+,"server_cpu_us_per_entry":[\d.]+,"rss_peak_bytes":\d+,"creates":\d+,` +
	`"raw_mb_per_s":[\d.]+,"raw_create_p50_us":[\d.]+,"raw_create_p99_us":[\d.]+,"ratio":[\d.]+,"verified":true,`)

// A bench on a given bucket leaves its logs there and takes its raw objects
// away; the logs can be read again.
func TestBenchReuse(t *testing.T) {
	dir := t.TempDir()
	store := " --rounds 1 --window 1 --bucket " + fileURL(dir+"/objects") + " --data-dir " + dir + "/node"
	filled, _ := benchJSON(t, "read --entries 500"+store)
	raw, err := filepath.Glob(dir + "/objects/bench/*/*")
	require.NoError(t, err)
	require.Empty(t, raw)
	code, _, stderr := runWpd(strings.Fields("bench read --reuse nothing" + store)...)
	require.Equal(t, exitNotFound, code)
	require.Contains(t, stderr, "nothing")

	again, _ := benchJSON(t, "read --reuse "+filled.Log+store)
	require.Equal(t, filled.Entries, again.Entries)
}

func TestBenchTable(t *testing.T) {
	code, stdout, stderr := runWpd(strings.Fields("bench append --entries 10 --rounds 1 --window 1 --warmup 0 --bucket mem://")...)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "of the raw rate")
	require.Contains(t, stdout, "verified  yes")
}

func TestBenchOpen(t *testing.T) {
	code, stdout, stderr := runWpd(strings.Fields("bench open --fragments 20 --delay 1ms --rounds 2 -o json")...)
	require.Zero(t, code, stderr)
	var r openResult
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	require.True(t, r.Verified)
	require.EqualValues(t, 20, r.Entries)
	require.GreaterOrEqual(t, r.Creates, uint64(20))
	require.Len(t, r.Rounds, 2)
}

// runSome runs cases as bench all does.
func runSome(t *testing.T, format string, cases ...benchCase) string {
	return runAll(t, format, &benchAll{cases: cases, dir: t.TempDir()})
}

func runAll(t *testing.T, format string, all *benchAll) string {
	var out bytes.Buffer
	cmd := &cobra.Command{RunE: func(cmd *cobra.Command, _ []string) error { return all.run(cmd) }}
	addOutputFlags(cmd)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs([]string{"-o", format})
	require.NoError(t, cmd.ExecuteContext(t.Context()))
	return out.String()
}

func TestBenchAll(t *testing.T) {
	cases := benchCases(0.001)
	first, last := cases[1], cases[len(cases)-1]
	first.args = append(first.args, "--rounds", "1", "--window", "1", "--warmup", "0")
	last.args = append(last.args, "--rounds", "1")
	lines := strings.Split(strings.TrimSpace(runSome(t, "json", first, last)), "\n")
	require.Len(t, lines, 2)
	for _, line := range lines {
		var r caseReport
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		require.Contains(t, r.Command, "wpd bench ")
		require.NotEmpty(t, r.Found)
		require.Contains(t, string(r.Result), `"verified":true`)
	}

	last.found = func(caseResult, map[string]caseResult) (string, bool) { return "this", false }
	require.Regexp(t, `case .*\n`+last.name+` .* this +MISSED\n$`, runSome(t, "table", last))
}

// The goals are those of docs/benchmarks.md: each is tried with results on its
// either side.
func TestGoals(t *testing.T) {
	cases := map[string]benchCase{}
	for _, c := range benchCases(1) {
		cases[c.name] = c
	}
	one := caseResult{benchResult: benchResult{MBPerS: 100, Creates: 100}}
	for name, sides := range map[string][2]caseResult{
		"append 64 KiB": {{benchResult: benchResult{Ratio: 0.85}}, {benchResult: benchResult{Ratio: 0.84}}},
		"append 1 KiB": {
			{benchResult: benchResult{Size: 1024, Ratio: 0.6, ServerCPU: 3, RawCPUPerMB: 1000}},
			{benchResult: benchResult{Size: 1024, Ratio: 0.6, ServerCPU: 3.1, RawCPUPerMB: 1000}},
		},
		"append 1 KiB, 1,000 logs":    {{benchResult: benchResult{MBPerS: 60, Creates: 110}}, {benchResult: benchResult{MBPerS: 60, Creates: 111}}},
		"1,000 logs, one entry each":  {{benchResult: benchResult{Creates: 10}}, {benchResult: benchResult{Creates: 11}}},
		"append 1 KiB, one at a time": {{benchResult: benchResult{Ratio: 1.5}}, {benchResult: benchResult{Ratio: 1.6}}},
		"tail at 500/s": {
			{benchResult: benchResult{P50: 2000, AppendP50: 1000, P99: 4000, RawCreateP99: 1000}},
			{benchResult: benchResult{P50: 2000, AppendP50: 1000, P99: 4001, RawCreateP99: 1000}},
		},
		"read 1 KiB from the start":                  {{benchResult: benchResult{MBPerS: 1000}}, {benchResult: benchResult{MBPerS: 2000, RSSPeak: 401 << 20}}},
		"open after a crash, 1 GiB":                  {{OpenSeconds: 1}, {OpenSeconds: 1.1}},
		"open after a crash, 4,096 fragments, 30 ms": {{OpenSeconds: 2}, {OpenSeconds: 2.1}},
	} {
		c, ok := cases[name]
		require.True(t, ok, name)
		delete(cases, name)
		for i, r := range sides {
			_, met := c.found(r, map[string]caseResult{"append 1 KiB": one})
			require.Equal(t, i == 0, met, name)
		}
	}
	require.Empty(t, cases)
}

func TestQuotas(t *testing.T) {
	c := benchConfig{size: 1024, bytes: 10 * 1024, rounds: 4, logs: 1}
	require.Equal(t, []quota{{entries: 3}, {entries: 3}, {entries: 2}, {entries: 2}}, c.quotas())
	c = benchConfig{size: 1024, entries: 1000, rounds: 5, logs: 1000}
	require.Equal(t, []quota{{entries: 1000}}, c.quotas())
	c = benchConfig{size: 1024, duration: 10 * time.Second, rounds: 2, logs: 1}
	require.Equal(t, []quota{{duration: 5 * time.Second}, {duration: 5 * time.Second}}, c.quotas())
	c = benchConfig{size: 1024, entries: 1, rounds: 5, logs: 1}
	require.Equal(t, []quota{{entries: 1}}, c.quotas())
}

func TestMedian(t *testing.T) {
	require.Zero(t, median(nil))
	require.EqualValues(t, 2, median([]float64{3, 1, 2}))
	require.EqualValues(t, 2.5, median([]float64{4, 1, 2, 3}))
}

// What the reading side has to notice.
func TestChecker(t *testing.T) {
	const n = 5
	world := func() (*stream, [][]byte) {
		made, s := newPayloads(100, 1, 7), &stream{log: 3, producer: 7}
		var entries [][]byte
		for i := range uint64(n) {
			entries = append(entries, append([]byte(nil), made.next(s, 0)...))
			s.ack(s.seq, 1)
			s.acked.sum += placeSum(s.seq, i+1) - placeSum(s.seq, 1)
		}
		return s, entries
	}
	read := func(s *stream, entries [][]byte) error {
		c := newChecker(3)
		for i, e := range entries {
			if _, err := c.check(uint64(i+1), e); err != nil {
				return err
			}
		}
		return c.compare([]*stream{s})
	}
	s, good := world()
	require.NoError(t, read(s, good))
	for name, spoil := range map[string]func(s *stream, e [][]byte) [][]byte{
		"a flipped bit":        func(_ *stream, e [][]byte) [][]byte { e[2][50] ^= 4; return e },
		"a flipped header":     func(_ *stream, e [][]byte) [][]byte { e[2][9] ^= 4; return e },
		"a missing entry":      func(_ *stream, e [][]byte) [][]byte { return append(e[:2], e[3:]...) },
		"a missing last entry": func(_ *stream, e [][]byte) [][]byte { return e[:n-1] },
		"no entries":           func(_ *stream, e [][]byte) [][]byte { return nil },
		"an entry twice":       func(_ *stream, e [][]byte) [][]byte { return append(e[:3], e[2:]...) },
		"swapped entries":      func(_ *stream, e [][]byte) [][]byte { e[1], e[2] = e[2], e[1]; return e },
		"a cut entry":          func(_ *stream, e [][]byte) [][]byte { e[1] = e[1][:99]; return e },
		"a short entry":        func(_ *stream, e [][]byte) [][]byte { e[1] = e[1][:9]; return e },
		"other LSNs": func(s *stream, e [][]byte) [][]byte {
			s.acked.sum += placeSum(2, 9) - placeSum(2, 2)
			return e
		},
		"another stream's": func(_ *stream, e [][]byte) [][]byte {
			e[1] = newPayloads(100, 2, 1).next(&stream{log: 4}, 0)
			return e
		},
	} {
		s, entries := world()
		require.Error(t, read(s, spoil(s, entries)), name)
	}
	c := newChecker(3)
	_, err := c.check(2, good[0])
	require.Error(t, err, "an LSN left out")
}
