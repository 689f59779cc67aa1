package wpd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// world is a model with one log, in a bubble of its own time.
type world struct {
	*model
	t      *testing.T
	client *wpd.Client
	log    *wpd.Log
}

// inWorld runs a test in a world, once with each backend, and checks in the
// end that every writer kept its side of the contract.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) { inWorldOf(t, backend, test) })
	}
}

func inWorldOf(t *testing.T, backend string, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.delay = 10 * time.Millisecond
		w := &world{model: m, t: t}
		var done func()
		w.client, done = m.open(t, backend)
		var err error
		if w.log, err = w.client.Create(t.Context(), "log", wpd.LogConfig{}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			w.setFault(nil)
			done()
			for _, what := range w.broken {
				t.Errorf("the service saw: %s", what)
			}
		}()
		test(t, w)
	})
}

func (w *world) writer(opts ...wpd.WriterOption) *wpd.Writer {
	w.t.Helper()
	writer, err := w.log.Writer(w.t.Context(), opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	return writer
}

// contents returns the data of all entries of the log.
func (w *world) contents() []string {
	w.t.Helper()
	var all []string
	for e, err := range w.log.Read(w.t.Context(), wpd.Earliest) {
		if err != nil {
			w.t.Fatal(err)
		}
		if want := wpd.LSN(len(all) + 1); e.LSN != want {
			w.t.Fatalf("LSN %d, want %d", e.LSN, want)
		}
		all = append(all, string(e.Data))
	}
	return all
}

func (w *world) wantContents(want ...string) {
	w.t.Helper()
	if got := w.contents(); !slices.Equal(got, want) {
		w.t.Errorf("the log has %q, want %q", got, want)
	}
}

// first lets the first attempts go wrong, one fault each.
func (w *world) first(faults ...fault) {
	w.setFault(func(*attempt) fault {
		if len(faults) == 0 {
			return fine
		}
		f := faults[0]
		faults = faults[1:]
		return f
	})
}

func (w *world) wantLSN(p *wpd.Pending, want wpd.LSN) {
	w.t.Helper()
	if lsn, err := p.Wait(w.t.Context()); lsn != want || err != nil {
		w.t.Errorf("Wait: %d, %v; want %d", lsn, err, want)
	}
}

func (w *world) wantErr(p *wpd.Pending, target error) {
	w.t.Helper()
	if lsn, err := p.Wait(w.t.Context()); lsn != 0 || !errors.Is(err, target) {
		w.t.Errorf("Wait: %d, %v; want %v", lsn, err, target)
	}
}

// async appends data, and lets the writer send what it wants to send.
func (w *world) async(writer *wpd.Writer, data string) *wpd.Pending {
	p := writer.AppendAsync(w.t.Context(), wpd.Entry{Data: []byte(data)})
	synctest.Wait()
	return p
}

func TestAppend(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer()
		data := []byte("a")
		for want := range wpd.LSN(3) {
			lsn, err := writer.Append(t.Context(), data)
			if lsn != want+1 || err != nil {
				t.Fatalf("Append: %d, %v; want %d", lsn, err, want+1)
			}
			data[0]++ // it was copied
		}
		p := writer.AppendAsync(t.Context(), wpd.Entry{Data: data, Headers: []wpd.Header{{Key: "k", Value: []byte("v")}}})
		data[0] = 'x'
		w.wantLSN(p, 4)
		ack, err := writer.AppendBatch(t.Context(), []wpd.Entry{{Data: []byte("e")}, {Data: []byte("f")}, {}})
		if want := (wpd.Ack{From: 5, To: 8, Time: time.Now().Add(-10 * time.Millisecond).UTC()}); ack != want || err != nil {
			t.Errorf("AppendBatch: %v, %v; want %v", ack, err, want)
		}
		w.wantContents("a", "b", "c", "d", "e", "f", "")
	})
}

