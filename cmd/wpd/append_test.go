package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
)

// What is appended is read back, byte for byte, in any format that can hold
// it.
func TestAppendReadRoundTrip(t *testing.T) {
	var lines strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&lines, "line %d %s\n", i, strings.Repeat("é", i%50))
	}
	var length strings.Builder
	for _, e := range strange {
		fmt.Fprintf(&length, "%s%s", []byte{0, 0, byte(len(e.Data) >> 8), byte(len(e.Data))}, e.Data)
	}
	worlds(t, func(t *testing.T, w *world) {
		for i, c := range []struct{ format, back, in string }{
			{"lines", "lines", lines.String()},
			{"lines", "lines", "one\n\n\x00\xff\r\nlast without a newline"},
			{"lines", "lines", "no newline at all"},
			{"lines", "lines", ""},
			{"lines", "lines", "\n"},
			{"length", "length", length.String()},
			{"length", "length", ""},
			{"whole", "raw", "\x00 anything\n\n"},
			{"whole", "raw", ""},
		} {
			log := fmt.Sprintf("log/%d", i)
			w.ok("append", log, inputFile(t, c.in), "--format", c.format, "--create")
			require.Equal(t, c.in, w.ok("read", log, "--format", c.back), "%+v", c)
		}
		require.Equal(t, "1\n", countOf(w, "log/8"), "nothing, as a whole, is an entry")
		require.Equal(t, "0\n", countOf(w, "log/6"))

		// Of two inputs that end without a newline, only the last one's is left
		// out.
		w.ok("append", "log/2", inputFile(t, "the second\nthe end"))
		require.Equal(t, "no newline at all\nthe second\nthe end", w.ok("read", "log/2"))
		require.Equal(t, "no newline at all\n", w.ok("read", "log/2", "--to", "2", "--follow"))
	})
}

func countOf(w *world, log string) string {
	return fmt.Sprintf("%d\n", strings.Count(w.ok("read", log, "--format", "json"), "\n"))
}

// JSON takes everything from log to log: bytes of all kinds, headers, their
// order, and keys that repeat.
func TestAppendJSONRoundTrip(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		var in strings.Builder
		for _, e := range strange {
			b, err := json.Marshal(makeEntryJSON(e))
			require.NoError(t, err)
			in.Write(append(b, '\n'))
		}
		w.ok("append", "a", inputFile(t, in.String()), "--format", "json", "--create")
		first := w.ok("read", "a", "-o", "json")
		w.ok("append", "b", inputFile(t, first), "--format", "json", "--create", "--compress", "zstd")
		second := strings.Split(strings.TrimSpace(w.ok("read", "b", "--format", "json")), "\n")
		require.Len(t, second, len(strange))
		for i, line := range second {
			got, err := parseEntryJSON([]byte(line))
			require.NoError(t, err)
			requireSameEntry(t, strange[i], got)
			var x entryJSON
			require.NoError(t, json.Unmarshal([]byte(line), &x))
			require.EqualValues(t, i+1, x.LSN)
			require.False(t, x.Time.IsZero())
		}
	})
}

func TestAppendHeaders(t *testing.T) {
	w := embeddedWorld(t, t.TempDir())
	w.ok("append", "a", inputFile(t, "x\ny"), "--create", "-H", "k=1", "--header", "k=a=b,c")
	w.ok("append", "a", inputFile(t, `{"headers":[{"key":"own","value":"o"}],"data":"z"}`), "--format", "json", "-H", "k=2")
	var got []string
	for line := range strings.Lines(w.ok("read", "a", "-o", "json")) {
		e, err := parseEntryJSON([]byte(line))
		require.NoError(t, err)
		text := string(e.Data)
		for _, h := range e.Headers {
			text += fmt.Sprintf(" %s:%s", h.Key, h.Value)
		}
		got = append(got, text)
	}
	require.Equal(t, []string{"x k:1 k:a=b,c", "y wpd-newline:none k:1 k:a=b,c", "z own:o k:2"}, got)
	require.Equal(t, "x\ny\nz\n", w.ok("read", "a"))
	require.Contains(t, w.fails(exitLimit, "append", "a", inputFile(t, "x"), "-H", "k="+strings.Repeat("v", 17<<10)), "entry header bytes")
}

