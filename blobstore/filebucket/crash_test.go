package filebucket_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// read returns an object's content, or "absent".
func read(t *testing.T, b *filebucket.Bucket, key string) string {
	t.Helper()
	data, _, err := b.ReadRange(t.Context(), key, 0, math.MaxInt64)
	if errors.Is(err, fs.ErrNotExist) {
		return "absent"
	}
	if err != nil {
		t.Fatalf("ReadRange(%q): %v", key, err)
	}
	return string(data)
}

// TestPowerLoss stops the file system at every operation of a run of creates
// and deletes, takes the power away, with the unsynced changes lost, or kept at
// random, and checks what the calls had promised: nil is there whole, an error
// is there whole or not at all, and nothing else is ever seen.
func TestPowerLoss(t *testing.T) {
	run := func(c *blobtest.CrashFS) map[string]error {
		b := c.Bucket()
		defer b.Close()
		results := make(map[string]error)
		for _, key := range []string{"a", "d/e/1", "d/e/2", "d/f/1", "x"} {
			results[key] = b.Create(t.Context(), key, [][]byte{[]byte("content "), []byte("of " + key)})
		}
		return results
	}
	clean := blobtest.NewCrashFS()
	run(clean)
	total := clean.Ops()
	if total < 20 {
		t.Fatalf("only %d operations", total)
	}
	for k := 1; k <= total+1; k++ {
		for _, applied := range []bool{false, true} {
			c := blobtest.NewCrashFS()
			c.StopAt(k, applied)
			results := run(c)
			if c.Stopped() != (k <= total) {
				t.Fatalf("operation %d of %d: stopped: %v", k, total, c.Stopped())
			}
			for seed := range uint64(8) {
				var rnd *rand.Rand
				if seed > 0 {
					rnd = rand.New(rand.NewPCG(seed, uint64(k)))
				}
				b := c.PowerLoss(rnd).Bucket()
				for key, err := range results {
					got, want := read(t, b, key), "content of "+key
					if got != want && (err == nil || got != "absent") {
						t.Fatalf("operation %d, applied %v, seed %d: Create(%q) = %v, then it is %q", k, applied, seed, key, err, got)
					}
				}
				_ = b.Close()
			}
		}
	}
}

// TestSeenIsDurable: a process links an object and dies before it syncs the
// directory, perhaps one that it had just made. Whatever another process
// concludes from seeing the object must survive a power loss.
func TestSeenIsDurable(t *testing.T) {
	const key = "made/just/now"
	see := map[string]func(t *testing.T, b *filebucket.Bucket) bool{
		"read": func(t *testing.T, b *filebucket.Bucket) bool { return read(t, b, key) != "absent" },
		"gocloud's attributes": func(t *testing.T, b *filebucket.Bucket) bool {
			there, err := blob.NewBucket(b.Driver()).Exists(t.Context(), key)
			require.NoError(t, err)
			return there
		},
		"gocloud's reader": func(t *testing.T, b *filebucket.Bucket) bool {
			r, err := blob.NewBucket(b.Driver()).NewReader(t.Context(), key, nil)
			require.NoError(t, err)
			return r.Close() == nil
		},
		"gocloud's list": func(t *testing.T, b *filebucket.Bucket) bool {
			o, err := blob.NewBucket(b.Driver()).List(nil).Next(t.Context())
			require.NoError(t, err)
			return o.Key == key
		},
		"create": func(t *testing.T, b *filebucket.Bucket) bool {
			err := b.Create(t.Context(), key, [][]byte{[]byte("another")})
			if !errors.Is(err, fs.ErrExist) {
				t.Fatalf("Create = %v, want fs.ErrExist", err)
			}
			return true
		},
		"list": func(t *testing.T, b *filebucket.Bucket) bool {
			seen := false
			for got, err := range b.List(t.Context(), "", "") {
				if err != nil {
					t.Fatal(err)
				}
				seen = seen || got == key
			}
			return seen
		},
	}
	for name, look := range see {
		t.Run(name, func(t *testing.T) {
			c := blobtest.NewCrashFS()
			// The first process has its directory syncs fail from the start, so
			// that it never makes an entry durable; two handles, because the
			// first failure poisons one.
			makeLinked(t, c, key)
			second := c.Bucket()
			if got := read(t, c.PowerLoss(nil).Bucket(), key); got != "absent" {
				t.Fatalf("the first process had made it durable: %q", got)
			}
			if !look(t, second) {
				t.Fatal("not seen")
			}
			if got := read(t, c.PowerLoss(nil).Bucket(), key); got != "content" {
				t.Errorf("seen, and then %q after a power loss", got)
			}
			// What is known durable costs no further sync.
			before := c.Count(blobtest.FSSyncDir)
			for range 10 {
				read(t, second, key)
			}
			if n := c.Count(blobtest.FSSyncDir) - before; n > 1 {
				t.Errorf("10 reads took %d syncs", n)
			}
		})
	}
}

