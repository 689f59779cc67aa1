package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// addYesFlag adds --yes, which confirm looks for.
func addYesFlag(cmd *cobra.Command) {
	cmd.Flags().BoolP("yes", "y", false, "do not ask")
}

// confirm asks before something is destroyed, and wants word typed. --yes is
// an answer; where nobody can be asked it is the only one. A nil error means
// to go ahead.
func confirm(ctx context.Context, cmd *cobra.Command, what, word string) error {
	if yes, _ := cmd.Flags().GetBool("yes"); yes {
		return nil
	}
	in, w := cmd.InOrStdin(), cmd.ErrOrStderr()
	if !isTerminalInput(in) || !isTerminal(w) {
		return usagef(cmd, "%s, and there is no terminal to ask at; add --yes if that is meant", what)
	}
	ink := inkFor(cmd, w)
	fmt.Fprintf(w, "%s.\nType %s to go ahead: ", ink.bold(what), ink.bold(word))
	answer, err := readLine(ctx, in)
	if err != nil {
		fmt.Fprintln(w)
		return err
	}
	if answer != word {
		return errors.New("not confirmed; nothing was done")
	}
	return nil
}

// readLine reads what is typed until Enter. A read of a terminal can't be
// interrupted: after ctx has ended it goes on until the process ends.
func readLine(ctx context.Context, in io.Reader) (string, error) {
	type typed struct {
		line string
		err  error
	}
	got := make(chan typed, 1)
	go func() {
		line, err := bufio.NewReader(in).ReadString('\n')
		if errors.Is(err, io.EOF) { // Ctrl-D: what was typed before is the answer
			err = nil
		}
		got <- typed{strings.TrimSpace(line), err}
	}()
	select {
	case t := <-got:
		return t.line, t.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
