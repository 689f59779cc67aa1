package main

import (
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

func TestTarget(t *testing.T) {
	parse := func(t *testing.T, args ...string) (target, error) {
		cmd := &cobra.Command{Use: "x"}
		addConnectFlags(cmd)
		require.NoError(t, cmd.ParseFlags(args))
		return targetOf(cmd)
	}
	for _, c := range []struct {
		env  string
		args []string
		want target
	}{
		{"", nil, target{addrs: "127.0.0.1:7070"}},
		{"a:1", nil, target{addrs: "a:1"}},
		{"a:1, b:2", nil, target{addrs: "a:1, b:2"}},
		{" ", nil, target{addrs: "127.0.0.1:7070"}},
		{"a:1", []string{"--addr", "b:2"}, target{addrs: "b:2"}},
		{"", []string{"--addr", "a:1,b:2"}, target{addrs: "a:1,b:2"}},
		{"", []string{"--addr", "a:1", "--addr", "b:2"}, target{addrs: "a:1,b:2"}},
		{"", []string{"--timeout", "3s"}, target{addrs: "127.0.0.1:7070", timeout: 3 * time.Second}},
		{"a:1", []string{"--bucket", "file:///o", "--data-dir", "/n"}, target{addrs: "a:1", bucket: "file:///o", dataDir: "/n"}},
		{"", []string{"--bucket", "mem://"}, target{addrs: "127.0.0.1:7070", bucket: "mem://"}},
	} {
		t.Setenv(addrEnv, c.env)
		got, err := parse(t, c.args...)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	for want, args := range map[string][]string{
		"--timeout is -1s":                {"--timeout", "-1s"},
		"--data-dir needs --bucket":       {"--data-dir", "/n"},
		"--bucket needs --data-dir":       {"--bucket", "file:///o"},
		"--addr and --bucket exclude":     {"--bucket", "mem://", "--addr", "a:1"},
		"--addr is empty; want HOST:PORT": {"--addr", " , "},
	} {
		_, err := parse(t, args...)
		require.ErrorContains(t, err, want)
		code, _ := classify(err)
		require.Equal(t, exitUsage, code)
	}
	require.Equal(t, []string{"a:1", "b:2"}, target{addrs: "a:1, b:2"}.list())
}
