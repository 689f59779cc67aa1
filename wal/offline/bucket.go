package offline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// Bucket is what a bucket was found to hold. Safe for concurrent use.
type Bucket struct {
	store   segment.Store
	cluster fragment.ClusterID // zero if the bucket does not say
	// clusterErr says what is wrong with cluster.json: nil, fs.ErrNotExist,
	// or what it holds.
	clusterErr error
	chains     []*chain // by epoch
	logs       []*Log   // by id
	strays     []string // keys that are nobody's, found on the way
}

// Options tune Open and Verify.
type Options struct {
	// Progress is called now and then, never from two goroutines. May be nil.
	Progress func(Progress)
}

// Progress is how far a walk over a bucket got.
type Progress struct {
	Objects, Of uint64 // objects looked at, of so many
	Bytes       uint64 // read
}

func (o Options) tell(p Progress) {
	if o.Progress != nil {
		o.Progress(p)
	}
}

// progressEvery is how often Progress is called, in objects.
const progressEvery = 64

// Open finds out which chains and logs a bucket holds. It reads the directory
// of every fragment, but no entries. Damage is no error: what can't be read
// shows when it is read, or in Verify. Errors: whatever keeps the store from
// answering.
func Open(ctx context.Context, store segment.Store, o Options) (*Bucket, error) {
	b := &Bucket{store: store}
	if err := b.open(ctx, o); err != nil {
		return nil, fmt.Errorf("open bucket offline: %w", err)
	}
	return b, nil
}

func (b *Bucket) open(ctx context.Context, o Options) error {
	b.cluster, b.clusterErr = readCluster(ctx, b.store)
	if _, damaged := errors.AsType[*jsonError](b.clusterErr); b.clusterErr != nil && !damaged && !errors.Is(b.clusterErr, fs.ErrNotExist) {
		return b.clusterErr
	}
	epochs, err := b.epochs(ctx)
	if err != nil {
		return err
	}
	// The newest first: so whatever a chain says of where an older one ended
	// was true before the older one is looked at.
	slices.Reverse(epochs)
	var p Progress
	for _, e := range epochs {
		c, err := listChain(ctx, b.store, e)
		if err != nil {
			return err
		}
		b.strays = append(b.strays, c.strays...)
		b.chains = append(b.chains, c)
		p.Of += c.listed.Len()
	}
	var stands []*place
	for _, c := range b.chains {
		found, err := c.survey(ctx, b, func(x *segment.Scanned) {
			if p.Objects++; p.Objects%progressEvery == 0 {
				o.tell(p)
			}
		})
		if err != nil {
			return err
		}
		stands = append(stands, found...)
	}
	slices.Reverse(b.chains)
	b.logs = assemble(stands)
	o.tell(p)
	return nil
}

// epochs lists the chains that have any object, the lowest first. It costs a
// request for each.
func (b *Bucket) epochs(ctx context.Context) ([]fragment.Epoch, error) {
	var all []fragment.Epoch
	for _, prefix := range []string{fragment.ChainsPrefix(), "index/"} {
		for after, more := "", true; more; {
			more = false
			for key, err := range b.store.List(ctx, prefix, after) {
				if err != nil {
					return nil, fmt.Errorf("list %s: %w", prefix, err)
				}
				more = true
				dir, _, _ := strings.Cut(strings.TrimPrefix(key, prefix), "/")
				e, err := fragment.ParseEpoch(dir)
				if err != nil || prefix+dir == key {
					b.strays = append(b.strays, key)
					after = key
					break
				}
				all = append(all, e)
				after = prefix + dir + "0" // right behind all that lies below it: '0' follows '/'
				break
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// clusterObject is the content of cluster.json, as far as it counts here.
type clusterObject struct {
	Version int    `json:"version"`
	Cluster string `json:"cluster"`
}

// bootObject is the content of nodes/<identity>/<boot>.
type bootObject struct {
	Version  int    `json:"version"`
	Cluster  string `json:"cluster"`
	Identity string `json:"identity"`
	Boot     uint64 `json:"boot"`
	Nonce    string `json:"nonce"`
}

// incarnationObject is the content of incarnations/<n>.
type incarnationObject struct {
	Version     int    `json:"version"`
	Cluster     string `json:"cluster"`
	Incarnation uint64 `json:"incarnation"`
	Identity    string `json:"identity"`
}

// jsonError: a JSON object of the cluster's is damaged.
type jsonError struct {
	object, reason string
}

func (e *jsonError) Error() string { return fmt.Sprintf("corrupt: %s: %s", e.object, e.reason) }

func (e *jsonError) Is(target error) bool { return target == fragment.ErrCorrupt }

// readJSON reads a small object into v. Errors: fs.ErrNotExist, *jsonError.
func readJSON(ctx context.Context, store segment.Store, key string, v any) (size int64, err error) {
	data, size, err := store.ReadRange(ctx, key, 0, fragment.OwnBytesMax)
	switch {
	case err != nil:
		return 0, fmt.Errorf("read %s: %w", key, err)
	case size > fragment.OwnBytesMax:
		return size, &jsonError{key, fmt.Sprintf("%d bytes, at most %d are ever written", size, fragment.OwnBytesMax)}
	}
	if err := json.Unmarshal(data, v); err != nil {
		return size, &jsonError{key, err.Error()}
	}
	return size, nil
}

func readCluster(ctx context.Context, store segment.Store) (fragment.ClusterID, error) {
	var c clusterObject
	if _, err := readJSON(ctx, store, fragment.ClusterKey, &c); err != nil {
		return fragment.ClusterID{}, err
	}
	id, err := fragment.ParseClusterID(c.Cluster)
	if err != nil {
		return fragment.ClusterID{}, &jsonError{fragment.ClusterKey, err.Error()}
	}
	return id, nil
}

// segment is a chain as package segment wants it.
func (b *Bucket) segment(e fragment.Epoch) segment.Chain {
	return segment.Chain{Cluster: b.cluster, Epoch: e}
}
