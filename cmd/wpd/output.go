package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// addOutputFlags adds the flags of all commands.
func addOutputFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringP("output", "o", "table", "how to print results: table, json (one object a line) or yaml (one document each)")
	f.String("color", "auto", "colours: auto (on a terminal, unless NO_COLOR is set), always or never")
}

func checkOutput(cmd *cobra.Command) error {
	for _, flag := range []struct {
		name   string
		values []string
	}{{"output", []string{"table", "json", "yaml"}}, {"color", []string{"auto", "always", "never"}}} {
		got, _ := cmd.Flags().GetString(flag.name)
		if !strings.Contains("|"+strings.Join(flag.values, "|")+"|", "|"+got+"|") {
			return usagef(cmd, "--%s is %q; want %s", flag.name, got, strings.Join(flag.values, " or "))
		}
	}
	return nil
}

// isTerminal says whether somebody looks at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// isTerminalInput says whether somebody types what r gives.
func isTerminalInput(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// ink colours text, or leaves it as it is.
type ink struct{ on bool }

// inkFor says whether what goes to w may be coloured.
func inkFor(cmd *cobra.Command, w io.Writer) ink {
	switch color, _ := cmd.Flags().GetString("color"); color {
	case "always":
		return ink{true}
	case "never":
		return ink{false}
	}
	return ink{os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)}
}

func (i ink) paint(code, s string) string {
	if !i.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (i ink) bold(s string) string  { return i.paint("1", s) }
func (i ink) dim(s string) string   { return i.paint("2", s) }
func (i ink) red(s string) string   { return i.paint("31", s) }
func (i ink) green(s string) string { return i.paint("32", s) }

// column is one of a table.
type column struct {
	title string
	left  bool // text; numbers stand right
}

// printTable prints rows under a header, columns two spaces apart.
func printTable(w io.Writer, ink ink, columns []column, rows [][]string) error {
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = utf8.RuneCountInString(c.title)
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	line := func(cells func(i int) string) string {
		var b strings.Builder
		for i, c := range columns {
			cell := cells(i)
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if c.left {
				cell += pad
			} else {
				cell = pad + cell
			}
			if i > 0 {
				b.WriteString("  ")
			}
			b.WriteString(cell)
		}
		return strings.TrimRight(b.String(), " ")
	}
	if _, err := fmt.Fprintln(w, ink.dim(line(func(i int) string { return columns[i].title }))); err != nil {
		return err
	}
	for _, row := range rows {
		if _, err := fmt.Fprintln(w, line(func(i int) string { return row[i] })); err != nil {
			return err
		}
	}
	return nil
}

// printFields prints names and values, the values below each other.
func printFields(w io.Writer, ink ink, fields [][2]string) error {
	width := 0
	for _, f := range fields {
		width = max(width, utf8.RuneCountInString(f[0]))
	}
	for _, f := range fields {
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(f[0]))
		if _, err := fmt.Fprintln(w, ink.dim(f[0])+pad+"  "+f[1]); err != nil {
			return err
		}
	}
	return nil
}

// countText is a number with commas: 1,234,567.
func countText[N int | int64 | uint64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural is a number and its noun: "1 kill", "2 kills".
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return countText(n) + " " + noun
}

// sizeText is a number of bytes, to three digits, in powers of 1,024.
func sizeText(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	v, u := float64(bytes), 0
	for v >= 1000 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return digits(v) + " " + units[u]
}

// digits is a number to three digits.
func digits(v float64) string {
	switch {
	case v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// timeText is a time to three digits.
func timeText(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + timeText(-d)
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return digits(d.Seconds()) + " s"
	case d >= time.Millisecond:
		return digits(d.Seconds()*1e3) + " ms"
	}
	return digits(d.Seconds()*1e6) + " µs"
}

// microsText is a time in microseconds to three digits.
func microsText(us float64) string { return timeText(time.Duration(us * float64(time.Microsecond))) }
