package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// patienceMin bounds from below how long a small fragment waits while others
// are in flight, so that a fast store is not asked for many tiny creates.
const patienceMin = 2 * time.Millisecond

// pumpLocked starts whatever creates may start: full fragments first, then
// the open one if it is due; each only if all before the window are durable,
// and while the lease is held.
func (w *Writer) pumpLocked() {
	for w.err == nil {
		next := w.open
		if len(w.closed) > 0 {
			next = w.closed[0]
		} else if due, in := w.dueLocked(); !due {
			if in > 0 {
				w.timer.Reset(in)
			}
			return
		}
		if next.n > w.durable+w.chain.Window || !w.opts.Lease() {
			return // finished pumps again, or Wake does
		}
		if len(w.closed) == 0 {
			w.closeLocked(w.open.size() >= w.opts.FragmentBytes)
		}
		f := w.closed[0]
		w.closed[0] = nil // or its bytes would stay with the array
		w.closed = w.closed[1:]
		prev := w.last
		w.last, w.sent = f.legacy, time.Now()
		w.flying++
		w.wg.Go(func() { w.send(f, prev) })
	}
}

// dueLocked decides whether the open fragment is frozen now; otherwise it
// says after which time that must be decided again, 0 for never by itself.
//
// An idle store gets it at once. While creates are in flight, it fills: until
// it is full, or has waited for half of the usual create. So a lone appender
// waits for nothing, and a flood makes full fragments; also where the store is
// faster than the flood, see there.
func (w *Writer) dueLocked() (bool, time.Duration) {
	f := w.open
	switch {
	case f.empty() || f.n > w.durable+w.chain.Window:
		return false, 0
	case f.size() >= w.opts.FragmentBytes || f.n <= w.flush:
		return true, 0
	}
	if every := w.opts.FlushInterval; every > 0 {
		wait := every - time.Since(w.sent)
		return wait <= 0, wait
	}
	now := time.Now()
	wait := max(patienceMin, w.latency/2) - now.Sub(f.since)
	if w.flying == 0 || wait <= 0 {
		wait = w.flood.wait(now, f, w.opts.FragmentBytes, w.latency)
	}
	return wait <= 0, wait
}

// Wake starts what may be started: Options.Lease says yes again.
func (w *Writer) Wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pumpLocked()
}

// send freezes a fragment and creates its object. The bytes are made once,
// before the first attempt.
func (w *Writer) send(f *filling, prev *legacy) {
	f.prepare(prev)
	key := fragment.ChainKey(w.chain.Epoch, f.n)
	w.mu.Lock()
	durable := w.durable
	w.mu.Unlock()
	f.frozen = f.builder.Freeze(fragment.Head{
		Kind: fragment.KindFragment, Epoch: w.chain.Epoch, N: f.n, Nonce: w.chain.Nonce, Durable: durable,
		Cluster: w.chain.Cluster, Incarnation: w.chain.Incarnation, Applied: w.opts.Applied(), Time: now(),
	}, f.directory)
	f.builder = fragment.Builder{}
	start := time.Now()
	err := w.put(key, f)
	took := time.Since(start)
	w.opts.Metrics.created(f.frozen.Size, took, err)
	w.traceCreate(key, f, took, err)
	w.finished(f, took, err)
}

// put creates the object of a fragment, until it is known what stands there.
func (w *Writer) put(key string, f *filling) error {
	for {
		err := w.store.Create(w.ctx, key, f.frozen.Parts...)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		err, known := w.whatStands(key, f)
		if known {
			return err
		}
		w.opts.Logger.Warn("read back what stands in a fragment's place", "object", key, "err", err)
		select {
		case <-w.ctx.Done():
			return err
		case <-time.After(retryStore):
		}
	}
}

// retryStore is the pause before an object that took a fragment's place, and
// that the store does not let us read, is looked at again.
const retryStore = 100 * time.Millisecond

// whatStands reads the object that took a fragment's place. nil: it is the
// fragment after all. Where the store does not answer, it is not known, and
// nothing is said of who wrote what.
func (w *Writer) whatStands(key string, f *filling) (err error, known bool) {
	var head fragment.Head
	err = rereading(func() error {
		head, _, err = readHead(w.ctx, w.store, key)
		return err
	})
	_, newer := errors.AsType[*fragment.VersionError](err)
	switch {
	case newer || errors.Is(err, fragment.ErrCorrupt):
		return &ForeignError{Key: key, Found: fmt.Sprintf("something that can't be read (%v)", err)}, true
	case err != nil:
		return err, false
	case head == f.frozen.Head:
		return nil, true
	case (head.Kind == fragment.KindSeal || head.Kind == fragment.KindGap) &&
		head.Epoch == w.chain.Epoch && head.N == f.n && head.Cluster == w.chain.Cluster:
		return ErrSealed, true
	}
	return &ForeignError{Key: key, Found: fmt.Sprintf("a %s of boot %s, frozen at %s", head.Kind, head.Nonce,
		time.UnixMicro(int64(head.Time)).UTC().Format(time.RFC3339Nano))}, true
}