// With nothing in flight an entry is sent at once; then entries share a batch
// until linger has passed, or it is full.
func TestBatching(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer(wpd.Linger(2 * time.Millisecond))
		w.async(writer, "first")
		for range 5 {
			w.async(writer, "shared")
		}
		if n := len(w.sent()); n != 1 {
			t.Errorf("%d batches sent, want only the first", n)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if sent := w.sent(); len(sent) != 2 || sent[1] != 5 {
			t.Fatalf("%d batches sent, want the 5 entries in a second", len(sent))
		}
		for range 1001 {
			writer.AppendAsync(t.Context(), wpd.Entry{Data: make([]byte, 1024)})
		}
		synctest.Wait()
		if sent := w.sent(); len(sent) != 3 || sent[2] != 1000 {
			t.Fatalf("%d batches sent, want 1,000 entries in a third", len(sent))
		}
		big := make([]byte, 400<<10)
		for range 3 {
			writer.AppendAsync(t.Context(), wpd.Entry{Data: big})
		}
		synctest.Wait()
		if sent := w.sent(); len(sent) != 4 || sent[3] != 1+2 {
			t.Fatalf("%d batches sent, want less than 1 MiB in a fourth", len(sent))
		}
		if err := writer.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if n := len(w.sent()); n != 5 {
			t.Errorf("%d batches sent, want the rest in a fifth", n)
		}
		if tail, err := w.log.Tail(t.Context()); tail != 1011 || err != nil {
			t.Errorf("tail %d, %v; want 1011", tail, err)
		}
	})
}

// Unless it was set, linger is an eighth of the usual time to an
// acknowledgement, and up to half of it where the client has much in flight.
func TestLingerFollows(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.delay = 80 * time.Millisecond
		writer, other := w.writer(), w.writer(wpd.Linger(0))
		for range 100 {
			if _, err := writer.Append(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		lingers := func() time.Duration {
			t.Helper()
			w.async(writer, "at once")
			start, n := time.Now(), len(w.sent())
			w.async(writer, "later")
			for len(w.sent()) == n {
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			took := time.Since(start)
			if err := writer.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			return took
		}
		for _, c := range []struct {
			inFlight int
			want     time.Duration
		}{{0, 10 * time.Millisecond}, {16, 25 * time.Millisecond}, {32, 40 * time.Millisecond}, {40, 40 * time.Millisecond}} {
			for range c.inFlight {
				other.AppendAsync(t.Context(), wpd.Entry{Data: make([]byte, 1<<20)})
			}
			synctest.Wait()
			if got := lingers(); got < c.want-2*time.Millisecond || got > c.want+2*time.Millisecond {
				t.Errorf("with %d MiB in flight entries linger for %v, want %v", c.inFlight, got, c.want)
			}
			if err := other.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestRetry(t *testing.T) {
	for _, f := range []fault{notTaken, turnedAway, dropped, replyLost, late} {
		for _, codec := range []wpd.Codec{wpd.CodecNone, wpd.CodecS2, wpd.CodecZstd} {
			t.Run(fmt.Sprint(f, codec), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					writer := w.writer(wpd.Linger(0), wpd.Compress(codec))
					text := string(bytes.Repeat([]byte("text "), 100))
					w.first(fine, f, fine, f, f)
					var pending []*wpd.Pending
					for i := range 5 {
						pending = append(pending, w.async(writer, text+fmt.Sprint(i)))
					}
					for i, p := range pending {
						w.wantLSN(p, wpd.LSN(i+1))
					}
					w.wantContents(text+"0", text+"1", text+"2", text+"3", text+"4")
				})
			})
		}
	}
}

// What followed a refused batch is stored all the same, under a raised epoch.
func TestRefusedMidPipeline(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer(wpd.Linger(0))
		a := w.async(writer, "a")
		refused := make(chan error)
		go func() {
			_, err := writer.Append(t.Context(), []byte("b"), wpd.IfTail(7))
			refused <- err
		}()
		synctest.Wait()
		c, d := w.async(writer, "c"), w.async(writer, "d")
		var tail *wpd.TailError
		if err := <-refused; !errors.As(err, &tail) || tail.Tail != 2 || tail.Want != 7 {
			t.Errorf("Append: %v, want a TailError", err)
		}
		w.wantLSN(a, 1)
		w.wantLSN(c, 2)
		w.wantLSN(d, 3)
		w.wantContents("a", "c", "d")
		if n := len(w.opens); n != 2 || w.opens[1].Epoch != 2 {
			t.Errorf("%d opens, want a raise to epoch 2", n)
		}
		if lsn, err := writer.Append(t.Context(), []byte("e"), wpd.IfTail(4)); lsn != 4 || err != nil {
			t.Errorf("Append: %d, %v", lsn, err)
		}
	})
}

