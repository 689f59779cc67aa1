package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
)

// RecoveryConfig says what the next incarnation of a cluster begins with.
type RecoveryConfig struct {
	// Dir is the data directory of the node that begins it: of a node of the
	// cluster, which must not run, or a new one. Required.
	Dir string
	// Name is the node's; see Config.Name.
	Name string
	// Bucket is the cluster's. Required.
	Bucket Objects
	// BucketURL is only told in messages, and remembered for them.
	BucketURL string
	// Snapshot is metadata that Member.Snapshot wrote. nil: those of Dir, with
	// all of its raft log; and if Dir is new, none.
	Snapshot io.Reader

	// wrap, in tests, puts faults under the writes.
	wrap func(*stores)
}

// Recovery makes the next incarnation of a cluster's metadata, offline: in the
// data directory of one node, which is the only member of it. That node has a
// new identity, and all earlier ones are removed: whatever still runs of the
// cluster, or is started again, is turned away by its members and by the bucket
// (CheckIncarnation), and joins as a new node or not at all.
//
// Nothing is changed before Begin. After it, no node of an earlier incarnation
// opens a chain any more, and none starts; Finish, or another Recovery, must
// follow. It may be cut off anywhere. Not safe for concurrent use.
type Recovery struct {
	config  RecoveryConfig
	dir     *dataDir
	stores  *stores
	me      self // the new one
	boot    boot
	state   *fsm.State // that it begins with
	local   *fsm.State // of Dir; nil: none
	suspect []fragment.Epoch
	index   uint64 // the last raft index in Dir or state
	term    uint64 // the last raft term in Dir
	begun   uint64 // the highest incarnation that the bucket says was begun; 0: none but the first
	target  uint64 // the incarnation, once Begin has claimed it
}

// OpenRecovery takes the data directory and reads the metadata. Errors are those
// of Open about them and the bucket, and of fsm.Restore about the snapshot;
// *BucketError where there is no cluster to recover.
func OpenRecovery(ctx context.Context, c RecoveryConfig) (_ *Recovery, err error) {
	r := &Recovery{config: c}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("recover: %w", err), r.Close())
		}
	}()
	checked, err := Config{Dir: c.Dir, Name: c.Name, Bucket: c.Bucket, BucketURL: c.BucketURL}.validate()
	if err != nil {
		return nil, err
	}
	r.config.BucketURL = checked.BucketURL
	there, err := readCluster(ctx, c.Bucket)
	switch {
	case err != nil:
		return nil, err
	case there.IsZero():
		return nil, &BucketError{Key: fragment.ClusterKey, Reason: "is not there: " + checked.BucketURL + " holds no cluster"}
	}
	if r.begun, err = begun(ctx, c.Bucket, 0); err != nil {
		return nil, err
	}
	// The snapshot first: a damaged one leaves no new directory behind.
	if c.Snapshot != nil {
		if r.state, err = fsm.Restore(c.Snapshot); err != nil {
			return nil, fmt.Errorf("read the saved metadata: %w", err)
		}
		if id := r.state.Cluster().ID; id != there {
			return nil, &SnapshotError{Cluster: id, Bucket: there, BucketURL: checked.BucketURL}
		}
	}
	if r.dir, err = openDataDir(c.Dir); err != nil {
		return nil, err
	}
	if r.stores, err = openStores(r.dir, false, newRaftLogger(checked.Logger)); err != nil {
		return nil, err
	}
	if c.wrap != nil {
		c.wrap(r.stores)
	}
	return r, guard(func() error { return r.load(there) })
}

// load reads what the data directory holds, and makes up who its node will be.
func (r *Recovery) load(there fragment.ClusterID) error {
	was, found, err := readSelf(r.stores.stable, Config{Dir: r.config.Dir, Name: r.config.Name})
	if err != nil {
		return err
	}
	fresh, err := r.stores.empty()
	if err != nil {
		return err
	}
	if !fresh {
		if !found || was.cluster != there {
			return &OtherClusterError{Dir: r.config.Dir, BucketURL: r.config.BucketURL, Mine: was.cluster, Bucket: there, WasURL: was.BucketURL}
		}
		if err := r.loadMetadata(); err != nil {
			return fmt.Errorf("read the metadata of data directory %s: %w", r.config.Dir, err)
		}
	}
	if r.state == nil {
		r.state = r.local
	}
	if r.state == nil {
		r.state = fsm.New()
		if res, err := r.state.Apply(1, fsm.NewInitCluster(there, fsm.FeatureLevel)); cmp.Or(err, res.Err) != nil {
			return cmp.Or(err, res.Err)
		}
	}
	r.index = max(r.index, r.state.AppliedIndex())
	if r.state.Cluster().ID != there {
		return &OtherClusterError{Dir: r.config.Dir, BucketURL: r.config.BucketURL, Mine: r.state.Cluster().ID, Bucket: there, WasURL: was.BucketURL}
	}
	r.me = self{
		Version: recordVersion, Name: cmp.Or(r.config.Name, was.Name, nameDefault), Joined: true,
		Cluster: there.String(), cluster: there, BucketURL: r.config.BucketURL,
	}
	r.me.Identity = newIdentity(r.me.Name)
	r.boot = boot{}.next()
	return nil
}

