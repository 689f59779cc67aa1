package wpd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
)

// fill appends batches of the given sizes, one second apart; every entry's
// data is its LSN.
func (w *world) fill(codec wpd.Codec, sizes ...int) (times []time.Time) {
	w.t.Helper()
	writer := w.writer(wpd.Compress(codec))
	lsn := 1
	for _, size := range sizes {
		var entries []wpd.Entry
		for range size {
			entries = append(entries, wpd.Entry{Data: fmt.Append(nil, lsn)})
			lsn++
		}
		ack, err := writer.AppendBatch(w.t.Context(), entries)
		if err != nil {
			w.t.Fatal(err)
		}
		times = append(times, ack.Time)
		time.Sleep(time.Second)
	}
	return times
}

// read returns the LSNs of what a read gives.
func (w *world) read(p wpd.Position, opts ...wpd.ReadOption) []wpd.LSN {
	w.t.Helper()
	var lsns []wpd.LSN
	for e, err := range w.log.Read(w.t.Context(), p, opts...) {
		if err != nil {
			w.t.Fatal(err)
		}
		if string(e.Data) != fmt.Sprint(e.LSN) {
			w.t.Fatalf("LSN %d has %q", e.LSN, e.Data)
		}
		lsns = append(lsns, e.LSN)
	}
	return lsns
}

func TestPositionsAndEnds(t *testing.T) {
	for _, codec := range []wpd.Codec{wpd.CodecNone, wpd.CodecS2} {
		inWorld(t, func(t *testing.T, w *world) {
			at := w.fill(codec, 3, 1, 4, 2) // LSNs 1-3, 4, 5-8, 9-10
			if err := w.log.Trim(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			for _, test := range []struct {
				name     string
				p        wpd.Position
				opts     []wpd.ReadOption
				from, to wpd.LSN
			}{
				{"earliest", wpd.Earliest, nil, 2, 11},
				{"from", wpd.From(6), nil, 6, 11},
				{"from the tail", wpd.From(11), nil, 11, 11},
				{"last", wpd.Last(3), nil, 8, 11},
				{"last of more than there is", wpd.Last(100), nil, 2, 11},
				{"tail", wpd.Tail, nil, 11, 11},
				{"at", wpd.At(at[2]), nil, 5, 11},
				{"just after", wpd.At(at[2].Add(time.Nanosecond)), nil, 9, 11},
				{"to", wpd.From(3), []wpd.ReadOption{wpd.To(7)}, 3, 7},
				{"until", wpd.From(3), []wpd.ReadOption{wpd.Until(at[2])}, 3, 5},
				{"until just after", wpd.From(3), []wpd.ReadOption{wpd.Until(at[2].Add(1))}, 3, 9},
				{"limit", wpd.From(3), []wpd.ReadOption{wpd.Limit(4)}, 3, 7},
				{"limit of more than there is", wpd.From(3), []wpd.ReadOption{wpd.Limit(400)}, 3, 11},
				{"follow to", wpd.From(3), []wpd.ReadOption{wpd.Follow(), wpd.To(11)}, 3, 11},
			} {
				var want []wpd.LSN
				for lsn := test.from; lsn < test.to; lsn++ {
					want = append(want, lsn)
				}
				if got := w.read(test.p, test.opts...); !slices.Equal(got, want) {
					t.Errorf("%s: got %d, want %d", test.name, got, want)
				}
			}
		})
	}
}

func TestReader(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		at := w.fill(wpd.CodecNone, 3, 1, 4)
		r, err := w.log.Reader(t.Context(), wpd.From(2), wpd.To(8))
		if err != nil {
			t.Fatal(err)
		}
		check := func(want ...wpd.LSN) {
			t.Helper()
			if r.Position() != want[0] {
				t.Errorf("Position() = %d, want %d", r.Position(), want[0])
			}
			entries, err := r.NextBatch(t.Context())
			var got []wpd.LSN
			for _, e := range entries {
				got = append(got, e.LSN)
			}
			if !slices.Equal(got, want) || err != nil {
				t.Errorf("NextBatch: %d, %v; want %d", got, err, want)
			}
		}
		check(2, 3)
		e, err := r.Next(t.Context())
		if e.LSN != 4 || !e.Time.Equal(at[1]) || err != nil {
			t.Errorf("Next: %v, %v; want LSN 4 at %v", e, err, at[1])
		}
		if e, err = r.Next(t.Context()); e.LSN != 5 || err != nil {
			t.Errorf("Next: %v, %v; want LSN 5", e, err)
		}
		check(6, 7)
		if tail, _ := r.Tail(); tail != 9 {
			t.Errorf("Tail() = %d, want 9", tail)
		}
		for range 2 {
			if _, err := r.Next(t.Context()); err != io.EOF {
				t.Errorf("Next: %v, want io.EOF", err)
			}
			if _, err := r.NextBatch(t.Context()); err != io.EOF {
				t.Errorf("NextBatch: %v, want io.EOF", err)
			}
		}
		if r.Position() != 8 {
			t.Errorf("Position() = %d, want 8", r.Position())
		}
		for range 2 {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := r.Next(t.Context()); err != wpd.ErrClosed {
			t.Errorf("Next: %v, want ErrClosed", err)
		}
	})
}