// A batch whose first attempt may have landed, or may still, is refused only
// once a raised epoch keeps it out; if the log has it by then, it is
// acknowledged.
func TestRefusedAfterUnknown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer(wpd.Linger(0))
		for lsn := range wpd.LSN(3) {
			w.wantLSN(w.async(writer, "a"), lsn+1)
		}
		w.first(late) // comes upon the tail 4 as well
		refused := make(chan error, 1)
		go func() {
			_, err := writer.Append(t.Context(), []byte("x"), wpd.IfTail(9))
			refused <- err
		}()
		synctest.Wait()
		y := w.async(writer, "y")
		var tail *wpd.TailError
		if err := <-refused; !errors.As(err, &tail) || tail.Tail != 4 {
			t.Errorf("Append: %v, want a TailError", err)
		}
		w.wantLSN(y, 4)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.opens) != 2 {
			t.Errorf("%d opens, want a raise before the refusal", len(w.opens))
		}
	})
}

func TestLandsAfterRefusal(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.delay = time.Millisecond
		other, writer := w.writer(wpd.Linger(0)), w.writer(wpd.Linger(0))
		w.lateness = 4 * time.Millisecond
		w.first(late)
		result := make(chan error, 1)
		var lsn wpd.LSN
		go func() {
			var err error
			lsn, err = writer.Append(t.Context(), []byte("x"), wpd.IfTail(2))
			result <- err
		}()
		synctest.Wait()
		// The second attempt, at 2 to 3 ms, comes upon tail 1. Its raise is
		// held up until the tail is 2, and the first attempt has landed.
		w.setOpenFail(func(api.OpenRequest) (before, after error) {
			if len(w.logs[1].batches) < 2 {
				return api.ErrUnavailable, nil
			}
			return nil, nil
		})
		time.Sleep(3500 * time.Microsecond)
		w.wantLSN(w.async(other, "o"), 1)
		if err := <-result; lsn != 2 || err != nil {
			t.Errorf("Append: %d, %v; want 2", lsn, err)
		}
		w.wantLSN(w.async(writer, "y"), 3)
		w.wantContents("o", "x", "y")
	})
}

func TestFenced(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		old := w.writer(wpd.ProducerID("p"), wpd.Linger(0))
		w.wantLSN(w.async(old, "a"), 1)
		w.first(replyLost)
		unknown := w.async(old, "b")
		w.setFault(nil)
		young := w.writer(wpd.ProducerID("p"))
		if n := young.Stored(); n != 2 {
			t.Errorf("Stored() = %d, want 2", n)
		}
		surely := w.async(old, "c")
		w.wantLSN(unknown, 2) // it was stored before the fence
		var fenced *wpd.FencedError
		if _, err := surely.Wait(t.Context()); !errors.As(err, &fenced) || errors.Is(err, wpd.ErrUncertain) {
			t.Errorf("Wait: %v, want a FencedError", err)
		}
		if _, err := old.Append(t.Context(), nil); !errors.As(err, &fenced) {
			t.Errorf("Append: %v, want a FencedError", err)
		}
		if err := old.Close(); !errors.As(err, &fenced) {
			t.Errorf("Close: %v, want the FencedError of an AppendAsync", err)
		}
		w.wantLSN(w.async(young, "d"), 3)
		w.wantContents("a", "b", "d")
	})
}

func TestFencedUnknown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		old := w.writer(wpd.Linger(0))
		w.first(dropped)
		unknown := w.async(old, "a")
		w.writer(wpd.Exclusive())
		if _, err := unknown.Wait(t.Context()); !errors.Is(err, wpd.ErrUncertain) {
			t.Errorf("Wait: %v, want ErrUncertain", err)
		}
		if err := old.Flush(t.Context()); !errors.Is(err, wpd.ErrUncertain) {
			t.Errorf("Flush: %v, want ErrUncertain", err)
		}
	})
}

