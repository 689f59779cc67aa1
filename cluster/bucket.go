package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/wpd-io/wpd/fragment"
)

// clusterObject is the content of cluster.json. Founders are the first voters:
// each of them that holds no metadata yet may bootstrap raft, with exactly
// these. It is empty in a cluster that began without a network.
type clusterObject struct {
	Version  int       `json:"version"`
	Cluster  string    `json:"cluster"`
	Founders []founder `json:"founders,omitempty"`

	id fragment.ClusterID
}

// founder is one of the first voters.
type founder struct {
	Identity string `json:"identity"`
	Raft     string `json:"raft"` // where it listened then
}

// founded tells whether an identity is among the founders.
func (c clusterObject) founded(identity string) bool {
	return slices.ContainsFunc(c.Founders, func(f founder) bool { return f.Identity == identity })
}

// probeObject is the content of nodes/<identity>/probe, which shows before
// there is a cluster that the nodes share one bucket: who reads it knows the
// nonce by gossip.
type probeObject struct {
	Version  int    `json:"version"`
	Identity string `json:"identity"`
	Nonce    string `json:"nonce"`
}

// bootObject is the content of nodes/<identity>/<boot>. Its nonce is what
// makes a create whose reply was lost recognisable as ours.
type bootObject struct {
	Version  int    `json:"version"`
	Cluster  string `json:"cluster"`
	Identity string `json:"identity"`
	Boot     uint64 `json:"boot"`
	Nonce    string `json:"nonce"`
}

// createJSON creates an object; see Objects.Create for its error.
func createJSON(ctx context.Context, o Objects, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return o.Create(ctx, key, append(b, '\n'))
}

// readJSON reads an object of the cluster's own into v, and reports false if there
// is none. One that is not ours, or damaged, is a *BucketError.
func readJSON(ctx context.Context, o Objects, key string, v any) (found bool, err error) {
	b, size, err := o.ReadRange(ctx, key, 0, fragment.OwnBytesMax)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read %s: %w", key, err)
	case size > fragment.OwnBytesMax:
		return true, &BucketError{Key: key, Reason: fmt.Sprintf("has %d bytes and is not one of wpd's", size)}
	}
	if err := json.Unmarshal(b, v); err != nil {
		return true, &BucketError{Key: key, Reason: fmt.Sprintf("is damaged or not one of wpd's: %v", err)}
	}
	return true, nil
}

// readCluster returns the cluster that the bucket belongs to, zero if it
// belongs to none.
func readCluster(ctx context.Context, o Objects) (fragment.ClusterID, error) {
	c, err := readClusterObject(ctx, o)
	return c.id, err
}

func readClusterObject(ctx context.Context, o Objects) (c clusterObject, err error) {
	found, err := readJSON(ctx, o, fragment.ClusterKey, &c)
	if err != nil || !found {
		return clusterObject{}, err
	}
	if c.Version > recordVersion {
		return clusterObject{}, &VersionError{What: "object " + fragment.ClusterKey, Have: c.Version, Known: recordVersion}
	}
	c.id, err = fragment.ParseClusterID(c.Cluster)
	if err != nil || c.id.IsZero() {
		return clusterObject{}, &BucketError{Key: fragment.ClusterKey, Reason: fmt.Sprintf("is damaged or not one of wpd's: it names the cluster %.64q", c.Cluster)}
	}
	return c, nil
}

// claimBucket makes sure that the bucket belongs to our cluster. Only a data
// directory that holds no metadata yet may found one, of this node alone: else
// an emptied or wrong bucket would be taken for a new one.
func claimBucket(ctx context.Context, c Config, me self, fresh bool) error {
	if fresh {
		err := createJSON(ctx, c.Bucket, fragment.ClusterKey, clusterObject{Version: recordVersion, Cluster: me.Cluster})
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("create %s: %w", fragment.ClusterKey, err)
		}
	}
	there, err := readCluster(ctx, c.Bucket)
	if err != nil {
		return err
	}
	if there == me.cluster {
		return nil
	}
	refusal := &OtherClusterError{Dir: c.Dir, BucketURL: c.BucketURL, Fresh: fresh, Bucket: there, WasURL: me.BucketURL}
	if !fresh {
		refusal.Mine = me.cluster
	}
	return refusal
}

// createBoot creates the object of a boot, or finds that it is there and
// ours. Another one in its place is a *CopiedError.
func createBoot(ctx context.Context, c Config, me self, b boot) error {
	key := fragment.BootKey(me.Identity, b.Number)
	err := createJSON(ctx, c.Bucket, key, bootObject{
		Version: recordVersion, Cluster: me.Cluster, Identity: me.Identity, Boot: b.Number, Nonce: b.Nonce,
	})
	if errors.Is(err, fs.ErrExist) {
		return &CopiedError{Dir: c.Dir, Identity: me.Identity, Boot: b.Number, Key: key}
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", key, err)
	}
	return nil
}

// checkBoots looks for boots of ours above the one just won.
func checkBoots(ctx context.Context, c Config, me self, b boot) error {
	own, prefix := fragment.BootKey(me.Identity, b.Number), fragment.NodePrefix(me.Identity)
	for key, err := range c.Bucket.List(ctx, prefix, own) {
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		if _, _, err := fragment.ParseBootKey(key); err == nil && key > own {
			return &CopiedError{Dir: c.Dir, Identity: me.Identity, Boot: b.Number, Key: key}
		}
	}
	return nil
}

// findEpoch looks for a chain above the highest epoch that the metadata has
// granted, and returns where it is. It costs one request: what lies below is
// skipped.
func findEpoch(ctx context.Context, o Objects, highest fragment.Epoch) (key string, e fragment.Epoch, err error) {
	// A zero after the digits sorts behind every object of the highest
	// chain, and before the next one.
	after := fragment.ChainsPrefix() + highest.String() + "0"
	for key, err := range o.List(ctx, fragment.ChainsPrefix(), after) {
		if err != nil {
			return "", 0, fmt.Errorf("list %s: %w", fragment.ChainsPrefix(), err)
		}
		// Keys that are not ours are for verify to report.
		if e, _, err := fragment.ParseChainKey(key); err == nil && e > highest {
			return key, e, nil
		}
	}
	return "", 0, nil
}
