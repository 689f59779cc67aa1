package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// skyTTL is that of the leases: shorter than the default, so that a test
	// that waits for many to lapse comes to an end.
	skyTTL = 1500 * time.Millisecond
	// skyPorts is how many ports a node listens at.
	skyPorts = 4
	// skyWait is how long anything may take that must happen.
	skyWait = 60 * time.Second
)

// sky is a cluster of real processes, for the weather to happen to it.
type sky struct {
	t      *testing.T // of the present scenario
	dir    string
	bucket string                     // URL, as the tests see it
	seen   func(i int) string         // URL, as a node sees it; nil: as the tests do
	env    func(name string) []string // of a node; may be nil
	binary string                     // of the nodes that are started from now on
	more   []string                   // flags of every node
	enough int                        // entries that a scenario has to see acknowledged
	nodes  []*skyNode
	made   int // nodes, those that are gone included: names are not used twice
}

// skyNode is a node through all its lives.
type skyNode struct {
	name, dir          string
	grpc, http, gossip string
	args               []string
	life               *served // nil: it does not run
	paused             bool
}

// newSky starts n nodes. They end with the test.
func newSky(t *testing.T, n int, change func(s *sky)) *sky {
	dir := t.TempDir()
	s := &sky{t: t, dir: dir, bucket: fileURL(filepath.Join(dir, "objects")), enough: stormEnough}
	if change != nil {
		change(s)
	}
	if s.binary == "" {
		s.binary = wpdBinary(t)
	}
	t.Cleanup(func() {
		for _, x := range s.nodes {
			x.end()
		}
	})
	first, err := freePorts(skyPorts * n) // of all at a time: of those drawn one by one, two could be the same
	require.NoError(t, err)
	for i := range n {
		s.addAt(first + skyPorts*i)
	}
	for _, x := range s.nodes {
		x.args = append(x.args, "--bootstrap-expect", strconv.Itoa(n))
	}
	s.start(s.all()...)
	s.whole()
	return s
}

// add makes a node that knows of the first three, and does not start it. All
// others run, or have gone for good.
func (s *sky) add() int {
	port, err := freePorts(skyPorts)
	require.NoError(s.t, err)
	return s.addAt(port)
}

// addAt is add with the first port of the node.
func (s *sky) addAt(port int) (i int) {
	at := func(k int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port+k)) }
	i = len(s.nodes)
	s.made++
	x := &skyNode{name: fmt.Sprintf("n%d", s.made), grpc: at(0), gossip: at(2), http: at(3)}
	x.dir = filepath.Join(s.dir, x.name)
	s.nodes = append(s.nodes, x)
	bucket := s.bucket
	if s.seen != nil {
		bucket = s.seen(i)
	}
	x.args = append([]string{
		"serve", "--node-id", x.name, "--data-dir", x.dir, "--bucket", bucket, "--log-level", "warn",
		"--listen", x.grpc, "--raft-listen", at(1), "--gossip-listen", x.gossip, "--http-listen", x.http,
		"--lease-ttl", skyTTL.String(),
	}, s.more...)
	return i
}

// all are the numbers of all nodes, up those of the ones that run.
func (s *sky) all() (all []int) {
	for i := range s.nodes {
		all = append(all, i)
	}
	return all
}

func (s *sky) up() (up []int) {
	for i, x := range s.nodes {
		if x.life != nil && !x.paused {
			up = append(up, i)
		}
	}
	return up
}

// others are the nodes that run, but some.
func (s *sky) others(but ...int) []int {
	return slices.DeleteFunc(s.up(), func(i int) bool { return slices.Contains(but, i) })
}

// launch starts nodes, which may wait for each other, or refuse to run.
func (s *sky) launch(which ...int) {
	var join []string
	for _, x := range s.nodes[:min(3, len(s.nodes))] {
		join = append(join, x.gossip)
	}
	for _, i := range which {
		x := s.nodes[i]
		require.Nil(s.t, x.life, "%s runs", x.name)
		x.life = &served{t: s.t, ready: make(chan struct{}), ended: make(chan struct{})}
		cmd := exec.Command(s.binary, append(slices.Clone(x.args), "--join", strings.Join(join, ","))...)
		cmd.Env = os.Environ()
		if s.env != nil {
			cmd.Env = append(cmd.Env, s.env(x.name)...)
		}
		cmd.Stderr = x.life
		// Whatever becomes of the test, none is left behind, not even one that is
		// stopped.
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		x.life.cmd = cmd
		require.NoError(s.t, cmd.Start())
		go func(life *served) {
			defer close(life.ended)
			_ = life.cmd.Wait() // its state says it
		}(x.life)
	}
}

// start starts nodes, and waits until they serve.
func (s *sky) start(which ...int) {
	s.t.Helper()
	s.launch(which...)
	for _, i := range which {
		s.nodes[i].life.waitReady()
	}
}

// refuses starts a node that must not run, and returns what it says.
func (s *sky) refuses(i int) string {
	s.t.Helper()
	s.launch(i)
	life := s.nodes[i].life
	s.ended(i)
	require.Positive(s.t, life.cmd.ProcessState.ExitCode(), "%s: %s", s.nodes[i].name, life.said())
	return life.said()
}

// await waits until something is so.
func (s *sky) await(what string, so func() bool) {
	s.t.Helper()
	late := time.NewTimer(skyWait)
	defer late.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-late.C:
			s.t.Fatalf("waited %v for %s; the nodes say:\n%s", skyWait, what, s.said())
		}
	}
}

// said is what the nodes that run have said.
func (s *sky) said() string {
	var b strings.Builder
	for _, x := range s.nodes {
		if x.life != nil {
			said := x.life.said()
			fmt.Fprintf(&b, "%s, pid %d:\n%s\n", x.name, x.life.cmd.Process.Pid, said[max(0, len(said)-4000):])
		}
	}
	return b.String()
}

// addrs are the gRPC addresses of nodes.
func (s *sky) addrs(which ...int) (all []string) {
	for _, i := range which {
		all = append(all, s.nodes[i].grpc)
	}
	return all
}
