package main

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ways runs a test against each way to read what a world has: through it, and,
// where there is nobody to disturb, from its bucket alone.
func ways(w *world, test func(run func(args ...string) (int, string, string), offline bool)) {
	test(w.run, false)
	test(func(args ...string) (int, string, string) { return runWpd(append(args, "--bucket", w.bucket)...) }, true)
}

func TestReadPositions(t *testing.T) {
	w := serverWorld(t)
	w.ok("append", "a", inputFile(t, "1\n2\n3\n"), "--create")
	// Times are told apart in microseconds; the two inputs lie further
	// apart than that, by all that happens between two commands.
	w.ok("append", "a", inputFile(t, "4\n5\n"))
	times := map[string]string{}
	for line := range strings.Lines(w.ok("read", "a", "-o", "json")) {
		var lsn int
		var at string
		_, err := fmt.Sscanf(strings.NewReplacer(`"`, " ", ",", " ").Replace(line), "{ lsn :%d  time : %s", &lsn, &at)
		require.NoError(t, err, line)
		times[strconv.Itoa(lsn)] = at
	}
	require.NotEqual(t, times["1"], times["4"])
	ways(w, func(run func(...string) (int, string, string), offline bool) {
		for args, want := range map[string]string{
			"":                                    "12345",
			"--from earliest":                     "12345",
			"--from 1":                            "12345",
			"--from 4":                            "45",
			"--from 6":                            "",
			"--from -1":                           "5",
			"--from -99":                          "12345",
			"--from 2 --to 4":                     "23",
			"--from 2 --to 2":                     "",
			"--to 99":                             "12345",
			"--limit 2":                           "12",
			"--limit 0":                           "12345",
			"--from -2 --limit 1":                 "4",
			"--from -4 --to 4":                    "23",
			"--from " + times["1"]:                "12345",
			"--from " + times["4"]:                "45",
			"--from " + times["4"] + " --limit 1": "4",
			"--until " + times["4"]:               "123",
			"--until " + times["1"]:               "",
			"--from " + times["1"] + " --until " + times["4"] + " --limit 2": "12",
			"--from -10m":                 "12345",
			"--until -10m":                "",
			"--from -1h --until -0s":      "12345",
			"--from 2100-01-01T00:00:00Z": "",
		} {
			code, out, said := run(append([]string{"read", "a"}, strings.Fields(args)...)...)
			require.Zero(t, code, "%s: %s", args, said)
			require.Equal(t, want, strings.ReplaceAll(out, "\n", ""), args)
		}
		for args, want := range map[string]int{
			"--from 10":        exitNotFound,
			"--from 10 --to 5": exitUsage,
			"--from 0":         exitUsage,
			"--from x":         exitUsage,
			"--to 0":           exitUsage,
			"--to -1":          exitUsage,
			"--until x":        exitUsage,
			"--until 5":        exitUsage,
			"--from 2026-01-02T00:00:00Z --until 2026-01-01T00:00:00Z": exitUsage,
			"--format xml":         exitUsage,
			"--format whole":       exitUsage,
			"-o yaml":              exitUsage,
			"-o json --format raw": exitUsage,
			"extra":                exitUsage,
		} {
			code, out, said := run(append([]string{"read", "a"}, strings.Fields(args)...)...)
			require.Equal(t, want, code, "%s: %s", args, said)
			require.Empty(t, out)
		}
		code, _, _ := run("read", "nosuch")
		require.Equal(t, exitNotFound, code)
		for _, args := range []string{"--from tail", "--linearizable"} {
			code, out, said := run(append([]string{"read", "a"}, strings.Fields(args)...)...)
			if offline {
				require.Equal(t, exitUsage, code, said)
			} else {
				require.Zero(t, code, said)
				require.Equal(t, args == "--from tail", out == "")
			}
		}
	})
	code, _, said := runWpd("read", "a", "--bucket", w.bucket, "--follow")
	require.Equal(t, exitUsage, code, said)
	code, _, said = runWpd("read", "a", "--bucket", w.bucket, "--addr", "127.0.0.1:1")
	require.Equal(t, exitUsage, code, said)
}

func TestReadTrimmed(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w.ok("append", "a", inputFile(t, "1\n2\n3\n"), "--create")
		w.ok("log", "trim", "a", "--before", "3", "--yes")
		require.Equal(t, "3\n", w.ok("read", "a"))
		require.Equal(t, "3\n", w.ok("read", "a", "--from", "-9"))
		require.Contains(t, w.fails(exitNotFound, "read", "a", "--from", "2"), "LSN 2 is trimmed, the first left is 3")
	})
}

