package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	// completeWait is how long a shell waits for the names of logs; whoever
	// presses Tab does not wait longer.
	completeWait = time.Second
	// completeMax is how many names are offered.
	completeMax = 200
)

// completeLogs completes the one argument LOG by what a server has.
func completeLogs(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return logNames(cmd, prefix), cobra.ShellCompDirectiveNoFileComp
}

// completeLogThenFile completes the arguments LOG [FILE].
func completeLogThenFile(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return completeLogs(cmd, args, prefix)
	case 1:
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// logNames asks a server for names that start with prefix. No answer in time
// is no names: a completion has nowhere to say what is wrong. A node in this
// process is not opened for it.
func logNames(cmd *cobra.Command, prefix string) (names []string) {
	t, err := targetOf(cmd)
	if err != nil || t.bucket != "" {
		return nil
	}
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeWait)
	defer cancel()
	c, err := t.dial(ctx)
	if err != nil {
		return nil
	}
	defer c.Close() //nolint:errcheck // nothing was written
	for info, err := range c.Logs(ctx, prefix) {
		if err != nil || len(names) == completeMax {
			break
		}
		names = append(names, info.Name)
	}
	return names
}

// completeValues completes a flag by its values.
func completeValues(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		var fit []string
		for _, v := range values {
			if strings.HasPrefix(v, prefix) {
				fit = append(fit, v)
			}
		}
		return fit, cobra.ShellCompDirectiveNoFileComp
	}) // it fails only for a flag that is not there, or has one
}

// addCompletionCommand adds cobra's own, with examples. It prints to what is
// root's output at this time.
func addCompletionCommand(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	each(root, func(cmd *cobra.Command) {
		parent := cmd.Parent()
		switch {
		case cmd.Name() == "completion" && parent == root:
			cmd.Example = "  wpd completion bash > /etc/bash_completion.d/wpd"
		case parent != nil && parent.Name() == "completion":
			cmd.Example = "  wpd completion " + cmd.Name()
		}
	})
}
