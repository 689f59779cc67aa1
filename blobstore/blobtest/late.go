package blobtest

import (
	"bytes"
	"context"
)

// createLate holds a create back. The caller gets the end of its ctx, or what
// became of the create if that was released before.
func (f *Faults) createLate(ctx context.Context, r *Rule, key string, parts [][]byte) error {
	// A copy: the caller may reuse its bytes once it has given up.
	body := bytes.Join(parts, nil)
	done := make(chan error, 1)
	f.hold(r, 1)
	go func() {
		defer f.hold(r, -1)
		select {
		case <-r.release:
			done <- f.land(context.WithoutCancel(ctx), key, body)
		case <-f.closed:
			done <- errClosed
		}
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-done:
		return r.after(err)
	}
}

// hold counts a create that is held back, or not any more.
func (f *Faults) hold(r *Rule, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held += n
	r.waiting += n
	f.changedLocked()
}

// land applies a create that was held back.
func (f *Faults) land(ctx context.Context, key string, body []byte) error {
	err := f.raw.Create(ctx, key, [][]byte{body})
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.landed++
	}
	return err
}

// Landed counts the creates that were held back and then stored their bytes,
// whether or not somebody still waited for them.
func (f *Faults) Landed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.landed
}
