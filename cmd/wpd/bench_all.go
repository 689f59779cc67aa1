package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// benchCase is a benchmark with a goal.
type benchCase struct {
	name string
	args []string
	goal string
	// found compares with the goal; earlier results are there by name.
	found func(r caseResult, earlier map[string]caseResult) (found string, met bool)
}

// caseResult is what a case's process printed: the keys of benchResult or of
// openResult.
type caseResult struct {
	benchResult
	OpenSeconds float64 // of openResult
	raw         json.RawMessage
}

// caseReport is one case in the output.
type caseReport struct {
	Name    string          `json:"name"`
	Command string          `json:"command"`
	Goal    string          `json:"goal"`
	Found   string          `json:"found"`
	Met     bool            `json:"met"`
	Result  json.RawMessage `json:"result"`
}

const rssGoal = 400 << 20

// benchCases are those of docs/benchmarks.md. Sizes and times are scaled.
func benchCases(scale float64) []benchCase {
	size := func(mib float64) string { return fmt.Sprintf("%dKiB", max(64, int64(mib*scale*1024))) }
	during := func(d time.Duration) string {
		return max(50*time.Millisecond, time.Duration(float64(d)*scale)).String()
	}
	ratio := func(goal float64) func(caseResult, map[string]caseResult) (string, bool) {
		return func(r caseResult, _ map[string]caseResult) (string, bool) {
			return fmt.Sprintf("%.2f (%s of %s MB/s)", r.Ratio, digits(r.MBPerS), digits(r.RawMBPerS)), r.Ratio >= goal
		}
	}
	rss := func(r caseResult) string { return "RSS " + sizeText(r.RSSPeak) }
	return []benchCase{
		{"append 64 KiB", []string{"append", "--size", "64KiB", "--bytes", size(1024)}, "≥ 0.85 of raw", ratio(0.85)},
		{"append 1 KiB", []string{"append", "--size", "1KiB", "--bytes", size(512)}, "≥ 0.6 of raw; CPU ≤ raw's + 2 µs an entry; RSS ≤ 400 MiB",
			func(r caseResult, e map[string]caseResult) (string, bool) {
				text, met := ratio(0.6)(r, e)
				over := r.ServerCPU - r.RawCPUPerMB*float64(r.Size)/1e6
				return fmt.Sprintf("%s; raw's %+.2f µs; %s", text, over, rss(r)), met && over <= 2 && r.RSSPeak <= rssGoal
			}},
		{"append 1 KiB, 1,000 logs", []string{"append", "--size", "1KiB", "--logs", "1000", "--bytes", size(512)}, "≥ 0.6 of 1 log; creates within 10 %; RSS ≤ 400 MiB",
			func(r caseResult, e map[string]caseResult) (string, bool) {
				one := e["append 1 KiB"]
				share := r.MBPerS / max(one.MBPerS, 1e-9)
				return fmt.Sprintf("%.2f (%s MB/s); %d against %d creates; %s", share, digits(r.MBPerS), r.Creates, one.Creates, rss(r)),
					share >= 0.6 && float64(r.Creates) <= 1.1*float64(one.Creates) && r.RSSPeak <= rssGoal
			}},
		{"1,000 logs, one entry each", []string{"append", "--size", "1KiB", "--logs", "1000", "--entries", "1000", "--delay", "100ms"}, "≤ 10 creates",
			func(r caseResult, _ map[string]caseResult) (string, bool) {
				return plural(int(r.Creates), "create"), r.Creates <= 10
			}},
		{"append 1 KiB, one at a time", []string{"append", "--size", "1KiB", "--sync", "--duration", during(5 * time.Second)}, "p50 ≤ 1.5 × a raw create",
			func(r caseResult, _ map[string]caseResult) (string, bool) {
				return fmt.Sprintf("%.2f (%s to %s)", r.Ratio, microsText(r.P50), microsText(r.RawCreateP50)), r.Ratio <= 1.5
			}},
		{"tail at 500/s", []string{"tail", "--size", "1KiB", "--rate", "500", "--duration", during(20 * time.Second)}, "p50 ≤ append's + 1 ms; p99 ≤ 2 × a raw create's + 2 ms",
			func(r caseResult, _ map[string]caseResult) (string, bool) {
				return fmt.Sprintf("p50 %s (append %s); p99 %s (raw %s); max %s", microsText(r.P50), microsText(r.AppendP50), microsText(r.P99), microsText(r.RawCreateP99), microsText(r.Max)),
					r.P50 <= r.AppendP50+1000 && r.P99 <= 2*r.RawCreateP99+2000
			}},
		{"read 1 KiB from the start", []string{"read", "--size", "1KiB", "--bytes", size(512)}, "≥ 1 GB/s; RSS ≤ 400 MiB",
			func(r caseResult, _ map[string]caseResult) (string, bool) {
				return fmt.Sprintf("%s MB/s; %s", digits(r.MBPerS), rss(r)), r.MBPerS >= 1000 && r.RSSPeak <= rssGoal
			}},
		{"open after a crash, 1 GiB", []string{"open", "--bytes", size(1024)}, "≤ 1 s", opened(1)},
		{"open after a crash, 4,096 fragments, 30 ms", []string{"open", "--fragments", fmt.Sprint(max(64, int(4096*scale))), "--delay", "30ms"}, "≤ 2 s", opened(2)},
	}
}

