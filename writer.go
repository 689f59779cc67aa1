package wpd

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// closeWait is how long Close waits for the outcome of what is in flight. It
// outlasts a failover (a lease of 3 s, an election, a recovery) by far.
const closeWait = 30 * time.Second

// Writer appends entries to a log. It is one producer: its entries stand in
// the log in the order of its calls, each once. Entries of concurrent and of
// asynchronous appends share batches. Safe for concurrent use.
//
// A batch that got no clear answer is sent again, unchanged, for as long as
// the writer is open. That a call's ctx ends first withdraws nothing: the
// call then says ErrUncertain.
//
// Once a newer writer has taken over (*FencedError), the log is deleted
// (ErrDeleted) or the service is closed (ErrClosed), the writer is at its
// end: all further appends return that error.
type Writer struct {
	client    *Client
	service   api.Service
	log       LogID
	stored    uint64
	linger    time.Duration // lingerAdaptive: follows latency
	exclusive bool
	limits    fragment.Limits

	wake   chan struct{} // of run: something may be there to do
	timer  *time.Timer   // the open batch has waited for linger
	cancel context.CancelFunc
	ended  chan struct{} // run has returned

	closeOnce sync.Once
	closeErr  error

	room    room          // its own; the client has one for all its writers
	stopped chan struct{} // closed when err is set

	mu       sync.Mutex // guards what follows, and the batches in it
	batcher  batcher
	pipeline pipeline
	latency  time.Duration // from sending a batch to its acknowledgement, smoothed
	err      error         // why nothing more is taken
	failure  error         // of an AppendAsync, for the next Flush
}

