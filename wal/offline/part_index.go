package offline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// CheckIndex reads the index object that the metadata name, and holds it against
// the name. nil and a problem: it is damaged, missing, or another. sure is as in
// Part; nil and no problem: it need not be there any more. Errors: those of sure;
// whatever keeps the store from answering.
func CheckIndex(ctx context.Context, store segment.Store, c segment.Chain, ref segment.Ref, sure func(ctx context.Context) (bool, error)) (*fragment.Index, *Problem, error) {
	for again := false; ; again = true {
		x, err := namedIndex(ctx, store, c, ref)
		switch damaged := errors.Is(err, fragment.ErrCorrupt) || errors.Is(err, fs.ErrNotExist) || isNewer(err); {
		case err == nil || !damaged:
			return x, nil, err
		case again:
			return nil, &Problem{Kind: kindOf(err), Object: ref.Key, Detail: reason(err) + "; it is an index: what it tells is made again from its chain, as long as that is whole"}, nil
		}
		if must, err := sure(ctx); !must || err != nil {
			return nil, nil, err
		}
	}
}

func namedIndex(ctx context.Context, store segment.Store, c segment.Chain, ref segment.Ref) (*fragment.Index, error) {
	k, ok := parseIndexKey(c.Epoch, ref.Key)
	if !ok || k.sum != ref.Checksum {
		return nil, &fragment.CorruptError{Object: ref.Key, Reason: fmt.Sprintf("the metadata name it as an index of chain %d with checksum %08x", uint64(c.Epoch), ref.Checksum)}
	}
	x, size, err := readIndex(ctx, store, c, k)
	if err == nil && uint64(size) != ref.Size {
		err = &fragment.CorruptError{Object: ref.Key, Offset: size, Reason: fmt.Sprintf("object has %d bytes, the metadata say %d", size, ref.Size)}
	}
	return x, err
}

func isNewer(err error) bool {
	_, ok := errors.AsType[*fragment.VersionError](err)
	return ok
}

// CheckCluster holds cluster.json against the metadata; nil: it is well. Errors:
// whatever keeps the store from answering.
func CheckCluster(ctx context.Context, store segment.Store, id fragment.ClusterID) (*Problem, error) {
	have, err := readCluster(ctx, store)
	_, damaged := errors.AsType[*jsonError](err)
	switch {
	case damaged || errors.Is(err, fs.ErrNotExist):
		return &Problem{Kind: kindOf(err), Object: fragment.ClusterKey, Detail: reason(err)}, nil
	case err == nil && have != id:
		return &Problem{Kind: KindMisplaced, Object: fragment.ClusterKey, Detail: fmt.Sprintf("is of cluster %s, this is cluster %s", have, id)}, nil
	}
	return nil, err
}

// Epochs lists the chains of which the bucket has any object, the lowest first,
// and the keys beside them that no object of ours has.
func Epochs(ctx context.Context, store segment.Store) (epochs []fragment.Epoch, strays []string, err error) {
	b := &Bucket{store: store}
	epochs, err = b.epochs(ctx)
	return epochs, b.strays, err
}

// Strays lists the keys in a chain's places that no object of ours has.
func Strays(ctx context.Context, store segment.Store, e fragment.Epoch) ([]string, error) {
	c, err := listChain(ctx, store, e)
	if err != nil {
		return nil, err
	}
	return c.strays, nil
}

// Foreign is the problem of an object, or a place, that is nobody's.
func Foreign(key, detail string) Problem {
	return Problem{Kind: NoteForeign, Object: key, Detail: detail}
}
