package main

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
)

// ended waits for the end of a node's process.
func (s *sky) ended(i int) *os.ProcessState {
	s.t.Helper()
	x := s.nodes[i]
	select {
	case <-x.life.ended:
	case <-time.After(skyWait):
		s.t.Fatalf("%s does not end: %s", x.name, x.life.said())
	}
	state := x.life.cmd.ProcessState
	x.life, x.paused = nil, false
	return state
}

// end kills a node's process, if there is one.
func (x *skyNode) end() {
	if x.life != nil {
		_ = x.life.cmd.Process.Kill() // it may be gone
		<-x.life.ended
		x.life = nil
	}
}

// kill is kill -9, of several in one go.
func (s *sky) kill(which ...int) {
	s.t.Helper()
	for _, i := range which {
		require.NoError(s.t, s.nodes[i].life.cmd.Process.Kill())
	}
	for _, i := range which {
		status := s.ended(i).Sys().(syscall.WaitStatus)
		require.Equal(s.t, syscall.SIGKILL, status.Signal())
	}
}

// stop ends a node in good order.
func (s *sky) stop(i int) {
	s.t.Helper()
	life := s.nodes[i].life
	require.NoError(s.t, life.cmd.Process.Signal(syscall.SIGTERM))
	require.Zero(s.t, s.ended(i).ExitCode(), life.said())
}

// pause stops a node's process wherever it is, and resume lets it go on.
func (s *sky) pause(i int) {
	s.t.Helper()
	x := s.nodes[i]
	require.NoError(s.t, x.life.cmd.Process.Signal(syscall.SIGSTOP))
	s.await(x.name+" to be stopped", func() bool { return x.stands() })
	x.paused = true
}

func (s *sky) resume(i int) {
	s.t.Helper()
	x := s.nodes[i]
	require.True(s.t, x.stands(), "%s was not stopped all the time", x.name)
	require.NoError(s.t, x.life.cmd.Process.Signal(syscall.SIGCONT))
	x.paused = false
}

// stands reports whether a node's process is stopped.
func (x *skyNode) stands() bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", x.life.cmd.Process.Pid))
	_, after, found := bytes.Cut(b, []byte(") "))
	return err == nil && found && after[0] == 'T'
}
