package segment

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/wpd-io/wpd/fragment"
)

// Writer writes one chain. Safe for concurrent use; what belongs to one log
// must be handed in in its order.
type Writer struct {
	chain   Chain
	store   Store
	opts    Options
	room    *semaphore.Weighted // bytes that are not durable yet
	segment openSegment
	merging sync.Mutex // held while cuts are merged

	ctx    context.Context // of creates and cuts; ends when Close gives up
	cancel context.CancelFunc
	live   context.Context // ends with the chain, before ctx does
	end    context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	open      *filling            // takes batches
	closed    []*filling          // full, wait for a place in the window
	last      *legacy             // of the latest that was sent, for its successor
	unsettled map[uint64]*filling // all above acked, the open one included
	flying    int                 // creates in flight
	durable   uint64              // objects 0..durable are durable
	acked     uint64              // fragments 1..acked are settled; <= durable
	acking    bool                // a goroutine settles acks
	flush     uint64              // fragments up to this one are due at once
	timer     *time.Timer         // wakes the pump
	latency   time.Duration       // of creates, smoothed
	sent      time.Time           // when the last create began
	flood     flood               // how fast batches come
	idle      *sync.Cond          // acked or flying moved, or err was set
	err       error               // why the chain is over
	sealedAt  uint64              // number of its committed seal; 0: not known
}

// Create opens a chain by winning the create of its object 0, and returns its
// writer. fs.ErrExist: the epoch is in use, or was.
func Create(ctx context.Context, store Store, c Chain, opts Options) (*Writer, error) {
	c = c.valid()
	opts = opts.withDefaults(c)
	opening := fragment.Encode(fragment.Head{
		Kind: fragment.KindOpening, Epoch: c.Epoch, Nonce: c.Nonce, Cluster: c.Cluster,
		Incarnation: c.Incarnation, Applied: opts.Applied(), Time: now(),
	}, &fragment.Directory{Opening: &fragment.Opening{Node: c.Node, Boot: c.Boot, Window: uint32(c.Window)}})
	if err := store.Create(ctx, fragment.ChainKey(c.Epoch, 0), opening.Parts...); err != nil {
		return nil, err
	}
	opts.Metrics.opened()
	w := &Writer{
		chain: c, store: store, opts: opts,
		room: opts.Room,
		open: newFilling(1),
	}
	w.unsettled = map[uint64]*filling{1: w.open}
	w.segment.init(1, time.Now())
	w.idle = sync.NewCond(&w.mu)
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.live, w.end = context.WithCancel(w.ctx)
	w.timer = time.AfterFunc(time.Hour, w.Wake)
	w.timer.Stop()
	return w, nil
}

// Chain says which chain this is.
func (w *Writer) Chain() Chain { return w.chain }

// Err says why the chain is over; nil while it is not.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Reserve waits for room for n bytes of a batch, or for ctx. Every Append
// needs it first; Unreserve gives it back where no Append follows. Errors: the
// context's; those of Append, if the chain ends while it waits.
func (w *Writer) Reserve(ctx context.Context, n int) error {
	if !w.room.TryAcquire(int64(n)) {
		if err := w.acquire(ctx, n); err != nil {
			return err
		}
	}
	w.opts.Metrics.buffered.Add(float64(n))
	return nil
}

// acquire waits for room. A chain that is over gives none back as long as
// its store hangs, so its end ends the wait.
func (w *Writer) acquire(ctx context.Context, n int) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.live, cancel)()
	err := w.room.Acquire(waiting, int64(n))
	if err != nil && ctx.Err() == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.err
	}
	return err
}

// Unreserve gives back what Reserve got.
func (w *Writer) Unreserve(n int) {
	w.room.Release(int64(n))
	w.opts.Metrics.buffered.Sub(float64(n))
}

// Append takes a stamped batch, for which room was reserved; its bytes are the
// writer's from now on. It never blocks on the store. ready is how many bytes,
// about, whoever appends has ready to append, these included; 0: that is not
// said. The result is the number of the batch's fragment, see After. Errors:
// ErrSealed, ErrClosed, *ForeignError: the chain is over and nothing was taken,
// the reservation included.
func (w *Writer) Append(log fragment.LogID, b fragment.Batch, ready int, waiter Waiter) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	at := time.Now()
	if ready > 0 {
		w.flood.expect(at, ready)
	}
	if w.open.other(log, b.Attachment()) || !w.open.empty() && w.open.size()+b.Len() > w.opts.FragmentBytes {
		w.closeLocked(true)
	}
	f := w.touchLocked()
	w.flood.came(at, b.Len())
	f.add(log, b)
	f.reserved += int64(b.Len())
	f.waiters = append(f.waiters, waiter)
	w.pumpLocked()
	return f.n, nil
}

// Note adds to the next fragment what comes without a batch: that a log is
// attached (the first thing said of it in this chain), or a producer's state.
// It is flushed when something else is, or is waited for. Result and errors are
// those of Append.
func (w *Writer) Note(a *fragment.Attached, s fragment.LogState) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	if w.open.other(s.Log, s.Attachment) || !w.open.empty() && w.open.size()+noteBytes(s) > w.opts.FragmentBytes {
		w.closeLocked(true)
	}
	f := w.touchLocked()
	if a != nil {
		f.attached = append(f.attached, *a)
		f.extra += 64 + len(a.Name)
	}
	f.note(s)
	return f.n, nil
}

// After settles waiter once fragment n is durable, behind all waiters that it
// has already. Where n is settled, it returns true and leaves the waiter to
// the caller, and so it does with an error: the chain is over, and nobody here
// will learn whether n is part of it.
func (w *Writer) After(n uint64, waiter Waiter) (settled bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case n <= w.acked:
		return true, nil
	case w.unsettled[n] == nil && w.err != nil:
		return false, w.err
	case w.unsettled[n] == nil:
		return false, fmt.Errorf("wait for fragment %d of chain %d, which takes batches into %d", n, uint64(w.chain.Epoch), w.open.n)
	}
	f := w.unsettled[n] // also if the chain is over: n may be in flight and land before its end
	f.waiters = append(f.waiters, waiter)
	w.pumpLocked()
	return false, nil
}

// touchLocked returns the open fragment, for something to go into it.
func (w *Writer) touchLocked() *filling {
	if w.open.since.IsZero() {
		w.open.since = time.Now()
		w.open.lone = w.flying == 0 && !w.flood.on(w.open.since)
	}
	return w.open
}

// closeLocked ends the open fragment, in which there may be no room left, and
// begins the next.
func (w *Writer) closeLocked(full bool) {
	w.flood.closed(full)
	w.closed = append(w.closed, w.open)
	w.open = newFilling(w.open.n + 1)
	w.unsettled[w.open.n] = w.open
}

func now() fragment.Micros { return fragment.Micros(time.Now().UnixMicro()) }
