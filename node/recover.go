package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/offline"
)

// RecoverConfig says what a cluster goes on with that has lost its metadata, or
// the majority that decides on them.
type RecoverConfig struct {
	// Bucket is the cluster's URL. Required.
	Bucket string
	// DataDir is that of the node which goes on: one of the cluster's, whose
	// metadata are taken, or a new one. Required.
	DataDir string
	// Name is the node's; default that of the data directory, and "n1" for a
	// new one.
	Name string
	// Snapshot is metadata that were saved (wpd cluster snapshot save), to be
	// taken in place of those of the data directory. nil: those, and with a new
	// data directory, what the bucket alone tells.
	Snapshot io.Reader
	// Alive tells whether a node of the cluster answers at a gRPC address. nil:
	// nobody is asked.
	Alive func(ctx context.Context, cluster, addr string) bool
	// Store is used in place of Bucket, for tests; the caller closes it.
	Store *blobstore.Bucket
	// Progress is called now and then. May be nil.
	Progress func(offline.Progress)
	Logger   *slog.Logger // nil: silent
}

// AliveError: nodes of the cluster run that a recovery would put out of it.
type AliveError struct {
	Nodes []string // name and address of each
}

func (e *AliveError) Error() string {
	return "nodes of the cluster are alive and answer: " + strings.Join(e.Nodes, ", ") + "; stop them first"
}

// Recovery brings a cluster's metadata back, offline: see [OpenRecovery].
type Recovery struct {
	*cluster.Recovery
	cfg    RecoverConfig
	store  *blobstore.Bucket
	close  func() error
	finder *offline.Finder
	found  cluster.Found // by Look
}