func TestForgottenProducer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer(wpd.Linger(0))
		w.wantLSN(w.async(writer, "a"), 1)
		w.first(forget) // idle for long, say
		b, c := w.async(writer, "b"), w.async(writer, "c")
		w.wantLSN(b, 2) // neither can have been stored
		w.wantLSN(c, 3)
		w.first(replyLost, fine, forget)
		d, e := w.async(writer, "d"), w.async(writer, "e")
		w.wantErr(d, wpd.ErrUncertain)
		w.wantLSN(e, 5) // acknowledged before the producer went
		w.wantContents("a", "b", "c", "d", "e")
		_ = writer.Flush(t.Context())
	})
}

// An exclusive writer stays exclusive when its producer is forgotten.
func TestForgottenExclusive(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer(wpd.Exclusive(), wpd.Linger(0))
		w.first(forget)
		w.wantLSN(w.async(writer, "a"), 1)
		w.first(forget)
		b := w.async(writer, "b")
		other := w.writer(wpd.Exclusive())
		var fenced *wpd.FencedError
		if _, err := b.Wait(t.Context()); !errors.As(err, &fenced) {
			t.Errorf("Wait: %v, want a FencedError", err)
		}
		w.wantLSN(w.async(other, "c"), 2)
		if _, err := w.log.Writer(t.Context()); !errors.As(err, &fenced) {
			t.Errorf("Writer: %v, want a FencedError", err)
		}
		_ = writer.Flush(t.Context())
	})
}

func TestForgottenNamedProducer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer(wpd.ProducerID("p"))
		w.first(forget)
		w.wantErr(w.async(writer, "a"), wpd.ErrUnknownProducer)
		if err := writer.Close(); !errors.Is(err, wpd.ErrUnknownProducer) {
			t.Errorf("Close: %v", err)
		}
	})
}

// The reply to a raise is lost. An anonymous producer goes on. A named one
// can't know whether it was itself that raised the epoch, or a rival, and must
// not fence a rival.
func TestRaiseReplyLost(t *testing.T) {
	for _, name := range []string{"", "p"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				writer := w.writer(wpd.ProducerID(name))
				if _, err := writer.Append(t.Context(), nil, wpd.IfTail(9)); err == nil {
					t.Fatal("Append: no error")
				}
				lost := 0
				w.setOpenFail(func(api.OpenRequest) (before, after error) {
					if lost++; lost > 2 {
						return nil, nil
					}
					return nil, errors.New("the reply was lost")
				})
				p := w.async(writer, "a")
				if name == "" {
					w.wantLSN(p, 1)
					return
				}
				var fenced *wpd.FencedError
				if _, err := p.Wait(t.Context()); !errors.As(err, &fenced) {
					t.Errorf("Wait: %v, want a FencedError", err)
				}
				_ = writer.Close()
			})
		})
	}
}

func TestRaiseAgainstRival(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer(wpd.ProducerID("p"))
		if _, err := writer.Append(t.Context(), nil, wpd.IfTail(9)); err == nil {
			t.Fatal("Append: no error")
		}
		rival := w.writer(wpd.ProducerID("p"))
		var fenced *wpd.FencedError
		if _, err := writer.Append(t.Context(), nil); !errors.As(err, &fenced) {
			t.Errorf("Append: %v, want a FencedError", err)
		}
		w.wantLSN(w.async(rival, "a"), 1)
	})
}

func TestDeletedLog(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer(wpd.Linger(0))
		w.first(fine, dropped)
		a, b := w.async(writer, "a"), w.async(writer, "b")
		if err := w.client.Delete(t.Context(), "log"); err != nil {
			t.Fatal(err)
		}
		w.wantLSN(a, 1)
		w.wantErr(b, wpd.ErrDeleted)
		w.wantErr(w.async(writer, "c"), wpd.ErrDeleted)
		if err := writer.Close(); !errors.Is(err, wpd.ErrNotFound) {
			t.Errorf("Close: %v", err)
		}
		if _, err := w.client.Create(t.Context(), "log", wpd.LogConfig{}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.log.Info(t.Context()); !errors.Is(err, wpd.ErrDeleted) {
			t.Errorf("Info through the old handle: %v, want ErrDeleted", err)
		}
	})
}

