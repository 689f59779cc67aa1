package main

import (
	"os"

	"github.com/spf13/cobra"
)

func newConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "What a server's settings are",
		Example: "  wpd config show --config /etc/wpd/wpd.yaml",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigShowCommand(), newConfigDocsCommand())
	return cmd
}

// shownSetting is a setting as wpd config show prints it.
type shownSetting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`          // default, file, environment or flag
	Where  string `json:"where,omitempty"` // which file, variable or flag
}

func newConfigShowCommand() *cobra.Command {
	s := newSettings()
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print each setting that wpd serve would use, and where it came from",
		Long: `Print each setting that wpd serve would use with the same flags, the same
environment and the same file, and where it came from: a flag goes before a
variable (WPD_…), a variable before the file, the file before the default.
Secrets in the bucket's URL are left out. Nothing is opened.`,
		Example: `  wpd config show --config /etc/wpd/wpd.yaml
  WPD_CACHE=1GiB wpd config show -o json | jq -r 'select(.source != "default")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.load(cmd, os.Environ()); err != nil {
				return err
			}
			return s.print(cmd)
		},
	}
	s.addFlags(cmd)
	cmd.SetFlagErrorFunc(s.flagError)
	return cmd
}

func (s *settings) print(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	var rows [][]string
	for k := range s.all {
		from := s.source(k)
		if wantsObjects(cmd) {
			if err := printObject(cmd, shownSetting{k.key, k.shown(), from.kind, from.where}); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{k.key, k.shown(), from.String()})
	}
	if wantsObjects(cmd) {
		return nil
	}
	return printTable(out, inkFor(cmd, out), []column{{"SETTING", true}, {"VALUE", true}, {"FROM", true}}, rows)
}
