package filebucket

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wpd-io/wpd/testcluster/nobody"
)

func keys(t *testing.T, b *Bucket) []string {
	t.Helper()
	var got []string
	for key, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, key)
	}
	return got
}

// TestNamed runs a bucket without O_TMPFILE: left-over temporary files go when
// nobody can be writing them, and only then.
func TestNamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	first, err := open(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	stray := filepath.Join(dir, reserved+"tmp", "stray")
	if err := os.WriteFile(stray, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := first.Create(t.Context(), "d/k", [][]byte{[]byte("x"), []byte("y")}); err != nil {
		t.Fatal(err)
	}
	second, err := open(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stray); err != nil {
		t.Fatalf("the file of a live process is gone: %v", err)
	}
	if got := keys(t, second); !slices.Equal(got, []string{"d/k"}) {
		t.Errorf("listed %q", got)
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
	third, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if _, err := os.Stat(stray); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the left-over file is still there: %v", err)
	}
	if got := keys(t, third); !slices.Equal(got, []string{"d/k"}) {
		t.Errorf("listed %q", got)
	}
}

// TestOpenLeavesNothing: opening an empty directory leaves it empty, and clears
// what a probe that crashed has left.
func TestOpenLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, probePrefix+"x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != reserved+"tmp" { // where there is no O_TMPFILE
			t.Errorf("%s is there", e.Name())
		}
	}
}

func TestOpenReadOnly(t *testing.T) {
	nobody.Run(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		b, err := Open(dir)
		if err == nil {
			t.Fatalf("Open of a read-only directory succeeded: %v", b.Close())
		}
		if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "cannot be written") {
			t.Errorf("Open = %v", err)
		}
	})
}

func TestKeys(t *testing.T) {
	b, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\x00b", "a\nb", `a\b`, "\xff",
		reserved + "tmp/x", reserved, "lost+found/x", strings.Repeat("x", 256), strings.Repeat("x/", 512) + "x",
	} {
		if err := b.Create(t.Context(), key, nil); !errors.Is(err, ErrKey) {
			t.Errorf("Create(%q) = %v, want ErrKey", key, err)
		}
	}
	for _, key := range []string{"a", "x/.hidden", "...", "x/" + reserved, strings.Repeat("x", 255), "ä/日本"} {
		if err := b.Create(t.Context(), key, nil); err != nil {
			t.Errorf("Create(%q) = %v", key, err)
		}
	}
	for _, key := range []string{"a/b", "a/b/c", "x", "ä"} {
		if err := b.Create(t.Context(), key, nil); !errors.Is(err, ErrKey) {
			t.Errorf("Create(%q) beside its path prefix = %v, want ErrKey", key, err)
		}
	}
}

// TestListForeign: what is no object is not listed, symbolic links are followed.
func TestListForeign(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := errors.Join(
		os.WriteFile(filepath.Join(elsewhere, "k"), nil, 0o600),
		os.Symlink(elsewhere, filepath.Join(dir, "link")),
		os.Symlink("nowhere", filepath.Join(dir, "dangling")),
		os.WriteFile(filepath.Join(dir, "bad\nname"), nil, 0o600),
		os.Mkdir(filepath.Join(dir, "empty"), 0o700),
		os.Mkdir(filepath.Join(dir, "lost+found"), 0),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, b); !slices.Equal(got, []string{"link/k"}) {
		t.Errorf("listed %q", got)
	}
	if _, _, err := b.ReadRange(t.Context(), "pipe", 0, 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ReadRange of a pipe = %v, want not found", err)
	}
}

// TestListSmallPages: a directory larger than a page is read again and again,
// and every name comes once.
func TestListSmallPages(t *testing.T) {
	b, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var want []string
	for i := range 30 {
		for _, key := range []string{string(rune('a'+i%26)) + strings.Repeat("x", i), "dir/" + strings.Repeat("y", i+1)} {
			want = append(want, key)
			if err := b.Create(t.Context(), key, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.Sort(want)
	for _, page := range []int{1, 2, 7, 1000} {
		var got []string
		w := walk{b: b, ctx: t.Context(), page: page, yield: func(key string, _ error) bool {
			got = append(got, key)
			return true
		}}
		if err := w.dir(""); err != nil || !slices.Equal(got, want) {
			t.Errorf("pages of %d: %q, %v; want %q", page, got, err, want)
		}
	}
}

// TestDirectoryReplaced: a directory that is removed under us is made anew.
func TestDirectoryReplaced(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Create(t.Context(), "d/e/1", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	for range 3 { // one failure for each stale handle
		err = b.Create(t.Context(), "d/e/2", nil)
		if err == nil {
			break
		}
	}
	if got := keys(t, b); err != nil || !slices.Equal(got, []string{"d/e/2"}) {
		t.Errorf("Create = %v, listed %q", err, got)
	}
}

func TestClosed(t *testing.T) {
	b, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), "k", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Create = %v, want ErrClosed", err)
	}
	if _, _, err := b.ReadRange(t.Context(), "k", 0, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("ReadRange = %v, want ErrClosed", err)
	}
}

// slowDir counts its syncs and holds each until it is let go.
type slowDir struct {
	Dir
	begun chan struct{}
	let   chan struct{}
}

func (d *slowDir) Sync() error {
	d.begun <- struct{}{}
	<-d.let
	return nil
}

func (d *slowDir) ModTime() (time.Time, error) { return time.Time{}, errors.ErrUnsupported }

// TestSyncGroups: those who come while an fsync runs share the next one; none is
// served by the one that had begun before it came.
func TestSyncGroups(t *testing.T) {
	s := &slowDir{begun: make(chan struct{}), let: make(chan struct{})}
	d := &dir{h: s, poisoned: func(string, error) {}}
	var wg sync.WaitGroup
	wg.Go(func() { _ = d.sync() })
	<-s.begun // the first runs
	const more = 10
	for range more {
		wg.Go(func() { _ = d.sync() })
	}
	// One of them leads the next batch, and waits for the first to end.
	s.let <- struct{}{}
	<-s.begun
	s.let <- struct{}{}
	// Those that came too late for the second take a third.
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for syncs := 2; ; syncs++ {
		select {
		case <-s.begun:
			s.let <- struct{}{}
		case <-done:
			if syncs > more {
				t.Errorf("%d callers took %d syncs", more+1, syncs)
			}
			return
		}
	}
}