// Every batch is told once, and they add up to the input.
func TestAppendTellsBatches(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		in := inputFile(t, strings.Repeat("an entry\n", 25_000))
		next := wpd.LSN(1)
		for range 2 {
			out := w.ok("append", "a", in, "--create", "-o", "json")
			require.Greater(t, strings.Count(out, "\n"), 24, "a batch has at most 1,000 entries")
			for line := range strings.Lines(out) {
				var a ackJSON
				require.NoError(t, json.Unmarshal([]byte(line), &a))
				require.Equal(t, next, a.FirstLSN)
				next += wpd.LSN(a.Count)
			}
		}
		require.EqualValues(t, 50_001, next)
		require.Equal(t, "---\nfirst_lsn: 50001\ncount: 1\n", w.ok("append", "a", inputFile(t, "x"), "-o", "yaml"))
		code, out, said := w.run("append", "a", inputFile(t, "x\ny\n"))
		require.Zero(t, code)
		require.Empty(t, out)
		require.Regexp(t, `^appended 2 entries, LSNs \[50002, 50004\), 2 B in .*/s\n$`, said)
	})
}

// An input that pauses holds nothing back, and each acknowledgement is told at
// once.
func TestAppendFromPipe(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		p := w.start("append", "a", "--create", "-o", "json")
		for i := range 5 {
			p.send(fmt.Sprintf("entry %d\nthe beginning of ", i))
			require.Equal(t, ackJSON{wpd.LSN(i + 1), 1}, p.ack())
		}
		require.NoError(t, p.in.Close())
		require.Equal(t, ackJSON{6, 1}, p.ack())
		code, rest := p.end()
		require.Zero(t, code, p.said())
		require.Empty(t, rest)
		require.Equal(t, "entry 0\nthe beginning of entry 1\n", w.ok("read", "a", "--to", "3"))
	})
}

func TestAppendIfTail(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		in := strings.Repeat("entry\n", 2500) // several batches
		w.ok("append", "a", inputFile(t, in), "--create", "--if-tail", "1")
		said := w.fails(exitConflict, "append", "a", inputFile(t, in), "--if-tail", "1")
		require.Contains(t, said, "tail is 2501, not 1")
		require.Contains(t, said, "appended 0 entries")
		w.fails(exitConflict, "append", "a", inputFile(t, in), "--if-tail", "9999")
		out := w.ok("append", "a", inputFile(t, in), "--if-tail", "2501", "-o", "json")
		require.Equal(t, 3, strings.Count(out, "\n"))
		require.Equal(t, in+in, w.ok("read", "a"))
		w.ok("append", "a", inputFile(t, ""), "--if-tail", "7") // nothing to refuse
	})
}

// If somebody else appends between two batches of one command, the second is
// refused.
func TestAppendIfTailChains(t *testing.T) {
	w := serverWorld(t)
	p := w.start("append", "a", "--create", "--if-tail", "1", "-o", "json")
	p.send("one\ntwo\n")
	require.Equal(t, ackJSON{1, 2}, p.ack())
	p.send("three\n")
	require.Equal(t, ackJSON{3, 1}, p.ack())
	w.ok("append", "a", inputFile(t, "other\n"))
	p.send("four\nfive\n")
	code, rest := p.end()
	require.Equal(t, exitConflict, code)
	require.Empty(t, rest)
	require.Contains(t, p.said(), "appended 3 entries, LSNs [1, 4)\nto go on: the input from its line 4 on is not stored\n")
	require.Contains(t, p.said(), "tail is 5, not 4")
	require.Equal(t, "one\ntwo\nthree\nother\n", w.ok("read", "a"))
}

// An input that is wrong somewhere is stored up to there, and the place is
// told.
func TestAppendStopsAtTheWrongPlace(t *testing.T) {
	w := serverWorld(t)
	w.ok("log", "create", "small", "--entry-bytes-max", "10")
	for i, c := range []struct {
		format, in string
		code       int
		place      string
		stored     int
	}{
		{"lines", "a\nb\n12345678901\nc\n", exitLimit, "line 3 of ", 2},
		{"lines", "12345678901", exitLimit, "line 1 of ", 0},
		{"json", `{"data":"a"}` + "\n\n" + `{"data":"b"} x`, exitUsage, "line 3 of ", 1},
		{"json", `{"data":"a","headers":[{"key":"k","value":"12345678"}]}`, exitLimit, "line 1 of ", 0},
		{"length", "\x00\x00\x00\x01a\x00\x00\x00\x02b", exitUsage, "entry 2 of ", 1},
		{"length", "\x00\x00\x00\x01a\x00\x00\x00\x0b12345678901", exitLimit, "entry 2 of ", 1},
		{"whole", "12345678901", exitLimit, "", 0},
	} {
		before := w.ok("read", "small", "--format", "json")
		file := inputFile(t, c.in)
		said := w.fails(c.code, "append", "small", file, "--format", c.format)
		require.Contains(t, said, "appended "+entriesText(uint64(c.stored)), "%d", i)
		require.Contains(t, said, c.place+file)
		after := w.ok("read", "small", "--format", "json")
		require.Equal(t, c.stored, strings.Count(after, "\n")-strings.Count(before, "\n"))
	}
	w.ok("append", "small", inputFile(t, "1234567890"), "--format", "whole")
	_, _, said := w.run("append", "small", inputFile(t, "a\n1234567890"))
	require.Contains(t, said, "it is read back with a newline, though it has none")
	w.ok("log", "set", "small", "--entry-bytes-max", "11")
	w.ok("append", "small", inputFile(t, "12345678901\n"))
}

