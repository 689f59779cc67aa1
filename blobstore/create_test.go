package blobstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// world is a bucket over faults over memory.
type world struct {
	mem    *blobtest.Mem
	faults *blobtest.Faults
	*blobstore.Bucket
}

func newWorld(opts blobstore.Options) world {
	mem := blobtest.NewMem()
	faults := blobtest.NewFaults(mem)
	return world{mem, faults, blobstore.New(faults, opts)}
}

// wantHits proves that a fault took effect.
func wantHits(t *testing.T, r *blobtest.Rule, n int) {
	t.Helper()
	if got := r.Hits(); got != n {
		t.Fatalf("the fault hit %d calls, want %d", got, n)
	}
}

var errReply = errors.New("connection reset")

func TestCreateLostReply(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64, 65, 128, 1 << 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(blobstore.Options{})
				lost := w.faults.Add(blobtest.Fault{Kind: blobtest.Create, After: errReply, Count: 1})
				body := bytes.Repeat([]byte{7}, n)
				if err := w.Create(t.Context(), "k", body[:n/3], body[n/3:]); err != nil {
					t.Fatalf("Create = %v, want nil: our own bytes are there", err)
				}
				wantHits(t, lost, 1)
				if got := w.faults.Count(blobtest.Create); got != 1 {
					t.Errorf("%d creates sent, want 1", got)
				}
			})
		})
	}
}

