package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
)

func header(key, value string) wpd.Header { return wpd.Header{Key: key, Value: []byte(value)} }

// strange are entries that are easy to get wrong.
var strange = []wpd.Entry{
	{Data: []byte{}},
	{Data: []byte("plain")},
	{Data: []byte("two\nlines\n")},
	{Data: []byte("\r\n")},
	{Data: []byte(`{"a":"b\\"}`)},
	{Data: []byte("\x00\x01\x1f\x7f\u2028\ufeff\ufffd\U0001f600<&>")},
	{Data: []byte("\xff\xfe\x00")},
	{Data: []byte("\xed\xa0\x80")}, // half a character, as UTF-8 would have it
	{Data: []byte(`\ud800 is no escape here`)},
	{Headers: []wpd.Header{header("k", "v")}, Data: []byte("x")},
	{Headers: []wpd.Header{header("k", "1"), header("a", "2"), header("k", "1"), header("k", "")}, Data: []byte{}},
	{Headers: []wpd.Header{header("", ""), header("bin", "\xff"), header("\xfe", "\x00")}, Data: []byte("y")},
	{Headers: []wpd.Header{header("data_b64", "!")}, Data: bytes.Repeat([]byte{0xc3}, 1000)},
}

func requireSameEntry(t *testing.T, want, got wpd.Entry) {
	t.Helper()
	require.Equal(t, string(want.Data), string(got.Data))
	require.Equal(t, len(want.Headers), len(got.Headers))
	for i, h := range want.Headers {
		require.Equal(t, h.Key, got.Headers[i].Key)
		require.Equal(t, string(h.Value), string(got.Headers[i].Value))
	}
}

func TestEntryJSONRoundTrip(t *testing.T) {
	for i, e := range strange {
		e.LSN, e.Time = wpd.LSN(i+1), time.UnixMicro(1_790_000_000_123_456).UTC()
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		require.NoError(t, newEntryWriter(w, "json", false).write(e))
		require.NoError(t, w.Flush())
		line := out.String()
		require.Equal(t, 1, strings.Count(line, "\n"), line)
		require.True(t, strings.HasSuffix(line, "\n"))
		got, err := parseEntryJSON([]byte(strings.TrimSuffix(line, "\n")))
		require.NoError(t, err, line)
		requireSameEntry(t, e, got)
		require.Zero(t, got.LSN, "where it was is not taken over")
		var x struct {
			LSN     uint64    `json:"lsn"`
			Time    time.Time `json:"time"`
			Data    *string   `json:"data"`
			DataB64 *string   `json:"data_b64"`
		}
		require.NoError(t, json.Unmarshal(out.Bytes(), &x))
		require.EqualValues(t, e.LSN, x.LSN)
		require.Equal(t, e.Time, x.Time)
		require.True(t, (x.Data == nil) != (x.DataB64 == nil), line)
	}
}

func TestEntryJSONText(t *testing.T) {
	b, err := json.Marshal(makeEntryJSON(wpd.Entry{
		LSN: 5, Time: time.UnixMicro(1_790_000_000_000_001).UTC(), Headers: []wpd.Header{header("k", "v"), header("b", "\xff")}, Data: []byte("hé"),
	}))
	require.NoError(t, err)
	require.Equal(t, `{"lsn":5,"time":"2026-09-21T14:13:20.000001Z","headers":[{"key":"k","value":"v"},{"key":"b","value_b64":"/w=="}],"data":"hé"}`, string(b))
	b, err = json.Marshal(makeEntryJSON(wpd.Entry{LSN: 6, Data: []byte{0xff}}))
	require.NoError(t, err)
	require.Equal(t, `{"lsn":6,"time":"0001-01-01T00:00:00Z","data_b64":"/w=="}`, string(b))
}

