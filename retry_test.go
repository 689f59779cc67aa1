package wpd_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/wal/api"
)

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
