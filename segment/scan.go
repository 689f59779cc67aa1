package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"

	"github.com/wpd-io/wpd/fragment"
)

// Scanned is one place of a chain, as a scan finds it.
type Scanned struct {
	N    uint64
	Key  string
	Size int64 // of the object, in bytes
	// Kind is what stands there; 0 if that can't be told. It is known of most
	// damaged objects too: header and footer both say it.
	Kind      fragment.Kind
	Head      fragment.Head       // zero if Damage is not nil
	Directory *fragment.Directory // nil if Damage is not nil
	// Damage says why the object can't be used: a *fragment.CorruptError, a
	// *MisplacedError, a *fragment.VersionError, or one that Is
	// fs.ErrNotExist. Damage to slices only is in Contents.
	Damage   error
	Contents []Content // as far as they were asked for
	Note     any       // of ScanOptions.Visit
	// Beyond says that the place lies behind the seal, or behind the first
	// hole of a chain that is not sealed: it is not part of the chain (yet).
	Beyond bool
}

// Content is what could be read of a slice.
type Content struct {
	fragment.Slice
	Batches []fragment.Batch
	Damage  []Damage
	Err     error // nil if the slice is whole
}

// MisplacedError: what stands under a key is an object of ours, but that of
// another place. It Is fragment.ErrCorrupt.
type MisplacedError struct {
	Object  string
	Kind    fragment.Kind
	Epoch   fragment.Epoch
	N       uint64
	Cluster fragment.ClusterID
}

func (e *MisplacedError) Error() string {
	return fmt.Sprintf("%s holds what belongs elsewhere: a %s, object %d of chain %d of cluster %s",
		e.Object, e.Kind, e.N, uint64(e.Epoch), e.Cluster)
}

// Is makes every MisplacedError a fragment.ErrCorrupt.
func (e *MisplacedError) Is(target error) bool { return target == fragment.ErrCorrupt }

// ScanOptions says what a scan reads of each object.
type ScanOptions struct {
	// Whole reads whole objects and checks every byte of them.
	Whole bool
	// Only reads, without Whole, the slices of one stay; zero: none.
	Only Stay
	// Ahead is how many objects are read at the same time; the scan holds no
	// more of them than that. Default 32, or 6 with Whole or Only.
	Ahead int
	// Durable is the highest object that something outside of the chain (an
	// index) says was durable.
	Durable uint64
	// Visit is called for every object, from several goroutines, before it is
	// handed out. May be nil.
	Visit func(x *Scanned)
}

func (o ScanOptions) ahead() int {
	switch {
	case o.Ahead > 0:
		return o.Ahead
	case o.Whole || o.Only != (Stay{}):
		return 6
	}
	return walkers
}

// ScanRange reads objects [from, to) of a chain, which are known to be part of
// it, in order: what is missing is damage. An error means that the store did
// not answer, and ends the scan. Only Cluster (zero: any) and Epoch of the
// chain are looked at.
func ScanRange(ctx context.Context, store Store, c Chain, from, to uint64, o ScanOptions) iter.Seq2[*Scanned, error] {
	return inOrder(ctx, o.ahead(), Listing{Runs: []Run{{from, to}}}.all(), loader{store, c, o}.load)
}

// inOrder runs f for numbers, up to ahead of them at the same time, and yields
// the results in order. The first error is the last thing it yields.
func inOrder[T any](ctx context.Context, ahead int, numbers iter.Seq[uint64], f func(ctx context.Context, n uint64) (T, error)) iter.Seq2[T, error] {
	type job struct {
		done   chan struct{}
		result T
		err    error
	}
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		next, stop := iter.Pull(numbers)
		defer stop()
		var queue []*job
		for {
			for len(queue) < ahead {
				n, ok := next()
				if !ok {
					break
				}
				j := &job{done: make(chan struct{})}
				wg.Go(func() {
					defer close(j.done)
					j.result, j.err = f(ctx, n)
				})
				queue = append(queue, j)
			}
			if len(queue) == 0 {
				return
			}
			j := queue[0]
			queue[0], queue = nil, queue[1:]
			<-j.done
			if !yield(j.result, j.err) || j.err != nil {
				return
			}
		}
	}
}

// loader reads single objects of a chain.
type loader struct {
	store Store
	chain Chain
	opts  ScanOptions
}