func TestAppendContext(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer()
		w.setFault(func(*attempt) fault { return turnedAway })
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Millisecond)
		defer cancel()
		_, err := writer.Append(ctx, []byte("a"))
		if !errors.Is(err, wpd.ErrUncertain) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Append: %v, want ErrUncertain and DeadlineExceeded", err)
		}
		if err := writer.Flush(ctx); !errors.Is(err, wpd.ErrUncertain) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush: %v, want ErrUncertain and DeadlineExceeded", err)
		}
		if _, err := writer.Append(ctx, []byte("b")); errors.Is(err, wpd.ErrUncertain) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Append with an ended ctx: %v, want DeadlineExceeded only", err)
		}
		w.setFault(nil)
		if err := writer.Flush(t.Context()); err != nil {
			t.Errorf("Flush: %v", err)
		}
		w.wantContents("a") // it was not withdrawn
	})
}

func TestInFlightRoom(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer(wpd.InFlight(1000))
		a := w.async(writer, string(make([]byte, 5000))) // alone, it may be larger
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		start := time.Now()
		p := writer.AppendAsync(ctx, wpd.Entry{Data: []byte("b")})
		if waited := time.Since(start); waited != 5*time.Millisecond {
			t.Errorf("waited %v for room, want 5 ms", waited)
		}
		if _, err := p.Wait(t.Context()); errors.Is(err, wpd.ErrUncertain) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait: %v, want DeadlineExceeded only", err)
		}
		if err := writer.Flush(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush: %v, want DeadlineExceeded", err)
		}
		w.wantLSN(a, 1)
		for i := range 100 {
			writer.AppendAsync(t.Context(), wpd.Entry{Data: fmt.Append(nil, i)})
		}
		if err := writer.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if got := w.contents(); len(got) != 101 || got[100] != "99" {
			t.Errorf("%d entries, want 101", len(got))
		}
	})
}

// Many writers don't have more room than their client.
func TestInFlightOfClient(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cost = true
		mib := wpd.Entry{Data: make([]byte, 1<<20)}
		a, b, c := w.writer(), w.writer(), w.writer()
		for range 63 {
			a.AppendAsync(t.Context(), mib)
			b.AppendAsync(t.Context(), mib)
		}
		c.AppendAsync(t.Context(), mib)
		c.AppendAsync(t.Context(), mib)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := c.AppendAsync(ctx, mib).Wait(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait: %v, want DeadlineExceeded", err)
		}
		if err := c.Flush(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush: %v, want DeadlineExceeded", err)
		}
		c.AppendAsync(t.Context(), mib)
	})
}

func TestInFlightBatches(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer(wpd.Linger(0))
		for i := range 200 {
			w.async(writer, fmt.Sprint(i))
		}
		if n := len(w.sent()); n != fragment.InFlightMax {
			t.Errorf("%d batches in flight, want %d", n, fragment.InFlightMax)
		}
		if err := writer.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if got := w.contents(); len(got) != 200 || got[199] != "199" {
			t.Errorf("%d entries, want 200", len(got))
		}
	})
}

func TestLimits(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer()
		var limit *wpd.LimitError
		check := func(what string, err error) {
			t.Helper()
			if !errors.As(err, &limit) || limit.What != what {
				t.Errorf("%v, want a LimitError of %s", err, what)
			}
		}
		_, err := writer.Append(t.Context(), make([]byte, 1<<20+1))
		check("entry bytes", err)
		headers := []wpd.Header{{Key: "k", Value: make([]byte, 16<<10)}}
		_, err = writer.AppendAsync(t.Context(), wpd.Entry{Headers: headers}).Wait(t.Context())
		check("entry header bytes", err)
		check("entry header bytes", writer.Flush(t.Context()))
		_, err = writer.AppendBatch(t.Context(), make([]wpd.Entry, 1001))
		check("batch entries", err)
		mib := wpd.Entry{Data: make([]byte, 1<<20)}
		_, err = writer.AppendBatch(t.Context(), []wpd.Entry{mib, mib, mib, mib})
		check("batch bytes", err)
		if _, err = writer.AppendBatch(t.Context(), nil); !errors.Is(err, wpd.ErrInvalid) {
			t.Errorf("AppendBatch of nothing: %v", err)
		}
		if _, err = writer.Append(t.Context(), nil, wpd.IfTail(0)); !errors.Is(err, wpd.ErrInvalid) {
			t.Errorf("IfTail(0): %v", err)
		}
		if _, err = writer.Append(t.Context(), make([]byte, 1<<20)); err != nil {
			t.Errorf("an entry at the limit: %v", err)
		}
		if n := len(w.sent()); n != 1 {
			t.Errorf("%d attempts, want 1", n)
		}
	})
}