func opened(goal float64) func(caseResult, map[string]caseResult) (string, bool) {
	return func(r caseResult, _ map[string]caseResult) (string, bool) {
		return timeText(seconds(r.OpenSeconds)), r.OpenSeconds <= goal
	}
}

func newBenchAllCommand() *cobra.Command {
	var scale float64
	var dir string
	var more []string
	cmd := &cobra.Command{
		Use:   "all",
		Short: "Run the cases that have goals, and say which are met",
		Long: `Run the cases of docs/benchmarks.md, each in a process and a temporary directory of
its own, and compare them with their goals. A goal that is missed is no error.`,
		Example: `  wpd bench all
  wpd bench all --scale 0.1 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if scale <= 0 || scale > 100 {
				return usagef(cmd, "--scale is %v; want more than 0, at most 100", scale)
			}
			cases := benchCases(scale)
			for i := range cases {
				cases[i].args = append(cases[i].args, more...)
			}
			return runCases(cmd, cases, dir)
		},
	}
	cmd.Flags().Float64Var(&scale, "scale", 1, "multiply sizes and times")
	cmd.Flags().StringSliceVar(&more, "with", nil, "add a flag to every case, for example --with=--rounds=9")
	cmd.Flags().StringVar(&dir, "dir", "", "make the temporary directories in this one; default: where the system has them")
	return cmd
}

func runCases(cmd *cobra.Command, cases []benchCase, dir string) error {
	ctx, p := cmd.Context(), newProgress(cmd)
	defer p.clear()
	ink := inkFor(cmd, cmd.OutOrStdout())
	results := map[string]caseResult{}
	var rows [][]string
	for i, c := range cases {
		p.say("case %d of %d: %s", i+1, len(cases), c.name)
		r, err := runCase(ctx, c, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		results[c.name] = r
		found, met := c.found(r, results)
		if wantsJSON(cmd) {
			report := caseReport{c.name, "wpd bench " + strings.Join(c.args, " "), c.goal, found, met, r.raw}
			if err := printJSON(cmd.OutOrStdout(), report); err != nil {
				return err
			}
			continue
		}
		verdict := "met"
		if !met {
			verdict = "MISSED"
		}
		rows = append(rows, []string{c.name, c.goal, found, verdict})
	}
	if wantsJSON(cmd) {
		return nil
	}
	p.clear()
	return printTable(cmd.OutOrStdout(), ink, []column{{"case", true}, {"goal", true}, {"found", true}, {"", true}}, rows)
}

// runCase runs a case in a process of its own, so that memory is that of the
// case alone.
func runCase(ctx context.Context, c benchCase, dir string) (r caseResult, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, self, append(append([]string{"bench"}, c.args...), "-o", "json")...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it has a directory to remove
	cmd.WaitDelay = 10 * time.Second
	if dir != "" {
		cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	if err != nil {
		code := exitUnexpected
		if e, ok := errors.AsType[*exec.ExitError](err); ok && e.ExitCode() > 0 {
			code = e.ExitCode()
		}
		return r, &exitError{code, fmt.Errorf("%w: %s", err, strings.TrimSpace(complaints.String()))}
	}
	r.raw = bytes.TrimSpace(out)
	var o openResult
	if c.args[0] == "open" {
		err = json.Unmarshal(out, &o)
		r.OpenSeconds = o.Seconds
		return r, err
	}
	return r, json.Unmarshal(out, &r.benchResult)
}
