package fragment

import (
	"fmt"
	"strings"
)

// The places of objects in a bucket. No key is a path prefix of another, and
// numbers are written so that the order of keys is theirs.
const (
	chainsPrefix       = "chains/"
	indexPrefix        = "index/"
	nodesPrefix        = "nodes/"
	incarnationsPrefix = "incarnations/"

	// ClusterKey is the key of the object that says which cluster the bucket
	// belongs to.
	ClusterKey = "cluster.json"
)

// ChainsPrefix is what the keys of all chain objects start with.
func ChainsPrefix() string { return chainsPrefix }

// ChainPrefix is what the keys of a chain's objects start with.
func ChainPrefix(e Epoch) string { return chainsPrefix + e.String() + "/" }

// ChainKey is the key of object n of a chain.
func ChainKey(e Epoch, n uint64) string { return fmt.Sprintf("%s%016x", ChainPrefix(e), n) }

// ParseChainKey is the inverse of ChainKey.
func ParseChainKey(key string) (Epoch, uint64, error) {
	rest, ok := strings.CutPrefix(key, chainsPrefix)
	epoch, number, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return 0, 0, fmt.Errorf("key %q: want %sEPOCH/N", key, chainsPrefix)
	}
	e, err := ParseEpoch(epoch)
	if err != nil {
		return 0, 0, fmt.Errorf("key %q: %w", key, err)
	}
	n, err := parseHex16(number)
	if err != nil {
		return 0, 0, fmt.Errorf("key %q: object number: %w", key, err)
	}
	return e, n, nil
}

// IndexKey is the key of the index object of objects [from, to) of a chain;
// it ends in the checksum of the content.
func IndexKey(e Epoch, from, to uint64, sum uint32) string {
	return fmt.Sprintf("%s%016x-%016x-%08x", IndexPrefix(e), from, to, sum)
}

// IndexPrefix is what the keys of a chain's index objects start with.
func IndexPrefix(e Epoch) string { return indexPrefix + e.String() + "/" }

// NodesPrefix is what the keys of all nodes' objects start with.
func NodesPrefix() string { return nodesPrefix }

// NodePrefix is what the keys of a node's objects start with.
func NodePrefix(identity string) string { return nodesPrefix + identity + "/" }

// BootKey is the key of the object that says that a boot of a node happened.
func BootKey(identity string, boot uint64) string {
	return fmt.Sprintf("%s%016x", NodePrefix(identity), boot)
}

// ParseBootKey is the inverse of BootKey. It takes any identity, as long as it is
// not empty.
func ParseBootKey(key string) (identity string, boot uint64, err error) {
	rest, ok := strings.CutPrefix(key, nodesPrefix)
	identity, number, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || identity == "" {
		return "", 0, fmt.Errorf("key %q: want %sIDENTITY/BOOT", key, nodesPrefix)
	}
	if boot, err = parseHex16(number); err != nil {
		return "", 0, fmt.Errorf("key %q: boot: %w", key, err)
	}
	return identity, boot, nil
}

// ProbeKey is the key of the object by which a new node shows others that they
// share one bucket.
func ProbeKey(identity string) string { return NodePrefix(identity) + "probe" }

// IncarnationsPrefix is what the keys of all incarnations' objects start with.
func IncarnationsPrefix() string { return incarnationsPrefix }

// IncarnationKey is the key of the object that says that an incarnation of the
// metadata was begun.
func IncarnationKey(n uint64) string { return fmt.Sprintf("%s%016x", incarnationsPrefix, n) }

// ParseIncarnationKey is the inverse of IncarnationKey.
func ParseIncarnationKey(key string) (uint64, error) {
	rest, ok := strings.CutPrefix(key, incarnationsPrefix)
	if !ok {
		return 0, fmt.Errorf("key %q: want %sN", key, incarnationsPrefix)
	}
	n, err := parseHex16(rest)
	if err != nil {
		return 0, fmt.Errorf("key %q: incarnation: %w", key, err)
	}
	return n, nil
}
