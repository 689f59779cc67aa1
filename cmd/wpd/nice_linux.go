package main

import (
	"context"
	"runtime"

	"golang.org/x/sys/unix"
)

// startChildLast is startChild, with the lowest priority, as far as the system
// allows that. Priorities are those of threads, and are inherited: the one that
// starts the child takes it on first, and ends with its goroutine.
func startChildLast(ctx context.Context, args ...string) (c *child, err error) {
	started := make(chan struct{})
	go func() {
		defer close(started)
		runtime.LockOSThread()
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19)
		c, err = startChild(ctx, args...)
	}()
	<-started
	return c, err
}