// finished takes in the outcome of a create.
func (w *Writer) finished(f *filling, took time.Duration, err error) {
	w.mu.Lock()
	w.flying--
	if w.latency == 0 {
		w.latency = took
	}
	w.latency += (took - w.latency) / 8
	if err != nil && !w.countedLocked(f, err) {
		w.stopLocked(err)
	} else {
		f.created = true
		for next := w.unsettled[w.durable+1]; next != nil && next.created; next = w.unsettled[w.durable+1] {
			w.durable++
		}
	}
	w.pumpLocked()
	w.idle.Broadcast()
	w.mu.Unlock()
	w.settle()
}

// settle acknowledges what is durable in order. One goroutine at a time does
// it, so that acknowledgements leave in order.
func (w *Writer) settle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.acking {
		return
	}
	w.acking = true
	for w.acked < w.durable {
		f := w.unsettled[w.acked+1]
		w.mu.Unlock()
		w.tookPlace(f)
		w.mu.Lock()
		for len(f.waiters) > 0 { // more may come while these are told
			waiters := f.waiters
			f.waiters = nil
			w.mu.Unlock()
			for _, x := range waiters {
				x.Settled(nil)
			}
			w.mu.Lock()
		}
		w.acked = f.n
		delete(w.unsettled, f.n)
		w.Unreserve(int(f.reserved))
		w.idle.Broadcast()
	}
	if w.err != nil {
		w.abandonLocked()
	}
	w.acking = false
	w.idle.Broadcast()
}

// tookPlace spreads the word that a fragment is part of the chain.
func (w *Writer) tookPlace(f *filling) {
	w.segment.add(&f.frozen)
	if w.opts.Cache != nil {
		w.opts.Cache.put(w.chain.Epoch, &f.frozen)
	}
	if w.opts.Durable != nil {
		w.opts.Durable(&f.frozen)
	}
	w.maybeCut()
}

// stopLocked ends the chain: nothing more is started. What is in flight may
// still land; what of it lies before the seal counts.
func (w *Writer) stopLocked(err error) {
	if w.err != nil {
		return
	}
	w.err = err
	w.end()
	w.timer.Stop()
	if over := w.opts.Over; over != nil && !errors.Is(err, ErrClosed) && w.ctx.Err() == nil {
		w.wg.Go(func() { over(err) })
	}
}

// abandonLocked answers what the end of the chain left waiting, once nothing
// is in flight any more that could still make it durable.
func (w *Writer) abandonLocked() {
	if w.flying > 0 {
		return
	}
	w.closed, w.last = nil, nil
	for n := w.acked + 1; w.unsettled[n] != nil; n++ {
		f := w.unsettled[n]
		delete(w.unsettled, n)
		waiters := f.waiters
		f.waiters = nil
		w.Unreserve(int(f.reserved))
		err := w.err
		w.mu.Unlock()
		for _, x := range waiters {
			x.Settled(err)
		}
		w.mu.Lock()
	}
}

// Flush waits until all that was handed in before is durable and settled, or
// for ctx. Errors: those of Append, or the context's.
func (w *Writer) Flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.idle.Broadcast()
	})
	defer stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	want := w.open.n
	if w.open.empty() {
		want--
	}
	w.flush = max(w.flush, want)
	w.pumpLocked()
	for w.acked < want {
		if err := ctx.Err(); err != nil {
			return err
		}
		if w.err != nil {
			return w.err
		}
		w.idle.Wait()
	}
	return nil
}

// Durable is how far the chain is durable: objects 0..n are.
func (w *Writer) Durable() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable
}

// Close flushes, as long as ctx allows, and stops the writer; then nothing of
// it runs any more. It does not seal the chain. What could not be flushed is
// settled with ErrClosed, and its outcome is unknown. Idempotent.
func (w *Writer) Close(ctx context.Context) error {
	err := w.Flush(ctx)
	w.mu.Lock()
	w.stopLocked(ErrClosed)
	w.mu.Unlock()
	if err != nil {
		w.cancel() // creates in flight are given up
	}
	stop := context.AfterFunc(ctx, w.cancel) // so are those, and cuts, that came after the flush
	w.wg.Wait()
	stop()
	w.cancel()
	w.settle()
	w.mu.Lock()
	for w.acking { // another Close tells the last ones
		w.idle.Wait()
	}
	w.mu.Unlock()
	if errors.Is(err, ErrClosed) || errors.Is(err, ErrSealed) {
		return nil
	}
	return err
}
