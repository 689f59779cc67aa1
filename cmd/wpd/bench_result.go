package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// benchResult is what a benchmark found. Times, rates and ratios are medians of
// the rounds, unless their comments say otherwise.
type benchResult struct {
	Case          string  `json:"case"`
	Size          int64   `json:"size"` // bytes of an entry
	Logs          int     `json:"logs"`
	Entries       int64   `json:"entries"` // of all rounds
	Bytes         int64   `json:"bytes"`   // of entries, of all rounds
	Seconds       float64 `json:"seconds"` // of all measured parts
	MBPerS        float64 `json:"mb_per_s"`
	EntriesPerS   float64 `json:"entries_per_s"`
	P50           float64 `json:"p50_us"`
	P99           float64 `json:"p99_us"`
	P999          float64 `json:"p999_us"`
	Max           float64 `json:"max_us"` // of all rounds
	ClientCPU     float64 `json:"client_cpu_us_per_entry"`
	ServerCPU     float64 `json:"server_cpu_us_per_entry"`
	RSSPeak       int64   `json:"rss_peak_bytes"` // the highest of all measured parts
	Creates       uint64  `json:"creates"`        // of all measured parts
	RawMBPerS     float64 `json:"raw_mb_per_s"`
	RawCreateP50  float64 `json:"raw_create_p50_us"`
	RawCreateP99  float64 `json:"raw_create_p99_us"`
	Ratio         float64 `json:"ratio"` // 0: there is none, since a rate was given or the raw limit is missing
	Verified      bool    `json:"verified"`
	VerifyProblem string  `json:"verify_problem,omitempty"`

	Addr           string    `json:"addr,omitempty"`              // of the server; "": embedded
	RawMissing     string    `json:"raw_missing,omitempty"`       // why there is no raw limit
	RawRemoved     int64     `json:"raw_removed_bytes,omitempty"` // of what a server made for the raw limit, while it still measured: its room may have been used again
	Log            string    `json:"log,omitempty"`               // the first one, if it was left there
	Producers      int       `json:"producers"`
	Rate           float64   `json:"rate,omitempty"`
	Sync           bool      `json:"sync,omitempty"`
	DelayMs        float64   `json:"delay_ms,omitempty"`
	Rounds         int       `json:"rounds"`
	RawCPUPerMB    float64   `json:"raw_cpu_us_per_mb"`
	MBPerSRound    []float64 `json:"mb_per_s_rounds"`
	RawMBPerSRound []float64 `json:"raw_mb_per_s_rounds"`
	AppendP50      float64   `json:"append_p50_us,omitempty"` // tail only: until the acknowledgement
	AppendP99      float64   `json:"append_p99_us,omitempty"`
	AppendMax      float64   `json:"append_max_us,omitempty"`

	per       map[string][]float64 // of each round, by JSON name
	times     *timeline
	verifyErr error
}

func newBenchResult(c *benchConfig) *benchResult {
	k := c.key()
	return &benchResult{
		Case: k.Case, Size: k.Size, Logs: k.Logs, Producers: k.Producers, Rate: k.Rate, Sync: k.Sync,
		DelayMs: k.DelayMs, Addr: c.addr, per: map[string][]float64{},
	}
}

func (r *benchResult) note(name string, v float64) { r.per[name] = append(r.per[name], v) }

func (r *benchResult) noteLatencies(prefix string, h *hdrhistogram.Histogram) {
	for _, q := range []struct {
		name string
		at   float64
	}{{"p50", 50}, {"p99", 99}, {"p999", 99.9}} {
		r.note(prefix+q.name, float64(h.ValueAtPercentile(q.at))/1e3)
	}
}

// add takes in a round.
func (r *benchResult) add(p *part, raw *rawPart) {
	r.Rounds++
	r.Entries += p.entries
	r.Bytes += p.bytes
	r.Seconds += p.took.Seconds()
	r.Creates += p.creates
	r.RSSPeak = max(r.RSSPeak, p.rss)
	r.Max = max(r.Max, float64(p.latency.Max())/1e3)
	r.note("mb", perSecond(float64(p.bytes)/1e6, p.took))
	r.note("entries", perSecond(float64(p.entries), p.took))
	r.noteLatencies("", p.latency)
	r.note("client", float64(p.clientCPU)/1e3/float64(max(p.entries, 1)))
	r.note("server", float64(p.serverCPU)/1e3/float64(max(p.entries, 1)))
	r.RawRemoved += raw.removed
	if r.RawMissing = raw.missing; raw.missing == "" {
		r.note("rawmb", perSecond(float64(raw.bytes)/1e6, raw.took))
		r.note("rawcpu", float64(raw.cpu)/1e3/(float64(max(raw.bytes, 1))/1e6))
	}
	if raw.small.TotalCount() > 0 {
		r.noteLatencies("raw", raw.small)
	}
}

// addAppends takes in the times of a tail's appends in a round.
func (r *benchResult) addAppends(h *hdrhistogram.Histogram) {
	r.noteLatencies("append", h)
	r.AppendMax = round(max(r.AppendMax, float64(h.Max())/1e3))
}

func perSecond(v float64, d time.Duration) float64 { return v / max(d.Seconds(), 1e-9) }

