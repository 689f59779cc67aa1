package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// progress says on a terminal what a long command is doing, in one line that
// the next one replaces. Without a terminal it is silent.
type progress struct {
	w   io.Writer // nil: silent
	ink ink
}

func newProgress(cmd *cobra.Command) *progress {
	w := cmd.ErrOrStderr()
	if !isTerminal(w) {
		return &progress{}
	}
	return &progress{w: w, ink: inkFor(cmd, w)}
}

// say replaces the line.
func (p *progress) say(format string, args ...any) {
	if p.w != nil {
		fmt.Fprintf(p.w, "\r\x1b[K%s", p.ink.dim(fmt.Sprintf(format, args...)))
	}
}

// clear removes the line.
func (p *progress) clear() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