func TestAppendRefuses(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		in := inputFile(t, "x\n")
		require.Contains(t, w.fails(exitNotFound, "append", "a", in), "try: --create makes the log")
		w.fails(exitNotFound, "append", "a", filepath.Join(t.TempDir(), "none"), "--create")
		require.Contains(t, w.fails(exitUsage, "append", "a", t.TempDir()), "is a directory")
		for args, why := range map[string]string{
			"--format xml":                      "want lines, length, json or whole",
			"--if-tail 0":                       "the tail of an empty log is 1",
			"--if-tail -1":                      "invalid syntax",
			"--resume":                          "--resume needs --producer",
			"--producer=":                       "--producer is empty",
			"--producer p --resume --if-tail 1": "exclude each other",
			"--compress gzip":                   "want none, s2 or zstd",
			"-H novalue":                        "want KEY=VALUE",
			"--linger -1s":                      "must not be negative",
			"--patience -1s":                    "must not be negative",
		} {
			require.Contains(t, w.fails(exitUsage, append([]string{"append", "a", in}, strings.Fields(args)...)...), why)
		}
		w.fails(exitUsage, "append")
		w.fails(exitUsage, "append", "not a name", in, "--create")
		require.Contains(t, w.fails(exitLimit, "append", "a", in, "--create", "--producer", strings.Repeat("p", 256)), "producer name bytes")
	})
}

// Who opens a producer or an exclusive writer later takes over.
func TestAppendFenced(t *testing.T) {
	w := serverWorld(t)
	for _, c := range [][]string{{"--producer", "p"}, {"--exclusive"}} {
		log := strings.Trim(c[0], "-")
		old := w.start(append([]string{"append", log, "--create", "-o", "json"}, c...)...)
		old.send("old\n")
		require.Equal(t, ackJSON{1, 1}, old.ack())
		w.ok(append([]string{"append", log, inputFile(t, "new\n")}, c...)...)
		old.send("too late\n")
		code, _ := old.end()
		require.Equal(t, exitConflict, code, old.said())
		require.Contains(t, old.said(), "appended 1 entry, LSNs [1, 2)")
		require.Contains(t, old.said(), "fenced")
		require.Equal(t, "old\nnew\n", w.ok("read", log))
	}
}

func TestAppendDeletedMeanwhile(t *testing.T) {
	w := serverWorld(t)
	p := w.start("append", "a", "--create", "-o", "json")
	p.send("x\n")
	p.ack()
	w.ok("log", "delete", "a", "--yes")
	p.send("y\n")
	code, _ := p.end()
	require.Equal(t, exitNotFound, code, p.said())
	require.Contains(t, p.said(), "appended 1 entry")
}

func TestAppendInterrupted(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		p := w.start("append", "a", "--create", "-o", "json", "--producer", "p")
		p.send("x\ny\nz")
		n := uint64(0)
		for n < 2 {
			n += p.ack().Count
		}
		p.signal(os.Interrupt)
		code, _ := p.end()
		require.Equal(t, exitInterrupted, code, p.said())
		said := p.said()
		require.Contains(t, said, "appended 2 entries, LSNs [1, 3)\nto go on: run the same command on the same input, with --resume\n")
		require.Contains(t, said, "wpd append: interrupted\n")
		w.ok("append", "a", inputFile(t, "x\ny\nz"), "--producer", "p", "--resume")
		require.Equal(t, "x\ny\nz", w.ok("read", "a"))
	})
}

// Whoever reads the acknowledgements may leave: no word about it.
func TestAppendToBrokenPipe(t *testing.T) {
	w := embeddedWorld(t, t.TempDir())
	r, out, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	defer out.Close() //nolint:errcheck // a pipe
	w.ok("log", "create", "a")
	var said strings.Builder
	args := append([]string{"append", "a", inputFile(t, "x\n"), "-o", "json"}, w.flags...)
	require.Equal(t, exitPipe, run(args, out, &said))
	require.Empty(t, said.String())
}
