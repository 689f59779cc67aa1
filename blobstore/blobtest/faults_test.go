package blobtest_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

func TestFaultsMatch(t *testing.T) {
	f := blobtest.NewFaults(blobtest.NewMem())
	r := f.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "a/", Skip: 1, Count: 2, Before: blobtest.ErrFault})
	var got []string
	for _, key := range []string{"a/0", "b/0", "a/1", "a/2", "a/3"} {
		if err := f.Create(t.Context(), key, nil); errors.Is(err, blobtest.ErrFault) {
			got = append(got, key)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if want := "[a/1 a/2]"; fmt.Sprint(got) != want || r.Hits() != 2 || f.Count(blobtest.Create) != 5 || f.Count(blobtest.Any) != 5 {
		t.Errorf("failed %v, want %s; %d hits of %d", got, want, r.Hits(), f.Count(blobtest.Any))
	}
	f.Add(blobtest.Fault{Match: func(op blobtest.Op) bool { return op.Key == "b/0" }, After: blobtest.ErrFault})
	if err := f.Delete(t.Context(), "b/0"); !errors.Is(err, blobtest.ErrFault) {
		t.Errorf("Delete = %v", err)
	}
	f.Clear()
	if _, _, err := f.ReadRange(t.Context(), "b/0", 0, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a delete whose reply was lost was not applied: %v", err)
	}
}

func TestFaultsSpoil(t *testing.T) {
	for _, c := range []struct {
		fault blobtest.Fault
		want  string
	}{
		{blobtest.Fault{Short: 2}, "012"},
		{blobtest.Fault{Short: 9}, ""},
		{blobtest.Fault{Flip: 1}, "1" + "1234"},
		{blobtest.Fault{Flip: -1}, "0123" + "$"},
		{blobtest.Fault{Flip: 9}, "01234"},
	} {
		mem := blobtest.NewMem()
		mem.Put("k", []byte("01234"))
		f := blobtest.NewFaults(mem)
		f.Add(c.fault)
		data, size, err := f.ReadRange(t.Context(), "k", 0, 10)
		if err != nil || size != 5 || string(data) != c.want {
			t.Errorf("%+v: read %q of %d, %v; want %q", c.fault, data, size, err, c.want)
		}
		if got, _ := mem.Object("k"); string(got) != "01234" {
			t.Errorf("%+v: spoiled the object itself", c.fault)
		}
	}
}

func TestFaultsTime(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := blobtest.NewFaults(blobtest.NewMem())
		f.Add(blobtest.Fault{Prefix: "slow", Delay: time.Hour, Before: blobtest.ErrFault})
		start := time.Now()
		if err := f.Create(t.Context(), "slow", nil); !errors.Is(err, blobtest.ErrFault) || time.Since(start) != time.Hour {
			t.Errorf("delayed create = %v after %v", err, time.Since(start))
		}
		hang := f.Add(blobtest.Fault{Prefix: "hang", Hang: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := f.Create(ctx, "hang", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hanging create = %v", err)
		}
		done := make(chan error)
		go func() { done <- f.Create(t.Context(), "hang", nil) }()
		synctest.Wait()
		if hang.Waiting() != 1 {
			t.Errorf("%d calls hang, want 1", hang.Waiting())
		}
		hang.Release()
		if err := <-done; err != nil {
			t.Errorf("released create = %v", err)
		}
	})
}

func TestFaultsClose(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		mem := blobtest.NewMem()
		f := blobtest.NewFaults(mem)
		f.Add(blobtest.Fault{Prefix: "late", Late: true})
		f.Add(blobtest.Fault{Prefix: "hang", Hang: true})
		done := make(chan error, 2)
		go func() { done <- f.Create(t.Context(), "late", nil) }()
		go func() { done <- f.Create(t.Context(), "hang", nil) }()
		synctest.Wait()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-done; err == nil {
				t.Error("a held call succeeded after Close")
			}
		}
		if got := mem.Keys(""); len(got) != 0 {
			t.Errorf("Close applied %q", got)
		}
	})
}

func TestFaultsHook(t *testing.T) {
	f := blobtest.NewFaults(blobtest.NewMem())
	var log []string
	f.Hook(func(_ context.Context, op blobtest.Op) error {
		log = append(log, fmt.Sprintf("%s %s %d", op.Kind, op.Key, op.N))
		if op.Key == "b" {
			return blobtest.ErrFault
		}
		return nil
	})
	_ = f.Create(t.Context(), "a", nil)
	if err := f.Create(t.Context(), "b", nil); !errors.Is(err, blobtest.ErrFault) {
		t.Errorf("hooked create = %v", err)
	}
	_, _, _ = f.ReadRange(t.Context(), "a", 0, 1)
	if want := "create a 1, create b 2, read a 1"; strings.Join(log, ", ") != want {
		t.Errorf("the hook saw %q, want %q", log, want)
	}
}

// TestCrashFSForgets checks the file system itself: without its syncs, a create
// would not survive.
func TestCrashFSForgets(t *testing.T) {
	c := blobtest.NewCrashFS()
	d, err := c.OpenDir("/")
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.CreateTemp()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Write([][]byte{[]byte("0123456789")}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Link(f, "k"); err != nil {
		t.Fatal(err)
	}
	has := func(rnd *rand.Rand) int64 {
		_, size, err := c.PowerLoss(rnd).Bucket().ReadRange(t.Context(), "k", 0, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return -1
		}
		if err != nil {
			t.Fatal(err)
		}
		return size
	}
	if got := has(nil); got != -1 {
		t.Errorf("an unsynced name survived, with %d bytes", got)
	}
	seen := make(map[int64]bool)
	for seed := range uint64(200) {
		seen[has(rand.New(rand.NewPCG(seed, 1)))] = true
	}
	if len(seen) < 8 {
		t.Errorf("at random only these sizes survive: %v", seen)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := has(nil); got != 0 {
		t.Errorf("a synced name of an unsynced file has %d bytes", got)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := has(nil); got != 10 {
		t.Errorf("a synced file has %d bytes", got)
	}
}