// Fresh says that there are no metadata to begin with, but those of the bucket.
func (r *Recovery) Fresh() bool { return r.local == nil && r.config.Snapshot == nil }

// State is the metadata that it begins with. It must not be changed.
func (r *Recovery) State() *fsm.State { return r.state }

// Suspects are chains of which the metadata may tell what was never committed:
// a raft log alone does not say how much of it was. The bucket decides.
func (r *Recovery) Suspects() []fragment.Epoch { return r.suspect }

// Identity is that of the node that will be the only member.
func (r *Recovery) Identity() string { return r.me.Identity }

// Name is the name of that node.
func (r *Recovery) Name() string { return r.me.Name }

// ClusterID is the id of the cluster.
func (r *Recovery) ClusterID() fragment.ClusterID { return r.me.cluster }

// Nonce is that of the first boot of that node, number 1, under which it seals.
func (r *Recovery) Nonce() fragment.Nonce { return r.boot.nonce }

// Applied is the raft index of the metadata that it begins with.
func (r *Recovery) Applied() uint64 { return r.state.AppliedIndex() }

// Incarnation is the one that Begin has claimed; 0 before.
func (r *Recovery) Incarnation() uint64 { return r.target }

// Nodes are the members that the metadata knows, those of the data directory
// included: none of them may run.
func (r *Recovery) Nodes() (all []*fsm.Node) {
	seen := make(map[string]bool)
	for _, s := range []*fsm.State{r.local, r.state} {
		if s == nil {
			continue
		}
		for n := range s.Nodes() {
			if !n.Removed && !seen[n.Identity] {
				seen[n.Identity] = true
				all = append(all, n)
			}
		}
	}
	return all
}

// Close gives the data directory free.
func (r *Recovery) Close() error {
	var errs []error
	if r.stores != nil {
		errs = append(errs, guard(r.stores.close))
	}
	if r.dir != nil {
		errs = append(errs, r.dir.close())
	}
	r.stores, r.dir = nil, nil
	return errors.Join(errs...)
}

// SnapshotError means that saved metadata are of another cluster than the
// bucket.
type SnapshotError struct {
	Cluster   fragment.ClusterID // of the metadata; zero: they are of none
	Bucket    fragment.ClusterID
	BucketURL string
}

func (e *SnapshotError) Error() string {
	if e.Cluster.IsZero() {
		return "the saved metadata are of no cluster: they were saved before there was one"
	}
	return fmt.Sprintf("the saved metadata are of cluster %s, but %s belongs to cluster %s", e.Cluster, e.BucketURL, e.Bucket)
}

// RecoveryCutError means that a recovery was cut off in this data directory.
type RecoveryCutError struct {
	Dir         string
	Incarnation uint64
}

func (e *RecoveryCutError) Error() string {
	return fmt.Sprintf("data directory %s was to begin incarnation %d of its cluster's metadata, and that was cut off: "+
		"run the same wpd cluster recover, or snapshot restore, again", e.Dir, e.Incarnation)
}

// OverError means that the cluster's metadata were restored or recovered, and
// go on without this node. It Is fs.ErrExist: what it must not do, another has
// done.
type OverError struct {
	Dir               string // empty: in memory
	Mine, Incarnation uint64
	Key               string // the object that says so
	By                string // identity of the node that began it, empty if not known
}

func (e *OverError) Error() string {
	by := ""
	if e.By != "" {
		by = " by node " + e.By
	}
	return fmt.Sprintf("the cluster was restored or recovered%s, and goes on as incarnation %d (%s); this node knows only incarnation %d. "+
		"If that was cut off, run it again; otherwise, to join as a new member, %s", by, e.Incarnation, e.Key, e.Mine, startAnew(e.Dir))
}

// Is makes every OverError an fs.ErrExist.
func (e *OverError) Is(target error) bool { return target == fs.ErrExist }
