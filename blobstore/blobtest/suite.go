package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// Run checks that a store keeps the contract of [blobstore.Raw]. open returns a
// store that is empty, or empties itself of what earlier runs left, and that
// lives until the end of t.
func Run(t *testing.T, open func(t *testing.T) blobstore.Raw) {
	for _, c := range []struct {
		name  string
		check func(t *testing.T, raw blobstore.Raw)
	}{
		{"Create", testCreate},
		{"CreateEmpty", testCreateEmpty},
		{"CreateLarge", testCreateLarge},
		{"CreateRace", testCreateRace},
		{"CreateManyParts", testCreateManyParts},
		{"Ranges", testRanges},
		{"NotExist", testNotExist},
		{"Delete", testDelete},
		{"ListOrder", testListOrder},
		{"ListPages", testListPages},
		{"ListStop", testListStop},
		{"Canceled", testCanceled},
		{"CloseTwice", testCloseTwice},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t, open(t)) })
	}
}

// mustCreate creates an object of a test.
func mustCreate(t *testing.T, raw blobstore.Raw, key string, parts ...[]byte) {
	t.Helper()
	if err := raw.Create(t.Context(), key, parts); err != nil {
		t.Fatalf("Create(%q): %v", key, err)
	}
}

// wantObject checks an object's whole content.
func wantObject(t *testing.T, raw blobstore.Raw, key string, want []byte) {
	t.Helper()
	got, size, err := raw.ReadRange(t.Context(), key, 0, math.MaxInt64)
	if err != nil {
		t.Fatalf("ReadRange(%q): %v", key, err)
	}
	if size != int64(len(want)) || !bytes.Equal(got, want) {
		t.Fatalf("ReadRange(%q) = %d bytes of %d, want %d; equal: %v", key, len(got), size, len(want), bytes.Equal(got, want))
	}
}

// pattern is n bytes that differ from place to place.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13 + i>>16)
	}
	return b
}

func testCreate(t *testing.T, raw blobstore.Raw) {
	mustCreate(t, raw, "a/b/c", []byte("one "), nil, []byte("two"))
	wantObject(t, raw, "a/b/c", []byte("one two"))
	for _, body := range []string{"other", "one two", ""} {
		if err := raw.Create(t.Context(), "a/b/c", [][]byte{[]byte(body)}); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("second Create of %q = %v, want fs.ErrExist", body, err)
		}
	}
	wantObject(t, raw, "a/b/c", []byte("one two"))
}

func testCreateEmpty(t *testing.T, raw blobstore.Raw) {
	mustCreate(t, raw, "empty")
	wantObject(t, raw, "empty", nil)
	if err := raw.Create(t.Context(), "empty", [][]byte{[]byte("x")}); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("Create over an empty object = %v, want fs.ErrExist", err)
	}
	if data, size, err := raw.ReadRange(t.Context(), "empty", 0, 64); err != nil || len(data) != 0 || size != 0 {
		t.Fatalf("ReadRange of an empty object = %q, %d, %v", data, size, err)
	}
}

func testCreateLarge(t *testing.T, raw blobstore.Raw) {
	for _, n := range []int{8 << 20, 15 << 20, blobstore.ObjectBytesMax} {
		body, key := pattern(n), fmt.Sprintf("large/%d", n)
		mustCreate(t, raw, key, body[:100], body[100:n/2], body[n/2:])
		wantObject(t, raw, key, body)
		switch err := raw.Create(t.Context(), key, [][]byte{body[1:], {1}}); {
		case err == nil:
			t.Fatalf("second Create of %d bytes succeeded, want fs.ErrExist", n)
		case !errors.Is(err, fs.ErrExist) && !brokenOff(err):
			t.Fatalf("second Create of %d bytes = %v, want fs.ErrExist", n, err)
		}
		wantObject(t, raw, key, body)
	}
}

// brokenOff tells whether a connection was lost: a store may refuse what it has
// not read yet, and its answer get lost with the connection.
func brokenOff(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
}

