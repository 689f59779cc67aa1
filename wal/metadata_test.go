package wal_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// metadata is a group's raft log: commands in one order. Each node applies it
// to a state of its own.
type metadata struct {
	mu    sync.Mutex
	log   []*fsmpb.Command
	views map[*view]struct{}
}

// commit puts a command into the log, and returns its index.
func (m *metadata) commit(c *fsmpb.Command) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, c)
	for v := range m.views {
		v.catchUp(m.log)
	}
	return uint64(len(m.log))
}

// must commits a command that is not refused.
func (m *metadata) must(t testing.TB, c *fsmpb.Command) fsm.Result {
	t.Helper()
	index := m.commit(c)
	r := m.now().results[index]
	require.NoError(t, r.Err)
	return r
}

// now is the state as it is, for one goroutine to look at.
func (m *metadata) now() *view {
	v := newView(m, "", 0)
	m.mu.Lock()
	defer m.mu.Unlock()
	v.catchUp(m.log)
	return v
}

// view makes the state of another node, caught up.
func (m *metadata) view(identity string, boot uint64) *view {
	v := newView(m, identity, boot)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.views[v] = struct{}{}
	v.catchUp(m.log)
	return v
}

func newView(m *metadata, identity string, boot uint64) *view {
	return &view{
		all: m, identity: identity, boot: boot, state: fsm.New(), results: make(map[uint64]fsm.Result),
		changed: make(chan struct{}), held: true, lease: make(chan struct{}),
	}
}

func (m *metadata) close(v *view) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.views, v)
}

// The errors of a view's proposals.
var errNotDone = errors.New("there is no leader: nothing was done")

type uncertainError struct{}

func (uncertainError) Error() string   { return "the answer was lost" }
func (uncertainError) Uncertain() bool { return true }

// trouble is what becomes of a proposal.
type trouble int

const (
	none       trouble = iota
	notDone            // refused, and nothing was done
	leaderless         // the same, once ctx has ended
	lost               // committed, and the answer lost
	late               // not committed until somebody calls view.release, and the answer lost
	committed          // committed, and the node never hears of it
)

// view is the metadata as one node knows them; it implements wal.Meta.
type view struct {
	all      *metadata
	identity string
	boot     uint64

	mu      sync.Mutex
	state   *fsm.State
	applied uint64
	results map[uint64]fsm.Result
	changed chan struct{}
	frozen  bool // it hears of nothing
	freezes int
	held    bool // its leases
	lease   chan struct{}
	lost    time.Time // since when it hears of nothing, or its leases are not held; zero: all is well
	skew    error
	delayed []*fsmpb.Command

	striking sync.Mutex
	onto     func(c *fsmpb.Command) trouble // asked about each proposal; nil: none
	struck   atomic.Int64                   // those that got into trouble
}

// catchUp applies what is new. Called under metadata.mu.
func (v *view) catchUp(log []*fsmpb.Command) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.frozen || v.applied == uint64(len(log)) {
		return
	}
	for v.applied < uint64(len(log)) {
		v.applied++
		r, err := v.state.Apply(v.applied, log[v.applied-1])
		if err != nil {
			panic(err)
		}
		v.results[v.applied] = r
	}
	close(v.changed)
	v.changed = make(chan struct{})
}

// freeze lets the node hear of nothing; thaw ends that.
func (v *view) freeze() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.frozen = true
	v.freezes++
	v.troubledLocked()
}

// still counts the times that the node heard of nothing; frozen: it does now.
func (v *view) still() (times int, frozen bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.freezes, v.frozen
}

// troubledLocked takes in that something of the node's has changed.
func (v *view) troubledLocked() {
	switch {
	case !v.frozen && v.held:
		v.lost = time.Time{}
	case v.lost.IsZero():
		v.lost = time.Now()
	}
}

