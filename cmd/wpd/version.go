package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// version is what this binary was built from.
type version struct {
	Version  string         `json:"version"`
	Commit   string         `json:"commit,omitempty"`
	Modified bool           `json:"modified,omitempty"` // there were changes beyond the commit
	Go       string         `json:"go"`
	Platform string         `json:"platform"`
	Server   *serverVersion `json:"server,omitempty"` // if one was asked
}

// serverVersion is what a server says that it was built from.
type serverVersion struct {
	Addr    string `json:"addr"`
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
}

func readVersion() version {
	v := version{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func newVersionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long:  "Print the version of this program and, with --addr, that of a server.",
		Example: `  wpd version
  wpd version --addr 127.0.0.1:7070 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			v := readVersion()
			if !cmd.Flags().Changed("addr") {
				return printResult(cmd, v, v.print)
			}
			ctx, a, done, err := connectAdmin(cmd)
			if err != nil {
				return err
			}
			defer func() { err = joinDone(err, done) }()
			t, err := targetOf(cmd)
			if err != nil {
				return err
			}
			if v.Server, err = readServerVersion(ctx, t.addrs, a); err != nil {
				return err
			}
			return printResult(cmd, v, v.print)
		},
	}
	addServerFlags(cmd)
	return cmd
}

func readServerVersion(ctx context.Context, addr string, a interface {
	Status(ctx context.Context) (*adminv1.GetStatusResponse, error)
}) (*serverVersion, error) {
	s, err := a.Status(ctx)
	if err != nil {
		return nil, err
	}
	return &serverVersion{addr, s.GetVersion(), s.GetCommit()}, nil
}

func (v version) print(w io.Writer, _ ink) error {
	_, err := fmt.Fprintf(w, "wpd %s (%s) %s %s\n", v.Version, commitText(v.Commit, v.Modified), v.Go, v.Platform)
	if err == nil && v.Server != nil {
		_, err = fmt.Fprintf(w, "server %s (%s) at %s\n", v.Server.Version, commitText(v.Server.Commit, false), v.Server.Addr)
	}
	return err
}

func commitText(commit string, modified bool) string {
	switch {
	case commit == "":
		return "commit unknown"
	case modified:
		return commit + " and changes"
	}
	return commit
}
