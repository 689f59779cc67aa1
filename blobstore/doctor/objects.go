package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// same checks that an object is as create made it.
func (x *exam) same(ctx context.Context, key string, size int) error {
	got, n, err := x.bucket.ReadRange(ctx, key, 0, math.MaxInt64)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return brokenf("%s is not there any more", key)
	case err != nil:
		return err
	case !bytes.Equal(got, body(key, size)):
		return brokenf("%s has other bytes, %d of them, than the %d that were created", key, n, size)
	}
	return nil
}

// readAfterCreate reads objects as soon as they are created, and asks for them
// before: a store may remember that there was nothing.
func (x *exam) readAfterCreate(ctx context.Context) (string, error) {
	const objects = 50
	for i := range objects {
		x.opts.Progress("read what was just created", i, objects)
		key := x.key("read/%03d", i)
		if _, _, err := x.bucket.ReadRange(ctx, key, 0, 1); !errors.Is(err, fs.ErrNotExist) {
			if err == nil {
				err = brokenf("%s can be read before it is created", key)
			}
			return "", err
		}
		if err := x.create(ctx, key, smallBytes); err != nil {
			return "", err
		}
		if err := x.same(ctx, key, smallBytes); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d objects, each asked for before it was created, and after", objects), nil
}

// lookPause is the time between two looks at an object that is being created.
const lookPause = time.Millisecond

// whole reads an object again and again while it is created.
func (x *exam) whole(ctx context.Context) (string, error) {
	objects := min(3, x.opts.Large)
	var looks atomic.Int64
	for i := range objects {
		x.opts.Progress("read what is being created", i, objects)
		key := x.key("whole/%d", i)
		done := make(chan struct{})
		g, gctx := errgroup.WithContext(ctx)
		g.Go(func() error {
			defer close(done)
			return x.create(gctx, key, x.opts.large)
		})
		g.Go(func() error {
			again := time.NewTimer(lookPause)
			defer again.Stop()
			for {
				tail, size, err := x.bucket.ReadRange(gctx, key, int64(x.opts.large)-64, 64)
				switch {
				case err != nil && !errors.Is(err, fs.ErrNotExist):
					return err
				case err == nil && (size != int64(x.opts.large) || len(tail) != 64):
					return brokenf("of an object of %d bytes that is being created, %d can be read", x.opts.large, size)
				}
				looks.Add(1)
				again.Reset(lookPause)
				select {
				case <-done:
					return nil
				case <-again.C:
				}
			}
		})
		if err := g.Wait(); err != nil {
			return "", err
		}
		if err := x.same(ctx, key, x.opts.large); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d objects of 8 MiB, looked at %d times while they were created", objects, looks.Load()), nil
}

// ranges reads parts of an object.
func (x *exam) ranges(ctx context.Context) (string, error) {
	const size = 1<<20 + 17
	key := x.key("ranges")
	if err := x.create(ctx, key, size); err != nil {
		return "", err
	}
	want := body(key, size)
	parts := []struct{ offset, length int64 }{
		{0, 64},
		{0, 1},
		{1, 1},
		{12345, 65536},
		{size - 64, 64},
		{size - 1, 1},
		{size - 64, 1000},
		{0, size},
		{0, math.MaxInt64},
		{size / 2, math.MaxInt64},
		{5, 0},
		{size, 64},
		{size + 1, 64},
		{1 << 40, 64},
	}
	for _, p := range parts {
		got, n, err := x.bucket.ReadRange(ctx, key, p.offset, p.length)
		if err != nil {
			return "", fmt.Errorf("%d bytes at %d of %d: %w", p.length, p.offset, size, err)
		}
		from := min(p.offset, size)
		to := from + min(p.length, size-from)
		if n != size || !bytes.Equal(got, want[from:to]) {
			return "", brokenf("%d bytes at %d of %d: %d bytes came, which are not those, of an object of %d", p.length, p.offset, size, len(got), n)
		}
	}
	return fmt.Sprintf("%d ranges of an object of 1 MiB: at its start, within, at its end, across it, past it", len(parts)), nil
}

// deletes deletes objects, and looks for them.
func (x *exam) deletes(ctx context.Context) (string, error) {
	const objects = 20
	for i := range objects {
		x.opts.Progress("delete objects", i, objects)
		key := x.key("deleted/%02d", i)
		if err := x.create(ctx, key, smallBytes); err != nil {
			return "", err
		}
		for range 2 { // of what is not there, a delete is no error
			if err := x.bucket.Delete(ctx, key); err != nil {
				return "", err
			}
		}
		switch _, _, err := x.bucket.ReadRange(ctx, key, 0, 1); {
		case err == nil:
			return "", brokenf("%s can be read after it was deleted", key)
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
		listed, err := x.list(ctx, key, "")
		if err != nil {
			return "", err
		}
		if len(listed) > 0 {
			return "", brokenf("%s is listed after it was deleted", key)
		}
	}
	return fmt.Sprintf("%d objects, read and listed after they were deleted, and deleted again", objects), nil
}