func TestParseEntryJSONTakes(t *testing.T) {
	for in, want := range map[string]wpd.Entry{
		`{"data":""}`:                      {Data: []byte{}},
		` {"data" : "a" } `:                {Data: []byte("a")},
		`{"data_b64":"/w=="}`:              {Data: []byte{0xff}},
		`{"data":"\ud83d\ude00"}`:          {Data: []byte("😀")},
		`{"data":"\\ud83d"}`:               {Data: []byte(`\ud83d`)},
		`{"data":"\ufffd"}`:                {Data: []byte("\ufffd")},
		`{"data":"x","headers":null}`:      {Data: []byte("x")},
		`{"data":"x","lsn":9,"time":null}`: {Data: []byte("x")},
		`{"data":"x","headers":[{"key":"a"},{"key_b64":"/w==","value_b64":""}]}`: {
			Data: []byte("x"), Headers: []wpd.Header{header("a", ""), header("\xff", "")}},
	} {
		got, err := parseEntryJSON([]byte(in))
		require.NoError(t, err, in)
		requireSameEntry(t, want, got)
	}
}

func TestParseEntryJSONRefuses(t *testing.T) {
	for in, want := range map[string]string{
		`{}`:                             "want one of data and data_b64",
		`{"data":"a","data_b64":"YQ=="}`: "want one of data and data_b64",
		`{"data":null}`:                  "want one of data and data_b64",
		`{"data":5}`:                     "cannot unmarshal number",
		`{"daat":"a"}`:                   `unknown field "daat"`,
		`{"data":"a"} {"data":"b"}`:      "want one object a line",
		`{"data":"a"`:                    "unexpected EOF",
		`["a"]`:                          "cannot unmarshal array",
		`hello`:                          "invalid character",
		"{\"data\":\"\xff\"}":            "no UTF-8",
		`{"data":"\ud83d"}`:              `\ud83d is half a character`,
		`{"data":"\uDE00x"}`:             `\uDE00 is half a character`,
		`{"data":"\\\ud83d\ud83d"}`:      `\ud83d is half a character`,
		`{"data_b64":"%"}`:               "illegal base64",
		`{"data":"a","headers":[{}]}`:    "header 1: want one of key and key_b64",
		`{"data":"a","headers":[{"key":"a"},{"key":"b","value":"","value_b64":""}]}`: "header 2: want one of value",
	} {
		_, err := parseEntryJSON([]byte(in))
		require.ErrorContains(t, err, want, in)
	}
}

func TestEntryWriter(t *testing.T) {
	cut := wpd.Entry{Headers: unterminated, Data: []byte("end")}
	a, b := wpd.Entry{Data: []byte("a")}, wpd.Entry{Headers: []wpd.Header{header("k", "v")}, Data: []byte{}}
	for _, c := range []struct {
		format  string
		settle  bool
		entries []wpd.Entry
		want    string
	}{
		{"lines", true, nil, ""},
		{"lines", true, []wpd.Entry{a, b}, "a\n\n"},
		{"lines", true, []wpd.Entry{a, cut}, "a\nend"},
		{"lines", true, []wpd.Entry{cut, a}, "end\na\n"},
		{"lines", true, []wpd.Entry{cut, cut}, "end\nend"},
		{"lines", false, []wpd.Entry{a, cut}, "a\nend\n"},
		{"raw", true, []wpd.Entry{a, cut, b}, "aend"},
		{"length", true, []wpd.Entry{a, b, cut}, "\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x03end"},
	} {
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		x := newEntryWriter(w, c.format, c.settle)
		for _, e := range c.entries {
			require.NoError(t, x.write(e))
		}
		require.NoError(t, w.Flush())
		require.Equal(t, c.want, out.String(), "%+v", c)
	}
}

// A mark that only looks like ours is none.
func TestLacksNewline(t *testing.T) {
	require.True(t, lacksNewline([]wpd.Header{header("a", "b"), header(newlineHeader, "none")}))
	require.False(t, lacksNewline([]wpd.Header{header(newlineHeader, "")}))
	require.False(t, lacksNewline([]wpd.Header{header("none", newlineHeader)}))
	require.False(t, lacksNewline(nil))
}

func FuzzEntryJSON(f *testing.F) {
	for _, e := range strange {
		b, err := json.Marshal(makeEntryJSON(e))
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte(`{"data":"\ud83d"}`))
	f.Add([]byte(`{"data":"\`))
	f.Add([]byte(`{"data":"\u12`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := parseEntryJSON(line)
		if err != nil {
			return
		}
		b, err := json.Marshal(makeEntryJSON(e))
		require.NoError(t, err)
		again, err := parseEntryJSON(b)
		require.NoError(t, err, "%q", b)
		requireSameEntry(t, e, again)
	})
}
