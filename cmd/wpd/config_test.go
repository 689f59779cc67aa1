package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/wal"
)

// loadSettings loads settings as wpd serve does. %FILE% in an argument or a
// variable is a file with the text.
func loadSettings(t *testing.T, args, environ []string, file string) (*settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "wpd.yaml")
	require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
	named := func(all []string) (out []string) {
		for _, s := range all {
			out = append(out, strings.ReplaceAll(s, "%FILE%", path))
		}
		return out
	}
	s := newSettings()
	var err error
	cmd := &cobra.Command{SilenceErrors: true, SilenceUsage: true, RunE: func(cmd *cobra.Command, _ []string) error {
		return s.load(cmd, named(environ))
	}}
	s.addFlags(cmd)
	cmd.SetFlagErrorFunc(s.flagError)
	cmd.SetArgs(append([]string{}, named(args)...))
	err = cmd.Execute()
	return s, err
}

func words(s string) []string { return strings.Fields(s) }

func TestPrecedence(t *testing.T) {
	const inFile = "--config %FILE%"
	for _, c := range []struct {
		name, args, environ, file string
		key, value, source        string
	}{
		{"nothing", "", "", "", "window", "8", "default"},
		{"file", inFile, "", "window: 3", "window", "3", "file"},
		{"file by variable", "", "WPD_CONFIG=%FILE%", "window: 3", "window", "3", "file"},
		{"file by flag, not by variable", inFile, "WPD_CONFIG=/nowhere", "window: 3", "window", "3", "file"},
		{"a file that nobody named", "", "", "window: 3", "window", "8", "default"},
		{"variable over file", inFile, "WPD_WINDOW=4", "window: 3", "window", "4", "environment"},
		{"flag over variable and file", "--window 5 " + inFile, "WPD_WINDOW=4", "window: 3", "window", "5", "flag"},
		{"flag over variable, the same value", "--window 8", "WPD_WINDOW=4", "", "window", "8", "flag"},
		{"each for itself", "--window 5 " + inFile, "", "cache: 1GiB", "cache", "1GiB", "file"},
		{"an empty variable", inFile, "WPD_WINDOW=", "window: 3", "window", "3", "file"},
		{"an empty file", inFile, "", "", "window", "8", "default"},
		{"a file of comments", inFile, "", "# window: 3\n", "window", "8", "default"},
		{"size in bytes", inFile, "", "fragment_size: 65536", "fragment_size", "64KiB", "file"},
		{"size with a fraction", "--cache 1.5GiB", "", "", "cache", "1536MiB", "flag"},
		{"no cache", inFile, "", "cache: 0", "cache", "0", "file"},
		{"time", inFile, "", "flush_interval: 1m30s", "flush_interval", "1m30s", "file"},
		{"no time", inFile, "", "flush_interval: 0", "flush_interval", "0", "file"},
		{"minutes", "", "WPD_CUT_AGE=600s", "", "cut_age", "10m", "environment"},
		{"switch", "--insecure", "", "", "insecure", "true", "flag"},
		{"switch off", "--insecure=false", "WPD_INSECURE=true", "", "insecure", "false", "flag"},
		{"switch in a file", inFile, "", "allow_bench: true", "allow_bench", "true", "file"},
		{"a number for a name", inFile, "", "node_id: 7", "node_id", "7", "file"},
		{"no HTTP", inFile, "", "http_listen: none", "http_listen", "none", "file"},
		{"what follows", "--window 64", "", "", "buffer", "544MiB", "default"},
		{"what follows, at least", "--fragment-size 64KiB", "", "", "buffer", "24MiB", "default"},
		{"what does not follow", "--buffer 1GiB --window 64", "", "", "buffer", "1GiB", "flag"},
		{"others' variables", "", "WPD_ADDR=x WPD_TEST_RUN=1 WPDX=1 WPD_SERVICE_HOST=10.0.0.1 WPD_SERVICE_PORT=7070 WPD_SERVICE_PORT_GRPC=7070 " +
			"WPD_PORT=tcp://10.0.0.1:7070 WPD_PORT_7070_TCP=tcp://10.0.0.1:7070 WPD_PORT_7070_TCP_ADDR=10.0.0.1 WPD_PROD_SERVICE_HOST=10.0.0.2 WPD_PROD_PORT_1_UDP_PROTO=udp",
			"", "window", "8", "default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := loadSettings(t, words(c.args), words(c.environ), c.file)
			require.NoError(t, err)
			for _, x := range s.effective() {
				if x.Key == c.key {
					require.Equal(t, node.Setting{Key: c.key, Value: c.value, Source: c.source}, x)
					return
				}
			}
			t.Fatalf("no setting %s", c.key)
		})
	}
}

