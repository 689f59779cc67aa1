package segment

import (
	"context"
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
)

// glance is how much of an object is read to learn its directory: most small
// objects, and the head of any.
const glance = 16 << 10

// readHead reads the head of an object. The bytes are the first of it, as far
// as they were read.
func readHead(ctx context.Context, store Store, key string) (fragment.Head, []byte, error) {
	b, size, err := store.ReadRange(ctx, key, 0, glance)
	if err != nil {
		return fragment.Head{}, nil, err
	}
	head, err := fragment.DecodeHead(b)
	if err != nil {
		return fragment.Head{}, nil, fragment.At(err, key, 0)
	}
	if int64(head.Len()) != size {
		return fragment.Head{}, nil, &fragment.CorruptError{Object: key, Offset: size,
			Reason: fmt.Sprintf("object has %d bytes, its head says %d", size, head.Len())}
	}
	return head, b, nil
}

// rereading runs read once more where it found damage, which may have come
// about on the way only: nothing is called lost for that.
func rereading(read func() error) error {
	err := read()
	if errors.Is(err, fragment.ErrCorrupt) {
		err = read()
	}
	return err
}

// readDirectory reads head and directory of an object, in one request where
// it is small, otherwise in two.
func readDirectory(ctx context.Context, store Store, key string) (head fragment.Head, d *fragment.Directory, err error) {
	err = rereading(func() error {
		head, d, err = readDirectoryOnce(ctx, store, key)
		return err
	})
	return head, d, err
}

func readDirectoryOnce(ctx context.Context, store Store, key string) (fragment.Head, *fragment.Directory, error) {
	head, b, err := readHead(ctx, store, key)
	if err != nil {
		return fragment.Head{}, nil, err
	}
	offset, length := head.Directory()
	var tail []byte
	if offset+length <= len(b) {
		tail = b[offset : offset+length]
	} else if tail, _, err = store.ReadRange(ctx, key, int64(offset), int64(length)); err != nil {
		return fragment.Head{}, nil, err
	}
	d, err := fragment.DecodeDirectory(head, b, tail)
	if err != nil {
		return fragment.Head{}, nil, fragment.At(err, key, 0)
	}
	return head, d, nil
}

// link is one object of a chain, as a walk finds it.
type link struct {
	n         uint64
	head      fragment.Head
	directory *fragment.Directory
	damage    error // what stands there can't be read, or is not of this chain
}

// lost says that the link holds no fragment that counts.
func (l link) lost() bool { return l.damage != nil || l.head.Kind == fragment.KindGap }

// sum is the sum of the link's block of SumEvery, nil if it holds none.
func (l link) sum() *fragment.Index {
	if l.lost() || l.n%fragment.SumEvery != 0 {
		return nil
	}
	if x := l.directory.Index; x != nil && x.From == l.n-fragment.SumEvery+1 && x.To == l.n+1 {
		return x
	}
	return nil
}

// readLink reads object n of a chain. Errors: fs.ErrNotExist; whatever keeps
// the store from answering. Damage is no error: it is there.
func readLink(ctx context.Context, store Store, c Chain, n uint64) (link, error) {
	key := fragment.ChainKey(c.Epoch, n)
	head, d, err := readDirectory(ctx, store, key)
	var version *fragment.VersionError
	switch {
	case errors.Is(err, fragment.ErrCorrupt):
		if h, ok := readKind(ctx, store, c, n); ok && h.Kind == fragment.KindSeal {
			return link{n: n, head: h}, nil // damaged as it is, it ends the chain
		}
		return link{n: n, damage: err}, nil
	case errors.As(err, &version):
		return link{}, fmt.Errorf("%s: %w", key, err)
	case err != nil:
		return link{}, fmt.Errorf("read %s: %w", key, err)
	}
	l := link{n: n, head: head, directory: d}
	if head.Epoch != c.Epoch || head.N != n || head.Cluster != c.Cluster || head.Kind == fragment.KindIndex {
		l.damage = &fragment.CorruptError{Object: key, Reason: fmt.Sprintf(
			"is a %s, object %d of chain %d of cluster %s: it stands in another's place", head.Kind, head.N, uint64(head.Epoch), head.Cluster)}
	}
	return l, nil
}

// readKind learns what a damaged object is, from its head or, if that is
// damaged, from its footer.
func readKind(ctx context.Context, store Store, c Chain, n uint64) (fragment.Head, bool) {
	key := fragment.ChainKey(c.Epoch, n)
	h, _, err := readHead(ctx, store, key)
	if err != nil {
		_, size, err := store.ReadRange(ctx, key, 0, 1)
		if err != nil || size < fragment.FootLen {
			return h, false
		}
		b, _, err := store.ReadRange(ctx, key, size-fragment.FootLen, fragment.FootLen)
		if err != nil {
			return h, false
		}
		f, ok := fragment.ReadFooter(b)
		h = fragment.Head{Kind: f.Kind, Epoch: f.Epoch, N: f.N, Cluster: c.Cluster}
		return h, ok && h.Epoch == c.Epoch && h.N == n
	}
	return h, h.Epoch == c.Epoch && h.N == n && h.Cluster == c.Cluster
}
