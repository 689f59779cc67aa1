package blobtest

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/wpd-io/wpd/blobstore"
)

// Kind is a kind of call of a [blobstore.Raw].
type Kind string

// The kinds of calls. A rule for Any matches all.
const (
	Any    Kind = ""
	Create Kind = "create"
	Read   Kind = "read"
	List   Kind = "list"
	Delete Kind = "delete"
)

// Op is one call that a fault or a hook looks at.
type Op struct {
	Kind Kind
	Key  string // of a List: the prefix
	N    int    // counts the calls of this Kind, from 1
	// Offset and Length are a Read's range.
	Offset, Length int64
	// Parts are a Create's bytes; they must not be changed.
	Parts [][]byte
	// After is a List's.
	After string
}

// ErrFault is what faults fail with unless told otherwise.
var ErrFault = errors.New("blobtest: injected fault")

// Fault says what happens to the calls it matches. The zero value of the matching
// fields matches every call; the effects may be combined, and happen in the
// order in which they stand here.
type Fault struct {
	Kind   Kind             // Any: all kinds
	Prefix string           // of the key
	Match  func(op Op) bool // nil: all
	Skip   int              // so many matching calls pass first
	Count  int              // so many are hit; 0: no limit

	// Delay is waited first, or until the call's ctx ends, which then fails it
	// before it is applied.
	Delay time.Duration
	// Hang waits until [Rule.Release], or until the call's ctx ends, which
	// then fails it before it is applied.
	Hang bool
	// Late holds a Create back until [Rule.Release], and applies it then, also
	// if the caller has given up by its ctx ending meanwhile: a request that
	// was still on its way. On other kinds it is like Hang.
	Late bool
	// Before fails the call with this error; it is not applied.
	Before error
	// After applies the call, then fails it with this error: a lost reply.
	After error
	// Short cuts so many bytes off the end of what a Read returns.
	Short int
	// Flip flips one bit of what a Read returns, in the byte at this index
	// from 1 (negative: from the end); 0: none.
	Flip int
}

// Rule is a fault in force.
type Rule struct {
	f       *Faults
	fault   Fault
	seen    int // matching calls
	hits    int // calls it was done to
	waiting int // calls that hang, or are held or being applied late
	release chan struct{}
	open    bool // release is closed
	removed bool
}

// Faults is a store around a store with faults. Rules match in the order in which
// they were added; a call is hit by the first that matches. Use [NewFaults].
type Faults struct {
	raw blobstore.Raw

	mu     sync.Mutex
	rules  []*Rule
	hook   func(ctx context.Context, op Op) error
	counts map[Kind]int
	change chan struct{} // closed and replaced when a count changes
	held   int           // creates held back, or being applied late
	landed int           // creates that were held back and then stored

	closing sync.Once
	closed  chan struct{}
}

var _ blobstore.Raw = (*Faults)(nil)

// NewFaults wraps a store. Without rules it passes everything through.
func NewFaults(raw blobstore.Raw) *Faults {
	return &Faults{raw: raw, counts: make(map[Kind]int), change: make(chan struct{}), closed: make(chan struct{})}
}

// Add puts a fault into force.
func (f *Faults) Add(fault Fault) *Rule {
	r := &Rule{f: f, fault: fault, release: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
	return r
}

// Hook has h called before every call, before the rules; an error of h fails the
// call, which is then not applied. h may block, call the store below, and add
// rules. nil takes it back.
func (f *Faults) Hook(h func(ctx context.Context, op Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = h
}

// Count counts the calls of a kind so far; of Any, all.
func (f *Faults) Count(k Kind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if k != Any {
		return f.counts[k]
	}
	n := 0
	for _, c := range f.counts {
		n += c
	}
	return n
}

// Clear takes all rules and the hook back, and releases what they hold.
func (f *Faults) Clear() {
	f.mu.Lock()
	rules := f.rules
	f.rules, f.hook = nil, nil
	f.mu.Unlock()
	for _, r := range rules {
		r.Release()
	}
}

// Below is the store under the faults.
func (f *Faults) Below() blobstore.Raw { return f.raw }

// Hits counts the calls that the fault was done to, so that a test can prove
// that it was.
func (r *Rule) Hits() int {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.hits
}

// Waiting counts the calls that hang or are held back now.
func (r *Rule) Waiting() int {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.waiting
}

// Wait blocks until the fault has hit n calls, or ctx ends.
func (r *Rule) Wait(ctx context.Context, n int) error {
	return r.f.until(ctx, func() bool { return r.hits >= n })
}

// Release lets all go on that hang or are held back, and returns when the held
// creates have been applied. Later calls that match are not held any more.
func (r *Rule) Release() {
	r.f.mu.Lock()
	if !r.open {
		r.open = true
		close(r.release)
	}
	r.f.mu.Unlock()
	_ = r.f.until(context.Background(), func() bool { return r.waiting == 0 }) // no end but that
}

// until blocks until cond, which is called under the lock, or ctx ends.
func (f *Faults) until(ctx context.Context, cond func() bool) error {
	for {
		f.mu.Lock()
		ok, change := cond(), f.change
		f.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-change:
		}
	}
}

// changedLocked wakes those in until.
func (f *Faults) changedLocked() {
	close(f.change)
	f.change = make(chan struct{})
}

// Remove takes the fault out of force; what it holds stays held until Release.
func (r *Rule) Remove() {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.removed = true
}

// enter counts a call, runs the hook and finds the rule that hits it, if any.
func (f *Faults) enter(ctx context.Context, op Op) (*Rule, error) {
	f.mu.Lock()
	f.counts[op.Kind]++
	op.N = f.counts[op.Kind]
	hook := f.hook
	f.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, op); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.hitsLocked(op) {
			r.hits++
			f.changedLocked()
			return r, nil
		}
	}
	return nil, nil
}