// What a node gets of it.
func TestConfigOfANode(t *testing.T) {
	s, err := loadSettings(t, words("--cache 0 --http-listen none --bucket mem:// --flush-interval 5ms --connections-max 9 --window 2"), nil, "")
	require.NoError(t, err)
	c := s.config()
	require.EqualValues(t, -1, c.Log.CacheBytes, "0 would be the default")
	require.Empty(t, c.HTTPListen)
	require.Equal(t, 5*time.Millisecond, c.Log.FlushInterval)
	require.Equal(t, 9, c.Limits.Connections)
	require.Len(t, c.Settings, len(s.effective()))
	n, err := node.Open(t.Context(), c)
	require.NoError(t, err, "a node takes it")
	require.NoError(t, n.Close())
}

func TestConfigErrors(t *testing.T) {
	const inFile = "--config %FILE%"
	for _, c := range []struct {
		args, environ, file string
		errors              []string // must be in it
	}{
		{inFile, "", "flush_intervall: 5ms", []string{`wpd.yaml: unknown key "flush_intervall"; did you mean flush_interval?`}},
		{inFile, "", "flush-interval: 5ms", []string{"did you mean flush_interval?"}},
		{inFile, "", "Window: 5", []string{`unknown key "Window"; did you mean window?`}},
		{inFile, "", "fragment_szie: 1MiB", []string{"did you mean fragment_size?"}},
		{inFile, "", "node:\n  id: n1", []string{`unknown key "node.id"; did you mean node_id?`}},
		{inFile, "", "wal:\n  window: 1\n  cache: 1", []string{"did you mean cache?", "did you mean window?"}},
		{inFile, "", "something_else: 1", []string{`unknown key "something_else"`}},
		{inFile, "", "window: 65", []string{`wpd.yaml: window: "65": want 1 to 64`}},
		{inFile, "", "window:", []string{"window: there is no value"}},
		{inFile, "", "window: [1, 2]", []string{"window: want one value: 1 to 64"}},
		{inFile, "", "window: eight", []string{`"eight": want 1 to 64`}},
		{inFile, "", "window: -1", []string{"want 1 to 64"}},
		{inFile, "", "window: 1.5", []string{"want 1 to 64"}},
		{inFile, "", "window: 4294967297", []string{"want 1 to 64"}},
		{inFile, "", "cache: lots", []string{"no number of bytes"}},
		{inFile, "", "cache: 1", []string{"want 0, or 1MiB to 1024GiB"}},
		{inFile, "", "buffer: 1MiB", []string{"want 0, or 24MiB to 64GiB"}},
		{inFile, "", "fragment_size: 9MiB", []string{"want 64KiB to 8MiB"}},
		{inFile, "", "cut_age: 5", []string{"want a time"}},
		{inFile, "", "cut_age: 0s", []string{"want 1s to 24h"}},
		{inFile, "", "log_level: loud", []string{"want debug, info, warn, error"}},
		{inFile, "", "insecure: perhaps", []string{"want true or false"}},
		{inFile, "", "listen: 7070", []string{"want HOST:PORT"}},
		{inFile, "", "listen: none", []string{"want HOST:PORT"}},
		{inFile, "", "node_id: a b", []string{"want 1 to 200 of"}},
		{inFile, "", "window: 1\nwindow: 2", []string{"already defined"}},
		{inFile, "", "- window", []string{"wpd.yaml is no file of settings in YAML"}},
		{inFile, "", "window: {", []string{"wpd.yaml is no file of settings in YAML"}},
		{inFile, "", "\x00\x01", []string{"wpd.yaml is no file of settings in YAML"}},
		{inFile, "", strings.Repeat("#", 1<<20+1), []string{"more than 1048576 bytes"}},
		{"--config /does/not/exist", "", "", []string{"read the configuration: open /does/not/exist: no such file"}},
		{"--config /", "", "", []string{"read the configuration: "}},
		{"--config=", "", "", []string{"--config is empty"}},
		{"", "WPD_CONFIG=/does/not/exist", "", []string{"/does/not/exist: no such file"}},
		{"", "WPD_WINDOWS=1", "", []string{"unknown variable WPD_WINDOWS; did you mean WPD_WINDOW?"}},
		{"", "WPD_FLUSHINTERVAL=1s", "", []string{"did you mean WPD_FLUSH_INTERVAL?"}},
		{"", "WPD_ELEPHANTS=1", "", []string{"unknown variable WPD_ELEPHANTS"}},
		{"", "WPD_WINDOW=0", "", []string{`WPD_WINDOW: "0": want 1 to 64`}},
		{"--window 0", "", "", []string{`"--window" flag: want 1 to 64`}},
		{"--windw 1", "", "", []string{"unknown flag: --windw; did you mean --window?"}},
		{"--elephants", "", "", []string{"unknown flag: --elephants"}},
		{inFile, "WPD_WINDOWS=1 WPD_CACHE=x", "windw: 1\nlog_level: x", []string{"WPD_WINDOWS", "windw", "log_level", "WPD_CACHE"}},
	} {
		name, _, _ := strings.Cut(c.args+c.environ+c.file, "\n")
		t.Run(name[:min(len(name), 40)], func(t *testing.T) {
			_, err := loadSettings(t, words(c.args), words(c.environ), c.file)
			require.Error(t, err)
			for _, want := range c.errors {
				require.ErrorContains(t, err, want)
			}
			if strings.HasPrefix(c.errors[0], "unknown") || strings.Contains(c.file, "something_else") {
				require.Equal(t, strings.Contains(c.errors[0], "did you mean"), strings.Contains(err.Error(), "did you mean"))
			}
		})
	}
}

