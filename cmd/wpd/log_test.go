package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

func TestLogCommands(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		code, out, said := w.run("log", "list")
		require.Zero(t, code)
		require.Empty(t, out)
		require.Contains(t, said, "there is no such log")

		code, out, said = w.run("log", "create", "orders")
		require.Zero(t, code)
		require.Empty(t, out)
		require.Equal(t, "created log orders, id 1\n", said)
		require.Contains(t, w.fails(exitConflict, "log", "create", "orders"), "log exists")
		var info map[string]any
		require.NoError(t, json.Unmarshal([]byte(w.ok("log", "create", "photos/cats", "--entry-bytes-max", "2MiB", "-o", "json")), &info))
		require.EqualValues(t, 2<<20, info["entry_bytes_max"])
		w.fails(exitUsage, "log", "create", "no spaces")
		w.fails(exitUsage, "log", "create")
		require.Contains(t, w.fails(exitLimit, "log", "create", "x", "--entry-bytes-max", "9MiB"), "8388608")
		w.fails(exitLimit, "log", "create", "x", "--entry-bytes-max", "4TiB")
		w.fails(exitUsage, "log", "create", "x", "--entry-bytes-max", "x")

		w.ok("append", "orders", inputFile(t, "1\n2\n3\n"))
		out = w.ok("log", "show", "orders", "-o", "json")
		require.Equal(t, 1, strings.Count(out, "\n"))
		info = nil
		require.NoError(t, json.Unmarshal([]byte(out), &info))
		for key, want := range map[string]any{"name": "orders", "id": 1.0, "first_lsn": 1.0, "tail_lsn": 4.0, "entry_bytes_max": float64(1 << 20)} {
			require.Equal(t, want, info[key], key)
		}
		require.Positive(t, info["bytes"])
		require.Equal(t, 4.0, info["extents"].([]any)[0].(map[string]any)["to_lsn"])
		out = w.ok("log", "show", "orders")
		require.Regexp(t, `(?m)^LSNs +\[1, 4\)$`, out)
		require.Regexp(t, `(?m)^entry limit +1.00 MiB \(default\)$`, out)
		require.Contains(t, w.ok("log", "show", "photos/cats", "-o", "json"), `"extents":[]`)
		w.fails(exitNotFound, "log", "show", "nosuch")

		out = w.ok("log", "list")
		require.Regexp(t, `^name +id +first +tail +entries +bytes +created\norders +1 +1 +4 +3 +\d.* B +20.*Z\nphotos/cats +2 +1 +1 +0 +0 B +20.*Z\n$`, out)
		require.Equal(t, 2, strings.Count(w.ok("log", "list", "-o", "json"), "\n"))
		require.True(t, strings.HasPrefix(w.ok("log", "list", "ph", "-o", "json"), `{"name":"photos/cats","id":2,`))
		require.Equal(t, 2, strings.Count(w.ok("log", "list", "-o", "yaml"), "---\nname: "))

		w.ok("log", "set", "orders", "--entry-bytes-max", "100")
		require.Contains(t, w.ok("log", "set", "orders", "--entry-bytes-max", "200", "-o", "json"), `"entry_bytes_max":200,`)
		w.ok("log", "set", "orders", "--entry-bytes-max", "0")
		require.Contains(t, w.ok("log", "show", "orders"), "1.00 MiB (default)")
		require.Contains(t, w.fails(exitUsage, "log", "set", "orders"), "nothing to set")
		w.fails(exitNotFound, "log", "set", "nosuch", "--entry-bytes-max", "1")
	})
}

func TestLogTrimAndDelete(t *testing.T) {
	w := serverWorld(t)
	w.ok("append", "a", inputFile(t, "1\n2\n3\n"), "--create")
	said := w.fails(exitUsage, "log", "trim", "a", "--before", "2")
	require.Contains(t, said, "This drops 1 entry of log a, LSNs [1, 2), for ever, and there is no terminal to ask at; add --yes")
	require.Equal(t, "1\n2\n3\n", w.ok("read", "a"))
	code, out, said := w.run("log", "trim", "a", "--before", "2", "--yes")
	require.Zero(t, code)
	require.Empty(t, out)
	require.Equal(t, "trimmed 1 entry of log a, LSNs [1, 2)\n", said)
	require.Equal(t, "2\n3\n", w.ok("read", "a"))
	_, _, said = w.run("log", "trim", "a", "--before", "2") // nothing to ask
	require.Equal(t, "nothing to trim: log a starts at LSN 2\n", said)
	require.Contains(t, w.ok("log", "trim", "a", "--before", "4", "--yes", "-o", "json"), `"first_lsn":4,"tail_lsn":4,`)
	require.Contains(t, w.fails(exitNotFound, "log", "trim", "a", "--before", "5", "--yes"), "beyond the durable tail 4")
	w.fails(exitUsage, "log", "trim", "a", "--before", "0", "--yes")
	w.fails(exitUsage, "log", "trim", "a", "--yes")
	w.fails(exitNotFound, "log", "trim", "nosuch", "--before", "1", "--yes")

	w.ok("log", "create", "b")
	require.Contains(t, w.fails(exitUsage, "log", "delete", "a"), "add --yes")
	require.Contains(t, w.ok("log", "delete", "a", "-y", "-o", "json"), `{"name":"a","id":1,`)
	w.ok("log", "rm", "b", "--yes")
	w.fails(exitNotFound, "log", "delete", "a", "--yes")
	require.Empty(t, w.ok("log", "list"))
}

