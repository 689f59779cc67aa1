package cluster

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/wpd-io/wpd/fragment"
)

// Keys of ours in raft's stable store; raft's own are CurrentTerm,
// LastVoteTerm and LastVoteCand. Each is one write, so one fsync, whole or
// not at all.
var (
	keySelf = []byte("wpd/self")
	keyBoot = []byte("wpd/boot")
)

const recordVersion = 1 // of self, boot, and the objects in the bucket

// self says who this node is. It is made with the data directory and then
// only changes in BucketURL, and before there is any metadata in Cluster and
// Joined.
type self struct {
	Version   int    `json:"version"`
	Name      string `json:"name"`
	Identity  string `json:"identity"`
	Cluster   string `json:"cluster"` // of the directory; final once the bucket says the same
	BucketURL string `json:"bucket"`  // for messages
	// Joined says that Cluster was made by another node: this one must not
	// make it again.
	Joined bool `json:"joined,omitempty"`
	// Probe is the nonce in this node's probe object; see probeObject.
	Probe string `json:"probe,omitempty"`

	cluster fragment.ClusterID
}

// identitySuffixBytes is how much longer an identity is than the name.
const identitySuffixBytes = 1 + 2*8

// boot is the latest start that was counted.
type boot struct {
	Version int    `json:"version"`
	Number  uint64 `json:"boot"`
	Nonce   string `json:"nonce"`
	Claimed bool   `json:"claimed"` // its object in the bucket is known to be ours

	nonce fragment.Nonce
}

// loadSelf returns who this data directory says we are. A new one is decided
// on the spot, and is durable before anybody else hears of it.
func loadSelf(s raft.StableStore, c Config) (self, error) {
	me, found, err := readSelf(s, c)
	if err == nil && !found {
		return newSelf(s, c)
	}
	return me, err
}

// readSelf returns who this data directory says we are, if it does.
func readSelf(s raft.StableStore, c Config) (me self, found bool, err error) {
	found, err = getJSON(s, keySelf, &me)
	switch {
	case err != nil || !found:
		return me, false, err
	case me.Version > recordVersion:
		return me, true, &VersionError{What: "the identity in data directory " + c.Dir, Have: me.Version, Known: recordVersion}
	case c.Name != "" && me.Name != c.Name:
		return me, true, &NameError{Dir: c.Dir, Have: me.Name, Want: c.Name}
	}
	if me.cluster, err = fragment.ParseClusterID(me.Cluster); err != nil {
		return me, true, &DataDirError{Dir: c.Dir, Reason: "has a damaged identity", Err: err}
	}
	return me, true, nil
}

func newSelf(s raft.StableStore, c Config) (self, error) {
	me := self{Version: recordVersion, Name: cmp.Or(c.Name, nameDefault), BucketURL: c.BucketURL}
	me.Identity = newIdentity(me.Name)
	random(me.cluster[:])
	me.Cluster = me.cluster.String()
	return me, setJSON(s, keySelf, me)
}

// newIdentity makes up an identity for a node of that name.
func newIdentity(name string) string {
	var suffix [8]byte
	random(suffix[:])
	return name + "-" + hex.EncodeToString(suffix[:])
}

// loadBoot returns the latest start, Number 0 if this is the first.
func loadBoot(s raft.StableStore, dir string) (boot, error) {
	var b boot
	found, err := getJSON(s, keyBoot, &b)
	if err != nil || !found {
		return b, err
	}
	if b.Version > recordVersion {
		return b, &VersionError{What: "the boot record in data directory " + dir, Have: b.Version, Known: recordVersion}
	}
	if b.nonce, err = parseNonce(b.Nonce); err != nil {
		return b, &DataDirError{Dir: dir, Reason: "has a damaged boot record", Err: err}
	}
	return b, nil
}

// adopt makes a cluster that another node has made ours, durably.
func (me self) adopt(s raft.StableStore, cluster fragment.ClusterID) (self, error) {
	if me.cluster == cluster {
		return me, nil
	}
	me.cluster, me.Cluster, me.Joined = cluster, cluster.String(), true
	return me, setJSON(s, keySelf, me)
}

// probe returns the nonce for the probe object, which is durable.
func (me self) probe(s raft.StableStore) (self, fragment.Nonce, error) {
	if me.Probe != "" {
		n, err := parseNonce(me.Probe)
		return me, n, err
	}
	var n fragment.Nonce
	random(n[:])
	me.Probe = n.String()
	return me, n, setJSON(s, keySelf, me)
}

// next returns the start after this one, with a nonce of its own.
func (b boot) next() boot {
	next := boot{Version: recordVersion, Number: b.Number + 1}
	random(next.nonce[:])
	next.Nonce = next.nonce.String()
	return next
}

// count makes the next boot durable, before anybody else hears of it.
func (b boot) count(s raft.StableStore) (boot, error) {
	next := b.next()
	return next, setJSON(s, keyBoot, next)
}

// random fills b; crypto/rand.Read does not fail.
func random(b []byte) { _, _ = rand.Read(b) }

func parseNonce(s string) (fragment.Nonce, error) {
	var n fragment.Nonce
	if len(s) != hex.EncodedLen(len(n)) {
		return n, fmt.Errorf("nonce %q: want %d hexadecimal digits", s, hex.EncodedLen(len(n)))
	}
	if _, err := hex.Decode(n[:], []byte(s)); err != nil {
		return fragment.Nonce{}, fmt.Errorf("nonce %q: %w", s, err)
	}
	return n, nil
}

// getJSON reports false if the key is not there.
func getJSON(s raft.StableStore, key []byte, v any) (bool, error) {
	b, err := s.Get(key)
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", key, err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("read %s: %w", key, err)
	}
	return true, nil
}

// isNotFound tells whether a store says that it has no such key. The stores have
// no common error for it; raft compares like this.
func isNotFound(err error) bool { return err != nil && err.Error() == "not found" }

func setJSON(s raft.StableStore, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	if err := guard(func() error { return s.Set(key, b) }); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}