// TestEverySettingIsAKnob: no field of a room's configuration is forgotten, and
// none is changed by two.
func TestEverySettingIsAKnob(t *testing.T) {
	others := map[string]bool{ // not settings, but what a process gives a node
		"node.Store": true, "node.Listener": true, "node.Log": true, "node.Limits": true, "node.Cluster": true, "node.Reflection": true, "node.Version": true, "node.Commit": true,
		"node.Settings": true, "node.FreeSpace": true, "node.Level": true, "node.Logger": true, "node.Registerer": true, "node.NoSync": true,
		"cluster.Network": true, "wal.Store": true, "wal.Meta": true, "wal.Peers": true, "wal.Identity": true, "wal.Logger": true, "wal.Admit": true, "wal.Registerer": true,
	}
	s := newSettings()
	fields := map[string]reflect.Value{}
	for room, v := range map[string]any{"node": &s.node, "wal": &s.node.Log, "server": &s.node.Limits, "cluster": &s.node.Cluster} {
		e := reflect.ValueOf(v).Elem()
		for i := range e.NumField() {
			if name := room + "." + e.Type().Field(i).Name; !others[name] {
				fields[name] = e.Field(i)
			}
		}
	}
	different := map[string]string{ // a value that is not the default
		"bool": "true", "address": "127.0.0.1:1", "word": "error", "time": "7s", "bytes": "9MiB", "count": "11", "dir": "/x", "URL": "mem://", "name": "x",
		"addresses": "127.0.0.1:1", "number": "3",
	}
	changedBy := map[string]string{}
	for k := range s.all {
		before := map[string]any{}
		for name, f := range fields {
			before[name] = f.Interface()
		}
		level, format := s.logLevel, s.logFormat
		v := different[k.value.Type()]
		switch k.key {
		case "log_format":
			v = "json"
		case "fragment_size":
			v = "1MiB"
		case "bootstrap_expect", "voters":
			v = "5"
		case "buffer", "receive_buffer":
			v = "99MiB"
		}
		require.NoError(t, k.value.Set(v), k.key)
		changed := s.logLevel != level || s.logFormat != format
		for name, f := range fields {
			if !reflect.DeepEqual(f.Interface(), before[name]) {
				require.Empty(t, changedBy[name], "%s is changed by %s too", name, k.key)
				changedBy[name], changed = k.key, true
			}
		}
		require.True(t, changed, "%s changes nothing", k.key)
		require.NotEmpty(t, k.what, k.key)
		require.Regexp(t, `^[a-z]+(_[a-z]+)*$`, k.key)
	}
	for name := range fields {
		require.NotEmpty(t, changedBy[name], "no setting for %s", name)
	}
}

