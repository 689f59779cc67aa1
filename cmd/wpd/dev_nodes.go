package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	devNodesMax = 9
	// devPorts is how far the ports of two nodes lie apart.
	devPorts = 10
	// devStopWait is how long nodes may take to end after an interrupt.
	devStopWait = 40 * time.Second
)

// devNode is one of the processes of wpd dev --nodes.
type devNode struct {
	name  string
	grpc  string
	http  string
	args  []string // of wpd, to start it
	cmd   *exec.Cmd
	stdin io.Closer
	ready chan struct{} // closed once it serves
	ended chan struct{} // closed once it has ended, and err is set
	err   error
}

// again is the node once more, before it is started.
func (x *devNode) again() *devNode {
	return &devNode{name: x.name, grpc: x.grpc, http: x.http, args: x.args, ready: make(chan struct{}), ended: make(chan struct{})}
}

// runNodes runs a cluster, each node of it in a process of its own, until ctx
// ends or all nodes have.
func (d *dev) runNodes(cmd *cobra.Command, n int, lost bool) error {
	nodes, err := d.plan(n)
	if err != nil {
		return err
	}
	w := &lineWriter{w: cmd.ErrOrStderr(), ink: inkFor(cmd, cmd.ErrOrStderr())}
	defer stopNodes(nodes)
	for _, x := range nodes {
		if err := x.start(w); err != nil {
			return err
		}
	}
	gone := make(chan *devNode, n)
	for _, x := range nodes {
		go func() {
			<-x.ended
			gone <- x
		}()
	}
	all, ready := n, make(chan struct{})
	go func() {
		for _, x := range nodes {
			<-x.ready
		}
		close(ready)
	}()
	for serving := false; ; {
		select {
		case <-ready:
			if !serving {
				w.banner(d.dir+keptText(lost), nodes)
			}
			serving, ready = true, nil
		case x := <-gone:
			if !serving {
				return fmt.Errorf("node %s ended before it served: %w", x.name, x.err)
			}
			w.say("%s (pid %d) has ended: %v; to start it again: wpd %s", x.name, x.cmd.Process.Pid, x.err, strings.Join(x.args, " "))
			if all--; all == 0 {
				return errors.New("no node is left")
			}
		case <-cmd.Context().Done():
			return nil
		}
	}
}

// plan says what to start: one node each on ports that lie devPorts apart, from
// that of --listen on.
func (d *dev) plan(n int) ([]*devNode, error) {
	host, port, err := net.SplitHostPort(d.node.Listen)
	if err != nil {
		return nil, err
	}
	first, err := strconv.Atoi(port)
	if err != nil || first == 0 || first+devPorts*n > 1<<16 {
		return nil, fmt.Errorf("--listen %s: several nodes need a port that their others follow from, for example %s", d.node.Listen, addrDefault)
	}
	at := func(i, k int) string { return net.JoinHostPort(host, strconv.Itoa(first+devPorts*i+k)) }
	var join []string
	for i := range n {
		join = append(join, at(i, 2))
	}
	nodes := make([]*devNode, n)
	for i := range nodes {
		x := (&devNode{name: fmt.Sprintf("n%d", i+1), grpc: at(i, 0), http: at(i, 3)}).again()
		x.args = []string{
			"serve", "--node-id", x.name, "--data-dir", filepath.Join(d.dir, x.name), "--bucket", fileURL(filepath.Join(d.dir, "objects")),
			"--listen", x.grpc, "--raft-listen", at(i, 1), "--gossip-listen", at(i, 2), "--http-listen", x.http,
			"--join", strings.Join(join, ","), "--bootstrap-expect", strconv.Itoa(n), "--allow-bench", "--log-level", d.logLevel,
		}
		if d.node.UnsafeBucket {
			x.args = append(x.args, unsafeFlag)
		}
		nodes[i] = x
	}
	return nodes, nil
}

// nodeEnviron is an environment without wpd's own settings: what a node is to be, its
// flags say. What others made stays; that of our tests is among it.
func nodeEnviron(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == configEnv || strings.HasPrefix(name, envPrefix) && !foreign.MatchString(name)
	})
}

// start starts the process. It ends when we do, however we end.
func (x *devNode) start(w *lineWriter) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	x.cmd = exec.Command(self, append(x.args, "--end-with-stdin")...)
	x.cmd.Env = nodeEnviron(os.Environ())
	x.cmd.SysProcAttr = ownGroup() // a Ctrl-C is for us: we end the nodes in good order
	if x.stdin, err = x.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := x.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := x.cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(x.ended)
		serving := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if line := lines.Text(); !serving && strings.HasPrefix(line, "ready") {
				serving = true
				close(x.ready)
			} else {
				w.say("%s | %s", x.name, line)
			}
		}
		if x.err = x.cmd.Wait(); x.err == nil {
			x.err = errors.New("it was stopped")
		}
	}()
	return nil
}

// stopNodes ends what still runs: in good order, and what does not come to an
// end, at once.
func stopNodes(nodes []*devNode) {
	ctx, cancel := context.WithTimeout(context.Background(), devStopWait)
	defer cancel()
	for _, x := range nodes {
		if x.cmd != nil && x.cmd.Process != nil {
			_ = x.cmd.Process.Signal(syscall.SIGTERM) // one that is gone needs none
		}
	}
	for _, x := range nodes {
		if x.cmd == nil || x.cmd.Process == nil {
			continue
		}
		select {
		case <-x.ended:
		case <-ctx.Done():
			_ = x.cmd.Process.Kill()
			<-x.ended
		}
		_ = x.stdin.Close()
	}
}

// lineWriter writes whole lines of several nodes.
type lineWriter struct {
	mu  sync.Mutex
	w   io.Writer
	ink ink
}

func (w *lineWriter) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(w.w, format+"\n", args...)
}

// banner says where everything is, and then that it is ready.
func (w *lineWriter) banner(data string, nodes []*devNode) {
	w.say("%s %s", w.ink.bold("wpd dev"), readVersion().Version)
	var addrs []string
	for _, x := range nodes {
		w.say("  %s  pid %d  gRPC %s  HTTP http://%s/", w.ink.bold(x.name), x.cmd.Process.Pid, x.grpc, x.http)
		addrs = append(addrs, x.grpc)
	}
	w.say("  %s  %s", w.ink.dim("data"), data)
	w.say("ready grpc=%s", strings.Join(addrs, ","))
}