func TestFollow(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r, err := w.log.Reader(t.Context(), wpd.Tail, wpd.Follow())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next: %v, want DeadlineExceeded", err)
		}
		got := make(chan wpd.Entry)
		go func() {
			for range 2 {
				e, err := r.Next(t.Context())
				if err != nil {
					t.Error(err)
				}
				got <- e
			}
		}()
		writer := w.writer()
		for lsn := range wpd.LSN(2) {
			w.async(writer, "x")
			if e := <-got; e.LSN != lsn+1 {
				t.Errorf("got LSN %d, want %d", e.LSN, lsn+1)
			}
		}
	})
}

func TestReadErrors(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.fill(wpd.CodecNone, 3)
		if err := w.log.Trim(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		var trimmed *wpd.TrimmedError
		if _, err := w.log.Reader(t.Context(), wpd.From(1)); !errors.As(err, &trimmed) || trimmed.First != 3 {
			t.Errorf("%v, want a TrimmedError", err)
		}
		var beyond *wpd.BeyondTailError
		if _, err := w.log.Reader(t.Context(), wpd.From(5)); !errors.As(err, &beyond) || beyond.Tail != 4 {
			t.Errorf("%v, want a BeyondTailError", err)
		}
		if _, err := w.log.Reader(t.Context(), wpd.From(0)); !errors.Is(err, wpd.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
		if _, err := w.log.Tail(t.Context(), wpd.Limit(1)); !errors.Is(err, wpd.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
		n := 0
		for _, err := range w.log.Read(t.Context(), wpd.From(1)) {
			if n++; !errors.As(err, &trimmed) {
				t.Errorf("%v, want a TrimmedError", err)
			}
		}
		if n != 1 {
			t.Errorf("Read gave %d things, want the error", n)
		}
	})
}

// What is lost, or was damaged on the way, is said to be lost; the rest is
// read. Limit counts what was returned.
func TestDataLoss(t *testing.T) {
	type got struct {
		lsns []wpd.LSN
		lost [][2]wpd.LSN
	}
	for _, test := range []struct {
		name string
		harm func(w *world)
		opts []wpd.ReadOption
		want got
	}{
		{name: "lost", harm: func(w *world) { w.lost[4] = true },
			want: got{[]wpd.LSN{2, 3, 7, 8}, [][2]wpd.LSN{{4, 7}}}},
		{name: "damaged", harm: func(w *world) {
			b := w.logs[1].batches[1].Bytes()
			b[len(b)-1] ^= 1
		}, want: got{[]wpd.LSN{2, 3, 7, 8}, [][2]wpd.LSN{{4, 7}}}},
		{name: "of another log", harm: func(w *world) {
			w.logs[1].batches[0].Stamp(fragment.Stamp{Log: 2, From: 1})
		}, want: got{[]wpd.LSN{4, 5, 6, 7, 8}, [][2]wpd.LSN{{2, 4}}}},
		{name: "left out", harm: func(w *world) { w.logs[1].batches[1] = w.logs[1].batches[2] },
			want: got{[]wpd.LSN{2, 3, 7, 8}, [][2]wpd.LSN{{4, 7}}}},
		{name: "damaged at the limit", harm: func(w *world) {
			b := w.logs[1].batches[1].Bytes()
			b[len(b)-1] ^= 1
		}, opts: []wpd.ReadOption{wpd.Limit(2)}, want: got{[]wpd.LSN{2, 3}, nil}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.fill(wpd.CodecNone, 3, 3, 2) // LSNs 1-3, 4-6, 7-8
				test.harm(w)
				var have got
				for e, err := range w.log.Read(t.Context(), wpd.From(2), test.opts...) {
					var loss *wpd.DataLossError
					switch {
					case errors.As(err, &loss):
						have.lost = append(have.lost, [2]wpd.LSN{loss.From, loss.To})
					case err != nil:
						t.Fatal(err)
					default:
						have.lsns = append(have.lsns, e.LSN)
					}
				}
				if !slices.Equal(have.lsns, test.want.lsns) || !slices.Equal(have.lost, test.want.lost) {
					t.Errorf("got %v, want %v", have, test.want)
				}
			})
		})
	}
}

