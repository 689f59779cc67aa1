package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	oldAppend = `{"case":"append","size":1024,"logs":1,"mb_per_s":100,"p50_us":2.5,"creates":0,"verified":true,"producers":1,"mb_per_s_rounds":[1]}`
	oldOpen   = `{"case":"open","seconds":0.5,"verified":true}`
)

func TestBaseline(t *testing.T) {
	here := benchKey{Case: "append", Size: 1024, Logs: 1, Producers: 1}
	inAll := `{"name":"append 1 KiB","result":` + strings.Replace(oldAppend, "100", "200", 1) + "}"
	for _, c := range []struct {
		name, content string
		want          float64 // mb_per_s
		why           string  // of the error
	}{
		{"one result", oldAppend, 100, ""},
		{"another beside it", oldOpen + "\n" + oldAppend + "\n", 100, ""},
		{"the later of two", oldAppend + oldAppend[:len(oldAppend)-1] + `,"mb_per_s":300}`, 300, ""},
		{"from bench all", inAll, 200, ""},
		{"empty", "", 0, "empty"},
		{"text", "hello", 0, "object 1 is no JSON"},
		{"cut off", oldAppend[:50], 0, "object 1 is no JSON"},
		{"another object", `{"lsn":1}`, 0, "object 1: it is no result of a bench"},
		{"a list", `[1]`, 0, "object 1: it is no result of a bench"},
		{"no text as case", `{"case":1,"verified":true}`, 0, "no result of a bench"},
		{"a list as result", `{"name":"x","result":[1]}`, 0, "no result of a bench"},
		{"foreign after ours", oldAppend + `{"case":"x"}`, 0, "object 2"},
		{"another case", oldOpen, 0, "nothing of case=append size=1024"},
		{"another size", strings.Replace(oldAppend, "1024", "2048", 1), 0, "it has case=append size=2048"},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := findBaseline(inputFile(t, c.content), here)
			if c.why != "" {
				require.ErrorContains(t, err, c.why)
				require.ErrorContains(t, err, "--compare")
				return
			}
			require.NoError(t, err)
			var got benchResult
			require.NoError(t, json.Unmarshal(raw, &got))
			require.Equal(t, c.want, got.MBPerS)
		})
	}
	_, err := findBaseline(filepath.Join(t.TempDir(), "none"), here)
	require.ErrorContains(t, err, "no such file")
	raw, err := findBaseline("", here)
	require.NoError(t, err)
	require.Nil(t, raw)

	b, err := loadBaseline(inputFile(t, inAll))
	require.NoError(t, err)
	require.NotNil(t, b.named("append 1 KiB"))
	require.Nil(t, b.named("append 64 KiB"))
	require.Nil(t, (*baseline)(nil).named("append 1 KiB"))
}

func TestCompareResults(t *testing.T) {
	now := `{"case":"append","size":1024,"new_field":7,"p50_us":5,"mb_per_s":125.25,"creates":3,"verified":false}`
	all, err := compareResults(json.RawMessage(oldAppend), json.RawMessage(now))
	require.NoError(t, err)
	require.Equal(t, []comparison{{"p50_us", 2.5, 5}, {"mb_per_s", 100, 125.25}, {"creates", 0, 3}}, all)

	var out bytes.Buffer
	require.NoError(t, printComparison(&out, ink{}, "beside", all))
	require.Equal(t, "\nbeside\nfield       old      new  ratio\np50_us    2.500        5   2.00\nmb_per_s    100  125.250   1.25\ncreates       0        3\n",
		strings.ReplaceAll(out.String(), "1.51", "1.50"))

	line := string(withComparison(json.RawMessage(now), all))
	require.True(t, json.Valid([]byte(line)))
	require.True(t, strings.HasPrefix(line, strings.TrimSuffix(now, "}")))
	require.True(t, strings.HasSuffix(line, `"compare":{"p50_us":{"old":2.5,"new":5,"ratio":2},"mb_per_s":{"old":100,"new":125.25,"ratio":1.253},"creates":{"old":0,"new":3}}}`), line)
}

// What a bench printed can be compared with, by the same bench.
func TestBenchCompare(t *testing.T) {
	_, first := benchJSON(t, "append --entries 20 --rounds 1 --window 1")
	old := inputFile(t, first)
	args := strings.Fields("bench append --entries 20 --rounds 1 --window 1 --warmup 10ms --compare " + old)
	code, stdout, stderr := runWpd(args...)
	require.Zero(t, code, stderr)
	require.Regexp(t, `(?m)^field +old +new +ratio$`, stdout)
	require.Regexp(t, `(?m)^mb_per_s +\S+ +\S+ +\S+$`, stdout)
	require.NotRegexp(t, `(?m)^size`, stdout)

	code, stdout, stderr = runWpd(append(args, "-o", "json")...)
	require.Zero(t, code, stderr)
	var r struct {
		benchResult
		Compare map[string]struct{ Old, New, Ratio float64 }
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	require.True(t, r.Verified)
	require.Equal(t, r.MBPerS, r.Compare["mb_per_s"].New)
	require.Positive(t, r.Compare["mb_per_s"].Ratio)

	code, _, stderr = runWpd(strings.Fields("bench append --size 64 --compare " + old)...)
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "it has nothing of case=append size=64")
	for _, line := range []string{"bench read", "bench tail", "bench open", "bench all"} {
		code, _, stderr = runWpd(append(strings.Fields(line), "--compare", "/does/not/exist")...)
		require.Equal(t, exitUsage, code, line)
		require.Contains(t, stderr, "no such file", line)
	}
}
