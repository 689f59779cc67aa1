package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the man pages",
		Long: `Write a man page for each command into a directory, which is made if need be: wpd.1,
wpd-append.1 and so on. SOURCE_DATE_EPOCH, if it is set, is their date.`,
		Example: `  wpd man /usr/local/share/man/man1`,
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return writeManPages(cmd.Root(), args[0]) },
	}
}

func writeManPages(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	each(root, func(cmd *cobra.Command) {
		cmd.Long = keepLines(cmd.Long)
		cmd.DisableAutoGenTag = true // with it, no two builds give the same pages
	})
	header := &doc.GenManHeader{Section: "1", Source: "wpd " + readVersion().Version, Manual: "wpd"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	return nil
}

// each calls do for a command and all below it.
func each(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, c := range cmd.Commands() {
		each(c, do)
	}
}

// keepLines makes blocks that Markdown leaves alone of indented lines.
func keepLines(text string) string {
	var b strings.Builder
	within := false
	for line := range strings.Lines(text) {
		if indented := strings.HasPrefix(line, "  "); indented != within {
			within = indented
			b.WriteByte('\n')
		}
		if within {
			b.WriteString("    ")
		}
		b.WriteString(line)
	}
	return b.String()
}
