package wpd_test

import (
	"errors"
	"testing"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/wal/api"
)

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
