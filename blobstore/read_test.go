package blobstore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

func TestReadRetries(t *testing.T) {
	for name, fault := range map[string]blobtest.Fault{
		"error": {Before: errReply}, "hang": {Hang: true}, "short": {Short: 1}, "lost": {After: errReply},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(blobstore.Options{})
				w.mem.Put("k", []byte("0123456789"))
				fault.Kind, fault.Count = blobtest.Read, 3
				r := w.faults.Add(fault)
				data, size, err := w.ReadRange(t.Context(), "k", 2, 5)
				if err != nil || size != 10 || string(data) != "23456" {
					t.Fatalf("ReadRange = %q, %d, %v", data, size, err)
				}
				wantHits(t, r, 3)

				fault.Count = 0
				r = w.faults.Add(fault)
				if _, _, err = w.ReadRange(t.Context(), "k", 0, 5); err == nil || errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("ReadRange of a store that is down = %v", err)
				}
				wantHits(t, r, 4)
				if fault.Short > 0 && !errors.Is(err, blobstore.ErrShort) {
					t.Errorf("got %v, want ErrShort", err)
				}
			})
		})
	}
}

func TestReadNotExist(t *testing.T) {
	w := newWorld(blobstore.Options{})
	if _, _, err := w.ReadRange(t.Context(), "k", 0, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadRange = %v, want fs.ErrNotExist", err)
	}
	if got := w.faults.Count(blobtest.Read); got != 1 {
		t.Errorf("%d reads, want 1: not found is an answer", got)
	}
}

func TestReadCanceled(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(blobstore.Options{})
		w.faults.Add(blobtest.Fault{Before: errReply})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, _, err := w.ReadRange(ctx, "k", 0, 1); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errReply) {
			t.Errorf("ReadRange = %v, want the deadline and the last error", err)
		}
	})
}

// TestReadCanceledInLine: a read that was sent, and waits for its turn to be sent
// again when its time is over, says what was wrong with it, and not that nothing
// was sent.
func TestReadCanceledInLine(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(blobstore.Options{})
		throttled := w.faults.Add(blobtest.Fault{Kind: blobtest.Read, Prefix: "k", Before: &blobstore.ThrottledError{Err: errReply}, Count: 1})
		// One throttled alone makes the limit one, which this one takes up.
		hang := w.faults.Add(blobtest.Fault{Kind: blobtest.Read, Prefix: "other", Hang: true})
		var reading sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.faults.Hook(func(_ context.Context, op blobtest.Op) error {
			if op.Key == "k" {
				reading.Go(func() {
					time.Sleep(time.Millisecond) // of the bubble, until the limit is one
					_, _, _ = w.ReadRange(ctx, "other", 0, 1)
				})
			}
			return nil
		})
		_, _, err := w.ReadRange(ctx, "k", 0, 1)
		reading.Wait()
		wantHits(t, throttled, 1)
		wantHits(t, hang, 1)
		if w.faults.Count(blobtest.Read) != 2 || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errReply) || strings.Contains(err.Error(), "nothing was sent") {
			t.Errorf("ReadRange = %v, want the deadline and the last error of what was sent", err)
		}
	})
}

func TestDelete(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(blobstore.Options{})
		w.mem.Put("k", nil)
		r := w.faults.Add(blobtest.Fault{Kind: blobtest.Delete, After: errReply, Count: 1})
		for range 2 {
			if err := w.Delete(t.Context(), "k"); err != nil {
				t.Errorf("Delete = %v", err)
			}
		}
		wantHits(t, r, 1)
	})
}

// TestListResumes: a listing whose steps fail goes on after its last key, and one
// that cannot go on says so instead of ending early.
func TestListResumes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(blobstore.Options{})
		var want []string
		for i := range 10 {
			want = append(want, fmt.Sprintf("k%d", i))
			w.mem.Put(want[i], nil)
		}
		r := w.faults.Add(blobtest.Fault{Kind: blobtest.List, After: errReply, Count: 2})
		before := w.faults.Add(blobtest.Fault{Kind: blobtest.List, Before: errReply, Count: 1})
		var got []string
		for key, err := range w.List(t.Context(), "k", "") {
			if err != nil {
				t.Fatal(err)
			}
			// A slow consumer does not run the store's deadline down.
			time.Sleep(time.Minute)
			got = append(got, key)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		wantHits(t, r, 2)
		wantHits(t, before, 1)

		hang := w.faults.Add(blobtest.Fault{Kind: blobtest.List, Hang: true})
		var last error
		for _, err := range w.List(t.Context(), "k", "") {
			last = err
		}
		if !errors.Is(last, context.DeadlineExceeded) {
			t.Errorf("listing a store that hangs ended with %v", last)
		}
		wantHits(t, hang, 4)
	})
}