// load reads an object. What does not check is read once more, in case it was
// damaged on its way only. Damage is part of the result.
func (l loader) load(ctx context.Context, n uint64) (*Scanned, error) {
	var x *Scanned
	for range 2 {
		x = &Scanned{N: n, Key: fragment.ChainKey(l.chain.Epoch, n)}
		err := l.read(ctx, x)
		var version *fragment.VersionError
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist):
			x.Damage = fmt.Errorf("%s is missing: %w", x.Key, fs.ErrNotExist)
		case errors.Is(err, fragment.ErrCorrupt), errors.As(err, &version):
			x.Damage, x.Head, x.Directory, x.Contents = fragment.At(err, x.Key, 0), fragment.Head{}, nil, nil
		default:
			return nil, fmt.Errorf("read %s: %w", x.Key, err)
		}
		if x.whole() {
			break
		}
	}
	if l.opts.Visit != nil {
		l.opts.Visit(x)
	}
	return x, nil
}

// whole says whether nothing that was read of the object is damaged.
func (x *Scanned) whole() bool {
	for _, c := range x.Contents {
		if c.Err != nil {
			return false
		}
	}
	return !errors.Is(x.Damage, fragment.ErrCorrupt)
}

func (l loader) read(ctx context.Context, x *Scanned) error {
	length := int64(glance)
	if l.opts.Whole {
		length = fragment.ObjectBytesMax + 1
	}
	b, size, err := l.store.ReadRange(ctx, x.Key, 0, length)
	if err != nil {
		return err
	}
	x.Size = size
	head, err := fragment.DecodeHead(b)
	if err != nil {
		return errors.Join(err, l.footKind(ctx, x))
	}
	if head.Epoch != l.chain.Epoch || head.N != x.N || head.Kind == fragment.KindIndex ||
		!l.chain.Cluster.IsZero() && head.Cluster != l.chain.Cluster {
		return &MisplacedError{x.Key, head.Kind, head.Epoch, head.N, head.Cluster}
	}
	x.Kind, x.Head = head.Kind, head
	if int64(head.Len()) != size {
		return &fragment.CorruptError{Offset: min(size, int64(head.Len())), Reason: fmt.Sprintf("object has %d bytes, its header says %d", size, head.Len())}
	}
	offset, tailLen := head.Directory()
	tail, err := l.bytes(ctx, x.Key, b, offset, tailLen)
	if err != nil {
		return err
	}
	if x.Directory, err = fragment.DecodeDirectory(head, b, tail); err != nil {
		return err
	}
	for _, s := range x.Directory.Slices {
		if l.opts.Whole || s.Log == l.opts.Only.Log && s.Attachment == l.opts.Only.Attachment {
			body, err := l.bytes(ctx, x.Key, b, int(s.Offset), int(s.Length))
			if err != nil {
				return err
			}
			x.Contents = append(x.Contents, readContent(x.Key, head.Epoch, s, body))
		}
	}
	return nil
}

// bytes returns a range of an object whose first bytes were read already.
func (l loader) bytes(ctx context.Context, key string, b []byte, offset, length int) ([]byte, error) {
	if offset+length <= len(b) {
		return b[offset : offset+length], nil
	}
	b, _, err := l.store.ReadRange(ctx, key, int64(offset), int64(length))
	return b, err
}

// footKind learns from its footer what an object without a header is.
func (l loader) footKind(ctx context.Context, x *Scanned) error {
	if x.Size < fragment.FootLen {
		return nil
	}
	b, _, err := l.store.ReadRange(ctx, x.Key, x.Size-fragment.FootLen, fragment.FootLen)
	if err != nil {
		return err
	}
	if f, ok := fragment.ReadFooter(b); ok && f.Epoch == l.chain.Epoch && f.N == x.N {
		x.Kind = f.Kind
	}
	return nil
}

// readContent checks a slice, and finds in a damaged one what is whole.
func readContent(key string, e fragment.Epoch, s fragment.Slice, b []byte) Content {
	c := Content{Slice: s}
	if c.Batches, c.Err = s.Read(e, b); c.Err == nil {
		return c
	}
	c.Err = fragment.At(c.Err, key, 0)
	saved := salvage(key, e, Stay{Log: s.Log, Attachment: s.Attachment}, fragment.Row{
		Offset: s.Offset, Length: s.Length, First: s.First, Count: uint64(s.Count), TimeMin: s.TimeMin, TimeMax: s.TimeMax,
	}, b)
	c.Batches, c.Damage = saved.Batches, saved.Damage
	return c
}
