package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/guptarohit/asciigraph"
	"golang.org/x/term"
)

const (
	chartRows       = 9
	chartColumnsMax = 100
	chartColumnsMin = 16 // fewer say nothing
	// chartMargin is what stands left of a chart: a time, and the axis.
	chartMargin = 12
)

// chartColumns is how wide a chart on w may be; 0: w is no terminal, or too
// narrow a one.
func chartColumns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !isTerminal(w) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return chartFit(width)
}

// chartFit is how wide a chart may be on a terminal of that width.
func chartFit(width int) int {
	if width -= chartMargin; width < chartColumnsMin {
		return 0
	}
	return min(width, chartColumnsMax)
}

// printChart draws a timeline's p50 and p99, times on a logarithmic scale. What
// is too short for a chart has none.
func printChart(w io.Writer, ink ink, t *timeline, columns int) error {
	series, took := t.columns(columns, 99, 50) // the last one is drawn over the others
	if columns == 0 || len(series[0]) < chartColumnsMin {
		return nil
	}
	some := false
	for _, line := range series {
		for i, ns := range line {
			line[i] = math.Log10(ns)
			some = some || !math.IsNaN(ns)
		}
	}
	if !some {
		return nil
	}
	options := []asciigraph.Option{
		asciigraph.Height(chartRows), asciigraph.LineEnding("\n"),
		asciigraph.YAxisValueFormatter(func(v float64) string { return timeText(time.Duration(math.Pow(10, v))) }),
		asciigraph.XAxisRange(0, took.Seconds()),
		asciigraph.XAxisValueFormatter(chartSeconds),
	}
	p99 := "·"
	if ink.on {
		p99 = "─"
		options = append(options, asciigraph.SeriesColors(asciigraph.Red, asciigraph.Green),
			asciigraph.AxisColor(asciigraph.Gray), asciigraph.LabelColor(asciigraph.Gray))
	} else { // lines that no colour tells apart are made of other signs
		options = append(options, asciigraph.SeriesChars(asciigraph.CreateCharSet(p99)))
	}
	_, err := fmt.Fprintf(w, "\n  %s  %s p50  %s p99\n%s\n", ink.bold("time of an entry"), ink.green("──"),
		ink.red(p99+p99), asciigraph.PlotMany(series, options...))
	return err
}

// chartSeconds is a time on the axis.
func chartSeconds(s float64) string {
	if s == 0 {
		return "0"
	}
	return timeText(seconds(s))
}