// makeLinked makes an object and its directories, with nothing of their names
// durable, as a process leaves it that dies at the wrong moment.
func makeLinked(t *testing.T, c *blobtest.CrashFS, key string) {
	t.Helper()
	dir := ""
	for i := range len(key) {
		if key[i] == '/' {
			dir = "/" + key[:i]
			if err := c.Mkdir(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	d, err := c.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.CreateTemp()
	if err != nil {
		t.Fatal(err)
	}
	_, lerr := error(nil), error(nil)
	if err := errors.Join(f.Write([][]byte{[]byte("content")}), f.Sync()); err != nil {
		t.Fatal(err)
	}
	if _, lerr = d.Link(f, key[len(dir):]); lerr != nil {
		t.Fatal(lerr)
	}
}

// TestDeleteIsDurable: a delete that returned nil is not undone by a power loss.
func TestDeleteIsDurable(t *testing.T) {
	c := blobtest.NewCrashFS()
	b := c.Bucket()
	if err := b.Create(t.Context(), "a/b", nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c.PowerLoss(nil).Bucket(), "a/b"); got != "absent" {
		t.Errorf("after a power loss it is %q", got)
	}
}

// TestPoison: after a failed fsync of a directory, nothing there is called
// durable any more, though the next fsync would succeed; elsewhere life goes on.
func TestPoison(t *testing.T) {
	c := blobtest.NewCrashFS()
	b := c.Bucket()
	if err := b.Create(t.Context(), "d/known", [][]byte{[]byte("x")}); err != nil {
		t.Fatal(err)
	}
	failures := 0
	c.Hook(func(op blobtest.FSOp, path string) error {
		if op == blobtest.FSSyncDir && path == "/d" && failures == 0 {
			failures++
			return syscall.EIO
		}
		return nil
	})
	err := b.Create(t.Context(), "d/1", nil)
	if !errors.Is(err, syscall.EIO) || !errors.Is(err, filebucket.ErrPoisoned) || failures != 1 {
		t.Fatalf("Create = %v, want EIO and ErrPoisoned", err)
	}
	for _, key := range []string{"d/1", "d/2"} {
		if err := b.Create(t.Context(), key, nil); !errors.Is(err, filebucket.ErrPoisoned) || errors.Is(err, fs.ErrExist) {
			t.Errorf("Create(%q) = %v, want ErrPoisoned", key, err)
		}
	}
	if _, _, err := b.ReadRange(t.Context(), "d/1", 0, 1); !errors.Is(err, filebucket.ErrPoisoned) {
		t.Errorf("ReadRange = %v, want ErrPoisoned", err)
	}
	if got := read(t, b, "d/known"); got != "x" {
		t.Errorf("what was durable before reads %q", got)
	}
	// More directories than stay open: the poison is not forgotten with them.
	for i := range 200 {
		if err := b.Create(t.Context(), fmt.Sprintf("e%d/1", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Create(t.Context(), "d/3", nil); !errors.Is(err, filebucket.ErrPoisoned) {
		t.Errorf("Create = %v, want ErrPoisoned", err)
	}
}

// TestFullDisk: a create that meets a full disk leaves nothing, says why, and
// succeeds when there is room.
func TestFullDisk(t *testing.T) {
	for _, at := range []blobtest.FSOp{blobtest.FSTemp, blobtest.FSWrite, blobtest.FSSyncFile, blobtest.FSLink, blobtest.FSMkdir} {
		c := blobtest.NewCrashFS()
		b := c.Bucket()
		hits := 0
		c.Hook(func(op blobtest.FSOp, _ string) error {
			if op == at {
				hits++
				return syscall.ENOSPC
			}
			return nil
		})
		if err := b.Create(t.Context(), "d/1", [][]byte{{1}}); !errors.Is(err, syscall.ENOSPC) || hits != 1 {
			t.Errorf("full at %q: Create = %v, %d hits", at, err, hits)
		}
		c.Hook(nil)
		if got := read(t, b, "d/1"); got != "absent" {
			t.Errorf("full at %q: then it is %q", at, got)
		}
		if err := b.Create(t.Context(), "d/1", [][]byte{{1}}); err != nil {
			t.Errorf("full at %q: later Create = %v", at, err)
		}
	}
}
