package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
)

// child is this program once more, in a process that can be killed.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	out    *bufio.Reader // what it prints
	stderr bytes.Buffer
}

// startChild starts this program with other arguments. Its standard input stays
// open as long as we live, so that it can end when we do. wait must follow.
func startChild(ctx context.Context, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, args...)}
	c.cmd.Stderr = &c.stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(stdout)
	return c, c.cmd.Start()
}

// kill is kill -9. It does nothing to a process that is gone.
func (c *child) kill() { _ = c.cmd.Process.Kill() }

// end lets the process see that its standard input has ended.
func (c *child) end() { _ = c.stdin.Close() }

// wait waits for the end of the process, and frees what it held.
func (c *child) wait() error { return c.cmd.Wait() }

// complaints is what the process wrote to its standard error, once it has ended.
func (c *child) complaints() string { return strings.TrimSpace(c.stderr.String()) }

// untilClosed returns a context that ends when in does: how a child finds out
// that its parent wants it no more, or is gone.
func untilClosed(ctx context.Context, in io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, in) // an error is an end, too
		cancel()
	}()
	return ctx, cancel
}