// A follower gets each entry at once.
func TestTail(t *testing.T) {
	w := serverWorld(t)
	w.ok("append", "a", inputFile(t, "1\n2\n3\n"), "--create")
	last := w.start("tail", "a", "-n", "2", "--limit", "4")
	require.Equal(t, "2", last.line())
	require.Equal(t, "3", last.line())
	all := w.start("read", "a", "--follow", "--format", "json", "--to", "6")
	for range 3 {
		all.line()
	}
	w.ok("append", "a", inputFile(t, "4"))
	require.Equal(t, "4", last.line(), "with a newline, though it had none")
	require.Contains(t, all.line(), `"data":"4"`)
	w.ok("append", "a", inputFile(t, "5\n"))
	require.Equal(t, "5", last.line())
	require.Contains(t, all.line(), `"data":"5"`)
	for _, p := range []*running{last, all} {
		code, rest := p.end()
		require.Zero(t, code, p.said())
		require.Empty(t, rest)
		require.Empty(t, p.said())
	}
	w.fails(exitNotFound, "tail", "nosuch")
	w.fails(exitUsage, "tail", "a", "-n", "-1")
	w.fails(exitUsage, "tail", "a", "--from", "1")
}

// A plain tail begins with what comes after it has started.
func TestTailFromNowOn(t *testing.T) {
	w := serverWorld(t)
	w.ok("append", "a", inputFile(t, "old\n"), "--create")
	p := w.start("tail", "a")
	got := make(chan string, 1)
	go func() { got <- p.line() }()
	for {
		w.ok("append", "a", inputFile(t, "new\n"))
		select {
		case line := <-got:
			require.Equal(t, "new", line)
			p.signal(os.Interrupt)
			code, rest := p.end()
			require.Equal(t, exitInterrupted, code, p.said())
			require.NotContains(t, rest, "old")
			require.Regexp(t, `^read \d+ entr(y|ies); to go on: --from \d+\nwpd tail: interrupted\n$`, p.said())
			return
		default:
		}
	}
}

// A follower whose reader has left ends without waiting for an entry that it
// could not write.
func TestTailToBrokenPipe(t *testing.T) {
	w := serverWorld(t)
	w.ok("append", "a", inputFile(t, "1\n2\n"), "--create")
	r, out, err := os.Pipe()
	require.NoError(t, err)
	defer out.Close() //nolint:errcheck // a pipe
	var said bytes.Buffer
	ended := make(chan int)
	go func() { ended <- run(append([]string{"tail", "a", "-n", "1"}, w.flags...), out, &said) }()
	b := make([]byte, 10)
	n, err := r.Read(b)
	require.NoError(t, err)
	require.Equal(t, "2\n", string(b[:n]))
	require.NoError(t, r.Close())
	select {
	case code := <-ended:
		require.Equal(t, exitPipe, code)
		require.Empty(t, said.String())
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on, though nobody reads")
	}
}

func TestReadToBrokenPipe(t *testing.T) {
	w := embeddedWorld(t, t.TempDir())
	w.ok("append", "a", inputFile(t, strings.Repeat("x", 1<<20)), "--create", "--format", "whole")
	r, out, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	defer out.Close() //nolint:errcheck // a pipe
	var said bytes.Buffer
	require.Equal(t, exitPipe, run(append([]string{"read", "a"}, w.flags...), out, &said))
	require.Empty(t, said.String())
}

// What is lost is told with its range, and reading goes on behind it.
func TestReadDataLoss(t *testing.T) {
	w := embeddedWorld(t, t.TempDir())
	for i := range 3 { // each in a chain of its own
		w.ok("append", "a", inputFile(t, fmt.Sprintf("%d\n", i+1)), "--create")
	}
	u, err := url.Parse(w.bucket)
	require.NoError(t, err)
	chains, err := filepath.Glob(filepath.Join(u.Path, "chains", "*", "*"))
	require.NoError(t, err)
	damaged := 0
	for _, name := range chains {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		if i := bytes.Index(b, []byte("\x02"+"2")); i >= 0 { // its length, shifted, and the entry
			b[i+1] ^= 0xff
			require.NoError(t, os.WriteFile(name, b, 0o600))
			damaged++
		}
	}
	require.Positive(t, damaged)
	ways(w, func(run func(...string) (int, string, string), offline bool) {
		code, out, said := run("read", "a")
		require.Equal(t, exitDataLoss, code, "offline %v: %s", offline, said)
		require.Equal(t, "1\n3\n", out)
		require.Contains(t, said, "[2, 3)")
		require.Contains(t, said, "log a")
		require.Contains(t, said, "1 range could not be read")
	})
}