func openWriter(ctx context.Context, l *Log, o writerOptions) (*Writer, error) {
	if len(o.name) > producerNameMax {
		return nil, &LimitError{What: "producer name bytes", Limit: producerNameMax, Value: uint64(len(o.name))}
	}
	if o.codec > fragment.CodecZstd {
		return nil, fmt.Errorf("%w: unknown %v", ErrInvalid, o.codec)
	}
	service := l.client.service
	opened, err := service.OpenProducer(ctx, api.OpenRequest{Log: l.id, Name: o.name, Exclusive: o.exclusive})
	if err != nil {
		return nil, err
	}
	if o.inFlight <= 0 {
		o.inFlight = inFlightBytesDefault
	}
	limits := fragment.Limits{EntryBytesMax: int(opened.EntryBytesMax)}
	if limits.EntryBytesMax == 0 {
		limits.EntryBytesMax = fragment.EntryBytesDefault
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &Writer{
		client: l.client, service: service, log: l.id,
		stored: opened.Last, exclusive: o.exclusive, linger: o.linger, limits: limits,
		wake: make(chan struct{}, 1), timer: time.NewTimer(time.Hour), cancel: cancel, ended: make(chan struct{}),
		room:    room{limit: o.inFlight},
		stopped: make(chan struct{}),
		batcher: batcher{limits: limits},
		pipeline: pipeline{
			id: opened.ID, name: o.name, epoch: opened.Epoch, generation: opened.Generation,
			codec: o.codec, seq: opened.Last + 1,
		},
	}
	w.timer.Stop()
	if err := l.client.register(w); err != nil {
		cancel()
		return nil, err
	}
	go w.run(running)
	return w, nil
}

const producerNameMax = 255

// Append appends one entry and returns its LSN, once it is durable. data is
// copied. Errors: one that Is ErrUncertain (outcome unknown; if ctx ended,
// also ctx.Err()); ctx.Err() alone if there was no room for the entry before
// ctx ended; *LimitError (entry too large); *TailError (IfTail);
// *FencedError; *SequenceError; ErrStored (it is stored, LSN unknown);
// ErrUnknownProducer (only with a name); ErrDeleted; ErrClosed. But for the first and ErrStored, the entry is not in
// the log and never will be.
func (w *Writer) Append(ctx context.Context, data []byte, opts ...AppendOption) (LSN, error) {
	if len(opts) > 0 {
		ack, err := w.AppendBatch(ctx, []Entry{{Data: data}}, opts...)
		return ack.From, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	b, i, err := w.collect(ctx, nil, data, false)
	if err != nil {
		return 0, err
	}
	return b.wait(ctx, i)
}

// AppendBatch appends entries as one batch, all or none, and returns their
// LSNs, once they are durable. Headers and Data are copied. Errors: those of
// Append; *LimitError also if they can't be one batch (at most 1,000 entries
// and 4 MiB, or one largest entry and 64 KiB if that is more); ErrInvalid if
// there are none.
func (w *Writer) AppendBatch(ctx context.Context, entries []Entry, opts ...AppendOption) (Ack, error) {
	o := makeOptions(opts)
	if o.conditional && o.ifTail == 0 {
		return Ack{}, fmt.Errorf("%w: IfTail(0); the tail of an empty log is 1", ErrInvalid)
	}
	b, err := w.batcher.whole(entries)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Ack{}, err
	}
	b.ifTail = o.ifTail
	if err := w.admit(ctx, b.room); err != nil {
		return Ack{}, err
	}
	w.mu.Lock()
	if err := w.err; err != nil {
		w.mu.Unlock()
		w.release(b.room)
		return Ack{}, err
	}
	w.batcher.push(b)
	w.mu.Unlock()
	w.signal()
	from, err := b.wait(ctx, 0)
	if err != nil {
		return Ack{}, err
	}
	return Ack{From: from, To: b.ack.To, Time: timeOf(b.ack.Time)}, nil
}

// AppendAsync appends one entry and returns before it is durable; the outcome
// is in the Pending. Headers and Data are copied. It blocks only while there
// is no room (InFlight), for as long as ctx allows; ctx is not used after the
// return, and an ended one is noticed only if there is no room. What Append
// returns at once, the Pending has at once.
//
// The first error of the entries that were appended so is also returned by
// the next Flush or Close, so that one may drop the Pendings.
func (w *Writer) AppendAsync(ctx context.Context, e Entry) *Pending {
	b, i, err := w.collect(ctx, e.Headers, e.Data, true)
	if err != nil {
		return failed(err)
	}
	return &Pending{batch: b, index: i}
}

// collect puts an entry into the open batch.
func (w *Writer) collect(ctx context.Context, headers []Header, data []byte, async bool) (*batch, int, error) {
	size := entryBytes(headers, data)
	err := w.checkEntry(headers, data, size)
	if err == nil {
		err = w.admit(ctx, roomOf(size))
	}
	w.mu.Lock()
	if err == nil && w.err != nil {
		err = w.err
		w.release(roomOf(size))
	}
	if err != nil {
		if async && w.failure == nil {
			w.failure = err
		}
		w.mu.Unlock()
		return nil, 0, err
	}
	b, i := w.batcher.add(headers, data, size)
	b.async = b.async || async
	if i == 0 && w.batcher.open == b {
		if linger := w.lingerLocked(); linger <= 0 || w.pipeline.idle() {
			w.batcher.due = true
		} else {
			w.timer.Reset(linger)
		}
	}
	ready := w.batcher.ready() && !w.pipeline.full()
	w.mu.Unlock()
	if ready {
		w.signal()
	}
	return b, i, nil
}

// lingerLocked is how long a batch waits for company. Unless it was set, that
// follows the service: an eighth of the usual time to an acknowledgement costs
// an entry little, and makes few large batches of many small ones where
// acknowledgements take long. It is up to half of that time where the client
// has much in flight: then acknowledgements take long since there are so many
// batches, each of which costs both ends the same, however large it is.
func (w *Writer) lingerLocked() time.Duration {
	if w.linger != lingerAdaptive {
		return w.linger
	}
	share := lingerShareMin + (lingerShareMax-lingerShareMin)*min(1, float64(w.client.room.taken())/crowdBytes)
	return min(max(lingerMin, time.Duration(share*float64(w.latency))), lingerMax)
}

// checkEntry finds out, before anything is done, whether an entry is within
// the limits.
func (w *Writer) checkEntry(headers []Header, data []byte, size int) error {
	if n := size - len(data); n > fragment.HeaderBytesMax {
		return &LimitError{What: "entry header bytes", Limit: fragment.HeaderBytesMax, Value: uint64(n)}
	}
	if most := w.limits.EntryBytesMax; size > most {
		return &LimitError{What: "entry bytes", Limit: uint64(most), Value: uint64(size)}
	}
	return nil
}

// admit waits for room, the writer's and the client's, and takes it.
func (w *Writer) admit(ctx context.Context, bytes int) error {
	err := w.room.acquire(ctx, w.stopped, bytes)
	if err == nil {
		if err = w.client.room.acquire(ctx, w.stopped, bytes); err == nil {
			return nil
		}
		w.room.free(bytes)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	return err
}

func (w *Writer) release(bytes int) {
	w.client.room.free(bytes)
	w.room.free(bytes)
}

// Flush waits until everything that was appended before is settled. It
// returns the first error of an AppendAsync that was not returned by a Flush
// before, other than ErrStored; if ctx ends first, an error that Is
// ErrUncertain and ctx.Err(), after which Flush may be called again.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	w.batcher.cut()
	var waiting []*batch
	for _, batches := range [][]*batch{w.pipeline.flight, w.batcher.queue} {
		for _, b := range batches {
			if !b.settled {
				waiting = append(waiting, b)
			}
		}
	}
	w.mu.Unlock()
	w.signal()
	for _, b := range waiting {
		select {
		case <-b.done:
		case <-ctx.Done():
			return fmt.Errorf("flush: %w: %w", ErrUncertain, ctx.Err())
		}
	}
	return w.takeFailure()
}

func (w *Writer) takeFailure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.failure
	w.failure = nil
	return err
}

// Stored returns the sequence of the last entry that the producer had stored
// when the writer was opened: for a named producer, how many entries it has
// appended in all its lives; 0 for a new one. A program that appends the
// items of a source, one entry each, goes on behind the first Stored() items.
func (w *Writer) Stored() uint64 { return w.stored }

// Close takes no more appends, waits until everything before is settled, and
// frees the writer. It returns what Flush would. What has no answer after 30
// seconds is given up: its outcome is unknown. (For another bound call Flush
// first.) Idempotent.
func (w *Writer) Close() error {
	w.closeOnce.Do(func() {
		w.mu.Lock()
		w.stopLocked(ErrClosed)
		w.batcher.cut()
		w.mu.Unlock()
		w.signal()
		patience := time.AfterFunc(closeWait, w.cancel)
		<-w.ended
		patience.Stop()
		w.client.unregister(w)
		w.closeErr = w.takeFailure()
	})
	return w.closeErr
}

// stopLocked takes no more appends; err is what they get, if nothing else
// has stopped the writer before.
func (w *Writer) stopLocked(err error) {
	if w.err == nil {
		w.err = err
		close(w.stopped)
	}
}

// signal wakes run.
func (w *Writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
