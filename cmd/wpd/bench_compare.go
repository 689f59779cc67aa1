package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

func addCompareFlag(f *pflag.FlagSet, file *string) {
	f.StringVar(file, "compare", "", "beside the result, print that of an earlier run: a `FILE` with the output of -o json")
}

// benchKey tells what can be compared with each other: the case, and what it
// was run with. Where it ran is not in it.
type benchKey struct {
	Case      string  `json:"case"`
	Size      int64   `json:"size"`
	Logs      int     `json:"logs"`
	Producers int     `json:"producers"`
	Rate      float64 `json:"rate"`
	Sync      bool    `json:"sync"`
	DelayMs   float64 `json:"delay_ms"`
	Followers int     `json:"followers"`
	Nodes     int     `json:"nodes"`
	Leading   float64 `json:"leading"`
	Wanted    uint64  `json:"fragments_wanted"`
}

func (k benchKey) String() string {
	b, _ := json.Marshal(k) // never fails
	return strings.NewReplacer(`"`, "", "{", "", "}", "", ",", " ", ":", "=").Replace(string(b))
}

// baselineResult is the result of one case of an earlier run.
type baselineResult struct {
	name string // in bench all; "" of a run by itself
	key  benchKey
	raw  json.RawMessage
}

// baseline is what an earlier run printed.
type baseline struct {
	file    string
	results []baselineResult
}

// baselineBytesMax is more than anybody's benches print.
const baselineBytesMax = 64 << 20

// loadBaseline reads the output of earlier benches; nil if there is no file.
// All errors are the user's.
func loadBaseline(file string) (*baseline, error) {
	if file == "" {
		return nil, nil
	}
	b, err := readBaseline(file)
	if err != nil {
		if path, ok := errors.AsType[*fs.PathError](err); ok {
			err = path.Err
		}
		return nil, fmt.Errorf("--compare %s: %w", file, err)
	}
	return b, nil
}

func readBaseline(file string) (*baseline, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was read only
	b := &baseline{file: file}
	d := json.NewDecoder(io.LimitReader(f, baselineBytesMax))
	for {
		var raw json.RawMessage
		if err := d.Decode(&raw); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("object %d is no JSON: %w; want the output of wpd bench -o json", len(b.results)+1, err)
		}
		r, err := parseBaseline(raw)
		if err != nil {
			return nil, fmt.Errorf("object %d: %w; want the output of wpd bench -o json", len(b.results)+1, err)
		}
		b.results = append(b.results, r)
	}
	if len(b.results) == 0 {
		return nil, errors.New("it is empty; want the output of wpd bench -o json")
	}
	return b, nil
}

// parseBaseline takes what a case printed, or bench all of one.
func parseBaseline(raw json.RawMessage) (baselineResult, error) {
	r := baselineResult{raw: raw}
	var report struct {
		Name   string          `json:"name"`
		Result json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(raw, &report); err != nil {
		return r, errors.New("it is no result of a bench")
	}
	if report.Result != nil {
		r.name, r.raw = report.Name, report.Result
	}
	var has struct {
		Verified *bool `json:"verified"`
	}
	if err := errors.Join(json.Unmarshal(r.raw, &r.key), json.Unmarshal(r.raw, &has)); err != nil || r.key.Case == "" || has.Verified == nil {
		return r, errors.New("it is no result of a bench")
	}
	return r, nil
}

// findBaseline returns the result in a file that may be compared with one of a
// key; nil if there is no file.
func findBaseline(file string, k benchKey) (json.RawMessage, error) {
	b, err := loadBaseline(file)
	if err != nil {
		return nil, err
	}
	return b.find(k)
}

// find returns the result to be compared with one of a key; the last, if there
// are several. Nil of a nil baseline.
func (b *baseline) find(k benchKey) (json.RawMessage, error) {
	if b == nil {
		return nil, nil
	}
	for _, r := range slices.Backward(b.results) {
		if r.key == k {
			return r.raw, nil
		}
	}
	var have []string
	for _, r := range b.results {
		have = append(have, r.key.String())
	}
	return nil, fmt.Errorf("--compare %s: it has nothing of %s; it has %s", b.file, k, strings.Join(slices.Compact(have), "; "))
}

// named returns the result of a case of bench all; nil if there is none.
func (b *baseline) named(name string) json.RawMessage {
	if b == nil {
		return nil
	}
	for _, r := range slices.Backward(b.results) {
		if r.name == name {
			return r.raw
		}
	}
	return nil
}

// comparison is one number of a result beside that of an earlier one.
type comparison struct {
	field    string
	old, new float64
}

// ratio is new ÷ old; NaN if there was none.
func (c comparison) ratio() float64 {
	if c.old == 0 {
		return math.NaN()
	}
	return c.new / c.old
}

// compareResults compares the numbers that both results have, in the order of
// the new one. What the case was run with is the same, and left out.
func compareResults(old, new json.RawMessage) ([]comparison, error) {
	before, err := numbers(old)
	if err != nil {
		return nil, err
	}
	after, err := numbers(new)
	if err != nil {
		return nil, err
	}
	at := map[string]float64{}
	for _, n := range before {
		at[n.field] = n.new
	}
	var all []comparison
	for _, n := range after {
		if was, ok := at[n.field]; ok {
			all = append(all, comparison{n.field, was, n.new})
		}
	}
	return all, nil
}

// configFields of a result say what it was run with.
var configFields = []string{"size", "logs", "producers", "rate", "delay_ms", "followers", "nodes", "leading", "fragments_wanted", "rounds"}

// numbers are an object's fields that are numbers, in their order.
func numbers(object json.RawMessage) ([]comparison, error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var all []comparison
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		field, _ := name.(string)
		if v, ok := value.(float64); ok && !slices.Contains(configFields, field) {
			all = append(all, comparison{field: field, new: v})
		}
	}
	return all, nil
}

// printComparison prints numbers for people.
func printComparison(w io.Writer, ink ink, title string, all []comparison) error {
	rows := make([][]string, len(all))
	for i, c := range all {
		ratio := ""
		if r := c.ratio(); !math.IsNaN(r) {
			ratio = digits(r)
		}
		rows[i] = []string{c.field, numberText(c.old), numberText(c.new), ratio}
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", ink.bold(title)); err != nil {
		return err
	}
	return printTable(w, ink, []column{{"field", true}, {"old", false}, {"new", false}, {"ratio", false}}, rows)
}

// numberText is a number as it is, if it is whole, otherwise to three decimals.
func numberText(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return countText(int64(v))
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

// withComparison adds the key "compare" to an object: old, new and ratio by
// field.
func withComparison(object json.RawMessage, all []comparison) json.RawMessage {
	b := bytes.NewBuffer(bytes.TrimSuffix(bytes.TrimSpace(object), []byte("}")))
	b.WriteString(`,"compare":{`)
	for i, c := range all {
		if i > 0 {
			b.WriteByte(',')
		}
		value := struct {
			Old   float64  `json:"old"`
			New   float64  `json:"new"`
			Ratio *float64 `json:"ratio,omitempty"`
		}{c.old, c.new, nil}
		if r := round(c.ratio()); !math.IsNaN(r) {
			value.Ratio = &r
		}
		text, _ := json.Marshal(value) // never fails
		fmt.Fprintf(b, "%q:%s", c.field, text)
	}
	b.WriteString("}}")
	return b.Bytes()
}
