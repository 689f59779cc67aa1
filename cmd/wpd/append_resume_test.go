package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAppendResume(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		resume := func(in string, more ...string) []string {
			return append([]string{"append", "a", inputFile(t, in), "--create", "--producer", "p", "--resume"}, more...)
		}
		_, _, said := w.run(resume("a\nb\n")...) // nothing is stored yet
		require.Contains(t, said, "appended 2 entries, LSNs [1, 3),")
		w.ok("append", "a", inputFile(t, "of somebody else\n"))
		_, _, said = w.run(resume("a\nb\nc\nd")...)
		require.Contains(t, said, "appended 2 entries, LSNs [4, 6), after 2 that were stored before")
		_, _, said = w.run(resume("a\nb\nc\nd")...)
		require.Contains(t, said, "appended 0 entries, after 4 that were stored before")
		// The last line has got its newline, and headers that were not there.
		require.Equal(t, `{"first_lsn":6,"count":1}`+"\n", w.ok(resume("a\nb\nc\nd\ne\n", "-H", "k=v", "-o", "json")...))
		require.Equal(t, "a\nb\nof somebody else\nc\nd\ne\n", w.ok("read", "a"))

		said = w.fails(exitConflict, resume("a\nb\nc\nd\nother\nf\n")...)
		require.Contains(t, said, `line 5 of `)
		require.Contains(t, said, `it is not what producer p stored last, at LSN 6: "other" there, "e" in the log`)
		require.Contains(t, w.fails(exitConflict, resume("a\nb\n")...), "the input has 2 entries, but producer p has stored 5")
		require.Contains(t, w.fails(exitConflict, resume("")...), "the input has 0 entries")

		// Without --resume the producer goes on with whatever it gets.
		w.ok("append", "a", inputFile(t, "f\n"), "--producer", "p")
		w.ok(resume("a\nb\nc\nd\ne\nf\ng\n")...)
		require.Equal(t, "f\ng\n", w.ok("read", "a", "--from", "-2"))

		w.ok("log", "trim", "a", "--before", "9", "--yes")
		said = w.fails(exitNotFound, resume("a\nb\nc\nd\ne\nf\ng\n")...)
		require.Contains(t, said, "can't be compared with the input")
		require.Contains(t, said, "append what is behind its first 7 entries without --resume")
	})
}

// Headers that belong to the input are compared, those of -H are not.
func TestAppendResumeComparesHeaders(t *testing.T) {
	w := embeddedWorld(t, t.TempDir())
	entry := func(value string) string {
		return fmt.Sprintf(`{"headers":[{"key":"k","value":%q}],"data":"x"}`+"\n", value)
	}
	run := func(in string, more ...string) (int, string) {
		code, _, said := w.run(append([]string{"append", "a", inputFile(t, in), "--create", "--format", "json", "--producer", "p", "--resume"}, more...)...)
		return code, said
	}
	code, said := run(entry("1"), "-H", "run=1")
	require.Zero(t, code, said)
	code, said = run(entry("1")+entry("2"), "-H", "run=2")
	require.Zero(t, code, said)
	code, said = run(entry("1") + entry("3"))
	require.Equal(t, exitConflict, code, said)
	require.Contains(t, said, "the data are the same, the headers are not")
}

// An append that is killed while it runs goes on with --resume: each line is
// there once.
func TestAppendResumesAfterKill(t *testing.T) { worlds(t, testAppendResumesAfterKill) }

func testAppendResumesAfterKill(t *testing.T, w *world) {
	const lines = 40_000
	var in strings.Builder
	for i := range lines {
		fmt.Fprintf(&in, "line %d\n", i)
	}
	all := in.String()
	acked := 0
	for life := range 3 {
		p := w.start("append", "a", "--create", "-o", "json", "--producer", "p", "--resume")
		fed := make(chan struct{})
		go func() {
			defer close(fed)
			_, _ = p.in.Write([]byte(all[:len(all)*(life+1)/4])) // until it is killed
		}()
		p.ack()
		require.NoError(t, p.cmd.Process.Kill())
		code, _ := p.end()
		require.Equal(t, -1, code, "it was killed")
		<-fed
		_, _, said := w.run("append", "a", inputFile(t, ""), "--producer", "p", "--resume")
		var stored int
		_, err := fmt.Sscanf(said[strings.Index(said, "why: "):], "why: the input has 0 entries, but producer p has stored %d", &stored)
		require.NoError(t, err, said)
		require.Greater(t, stored, acked, "each life has stored something")
		require.Less(t, stored, lines)
		acked = stored
	}
	file := inputFile(t, all)
	_, _, said := w.run("append", "a", file, "--producer", "p", "--resume")
	require.Contains(t, said, fmt.Sprintf("appended %s, ", entriesText(uint64(lines-acked))))
	require.Equal(t, all, w.ok("read", "a"))
}

// A server that is killed and comes back is waited for, by who appends and by
// who follows; nothing is lost, and nothing is there twice.
func TestAppendOutlastsServer(t *testing.T) {
	d := newDevServer(t)
	d.ok("log", "create", "a")
	follower := d.world.start("read", "a", "--follow", "--limit", "30000")
	p := d.world.start("append", "a", "-o", "json")
	feed := func(from int) {
		var in strings.Builder
		for i := from; i < from+10_000; i++ {
			fmt.Fprintf(&in, "line %d\n", i)
		}
		p.send(in.String())
	}
	feed(0)
	require.EqualValues(t, 1, p.ack().FirstLSN)
	first := follower.line() + "\n" // it has found the server
	d.kill()
	feed(10_000) // fits into what may be in flight
	d.start()
	feed(20_000)
	require.NoError(t, p.in.Close())
	code, rest := p.end()
	require.Zero(t, code, p.said())
	require.NotEmpty(t, rest)
	code, followed := follower.end()
	require.Zero(t, code, follower.said())
	for i, line := range strings.SplitAfter(d.ok("read", "a"), "\n")[:30_000] {
		require.Equal(t, fmt.Sprintf("line %d\n", i), line)
	}
	require.Equal(t, d.ok("read", "a"), first+followed)
}