// testCreateManyParts has more parts than one writev takes.
func testCreateManyParts(t *testing.T, raw blobstore.Raw) {
	body := pattern(3000 * 11)
	var parts [][]byte
	for part := range slices.Chunk(body, 11) {
		parts = append(parts, part, nil)
	}
	want := slices.Clone(parts)
	mustCreate(t, raw, "parts", parts...)
	wantObject(t, raw, "parts", body)
	for i := range want {
		if !bytes.Equal(want[i], parts[i]) {
			t.Fatalf("Create changed part %d", i)
		}
	}
}

// testCreateRace has many goroutines create the same keys: each key must have
// one winner, and its content.
func testCreateRace(t *testing.T, raw blobstore.Raw) {
	const keys, racers = 20, 8
	for k := range keys {
		key := fmt.Sprintf("race/%d", k)
		won := make([]bool, racers)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for r := range racers {
			wg.Go(func() {
				<-start
				err := raw.Create(t.Context(), key, [][]byte{fmt.Appendf(nil, "racer %d", r), pattern(1000 * r)})
				won[r] = err == nil
				// A store may answer a conflict of two under way with another
				// error; it only may not let both win.
				if err != nil && !errors.Is(err, fs.ErrExist) {
					t.Logf("racer %d of %s: %v", r, key, err)
				}
			})
		}
		close(start)
		wg.Wait()
		winner := slices.Index(won, true)
		if winner < 0 || slices.Contains(won[winner+1:], true) {
			t.Fatalf("%s: winners %v, want exactly one", key, won)
		}
		wantObject(t, raw, key, append(fmt.Appendf(nil, "racer %d", winner), pattern(1000*winner)...))
	}
}

func testRanges(t *testing.T, raw blobstore.Raw) {
	body := pattern(1000)
	mustCreate(t, raw, "r", body)
	for _, c := range []struct{ offset, length, want int64 }{
		{0, 1000, 1000},
		{0, 1001, 1000},
		{0, math.MaxInt64, 1000},
		{0, 0, 0},
		{0, 1, 1},
		{999, 1, 1},
		{999, 64, 1},
		{936, 64, 64},
		{500, 100, 100},
		{500, math.MaxInt64, 500},
		{1000, 0, 0},
		{1000, 1, 0},
		{1001, 10, 0},
		{1 << 40, 10, 0},
		{1 << 40, math.MaxInt64, 0},
	} {
		data, size, err := raw.ReadRange(t.Context(), "r", c.offset, c.length)
		if err != nil || size != 1000 || int64(len(data)) != c.want {
			t.Errorf("ReadRange(%d, %d) = %d bytes of %d, %v; want %d of 1000", c.offset, c.length, len(data), size, err, c.want)
			continue
		}
		if c.want > 0 && !bytes.Equal(data, body[c.offset:c.offset+c.want]) {
			t.Errorf("ReadRange(%d, %d): wrong bytes", c.offset, c.length)
		}
	}
	for _, c := range [][2]int64{{-1, 1}, {0, -1}} {
		if _, _, err := raw.ReadRange(t.Context(), "r", c[0], c[1]); err == nil {
			t.Errorf("ReadRange(%d, %d) succeeded", c[0], c[1])
		}
	}
}

func testNotExist(t *testing.T, raw blobstore.Raw) {
	mustCreate(t, raw, "there/x", []byte("x"))
	for _, key := range []string{"missing", "missing/deep/er", "there", "there/y", "there/x/y"} {
		for _, offset := range []int64{0, 10} {
			if _, _, err := raw.ReadRange(t.Context(), key, offset, 10); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("ReadRange(%q, %d) = %v, want fs.ErrNotExist", key, offset, err)
			}
		}
	}
}

func testDelete(t *testing.T, raw blobstore.Raw) {
	for _, key := range []string{"missing", "missing/deep"} {
		if err := raw.Delete(t.Context(), key); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Delete(%q) = %v, want fs.ErrNotExist", key, err)
		}
	}
	mustCreate(t, raw, "d/x", []byte("first"))
	mustCreate(t, raw, "d/y", []byte("stays"))
	if err := raw.Delete(t.Context(), "d"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Delete of a path prefix = %v, want fs.ErrNotExist", err)
	}
	if err := raw.Delete(t.Context(), "d/x"); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	if _, _, err := raw.ReadRange(t.Context(), "d/x", 0, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("ReadRange after Delete = %v, want fs.ErrNotExist", err)
	}
	wantKeys(t, raw, "", "", []string{"d/y"})
	mustCreate(t, raw, "d/x", []byte("second"))
	wantObject(t, raw, "d/x", []byte("second"))
}

