package testcluster

import (
	"context"
	"errors"
	"iter"
	"os"
	"syscall"
	"time"

	"github.com/wpd-io/wpd/blobstore"
)

// StoreHost is the name that the object store has in a cluster's network, for
// cuts between it and nodes.
const StoreHost = "store"

// carry takes a request, or with back an answer, over the way to another host:
// it takes as long as the link says, waits while that is stalled, and fails if
// it is broken or this host is gone.
func (h *Host) carry(ctx context.Context, other string, back bool) error {
	s := h.net
	s.mu.Lock()
	l := s.linkLocked(h.name, other)
	if back {
		l = s.linkLocked(other, h.name)
	}
	s.mu.Unlock()
	l.count(func(n *Counts) { n.Requests++ })
	rule, _ := l.state()
	if d := s.onTheWay(rule); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return h.pass(ctx, l)
}

// pass waits until a link is not stalled.
func (h *Host) pass(ctx context.Context, l *link) error {
	s := h.net
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.change.Broadcast()
	})()
	s.mu.Lock()
	defer s.mu.Unlock()
	for held := false; ; s.change.Wait() {
		rule, stalled := l.state()
		switch {
		case h.gone:
			return errUnplugged
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case rule.Cut == Broken:
			l.count(func(n *Counts) { n.RequestsFailed++ })
			return os.NewSyscallError("connect", syscall.ECONNRESET)
		case !stalled:
			return nil
		case !held:
			held = true
			l.count(func(n *Counts) { n.RequestsHeld++ })
		}
	}
}

// line is a node's way to the store, for one life of it. It implements
// blobstore.Raw.
type line struct {
	raw  blobstore.Raw
	host *Host           // nil: the store is no way off
	dead context.Context // ends with the life
}

func (l *line) carry(ctx context.Context, back bool) error {
	if l.host == nil {
		return nil
	}
	return l.host.carry(ctx, StoreHost, back)
}

// do makes a request: there, and back with the answer, which may get lost. None
// begins once the life is over.
func (l *line) do(ctx context.Context, request func(ctx context.Context) error) error {
	if l.dead.Err() != nil {
		return ErrCut
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.dead, func() { cancel(ErrCut) })()
	err := l.carry(ctx, false)
	if err == nil {
		err = request(ctx)
		if lost := l.carry(ctx, true); lost != nil {
			err = lost
		}
	}
	if l.dead.Err() != nil || errors.Is(err, errUnplugged) {
		return ErrCut
	}
	return err
}

func (l *line) Create(ctx context.Context, key string, parts [][]byte) error {
	return l.do(ctx, func(ctx context.Context) error { return l.raw.Create(ctx, key, parts) })
}

func (l *line) ReadRange(ctx context.Context, key string, offset, length int64) (b []byte, size int64, err error) {
	err = l.do(ctx, func(ctx context.Context) (err error) {
		b, size, err = l.raw.ReadRange(ctx, key, offset, length)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return b, size, nil
}

// listPage is how many keys come with one answer.
const listPage = 100

func (l *line) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for {
			var keys []string
			err := l.do(ctx, func(ctx context.Context) error {
				for key, err := range l.raw.List(ctx, prefix, after) {
					if err != nil {
						return err
					}
					if keys = append(keys, key); len(keys) == listPage {
						break
					}
				}
				return nil
			})
			for _, key := range keys {
				if !yield(key, nil) {
					return
				}
				after = key
			}
			if err != nil {
				yield("", err)
				return
			}
			if len(keys) < listPage {
				return
			}
		}
	}
}

func (l *line) Delete(ctx context.Context, key string) error {
	return l.do(ctx, func(ctx context.Context) error { return l.raw.Delete(ctx, key) })
}

// Close does nothing: the store outlives the node.
func (l *line) Close() error { return nil }