// OpenRecovery takes a data directory, and reads the metadata that a cluster is
// to go on with, for Look and Run. Close must follow. Errors: *AliveError; those
// of package cluster on the data directory, the bucket and the snapshot;
// *BucketError.
func OpenRecovery(ctx context.Context, c RecoverConfig) (_ *Recovery, err error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Recovery{cfg: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	conf := Config{Bucket: c.Bucket, Store: c.Store, Logger: c.Logger}
	if r.store, r.close, err = conf.openStore(ctx); err != nil {
		return nil, err
	}
	r.Recovery, err = cluster.OpenRecovery(ctx, cluster.RecoveryConfig{
		Dir: c.DataDir, Name: c.Name, Bucket: r.store, BucketURL: r.store.URL(), Snapshot: c.Snapshot,
	})
	if err != nil {
		return nil, err
	}
	if err := r.alone(ctx); err != nil {
		return nil, err
	}
	r.finder, err = offline.NewFinder(ctx, r.store, offline.Options{Progress: c.Progress})
	return r, err
}

// Close gives the data directory free.
func (r *Recovery) Close() error {
	var errs []error
	if r.Recovery != nil {
		errs = append(errs, r.Recovery.Close())
	}
	if r.close != nil {
		errs = append(errs, r.close())
	}
	r.Recovery, r.close = nil, nil
	return errors.Join(errs...)
}

// alone refuses to go on while a node of the cluster answers.
func (r *Recovery) alone(ctx context.Context) error {
	if r.cfg.Alive == nil {
		return nil
	}
	e := &AliveError{}
	for _, n := range r.Nodes() {
		if n.GRPC != "" && r.cfg.Alive(ctx, r.ClusterID().String(), n.GRPC) {
			e.Nodes = append(e.Nodes, n.Name+" at "+n.GRPC)
		}
	}
	if len(e.Nodes) > 0 {
		return e
	}
	return nil
}

// Look finds out what the bucket holds beyond the metadata, and tells what Run
// would do. It changes nothing.
func (r *Recovery) Look(ctx context.Context) (*cluster.RecoveryReport, error) {
	var err error
	if r.found, err = r.look(ctx); err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	return r.Preview(ctx, r.found)
}

// Run makes the next incarnation, after Look: from its first step on there is no
// way back to an earlier one. It seals all chains that are not sealed, takes in
// what the bucket holds, and leaves a data directory that a node starts on, as
// the only member. It may be cut off anywhere, and another Recovery on the same
// data directory, or on another, be run then.
func (r *Recovery) Run(ctx context.Context) (*cluster.RecoveryReport, error) {
	if err := r.alone(ctx); err != nil {
		return nil, err
	}
	if err := r.Begin(ctx, r.found); err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	// Whoever opens a chain looks for a later incarnation before it writes
	// there: so what counts is there by now, or is never written.
	found, err := r.look(ctx)
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	seals, err := r.seal(ctx, found)
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	// From here on, nothing is acknowledged on any of these chains.
	if found, err = r.look(ctx); err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	found.Seals = seals
	return r.Finish(ctx, found)
}

// look looks at the chains that the metadata don't know, or don't know the seal
// of, or may be wrong about; and at those where a log was that went on since.
func (r *Recovery) look(ctx context.Context) (f cluster.Found, err error) {
	there, err := r.finder.Epochs(ctx)
	if err != nil {
		return f, err
	}
	s := r.State()
	wanted := func(e fragment.Epoch) bool {
		c, ok := s.Chain(e)
		return !ok || c.State != fsm.ChainSealed || slices.Contains(r.Suspects(), e)
	}
	epochs := slices.DeleteFunc(slices.Clone(there), func(e fragment.Epoch) bool { return !wanted(e) })
	if f.Chains, err = r.finder.Find(ctx, epochs); err != nil {
		return f, err
	}
	more := slices.Clone(epochs)
	for _, c := range f.Chains {
		for _, stay := range c.Stays {
			l, ok := s.Log(stay.Log)
			if !ok {
				continue
			}
			if last, ok := l.Last(); ok && last.End == 0 && last.Attachment < stay.Attachment && slices.Contains(there, last.Epoch) {
				more = append(more, last.Epoch)
			}
		}
	}
	slices.Sort(more)
	if f.Chains, err = r.finder.Find(ctx, slices.Compact(more)); err != nil {
		return f, err
	}
	f.Cuts = make(map[fragment.Epoch][]fsm.Cut)
	for _, x := range f.Chains {
		from := uint64(1)
		if c, ok := s.Chain(x.Epoch); ok {
			if c.State != fsm.ChainOpen {
				continue
			}
			if n := len(c.Cuts); n > 0 {
				from = c.Cuts[n-1].To
			}
		}
		cuts, err := r.finder.Cuts(ctx, x, from)
		if err != nil {
			return f, err
		}
		for _, c := range cuts {
			f.Cuts[x.Epoch] = append(f.Cuts[x.Epoch], fsm.Cut{From: c.From, To: c.To, Index: fsm.Ref(c.Index)})
		}
	}
	return f, nil
}

// seal seals the chains that are not known to be, as a node would that takes
// over.
func (r *Recovery) seal(ctx context.Context, f cluster.Found) (map[fragment.Epoch]fsm.Seal, error) {
	found := make(map[fragment.Epoch]*offline.FoundChain)
	for _, x := range f.Chains {
		found[x.Epoch] = x
	}
	seals := make(map[fragment.Epoch]fsm.Seal)
	seal := func(q segment.SealRequest) error {
		x := found[q.Chain.Epoch]
		if x != nil {
			q.Durable = max(q.Durable, x.Durable)
			for _, stay := range x.Stays {
				q.Attached = append(q.Attached, segment.Stay{Log: stay.Log, Attachment: stay.Attachment, First: max(stay.First, 1)})
			}
		}
		for _, c := range f.Cuts[q.Chain.Epoch] {
			q.Cuts = append(q.Cuts, segment.Cut{From: c.From, To: c.To, Index: segment.Ref(c.Index)})
		}
		q.Chain.Cluster = r.ClusterID()
		q.Sealer = segment.Chain{Cluster: r.ClusterID(), Incarnation: r.Incarnation(), Node: r.Identity(), Boot: 1, Nonce: r.Nonce()}
		q.Applied, q.Logger = r.Applied(), r.cfg.Logger
		sealed, err := segment.Seal(ctx, r.store, q)
		if err != nil {
			return err
		}
		seals[q.Chain.Epoch] = fsm.Seal{At: sealed.At, Index: fsm.Ref(sealed.Index)}
		return nil
	}
	for _, c := range slices.Collect(r.State().Unsealed()) {
		q := segment.SealRequest{Chain: segment.Chain{Epoch: c.Epoch, Node: c.Node, Boot: c.Boot, Window: uint64(c.Window)}, Durable: c.DurableHint}
		for _, x := range c.Cuts {
			q.Cuts = append(q.Cuts, segment.Cut{From: x.From, To: x.To, Index: segment.Ref(x.Index)})
		}
		for l := range r.State().LogsOn(c.Epoch) {
			x, _ := l.Last()
			q.Attached = append(q.Attached, segment.Stay{Log: l.ID, Attachment: x.Attachment, First: x.First})
		}
		if err := seal(q); err != nil {
			return nil, err
		}
	}
	for _, x := range f.Chains {
		if _, known := r.State().Chain(x.Epoch); known || !x.Written() {
			continue
		}
		q := segment.SealRequest{Chain: segment.Chain{Epoch: x.Epoch, Window: fsm.WindowMax}}
		if o := x.Opening; o != nil {
			q.Chain.Node, q.Chain.Boot, q.Chain.Window = o.Node, o.Boot, uint64(o.Window)
		}
		if err := seal(q); err != nil {
			return nil, err
		}
	}
	return seals, nil
}