func TestClient(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		if _, err := w.client.Create(t.Context(), "log", wpd.LogConfig{}); !errors.Is(err, wpd.ErrExists) {
			t.Errorf("Create: %v, want ErrExists", err)
		}
		if _, err := w.client.Log(t.Context(), "none"); !errors.Is(err, wpd.ErrNotFound) {
			t.Errorf("Log: %v, want ErrNotFound", err)
		}
		var want, got []string
		for i := range 8 {
			want = append(want, fmt.Sprint("many/", i))
			if _, err := w.client.Create(t.Context(), want[i], wpd.LogConfig{}); err != nil {
				t.Fatal(err)
			}
		}
		for info, err := range w.client.Logs(t.Context(), "many/") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("Logs: %q, want %q", got, want)
		}
		for range w.client.Logs(t.Context(), "") {
			break
		}
		rivals := 3
		err := w.log.Configure(t.Context(), func(c *wpd.LogConfig) {
			if rivals--; rivals > 0 {
				if err := w.log.Configure(t.Context(), func(c *wpd.LogConfig) { c.EntryBytesMax++ }); err != nil {
					t.Error(err)
				}
			}
			c.EntryBytesMax += 100
		})
		if info, _ := w.log.Info(t.Context()); info.Config.EntryBytesMax != 102 || err != nil {
			t.Errorf("Configure: %v, the limit is %d; want 102", err, info.Config.EntryBytesMax)
		}
		var limit *wpd.LimitError
		if _, err := w.writer().Append(t.Context(), make([]byte, 103)); !errors.As(err, &limit) || limit.Limit != 102 {
			t.Errorf("Append: %v, want a LimitError", err)
		}
	})
}

// Close of the client flushes its writers before what they stand on goes.
func TestClientClose(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.writer(wpd.Linger(time.Hour)).AppendAsync(t.Context(), wpd.Entry{})
		q := w.writer(wpd.Linger(time.Hour)).AppendAsync(t.Context(), wpd.Entry{})
		synctest.Wait()
		if err := w.client.Close(); err != nil {
			t.Error(err)
		}
		for _, p := range []*wpd.Pending{p, q} {
			if _, err := p.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if _, err := w.log.Writer(t.Context()); err != wpd.ErrClosed {
			t.Errorf("Writer: %v, want ErrClosed", err)
		}
		if _, err := w.log.Tail(t.Context()); err != wpd.ErrClosed {
			t.Errorf("Tail: %v, want ErrClosed", err)
		}
	})
}
