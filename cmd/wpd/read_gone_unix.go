//go:build unix

package main

import (
	"context"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// gonePoll is how often it is looked whether somebody still reads our output.
const gonePoll = time.Second

// watchReaderOf cancels with EPIPE once nobody reads any more what goes to w,
// a pipe: wpd tail | head ends without waiting for an entry that it could not
// write. stop ends the watch.
func watchReaderOf(w io.Writer, cancel context.CancelCauseFunc) (stop func()) {
	f, ok := w.(*os.File)
	if !ok {
		return func() {}
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return func() {} // it is closed
	}
	over := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(gonePoll)
		defer tick.Stop()
		for {
			if isGone(raw) {
				cancel(syscall.EPIPE)
				return
			}
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
	})
	return func() {
		close(over)
		watch.Wait()
	}
}

// isGone: asked for nothing, poll tells of errors, and that the other end of a
// pipe is closed is one.
func isGone(raw syscall.RawConn) (gone bool) {
	_ = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n == 1 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	}) // of a closed file nothing is said
	return gone
}
