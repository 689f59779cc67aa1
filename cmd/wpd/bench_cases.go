package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// benchCase is a benchmark with a goal.
type benchCase struct {
	name string
	args []string
	goal string
	// found compares with the goal; earlier results are there by name.
	found verdict
}

// verdict says what was found, and whether it meets the goal.
type verdict func(r caseResult, earlier map[string]caseResult) (found string, met bool)

// caseResult is what a case's process printed: the keys of benchResult, of
// openResult, of followersResult, or of siegeResult.
type caseResult struct {
	benchResult
	OpenSeconds float64 // of openResult
	followers   followersResult
	siege       siegeResult
	raw         json.RawMessage
}

// rssGoal is the most memory of a node in the process of its bench, and
// rssGoalServer of one that is a process of its own, in bytes.
const (
	rssGoal           = 400 << 20
	rssGoalServer     = 450 << 20
	rssGoalServerIdle = 64 << 20
	rssGoalSiege      = 64 << 20 // more than without
)

// caseSizes scales the sizes and times of cases.
type caseSizes float64

func (s caseSizes) mib(n float64) string {
	return fmt.Sprintf("%dKiB", max(64, int64(n*float64(s)*1024)))
}

func (s caseSizes) during(d time.Duration) string {
	return max(50*time.Millisecond, time.Duration(float64(d)*float64(s))).String()
}

// rawRatio wants at least a share of the raw rate.
func rawRatio(goal float64) verdict {
	return func(r caseResult, _ map[string]caseResult) (string, bool) {
		if r.Ratio == 0 {
			return digits(r.MBPerS) + " MB/s; no raw limit", false
		}
		return fmt.Sprintf("%.2f (%s of %s MB/s)", r.Ratio, digits(r.MBPerS), digits(r.RawMBPerS)), r.Ratio >= goal
	}
}

// rawRatioAndCost wants at least a share of the raw rate, and at most so many
// µs of processor time an entry beyond what the raw driver takes for its bytes.
func rawRatioAndCost(goal, micros float64, rss int64) verdict {
	return func(r caseResult, earlier map[string]caseResult) (string, bool) {
		text, met := rawRatio(goal)(r, earlier)
		over := r.ServerCPU - r.RawCPUPerMB*float64(r.Size)/1e6
		return fmt.Sprintf("%s; raw's %+.2f µs; %s", text, over, rssText(r)), met && over <= micros && r.RSSPeak <= rss
	}
}

// manyLogs wants at least a share of what the case of one log reaches, with
// about as many creates.
func manyLogs(goal float64, rss int64) verdict {
	return func(r caseResult, earlier map[string]caseResult) (string, bool) {
		one := earlier["append 1 KiB"]
		share := r.MBPerS / max(one.MBPerS, 1e-9)
		return fmt.Sprintf("%.2f (%s MB/s); %d against %d creates; %s", share, digits(r.MBPerS), r.Creates, one.Creates, rssText(r)),
			share >= goal && float64(r.Creates) <= 1.1*float64(one.Creates) && r.RSSPeak <= rss
	}
}

// oneByOne wants a median time of at most so many raw creates.
func oneByOne(goal float64) verdict {
	return func(r caseResult, _ map[string]caseResult) (string, bool) {
		return fmt.Sprintf("%.2f (%s to %s)", r.Ratio, microsText(r.P50), microsText(r.RawCreateP50)), r.Ratio > 0 && r.Ratio <= goal
	}
}

func tailed(r caseResult, _ map[string]caseResult) (string, bool) {
	return fmt.Sprintf("p50 %s (append %s); p99 %s (raw %s); max %s", microsText(r.P50), microsText(r.AppendP50), microsText(r.P99), microsText(r.RawCreateP99), microsText(r.Max)),
		r.P50 <= r.AppendP50+1000 && r.RawCreateP99 > 0 && r.P99 <= 2*r.RawCreateP99+2000
}

// readAt wants at least so many MB/s.
func readAt(goal float64, rss int64) verdict {
	return func(r caseResult, _ map[string]caseResult) (string, bool) {
		return fmt.Sprintf("%s MB/s; %s", digits(r.MBPerS), rssText(r)), r.MBPerS >= goal && r.RSSPeak <= rss
	}
}

func createsUpTo(goal uint64) verdict {
	return func(r caseResult, _ map[string]caseResult) (string, bool) {
		return plural(int(r.Creates), "create"), r.Creates <= goal
	}
}

func opened(goal float64) verdict {
	return func(r caseResult, _ map[string]caseResult) (string, bool) {
		return timeText(seconds(r.OpenSeconds)), r.OpenSeconds <= goal
	}
}

func rssText(r caseResult) string { return "RSS " + sizeText(r.RSSPeak) }

// The cases that both tables have, with goals of their own.
const (
	caseAppend64  = "append 64 KiB"
	caseAppend1   = "append 1 KiB"
	caseManyLogs  = "append 1 KiB, 1,000 logs"
	caseSync      = "append 1 KiB, one at a time"
	caseTail      = "tail at 500/s"
	caseRead      = "read 1 KiB from the start"
	caseFollowers = "1,000 idle followers"
	caseSiege     = "others, under attack"
)

