package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/wpd-io/wpd/blobstore/doctor"
)

// barColumns is how long the longest bar of a histogram is.
const barColumns = 50

// printDoctor shows a doctor's report to a person.
func printDoctor(w io.Writer, ink ink, r *doctor.Report) error {
	var b strings.Builder
	for _, f := range r.Findings {
		verdict := fmt.Sprintf("%-7s", f.Verdict)
		switch f.Verdict {
		case doctor.Kept:
			verdict = ink.green(verdict)
		case doctor.Broken:
			verdict = ink.red(verdict)
		}
		fmt.Fprintf(&b, "%s  %s\n         %s\n", verdict, f.What, ink.dim(f.Seen))
	}
	b.WriteByte('\n')
	if len(r.Speeds) > 0 {
		if err := printSpeeds(&b, ink, r.Speeds); err != nil {
			return err
		}
		b.WriteByte('\n')
	}
	fields := [][2]string{{"bucket", r.Bucket}, {"verdict", verdictText(ink, r)}, {"clock", clockText(r.Clock)}}
	if r.Left != "" {
		fields = append(fields, [2]string{"left", ink.red(r.Left)})
	}
	fields = append(fields, [2]string{"took", timeText(seconds(r.Seconds))})
	if err := printFields(&b, ink, fields); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func verdictText(ink ink, r *doctor.Report) string {
	broken, unclear := r.Count(doctor.Broken), r.Count(doctor.Unclear)
	switch {
	case broken > 0:
		return ink.red(fmt.Sprintf("UNSAFE: breaks %s of %d; wpd would lose entries on it", plural(broken, "promise"), len(r.Findings)))
	case unclear > 0:
		return fmt.Sprintf("unclear: %s of %d could not be tested to the end", plural(unclear, "promise"), len(r.Findings))
	}
	return ink.green(fmt.Sprintf("good: keeps all %d promises", len(r.Findings)))
}

// clockText tells how far the store's clock is off: what lies between the bounds
// can't be told from nothing.
func clockText(c *doctor.Clock) string {
	switch {
	case c == nil:
		return "the store does not tell the time"
	case c.Min > 0:
		return timeText(c.Min) + " to " + timeText(c.Max) + " ahead of this machine's"
	case c.Max < 0:
		return timeText(-c.Max) + " to " + timeText(-c.Min) + " behind this machine's"
	}
	return "as this machine's, to within " + timeText(max(-c.Min, c.Max))
}

// printSpeeds prints a table of all requests, and histograms of those that come
// one at a time, which show the store and not its queue.
func printSpeeds(w io.Writer, ink ink, speeds []doctor.Speed) error {
	var rows [][]string
	for _, s := range speeds {
		rows = append(rows, []string{
			s.Request + " " + sizeText(int64(s.Bytes)), countText(s.Concurrency), countText(s.Requests), digits(s.MBPerS),
			microsText(s.P50), microsText(s.P90), microsText(s.P99), microsText(s.Max),
		})
	}
	err := printTable(w, ink, []column{
		{"REQUEST", true},
		{"AT ONCE", false},
		{"REQUESTS", false},
		{"MB/s", false},
		{"P50", false},
		{"P90", false},
		{"P99", false},
		{"MAX", false},
	}, rows)
	if err != nil {
		return err
	}
	for _, s := range speeds {
		if s.Concurrency == 1 {
			fmt.Fprintf(w, "\n%s\n%s", ink.bold(s.Request+" "+sizeText(int64(s.Bytes))+", one at a time"), histogramText(s.Histogram))
		}
	}
	return nil
}

// histogramText draws one: a bar for each bucket, after the longest time in it.
func histogramText(buckets []doctor.Bucket) string {
	most := 0
	for _, x := range buckets {
		most = max(most, x.Count)
	}
	var b strings.Builder
	for _, x := range buckets {
		bar := strings.Repeat("█", (x.Count*barColumns+most-1)/max(most, 1))
		fmt.Fprintf(&b, "  up to %6s  %s\n", boundText(x.UpTo), strings.TrimSpace(bar+" "+countText(x.Count)))
	}
	return b.String()
}

// boundText is the bound of a bucket: 1, 2 or 5 times a power of ten.
func boundText(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%d s", d/time.Second)
	case d >= time.Millisecond:
		return fmt.Sprintf("%d ms", d/time.Millisecond)
	}
	return fmt.Sprintf("%d µs", d/time.Microsecond)
}
