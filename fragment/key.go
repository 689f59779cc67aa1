package fragment

import (
	"fmt"
	"strings"
)

// The places of objects in a bucket. No key is a path prefix of another, and
// numbers are written so that the order of keys is theirs.
const (
	chainsPrefix = "chains/"
	indexPrefix  = "index/"
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
