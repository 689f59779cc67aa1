package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/node"
)

// benchWorld is a server in this process, with metrics; clients may measure
// its bucket if that is allowed.
func benchWorld(t *testing.T, allowed bool) *world {
	dir := t.TempDir()
	bucket := fileURL(filepath.Join(dir, "objects"))
	n, err := node.Open(t.Context(), node.Config{
		Bucket: bucket, DataDir: filepath.Join(dir, "node"), Listen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", AllowBench: allowed,
		Version: "v1.2.3", Commit: "deadbeef",
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return &world{t, []string{"--addr", n.Addr().String()}, bucket}
}

// logsLeft are the names of the logs that a server has.
func logsLeft(w *world) (names []string) {
	for line := range strings.Lines(w.ok("log", "list", "-o", "json")) {
		var l struct{ Name string }
		require.NoError(w.t, json.Unmarshal([]byte(line), &l))
		names = append(names, l.Name)
	}
	return names
}

// Every benchmark works on a server as it does on an embedded node, with the
// same fields, and leaves nothing there.
func TestBenchServer(t *testing.T) {
	w := benchWorld(t, true)
	for _, c := range []struct {
		line    string
		entries int64
		rounds  int
	}{
		{"append --size 1KiB --bytes 1MiB --rounds 2 --window 2", 1024, 2},
		{"append --size 100 --entries 1001 --logs 7 --producers 3 --rounds 3 --window 1", 1001, 3},
		{"append --size 64KiB --bytes 2MiB --in-flight 256KiB --rounds 1 --window 1", 32, 1},
		{"append --entries 20 --sync --producers 2 --rounds 2 --window 1", 20, 2},
		{"append --rate 2000 --duration 100ms --producers 2 --rounds 2 --window 1", 200, 2},
		{"append --size 2MiB --entries 3 --rounds 1 --window 1", 3, 1},
		{"tail --rate 1000 --duration 100ms --rounds 2 --window 1", 100, 2},
		{"read --entries 3000 --logs 2 --rounds 2 --window 1", 6000, 2},
	} {
		t.Run(c.line, func(t *testing.T) {
			r, line := benchJSON(t, c.line+" "+strings.Join(w.flags, " "))
			require.Equal(t, c.entries, r.Entries)
			require.Equal(t, c.rounds, r.Rounds)
			require.Equal(t, w.flags[1], r.Addr)
			require.Positive(t, r.MBPerS)
			require.Positive(t, r.ClientCPU)
			require.Positive(t, r.ServerCPU)
			require.Positive(t, r.RSSPeak)
			require.Positive(t, r.RawCreateP50)
			require.LessOrEqual(t, r.P50, r.P999)
			switch r.Case {
			case "read":
				require.Zero(t, r.RawMBPerS)
				require.Zero(t, r.Ratio)
				require.Contains(t, r.RawMissing, "not reads")
				require.Zero(t, r.Creates)
			default:
				require.Positive(t, r.RawMBPerS)
				require.Equal(t, r.Rate == 0, r.Ratio > 0)
				require.Empty(t, r.RawMissing)
				require.Positive(t, r.Creates)
			}
			require.Regexp(t, keysOfBench, line)
		})
	}
	require.Empty(t, logsLeft(w))
}

// With --keep the logs stay, and can be read again.
func TestBenchServerKeep(t *testing.T) {
	w := benchWorld(t, true)
	args := " --rounds 1 --window 1 " + strings.Join(w.flags, " ")
	kept, _ := benchJSON(t, "append --entries 500 --keep"+args)
	require.Equal(t, []string{kept.Log}, logsLeft(w))
	again, _ := benchJSON(t, "read --reuse "+kept.Log+args)
	require.Greater(t, again.Entries, kept.Entries, "those of the warm-up are there, too")
	require.Equal(t, []string{kept.Log}, logsLeft(w), "what was there before stays")
}

// A server that allows no benches measures no raw limit; the result says so,
// and why stands on stderr.
func TestBenchForbidden(t *testing.T) {
	w := benchWorld(t, false)
	args := strings.Fields("bench append --entries 100 --rounds 2 --window 1 --warmup 10ms")
	code, stdout, stderr := w.run(append(args, "-o", "json")...)
	require.Zero(t, code, stderr)
	require.Regexp(t, `^wpd bench append: no raw limit: .*forbidden.*\n$`, stderr)
	var r benchResult
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	require.True(t, r.Verified)
	require.Zero(t, r.Ratio)
	require.Zero(t, r.RawMBPerS)
	require.Contains(t, r.RawMissing, "forbidden")
	require.Contains(t, w.ok(args...), "none: there is no raw limit")
}

func TestBenchFollowers(t *testing.T) {
	w := benchWorld(t, true)
	var r followersResult
	line := w.ok("bench", "followers", "--followers", "30", "--per-connection", "7", "--duration", "100ms", "-o", "json")
	require.NoError(t, json.Unmarshal([]byte(line), &r))
	require.True(t, r.Verified)
	require.Equal(t, 30, r.Followers)
	require.Equal(t, 5, r.Connections)
	require.NotNil(t, r.StoreRequests)
	require.Positive(t, r.RSSBefore)
	require.Positive(t, r.RSSAfter)
	require.Empty(t, logsLeft(w))

	table := w.ok("bench", "followers", "--followers", "1", "--duration", "1ms", "--compare", inputFile(t, strings.Replace(line, `"followers":30`, `"followers":1`, 1)))
	require.Contains(t, table, "verified  yes")
	require.Regexp(t, `(?m)^rss_before_bytes +\S+ +\S+ +\S+$`, table)
}

// The store requests that the followers cause are counted: those of an append
// in the same time are, too.
func TestBenchFollowersRequests(t *testing.T) {
	w := benchWorld(t, true)
	p := w.start("bench", "followers", "--followers", "2", "--duration", "2s", "-o", "json")
	require.Eventually(t, func() bool { return strings.Contains(w.ok("status", "-o", "json"), `"read_streams":2`) }, 20*time.Second, 10*time.Millisecond)
	w.ok("append", "other", "--create", inputFile(t, "one\n"))
	code, line := p.end()
	require.Zero(t, code, p.said())
	var r followersResult
	require.NoError(t, json.Unmarshal([]byte(line), &r))
	require.Positive(t, *r.StoreRequests)
}

// bench all starts a server for each case, and leaves neither it nor its files.
func TestBenchAllDaemon(t *testing.T) {
	cases := serverCases(0.001)
	first, last := cases[1], cases[len(cases)-1]
	first.args = append(first.args, "--rounds", "1", "--window", "1", "--warmup", "0")
	dir := t.TempDir()
	all := benchAll{cases: []benchCase{first, last}, dir: dir, serve: serveForBench}
	lines := strings.Split(strings.TrimSpace(runAll(t, "json", &all)), "\n")
	require.Len(t, lines, 2)
	for _, line := range lines {
		var r caseReport
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		require.Contains(t, r.Command, "--addr 127.0.0.1:")
		require.Contains(t, string(r.Result), `"verified":true`)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Empty(t, left)

	all.serve, all.cases = nil, benchCases(0.001)[:1]
	all.cases[0].args = append(all.cases[0].args, "--rounds", "1", "--window", "1", "--warmup", "0")
	all.old = &baseline{results: []baselineResult{{name: caseAppend64, raw: json.RawMessage(oldAppend)}}}
	table := runAll(t, "table", &all)
	require.Regexp(t, `(?s)case .*\nappend 64 KiB\nfield +old +new +ratio\n(.*\n)?mb_per_s +100 `, table)
	all.old.results[0].name = "another"
	require.ErrorContains(t, all.checkBaseline(), "none of these cases")
}

// The goals over the wire: each is tried with results on its either side.
func TestServerGoals(t *testing.T) {
	cases := map[string]benchCase{}
	for _, c := range serverCases(1) {
		cases[c.name] = c
	}
	idle := func(each float64, requests uint64, before int64) caseResult {
		return caseResult{followers: followersResult{BytesEach: each, StoreRequests: &requests, RSSBefore: before}}
	}
	attacked := func(appends, reads float64, grown int64) caseResult {
		return caseResult{siege: siegeResult{AppendRatio: appends, ReadRatio: reads, RSSGrowth: grown, Attacks: []siegeAttack{
			{Name: "a", AppendRatio: appends, ReadRatio: reads / 2}, {Name: "b", AppendRatio: appends / 2, ReadRatio: reads},
		}}}
	}
	of := func(r benchResult) caseResult { return caseResult{benchResult: r} }
	earlier := map[string]caseResult{caseAppend1: of(benchResult{MBPerS: 100, Creates: 100})}
	for name, sides := range map[string][][]caseResult{ // met, missed
		caseAppend64: {{of(benchResult{Ratio: 0.45})}, {of(benchResult{Ratio: 0.44}), of(benchResult{MBPerS: 100})}},
		caseAppend1: {{of(benchResult{Size: 1024, Ratio: 0.3, ServerCPU: 2, RawCPUPerMB: 1000, RSSPeak: 450 << 20})}, {
			of(benchResult{Size: 1024, Ratio: 0.3, ServerCPU: 2.1, RawCPUPerMB: 1000}),
			of(benchResult{Size: 1024, Ratio: 0.29, ServerCPU: 2, RawCPUPerMB: 1000}),
			of(benchResult{Size: 1024, Ratio: 0.3, ServerCPU: 2, RawCPUPerMB: 1000, RSSPeak: 451 << 20}),
		}},
		caseManyLogs: {{of(benchResult{MBPerS: 50, Creates: 110})}, {of(benchResult{MBPerS: 50, Creates: 111}), of(benchResult{MBPerS: 49, Creates: 110})}},
		caseSync:     {{of(benchResult{Ratio: 2})}, {of(benchResult{Ratio: 2.1}), of(benchResult{})}},
		caseTail: {{of(benchResult{P50: 2000, AppendP50: 1000, P99: 4000, RawCreateP99: 1000})}, {
			of(benchResult{P50: 2001, AppendP50: 1000, P99: 4000, RawCreateP99: 1000}),
			of(benchResult{P50: 2000, AppendP50: 1000, P99: 4001, RawCreateP99: 1000}),
			of(benchResult{P50: 1, AppendP50: 1, P99: 1}),
		}},
		caseRead:      {{of(benchResult{MBPerS: 500})}, {of(benchResult{MBPerS: 499})}},
		caseFollowers: {{idle(64<<10, 0, 64<<20)}, {idle(65<<10, 0, 1), idle(1, 1, 1), idle(1, 0, 65<<20), {}}},
		caseSiege:     {{attacked(2, 2, 64<<20)}, {attacked(2.1, 1, 1), attacked(1, 2.1, 1), attacked(1, 1, 65<<20), {}}},
	} {
		c, ok := cases[name]
		require.True(t, ok, name)
		delete(cases, name)
		for i, results := range sides {
			for _, r := range results {
				found, met := c.found(r, earlier)
				require.Equal(t, i == 0, met, "%s: %s", name, found)
			}
		}
	}
	require.Empty(t, cases)
}

// Ctrl-C leaves nothing: no logs on a server, and of servers that were started
// neither processes nor files.
func TestBenchInterrupt(t *testing.T) {
	w := benchWorld(t, true)
	p := w.start("bench", "append", "--duration", "1h", "--window", "1")
	require.Eventually(t, func() bool { return strings.Contains(w.ok("status", "-o", "json"), `"append_streams":1`) }, 20*time.Second, 10*time.Millisecond)
	require.Len(t, logsLeft(w), 1)
	p.signal(os.Interrupt)
	code, _ := p.end()
	require.Equal(t, exitInterrupted, code, p.said())
	require.Empty(t, logsLeft(w))

	dir := t.TempDir()
	w = &world{t: t, flags: []string{"--dir", dir}}
	p = w.start("bench", "all", "--daemon")
	require.Eventually(t, func() bool {
		objects, _ := filepath.Glob(filepath.Join(dir, "*", "objects", "chains", "*", "*"))
		return len(objects) > 1
	}, 20*time.Second, 10*time.Millisecond)
	p.signal(os.Interrupt)
	code, _ = p.end()
	require.Equal(t, exitInterrupted, code, p.said())
	require.Equal(t, "wpd bench all: interrupted\n", p.said())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}
