package wpd

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wpd-io/wpd/testcluster/bubble"
)

// Room is given in the order of the calls, a large call is not passed by small
// ones, and who leaves makes way.
func TestRoom(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r := room{limit: 10}
		stopped := make(chan struct{})
		got := make(chan int, 10)
		ask := func(ctx context.Context, bytes int) {
			go func() {
				if err := r.acquire(ctx, stopped, bytes); err == nil {
					got <- bytes
				} else if !errors.Is(err, context.DeadlineExceeded) && err != ErrClosed {
					t.Error(err)
				}
			}()
			synctest.Wait()
		}
		check := func(want ...int) {
			t.Helper()
			synctest.Wait()
			for _, bytes := range want {
				select {
				case have := <-got:
					if have != bytes {
						t.Errorf("room for %d, want for %d", have, bytes)
					}
				default:
					t.Errorf("no room, want for %d", bytes)
				}
			}
			select {
			case have := <-got:
				t.Errorf("room for %d, want for none", have)
			default:
			}
		}
		ask(t.Context(), 100) // alone
		ask(t.Context(), 1)
		check(100)
		r.free(100)
		check(1)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ask(short, 10)
		ask(t.Context(), 9)
		ask(t.Context(), 2)
		check()
		time.Sleep(time.Second) // the 10 leave, the 9 fit, the 2 don't
		check(9)
		close(stopped)
		check()
		r.free(10)
		if r.used != 0 || len(r.waiting) != 0 {
			t.Errorf("%d bytes used, %d waiting; want none", r.used, len(r.waiting))
		}
	})
}