func (r *Rule) hitsLocked(op Op) bool {
	f := &r.fault
	switch {
	case r.removed,
		f.Kind != Any && f.Kind != op.Kind,
		!strings.HasPrefix(op.Key, f.Prefix),
		f.Match != nil && !f.Match(op):
		return false
	}
	r.seen++
	return r.seen > f.Skip && (f.Count == 0 || r.hits < f.Count)
}

// before does what a fault does ahead of the call.
func (r *Rule) before(ctx context.Context) error {
	if r == nil {
		return nil
	}
	if r.fault.Delay > 0 {
		t := time.NewTimer(r.fault.Delay)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
		}
	}
	if r.fault.Hang || r.fault.Late {
		if err := r.hang(ctx); err != nil {
			return err
		}
	}
	return r.fault.Before
}

// hang waits for Release or the end of ctx.
func (r *Rule) hang(ctx context.Context) error {
	r.wait(1)
	defer r.wait(-1)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.f.closed:
		return errClosed
	case <-r.release:
		return nil
	}
}

func (r *Rule) wait(n int) {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.waiting += n
	r.f.changedLocked()
}

// errClosed fails calls that hung when the store was closed.
var errClosed = errors.New("blobtest: closed while the call was held")

// after does what a fault does behind the call.
func (r *Rule) after(err error) error {
	if r == nil || err != nil || r.fault.After == nil {
		return err
	}
	return r.fault.After
}

// Create implements [blobstore.Raw].
func (f *Faults) Create(ctx context.Context, key string, parts [][]byte) error {
	r, err := f.enter(ctx, Op{Kind: Create, Key: key, Parts: parts})
	if err != nil {
		return err
	}
	if r != nil && r.fault.Late {
		return f.createLate(ctx, r, key, parts)
	}
	if err := r.before(ctx); err != nil {
		return err
	}
	return r.after(f.raw.Create(ctx, key, parts))
}

// ReadRange implements [blobstore.Raw].
func (f *Faults) ReadRange(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	r, err := f.enter(ctx, Op{Kind: Read, Key: key, Offset: offset, Length: length})
	if err == nil {
		err = r.before(ctx)
	}
	if err != nil {
		return nil, 0, err
	}
	data, size, err := f.raw.ReadRange(ctx, key, offset, length)
	if err = r.after(err); err != nil {
		return nil, 0, err
	}
	return r.spoil(data), size, nil
}

// spoil shortens or corrupts what was read.
func (r *Rule) spoil(data []byte) []byte {
	if r == nil {
		return data
	}
	data = data[:max(len(data)-r.fault.Short, 0)]
	i := r.fault.Flip - 1
	if r.fault.Flip < 0 {
		i = len(data) + r.fault.Flip
	}
	if r.fault.Flip != 0 && i >= 0 && i < len(data) {
		data[i] ^= 1 << (i % 8)
	}
	return data
}

// List implements [blobstore.Raw]. After fails it behind its last key.
func (f *Faults) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		r, err := f.enter(ctx, Op{Kind: List, Key: prefix, After: after})
		if err == nil {
			err = r.before(ctx)
		}
		if err != nil {
			yield("", err)
			return
		}
		for key, err := range f.raw.List(ctx, prefix, after) {
			if !yield(key, err) || err != nil {
				return
			}
		}
		if err := r.after(nil); err != nil {
			yield("", err)
		}
	}
}

// Delete implements [blobstore.Raw].
func (f *Faults) Delete(ctx context.Context, key string) error {
	r, err := f.enter(ctx, Op{Kind: Delete, Key: key})
	if err == nil {
		err = r.before(ctx)
	}
	if err != nil {
		return err
	}
	return r.after(f.raw.Delete(ctx, key))
}

// Close drops what is held back without applying it, fails what hangs, and closes
// the store below.
func (f *Faults) Close() error {
	f.closing.Do(func() { close(f.closed) })
	_ = f.until(context.Background(), func() bool { return f.held == 0 }) // no end but that
	return f.raw.Close()
}
