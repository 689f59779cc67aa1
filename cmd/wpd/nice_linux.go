package main

import (
	"context"
	"runtime"

	"golang.org/x/sys/unix"
)

// startChildLast is startChild, for a child that gets a processor where nobody
// else wants it, as far as the system allows that. How a thread is scheduled is
// inherited: the one that starts the child takes it on first, and ends with its
// goroutine.
func startChildLast(ctx context.Context, args ...string) (c *child, err error) {
	started := make(chan struct{})
	go func() {
		defer close(started)
		runtime.LockOSThread()
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19)
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
		c, err = startChild(ctx, args...)
	}()
	<-started
	return c, err
}