// wantKeys checks a listing.
func wantKeys(t *testing.T, raw blobstore.Raw, prefix, after string, want []string) {
	t.Helper()
	var got []string
	for key, err := range raw.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("List(%q, %q): %v", prefix, after, err)
		}
		got = append(got, key)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("List(%q, %q) = %q, want %q", prefix, after, got, want)
	}
}

// testListOrder compares listings with a naive model, over keys whose order is
// not that of a directory walk.
func testListOrder(t *testing.T, raw blobstore.Raw) {
	keys := []string{
		"a-b", "a.b", "a/b", "a/b.c", "a/c/1", "a/c/10", "a/c/2", "a/c-1", "a/c.x", "a/c0", "a0", "aa", "b", "c/d/e/f", "ä", "Z", "z z",
	}
	for _, key := range keys {
		mustCreate(t, raw, key, []byte(key))
	}
	slices.Sort(keys)
	prefixes := []string{"", "a", "a/", "a/c", "a/c/", "a/c/1", "a0", "c/d/e", "c/d/e/", "b", "b/", "x", "x/y", "ä"}
	afters := append([]string{"", "a", "a/", "a/c/", "a/c/1/x", "a/c/z", "a-", "c/d", "c/d/e/g", "zz", "ÿ"}, keys...)
	for _, prefix := range prefixes {
		for _, after := range afters {
			var want []string
			for _, key := range keys {
				if key > after && len(key) >= len(prefix) && key[:len(prefix)] == prefix {
					want = append(want, key)
				}
			}
			wantKeys(t, raw, prefix, after, want)
		}
	}
}

// testListPages lists more keys than any store returns in one page.
func testListPages(t *testing.T, raw blobstore.Raw) {
	const n = 1100
	var want []string
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i := range n {
		key := fmt.Sprintf("pages/%06d", i*3)
		want = append(want, key)
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := raw.Create(t.Context(), key, [][]byte{{1}}); err != nil {
				t.Errorf("Create(%q): %v", key, err)
			}
		})
	}
	wg.Wait()
	wantKeys(t, raw, "pages/", "", want)
	wantKeys(t, raw, "pages/", want[n/2], want[n/2+1:])
	wantKeys(t, raw, "pages/", "pages/000001", want[1:])
	wantKeys(t, raw, "pages/", want[n-1], nil)
}

func testListStop(t *testing.T, raw blobstore.Raw) {
	mustCreate(t, raw, "s/1", nil)
	mustCreate(t, raw, "s/2", nil)
	n := 0
	for _, err := range raw.List(t.Context(), "s/", "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
		break
	}
	if n != 1 {
		t.Fatalf("a listing that is left at its first key gave %d", n)
	}
}

func testCanceled(t *testing.T, raw blobstore.Raw) {
	mustCreate(t, raw, "there", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := raw.Create(ctx, "canceled", [][]byte{{1}}); err == nil || errors.Is(err, fs.ErrExist) {
		t.Errorf("Create with a cancelled context = %v", err)
	}
	if _, _, err := raw.ReadRange(ctx, "there", 0, 1); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadRange with a cancelled context = %v", err)
	}
	if err := raw.Delete(ctx, "there"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Delete with a cancelled context = %v", err)
	}
	var lerr error
	for _, err := range raw.List(ctx, "", "") {
		lerr = err
	}
	if lerr == nil {
		t.Error("List with a cancelled context ended without an error")
	}
	wantObject(t, raw, "there", []byte("x"))
}

func testCloseTwice(t *testing.T, raw blobstore.Raw) {
	for range 2 {
		if err := raw.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
}

var _ blobstore.Raw = (*filebucket.Bucket)(nil)