func TestLogProducers(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		in := inputFile(t, "1\n2\n3\n")
		w.ok("append", "a", in, "--create")
		code, out, said := w.run("log", "producers", "a")
		require.Zero(t, code)
		require.Empty(t, out)
		require.Contains(t, said, "no named producers")
		w.ok("append", "a", in, "--producer", "beta")
		w.ok("append", "a", in, "--producer", "alpha")
		w.ok("append", "a", in, "--producer", "alpha")
		w.ok("append", "a", inputFile(t, ""), "--producer", "idle")
		require.Regexp(t, `^name +epoch +last sequence +last LSN +time
alpha +2 +6 +12 +20\S+Z
beta +1 +3 +6 +20\S+Z
idle +1 +0 +- +-
$`, w.ok("log", "producers", "a"))
		lines := strings.Split(w.ok("log", "producers", "a", "-o", "json"), "\n")
		require.Len(t, lines, 4)
		require.Regexp(t, `^\{"name":"alpha","id":\d+,"epoch":2,"last_sequence":6,"last_lsn":12,"time":"20.*Z"\}$`, lines[0])
		require.Regexp(t, `^\{"name":"idle","id":\d+,"epoch":1,"last_sequence":0,"last_lsn":0\}$`, lines[2])
		w.fails(exitNotFound, "log", "producers", "nosuch")
	})
}

// Nobody is there: exit code 5, and what to do about it.
func TestNoServer(t *testing.T) {
	t.Setenv(addrEnv, "127.0.0.1:1")
	for _, args := range []string{
		"log list", "log show a", "log create a", "log delete a --yes", "read a", "tail a", "append a /dev/null", "log producers a",
	} {
		code, out, said := runWpd(strings.Fields(args)...)
		require.Equal(t, exitUnavailable, code, said)
		require.Empty(t, out)
		require.Regexp(t, `^wpd .*: unavailable\n  why: unavailable: 127.0.0.1:1: .*connection refused\n  try: start a server: wpd dev; or .*--addr.*WPD_ADDR\n$`, said)
	}
}

// Every command says how it is used: what for, the long of it, and an example.
func TestHelp(t *testing.T) {
	root := newRootCommand()
	addCompletionCommand(root)
	n := 0
	each(root, func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "help" {
			return
		}
		n++
		require.NotEmpty(t, cmd.Short, cmd.CommandPath())
		require.NotEmpty(t, cmd.Example, cmd.CommandPath())
		require.Contains(t, cmd.Example, "wpd", cmd.CommandPath())
		var out bytes.Buffer
		cmd.SetOut(&out)
		require.NoError(t, cmd.Help())
		require.Contains(t, out.String(), "Examples:")
		for line := range strings.Lines(cmd.Long) {
			require.LessOrEqual(t, len([]rune(line)), 100, "%s: %s", cmd.CommandPath(), line)
		}
	})
	require.Greater(t, n, 15)
}

func TestCompletion(t *testing.T) {
	w := serverWorld(t)
	for _, name := range []string{"orders", "orders/new", "photos"} {
		w.ok("log", "create", name)
	}
	for args, want := range map[string][]string{
		"log show ":                  {"orders", "orders/new", "photos"},
		"log show ord":               {"orders", "orders/new"},
		"read orders/":               {"orders/new"},
		"append p":                   {"photos"},
		"tail nosuch":                nil,
		"log show orders ":           nil,
		"log create ":                nil,
		"read photos --format ":      readFormats,
		"append photos --format l":   {"lines", "length"},
		"log list -o ":               {"table", "json", "yaml"},
		"append photos --compress s": {"s2"},
	} {
		words := strings.Split(args, " ")
		last := len(words) - 1
		line := append([]string{"__complete"}, words[:last]...)
		if !strings.HasPrefix(words[last-1], "-") { // otherwise it is a flag's value
			line = append(line, w.flags...)
		}
		code, out, said := runWpd(append(line, words[last])...)
		require.Zero(t, code, said)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		require.Equal(t, want, append([]string(nil), lines[:len(lines)-1]...), args)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		code, out, said := runWpd("completion", shell)
		require.Zero(t, code, said)
		require.Contains(t, out, "wpd")
	}
	code, out, _ := runWpd("__complete", "log", "show", "--addr", "127.0.0.1:1", "")
	require.Zero(t, code)
	require.Equal(t, ":4\n", out, "no names, no files, no complaint")
}

func TestManPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1790000000")
	dir := filepath.Join(t.TempDir(), "man1")
	code, _, said := runWpd("man", dir)
	require.Zero(t, code, said)
	b, err := os.ReadFile(filepath.Join(dir, "wpd-append.1"))
	require.NoError(t, err)
	require.Contains(t, string(b), "\n  json    one object a line, as read gives it", "tables keep their lines")
	require.Contains(t, string(b), `--if-tail`)
	for _, name := range []string{"wpd", "wpd-log", "wpd-log-create", "wpd-read", "wpd-tail"} {
		require.FileExists(t, filepath.Join(dir, name+".1"))
	}
	first := string(b)
	code, _, _ = runWpd("man", dir)
	require.Zero(t, code)
	b, err = os.ReadFile(filepath.Join(dir, "wpd-append.1"))
	require.NoError(t, err)
	require.Equal(t, first, string(b))
	code, _, _ = runWpd("man", filepath.Join(inputFile(t, ""), "x"))
	require.Equal(t, exitUnexpected, code)
}

func TestKeepLines(t *testing.T) {
	require.Equal(t, "a\nb\n\n      c\n      d\n\ne", keepLines("a\nb\n  c\n  d\ne"))
}
