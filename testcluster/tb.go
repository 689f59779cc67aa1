package testcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
)

// TB is what a [Cluster] needs of a test: a *testing.T has it, and so has what
// [Run] makes.
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	FailNow()
	Cleanup(func())
	TempDir() string
	Context() context.Context
}

// Run calls f where there is no test: in an example, or a program that shows
// something. It returns what f, or what it cleans up, complained of.
func Run(name string, f func(t TB)) error {
	r := &runner{name: name}
	ctx, cancel := context.WithCancel(context.Background())
	r.ctx = ctx
	done := make(chan struct{})
	go func() { // Fatalf ends the goroutine that it is called from
		defer close(done)
		defer r.recovered()
		f(r)
	}()
	<-done
	cancel()
	for {
		cleanup := r.pop()
		if cleanup == nil {
			break
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer r.recovered()
			cleanup()
		}()
		<-done
	}
	return r.err()
}

// runner is the TB of Run.
type runner struct {
	name string
	ctx  context.Context

	mu       sync.Mutex // guards what follows
	cleanups []func()
	lines    []string // what was logged
	errs     []error
}

// pop takes the cleanup that is next.
func (r *runner) pop() func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cleanups) == 0 {
		return nil
	}
	last := len(r.cleanups) - 1
	f := r.cleanups[last]
	r.cleanups = r.cleanups[:last]
	return f
}

func (r *runner) recovered() {
	if p := recover(); p != nil {
		r.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}

// err is nil if nobody complained. What was logged is told only if somebody
// did, as in a test.
func (r *runner) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.errs) == 0 {
		return nil
	}
	errs := slices.Clone(r.errs)
	if len(r.lines) > 0 {
		errs = append(errs, errors.New(strings.Join(r.lines, "\n")))
	}
	return fmt.Errorf("%s: %w", r.name, errors.Join(errs...))
}

// Helper implements TB.
func (r *runner) Helper() {}

// Name implements TB.
func (r *runner) Name() string { return r.name }

// Logf implements TB.
func (r *runner) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

// Errorf implements TB.
func (r *runner) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

// Fatalf implements TB.
func (r *runner) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// FailNow implements TB.
func (r *runner) FailNow() {
	if !r.Failed() {
		r.Errorf("failed")
	}
	runtime.Goexit()
}

// Failed implements TB.
func (r *runner) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.errs) > 0
}

// Cleanup implements TB.
func (r *runner) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// TempDir implements TB.
func (r *runner) TempDir() string {
	dir, err := os.MkdirTemp("", "wpd-testcluster-")
	if err != nil {
		r.Fatalf("make a directory: %v", err)
	}
	r.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			r.Errorf("remove %s: %v", dir, err)
		}
	})
	return dir
}

// Context implements TB. It ends before anything is cleaned up.
func (r *runner) Context() context.Context { return r.ctx }
