package wpd_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
)

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