// TestCreateOwnConflict: the store says "exists" of what we have just stored, as
// S3, GCS and Azure do when an SDK below us has retried.
func TestCreateOwnConflict(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		w := newWorld(blobstore.Options{Registerer: reg})
		w.faults.Add(blobtest.Fault{Kind: blobtest.Create, After: fs.ErrExist})
		if err := w.Create(t.Context(), "k", []byte("mine")); err != nil {
			t.Fatalf("Create = %v, want nil", err)
		}
		want := `# HELP wpd_blobstore_conflicts_total Creates that found an object. own: our own bytes, the reply had been lost; a rise means a flaky way to the store. other: a seal or another writer.
# TYPE wpd_blobstore_conflicts_total counter
wpd_blobstore_conflicts_total{whose="own"} 1
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "wpd_blobstore_conflicts_total"); err != nil {
			t.Error(err)
		}
	})
}

func TestCreateExists(t *testing.T) {
	ours := bytes.Repeat([]byte("ours"), 64)
	headDiffers, tailDiffers := bytes.Clone(ours), bytes.Clone(ours)
	headDiffers[0]++
	tailDiffers[len(ours)-1]++
	for name, there := range map[string][]byte{
		"shorter": ours[:len(ours)-1], "longer": append(bytes.Clone(ours), 0), "empty": {},
		"head": headDiffers, "tail": tailDiffers,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(blobstore.Options{})
			w.mem.Put("k", there)
			err := w.Create(t.Context(), "k", ours)
			exists, ok := errors.AsType[*blobstore.ExistsError](err)
			if !ok || !errors.Is(err, fs.ErrExist) {
				t.Fatalf("Create = %v, want an ExistsError", err)
			}
			if exists.Key != "k" || exists.Size != int64(len(there)) || !bytes.Equal(exists.Head, there[:min(64, len(there))]) {
				t.Errorf("facts %+v", exists)
			}
			if got, _ := w.mem.Object("k"); !bytes.Equal(got, there) {
				t.Error("the object has changed")
			}
		})
	}
}

// TestCreateRetries: whatever the store says, the same bytes go on being sent,
// and when it recovers they are there.
func TestCreateRetries(t *testing.T) {
	for name, cause := range map[string]error{
		"error": errReply, "denied": fs.ErrPermission, "full": syscall.ENOSPC, "exists, but nothing is there": fs.ErrExist,
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				reg := prometheus.NewRegistry()
				w := newWorld(blobstore.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Registerer: reg})
				down := w.faults.Add(blobtest.Fault{Kind: blobtest.Create, Before: cause, Count: 20})
				noRead := w.faults.Add(blobtest.Fault{Kind: blobtest.Read, Before: errReply, Count: 5})
				if err := w.Create(t.Context(), "k", []byte("body")); err != nil {
					t.Fatalf("Create = %v", err)
				}
				wantHits(t, down, 20)
				wantHits(t, noRead, 5)
				if got, _ := w.mem.Object("k"); string(got) != "body" {
					t.Errorf("stored %q", got)
				}
				if n := strings.Count(log.String(), "trying again"); n < 3 || n > 6 {
					t.Errorf("%d lines of log for 20 failures:\n%s", n, &log)
				}
				if got := metric(t, reg, "wpd_blobstore_creates_failing"); got != 0 {
					t.Errorf("%v creates failing after the end", got)
				}
			})
		})
	}
}

func TestCreateUnknown(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		w := newWorld(blobstore.Options{Registerer: reg})
		w.faults.Add(blobtest.Fault{Kind: blobtest.Create, Before: fs.ErrExist})
		w.faults.Add(blobtest.Fault{Kind: blobtest.Read, Before: errReply})
		cause := errors.New("lease lapsed")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, cause)
		defer cancel()
		done := make(chan error)
		go func() { done <- w.Create(ctx, "k", []byte("body")) }()
		time.Sleep(30 * time.Second) // of the bubble
		synctest.Wait()
		if got := metric(t, reg, "wpd_blobstore_creates_failing"); got != 1 {
			t.Errorf("%v creates failing meanwhile, want 1", got)
		}
		err := <-done
		unknown, ok := errors.AsType[*blobstore.UnknownError](err)
		if !ok || !errors.Is(err, blobstore.ErrUnknown) || !errors.Is(err, cause) {
			t.Fatalf("Create = %v, want an UnknownError with its cause", err)
		}
		if errors.Is(err, fs.ErrExist) {
			t.Error("an unknown outcome passes for fs.ErrExist")
		}
		if unknown.Attempts < 20 || !errors.Is(unknown.Last, errReply) {
			t.Errorf("facts %+v", unknown)
		}
		if got := metric(t, reg, "wpd_blobstore_creates_failing"); got != 0 {
			t.Errorf("%v creates failing after the end", got)
		}
	})
}

func TestCreateNothingSent(t *testing.T) {
	w := newWorld(blobstore.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := w.Create(ctx, "k", []byte("x"))
	if !errors.Is(err, context.Canceled) || errors.Is(err, blobstore.ErrUnknown) {
		t.Errorf("Create = %v, want a plain context.Canceled", err)
	}
	for key, want := range map[string]error{"": blobstore.ErrKey, "a//b": blobstore.ErrKey} {
		if err := w.Create(t.Context(), key, []byte("x")); !errors.Is(err, want) {
			t.Errorf("Create(%q) = %v, want %v", key, err, want)
		}
	}
	if err := w.Create(t.Context(), "k", make([]byte, blobstore.ObjectBytesMax), []byte{1}); !errors.Is(err, blobstore.ErrTooLarge) {
		t.Errorf("Create of 16 MiB = %v, want ErrTooLarge", err)
	}
	if got := w.faults.Count(blobtest.Any); got != 0 {
		t.Errorf("%d calls sent", got)
	}
}

// TestCreateHangs: a store that does not answer costs one deadline, not all.
func TestCreateHangs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(blobstore.Options{RequestTimeout: 5 * time.Second})
		hang := w.faults.Add(blobtest.Fault{Kind: blobtest.Create, Hang: true, Count: 2})
		start := time.Now()
		if err := w.Create(t.Context(), "k", []byte("x")); err != nil {
			t.Fatal(err)
		}
		wantHits(t, hang, 2)
		// The second attempt gets twice as long.
		if took := time.Since(start); took < 15*time.Second || took > 16*time.Second {
			t.Errorf("took %v, want 5 s + 10 s and the waits", took)
		}
	})
}

// TestCreateLate: an attempt that we gave up lands after all: before our next
// one, or after a seal has taken its place.
func TestCreateLate(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(blobstore.Options{RequestTimeout: time.Second})
		defer w.Close()
		late := w.faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "a", Late: true, Count: 1})
		down := w.faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "a", Before: errReply, Count: 3})
		done := make(chan error)
		go func() { done <- w.Create(t.Context(), "a", []byte("ours")) }()
		if err := late.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if err := down.Wait(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		late.Release()
		if err := <-done; err != nil || w.faults.Landed() != 1 {
			t.Errorf("Create = %v, %d landed late; want nil, 1", err, w.faults.Landed())
		}

		late = w.faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "b", Late: true, Count: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Create(ctx, "b", []byte("ours")); !errors.Is(err, blobstore.ErrUnknown) {
			t.Errorf("Create = %v, want unknown", err)
		}
		if err := w.Create(t.Context(), "b", []byte("a seal")); err != nil {
			t.Fatal(err)
		}
		late.Release()
		if got, _ := w.mem.Object("b"); string(got) != "a seal" || w.faults.Landed() != 1 {
			t.Errorf("the late create replaced the seal: %q", got)
		}
	})
}