// Ages tells when a node was heard of last, as far as this one was told.
func (v *view) Ages(node string) (age time.Duration, ok bool) {
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	for x := range v.all.views {
		x.mu.Lock()
		if x == v && x.frozen || x.identity == node {
			ok = ok || x.identity == node
			if !x.lost.IsZero() {
				age = max(age, time.Since(x.lost))
			}
		}
		x.mu.Unlock()
	}
	return age, ok
}

func (v *view) thaw() {
	v.mu.Lock()
	v.frozen = false
	v.troubledLocked()
	v.mu.Unlock()
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	v.catchUp(v.all.log)
}

// hold says whether the node's leases are held.
func (v *view) hold(held bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held = held
	v.troubledLocked()
	close(v.lease)
	v.lease = make(chan struct{})
}

// strike asks f about each proposal from now on, one at a time.
func (v *view) strike(f func(c *fsmpb.Command) trouble) {
	v.striking.Lock()
	defer v.striking.Unlock()
	v.onto = f
}

// strikeFirst gets so many proposals into trouble.
func (v *view) strikeFirst(n int, how trouble, which func(c *fsmpb.Command) bool) {
	v.strike(func(c *fsmpb.Command) trouble {
		if !which(c) || n == 0 {
			return none
		}
		n--
		return how
	})
}

// becomes says what becomes of a proposal.
func (v *view) becomes(c *fsmpb.Command) trouble {
	v.striking.Lock()
	defer v.striking.Unlock()
	if v.onto == nil {
		return none
	}
	how := v.onto(c)
	if how != none {
		v.struck.Add(1)
	}
	return how
}

// release commits the proposals that were late.
func (v *view) release() (n int) {
	v.mu.Lock()
	all := v.delayed
	v.delayed = nil
	v.mu.Unlock()
	for _, c := range all {
		v.all.commit(c)
	}
	return len(all)
}

// await waits until an index is applied.
func (v *view) await(ctx context.Context, index uint64) error {
	for {
		v.mu.Lock()
		done, changed := v.applied >= index, v.changed
		v.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (v *view) Propose(ctx context.Context, c *fsmpb.Command) (fsm.Result, error) {
	if err := ctx.Err(); err != nil {
		return fsm.Result{}, err
	}
	how := v.becomes(c)
	switch how {
	case notDone:
		return fsm.Result{}, errNotDone
	case leaderless:
		<-ctx.Done()
		return fsm.Result{}, fmt.Errorf("%w: %w", errNotDone, ctx.Err())
	case late:
		v.mu.Lock()
		defer v.mu.Unlock()
		v.delayed = append(v.delayed, c)
		return fsm.Result{}, uncertainError{}
	}
	index := v.all.commit(c)
	switch how {
	case lost:
		return fsm.Result{}, uncertainError{}
	case committed:
		<-ctx.Done()
		return fsm.Result{}, uncertainError{}
	}
	if v.await(ctx, index) != nil {
		return fsm.Result{}, uncertainError{}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.results[index]
	return r, r.Err
}

func (v *view) View(f func(*fsm.State)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f(v.state)
}

func (v *view) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

func (v *view) Applied() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.applied
}

func (v *view) Confirm(ctx context.Context) error {
	v.all.mu.Lock()
	index := uint64(len(v.all.log))
	v.all.mu.Unlock()
	return v.await(ctx, index)
}

func (v *view) Grant(ctx context.Context, window uint32, log fragment.LogID) (fragment.Epoch, error) {
	r, err := v.Propose(ctx, fsm.NewGrantChain(v.identity, v.boot, window, fsm.KindObjects, log))
	return r.Epoch, err
}

func (v *view) LeaseHeld(fragment.Epoch) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.held
}

func (v *view) LeaseChanged(fragment.Epoch) <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lease
}

func (v *view) MayAttach() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.skew
}

func (v *view) CheckRaftIndex(context.Context, string, fragment.Nonce, uint64, uint64) error {
	return nil
}

func (v *view) CheckIncarnation(context.Context) error { return nil }