// TestDefaults: each default is one that could be given, and that of the room
// itself.
func TestDefaults(t *testing.T) {
	s := newSettings()
	for k := range s.all {
		if k.def != "" {
			require.NoError(t, k.value.Set(k.def), "%s: its default is out of range", k.key)
		}
	}
	s.derive()
	s.node.Log.Logger = nil
	want := wal.Config{}.WithDefaults()
	want.Logger = nil
	require.Equal(t, want, s.node.Log)
	require.EqualValues(t, 96<<20+96<<20+memoryMore, memoryLimit(wal.Config{}))
	require.Equal(t, memoryLimit(wal.Config{}), memoryLimit(s.node.Log))
}

func TestConfigShow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wpd.yaml")
	require.NoError(t, os.WriteFile(path, []byte("bucket: s3://me:hunter2@wpd?region=x&accesskey=hunter3\nwindow: 3\n"), 0o600))
	t.Setenv("WPD_CACHE", "1GiB")
	code, stdout, stderr := runWpd("config", "show", "--config", path, "--node-id", "alpha", "-o", "json")
	require.Zero(t, code, stderr)
	require.NotContains(t, stdout, "hunter")
	got := map[string]shownSetting{}
	for line := range strings.Lines(stdout) {
		var s shownSetting
		require.NoError(t, json.Unmarshal([]byte(line), &s))
		got[s.Key] = s
	}
	require.Equal(t, shownSetting{"window", "3", "file", path}, got["window"])
	require.Equal(t, shownSetting{"cache", "1GiB", "environment", "WPD_CACHE"}, got["cache"])
	require.Equal(t, shownSetting{"node_id", "alpha", "flag", "--node-id"}, got["node_id"])
	require.Equal(t, shownSetting{"prefetch", "32MiB", "default", ""}, got["prefetch"])
	require.Regexp(t, `^s3://wpd\?.*region=x$`, got["bucket"].Value)

	code, stdout, stderr = runWpd("config", "show", "--config", path)
	require.Zero(t, code, stderr)
	require.NotContains(t, stdout, "hunter")
	require.Regexp(t, `(?m)^cache +1GiB +environment \(WPD_CACHE\)$`, stdout)

	require.NoError(t, os.WriteFile(path, []byte("windw: 3"), 0o600))
	code, _, stderr = runWpd("config", "show", "--config", path)
	require.Equal(t, exitUsage, code)
	require.Regexp(t, `^wpd config show: wrong usage\n  why: .*did you mean window\?\n  try: .*\n$`, stderr)
}

// TestConfigDocs: docs/configuration.md is what the settings say.
func TestConfigDocs(t *testing.T) {
	want, err := writeConfigDocs()
	require.NoError(t, err)
	have, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, have), "docs/configuration.md is not current: go generate ./cmd/wpd")

	// The file in it is one that works, and changes nothing.
	_, file, _ := strings.Cut(string(want), "```yaml\n")
	file, _, _ = strings.Cut(file, "```")
	s, err := loadSettings(t, words("--config %FILE%"), nil, file)
	require.NoError(t, err)
	defaults := newSettings()
	defaults.derive()
	for i, x := range s.effective() {
		if x.Key != "bucket" && x.Key != "data_dir" {
			require.Equal(t, defaults.effective()[i].Value, x.Value, x.Key)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abd", 1}, {"abc", "acb", 1}, {"abc", "ab", 1}, {"kitten", "sitting", 3}, {"ab", "cd", 2}} {
		require.Equal(t, c.want, distance(c.a, c.b), "%q %q", c.a, c.b)
		require.Equal(t, c.want, distance(c.b, c.a), "%q %q", c.b, c.a)
	}
}