func (s caseSizes) args(name string) []string {
	return map[string][]string{
		caseAppend64: {"append", "--size", "64KiB", "--bytes", s.mib(1024)},
		caseAppend1:  {"append", "--size", "1KiB", "--bytes", s.mib(512)},
		caseManyLogs: {"append", "--size", "1KiB", "--logs", "1000", "--bytes", s.mib(512)},
		caseSync:     {"append", "--size", "1KiB", "--sync", "--duration", s.during(5 * time.Second)},
		caseTail:     {"tail", "--size", "1KiB", "--rate", "500", "--duration", s.during(20 * time.Second)},
		caseRead:     {"read", "--size", "1KiB", "--bytes", s.mib(512)},
		caseFollowers: {"followers", "--followers", fmt.Sprint(max(10, int(1000*min(1, float64(s))))),
			"--duration", s.during(10 * time.Second)},
		caseSiege: {"siege", "--duration", s.during(5 * time.Second)},
	}[name]
}

// benchCases are those of docs/benchmarks.md for a node in the same process.
func benchCases(scale float64) []benchCase {
	s := caseSizes(scale)
	of := func(name, goal string, found verdict) benchCase { return benchCase{name, s.args(name), goal, found} }
	return []benchCase{
		of(caseAppend64, "≥ 0.85 of raw", rawRatio(0.85)),
		of(caseAppend1, "≥ 0.6 of raw; CPU ≤ raw's + 2 µs an entry; RSS ≤ 400 MiB", rawRatioAndCost(0.6, 2, rssGoal)),
		of(caseManyLogs, "≥ 0.6 of 1 log; creates within 10 %; RSS ≤ 400 MiB", manyLogs(0.6, rssGoal)),
		{"1,000 logs, one entry each", []string{"append", "--size", "1KiB", "--logs", "1000", "--entries", "1000", "--delay", "100ms"},
			"≤ 10 creates", createsUpTo(10)},
		of(caseSync, "p50 ≤ 1.5 × a raw create", oneByOne(1.5)),
		of(caseTail, "p50 ≤ append's + 1 ms; p99 ≤ 2 × a raw create's + 2 ms", tailed),
		of(caseRead, "≥ 1 GB/s; RSS ≤ 400 MiB", readAt(1000, rssGoal)),
		{"open after a crash, 1 GiB", []string{"open", "--bytes", s.mib(1024)}, "≤ 1 s", opened(1)},
		{"open after a crash, 4,096 fragments, 30 ms", []string{"open", "--fragments", fmt.Sprint(max(64, int(4096*scale))), "--delay", "30ms"},
			"≤ 2 s", opened(2)},
	}
}

// serverCases are those of docs/benchmarks.md for a client and a server on one
// machine.
func serverCases(scale float64) []benchCase {
	s := caseSizes(scale)
	of := func(name, goal string, found verdict) benchCase { return benchCase{name, s.args(name), goal, found} }
	return []benchCase{
		of(caseAppend64, "≥ 0.45 of raw", rawRatio(0.45)),
		of(caseAppend1, "≥ 0.3 of raw; server's CPU ≤ raw's + 1 µs an entry; its RSS ≤ 450 MiB", rawRatioAndCost(0.3, 1, rssGoalServer)),
		of(caseManyLogs, "≥ 0.5 of 1 log; creates within 10 %; RSS ≤ 450 MiB", manyLogs(0.5, rssGoalServer)),
		of(caseSync, "p50 ≤ 2 × a raw create", oneByOne(2)),
		of(caseTail, "p50 ≤ append's + 1 ms; p99 ≤ 2 × a raw create's + 2 ms", tailed),
		of(caseRead, "≥ 500 MB/s; RSS ≤ 450 MiB", readAt(500, rssGoalServer)),
		of(caseFollowers, "≤ 64 KiB each; no store requests; RSS before ≤ 64 MiB", idleFollowers),
		of(caseSiege, "p99s ≤ 2 × their usual; RSS + ≤ 64 MiB", besieged),
	}
}

// besieged wants nobody to notice much of an attack.
func besieged(r caseResult, _ map[string]caseResult) (string, bool) {
	s := r.siege
	worst := func(of func(siegeAttack) float64) string {
		x := slices.MaxFunc(s.Attacks, func(a, b siegeAttack) int { return cmp.Compare(of(a), of(b)) })
		return fmt.Sprintf("%.2f (%s)", of(x), x.Name)
	}
	if len(s.Attacks) == 0 {
		return "no attacks", false
	}
	return fmt.Sprintf("append %s; read %s; RSS +%s",
			worst(func(a siegeAttack) float64 { return a.AppendRatio }), worst(func(a siegeAttack) float64 { return a.ReadRatio }), sizeText(s.RSSGrowth)),
		s.AppendRatio <= 2 && s.ReadRatio <= 2 && s.RSSGrowth <= rssGoalSiege
}

func idleFollowers(r caseResult, _ map[string]caseResult) (string, bool) {
	f := r.followers
	requests := "store requests not known"
	if f.StoreRequests != nil {
		requests = plural(int(*f.StoreRequests), "store request") + " in " + timeText(seconds(f.Seconds))
	}
	return fmt.Sprintf("%s each; %s; RSS before %s", sizeText(int64(f.BytesEach)), requests, sizeText(f.RSSBefore)),
		f.BytesEach <= 64<<10 && f.StoreRequests != nil && *f.StoreRequests == 0 && f.RSSBefore <= rssGoalServerIdle
}
