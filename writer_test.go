package wpd_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wpd-io/wpd"
)

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