// finish computes the medians. times, of all rounds, may be drawn.
func (r *benchResult) finish(times *timeline) {
	r.times = times
	m := func(name string) float64 { return round(median(r.per[name])) }
	r.Seconds, r.Max = round(r.Seconds), round(r.Max)
	r.MBPerS, r.EntriesPerS = m("mb"), m("entries")
	r.P50, r.P99, r.P999 = m("p50"), m("p99"), m("p999")
	r.ClientCPU, r.ServerCPU = m("client"), m("server")
	r.RawMBPerS, r.RawCPUPerMB = m("rawmb"), m("rawcpu")
	r.RawCreateP50, r.RawCreateP99 = m("rawp50"), m("rawp99")
	r.AppendP50, r.AppendP99 = m("appendp50"), m("appendp99")
	for _, v := range r.per["mb"] {
		r.MBPerSRound = append(r.MBPerSRound, round(v))
	}
	for _, v := range r.per["rawmb"] {
		r.RawMBPerSRound = append(r.RawMBPerSRound, round(v))
	}
	over, under := median(r.per["mb"]), median(r.per["rawmb"])
	if r.Sync {
		over, under = median(r.per["p50"]), median(r.per["rawp50"])
	}
	if under > 0 && r.Rate == 0 { // a rate that was given is compared with nothing
		r.Ratio = round(over / under)
	}
}

// verified takes in the outcome of reading everything back.
func (r *benchResult) verified(err error) {
	r.Verified, r.verifyErr = err == nil, err
	if err != nil {
		r.VerifyProblem = err.Error()
	}
}

// median is that of v, the mean of the middle two of an even number; 0 of
// none.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	switch n := len(s); {
	case n == 0:
		return 0
	case n%2 == 1:
		return s[n/2]
	default:
		return (s[n/2-1] + s[n/2]) / 2
	}
}

// round keeps what can be meant: three decimals.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }

// print shows the result to a person.
func (r *benchResult) print(w io.Writer, ink ink) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %s %s\n", ink.dim(fmt.Sprintf("%-9s", name)), fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "%s  %s entries of %s, %s, %s\n", ink.bold(r.Case), countText(r.Entries), sizeText(r.Size),
		plural(r.Logs, "log"), plural(r.Rounds, "round"))
	line("rate", "%s MB/s, %s entries/s  %s", ink.bold(digits(r.MBPerS)), countText(int64(r.EntriesPerS)), ink.dim("rounds: "+spread(r.MBPerSRound)))
	line("time", "p50 %s  p99 %s  p99.9 %s  max %s", ink.bold(microsText(r.P50)), microsText(r.P99), microsText(r.P999), microsText(r.Max))
	if r.AppendP50 > 0 {
		line("append", "p50 %s  p99 %s  max %s  %s", microsText(r.AppendP50), microsText(r.AppendP99), microsText(r.AppendMax), ink.dim("(the line above is from end to end)"))
	}
	where := ""
	if r.Addr != "" {
		where = " of the server"
	}
	line("cost", "%s µs CPU%s an entry (and %s in this program), %s, peak RSS%s %s", digits(r.ServerCPU), where, digits(r.ClientCPU),
		plural(int(r.Creates), "create"), where, sizeText(r.RSSPeak))
	line("raw", "%s", r.rawText(ink))
	line("ratio", "%s", r.ratioText(ink))
	if r.Log != "" {
		line("log", "%s", r.Log)
	}
	if r.Verified {
		line("verified", "%s everything was read back and is as acknowledged", ink.green("yes"))
	} else {
		line("verified", "%s %s", ink.red("NO"), r.VerifyProblem)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// rawText is what was found of the store itself.
func (r *benchResult) rawText(ink ink) string {
	var parts []string
	if r.RawMBPerS > 0 {
		parts = append(parts, fmt.Sprintf("%s MB/s at %s µs CPU an MB", digits(r.RawMBPerS), digits(r.RawCPUPerMB)),
			ink.dim("rounds: "+spread(r.RawMBPerSRound)))
	}
	if r.RawCreateP50 > 0 {
		parts = append(parts, fmt.Sprintf("one small create p50 %s  p99 %s", microsText(r.RawCreateP50), microsText(r.RawCreateP99)))
	}
	if r.RawMissing != "" {
		parts = append(parts, ink.dim("("+r.RawMissing+")"))
	}
	if r.RawRemoved > 0 {
		parts = append(parts, ink.dim("("+sizeText(r.RawRemoved)+" of it were removed meanwhile: their room may have been used again)"))
	}
	return strings.Join(parts, "  ")
}

func (r *benchResult) ratioText(ink ink) string {
	switch {
	case r.Rate > 0:
		return "none: the rate was given"
	case r.Ratio == 0:
		return "none: there is no raw limit"
	case r.Sync:
		return ink.bold(digits(r.Ratio)) + " × one raw create (p50)"
	}
	return ink.bold(digits(r.Ratio)) + " of the raw rate"
}

// spread lists the rounds.
func spread(v []float64) string {
	parts := make([]string, len(v))
	for i, x := range v {
		parts[i] = digits(x)
	}
	return strings.Join(parts, " ")
}