func TestClose(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer(wpd.Linger(time.Hour))
		a, b := w.async(writer, "a"), w.async(writer, "b")
		if err := writer.Close(); err != nil {
			t.Error(err)
		}
		w.wantLSN(a, 1)
		w.wantLSN(b, 2)
		if err := writer.Close(); err != nil {
			t.Error(err)
		}
		if _, err := writer.Append(t.Context(), nil); err != wpd.ErrClosed {
			t.Errorf("Append: %v, want ErrClosed", err)
		}
	})
}

// Close gives up in the end, and says so.
func TestCloseGivesUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := w.writer()
		w.setFault(func(*attempt) fault { return dropped })
		p := w.async(writer, "a")
		start := time.Now()
		if err := writer.Close(); !errors.Is(err, wpd.ErrUncertain) {
			t.Errorf("Close: %v, want ErrUncertain", err)
		}
		if took := time.Since(start); took < 30*time.Second || took > 32*time.Second {
			t.Errorf("Close took %v, want 30 s", took)
		}
		w.wantErr(p, wpd.ErrUncertain)
	})
}

// A service that closes under a writer loses nothing silently. (One that was
// dialled may come back: TestServiceComesBack.)
func TestServiceCloses(t *testing.T) {
	inWorldOf(t, "embedded", func(t *testing.T, w *world) {
		writer := w.writer(wpd.Linger(0))
		w.wantLSN(w.async(writer, "a"), 1)
		w.setFault(func(*attempt) fault { return closing })
		writer.AppendAsync(t.Context(), wpd.Entry{})
		if err := writer.Flush(t.Context()); !errors.Is(err, wpd.ErrClosed) {
			t.Errorf("Flush: %v, want ErrClosed", err)
		}
		writer.AppendAsync(t.Context(), wpd.Entry{})
		if err := writer.Close(); !errors.Is(err, wpd.ErrClosed) {
			t.Errorf("Close: %v, want ErrClosed", err)
		}
	})
}

// A named producer goes on where it was, in whichever process.
func TestStored(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for life := range 3 {
			writer := w.writer(wpd.ProducerID("p"))
			if n := writer.Stored(); n != uint64(life*10) {
				t.Errorf("Stored() = %d in life %d", n, life)
			}
			for i := range 10 {
				writer.AppendAsync(t.Context(), wpd.Entry{Data: fmt.Append(nil, life*10+i)})
			}
			if err := writer.Close(); err != nil {
				t.Error(err)
			}
		}
		info, err := w.log.Producer(t.Context(), "p")
		if info.Last != 30 || info.LastLSN != 30 || err != nil {
			t.Errorf("Producer: %+v, %v", info, err)
		}
	})
}

// All named producers are listed, page by page, and no other.
func TestProducers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := func() (names []string) {
			for info, err := range w.log.Producers(t.Context()) {
				if err != nil {
					t.Error(err)
				}
				names = append(names, fmt.Sprintf("%s %d", info.Name, info.Last))
			}
			return names
		}
		if got := list(); got != nil {
			t.Errorf("a log without named producers lists %q", got)
		}
		w.writer()
		var want []string
		for i := range 5 {
			writer := w.writer(wpd.ProducerID(fmt.Sprint("p", 4-i)))
			for range 4 - i {
				writer.AppendAsync(t.Context(), wpd.Entry{Data: []byte("x")})
			}
			if err := writer.Close(); err != nil {
				t.Error(err)
			}
			want = append(want, fmt.Sprintf("p%d %d", i, i))
		}
		if got := list(); !slices.Equal(got, want) {
			t.Errorf("Producers: %q, want %q", got, want)
		}
		for range w.log.Producers(t.Context()) {
			break // must not go on
		}
		_ = w.client.Delete(t.Context(), w.log.Name())
		for _, err := range w.log.Producers(t.Context()) {
			if !errors.Is(err, wpd.ErrDeleted) {
				t.Errorf("of a deleted log: %v", err)
			}
		}
	})
}
