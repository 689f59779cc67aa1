package main

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
)

// parseHeaders reads the values of -H: KEY=VALUE, where VALUE may have any
// bytes, and KEY any but "=".
func parseHeaders(flags []string) ([]wpd.Header, error) {
	var headers []wpd.Header
	for _, s := range flags {
		key, value, ok := strings.Cut(s, "=")
		switch {
		case !ok:
			return nil, fmt.Errorf("-H is %q; want KEY=VALUE", s)
		case key == "":
			return nil, fmt.Errorf("-H is %q; the key is empty", s)
		}
		headers = append(headers, wpd.Header{Key: key, Value: []byte(value)})
	}
	return headers, nil
}

// headerBytes is what headers take of the limits of an entry.
func headerBytes(headers []wpd.Header) (n int) {
	for _, h := range headers {
		n += varintBytes(len(h.Key)) + len(h.Key) + varintBytes(len(h.Value)) + len(h.Value)
	}
	return n
}

func varintBytes(n int) int { return (bits.Len(uint(n)|1) + 6) / 7 }

// dataLimit is how many bytes of an input fit into an entry of a log beside
// the headers. Errors: *wpd.LimitError if the headers alone are over a limit.
func dataLimit(config wpd.LogConfig, headers []wpd.Header) (int, error) {
	limit, n := int(config.EntryBytesMax), headerBytes(headers)
	if limit == 0 {
		limit = fragment.EntryBytesDefault
	}
	if n > fragment.HeaderBytesMax {
		return 0, &wpd.LimitError{What: "entry header bytes", Limit: fragment.HeaderBytesMax, Value: uint64(n)}
	}
	if n > limit {
		return 0, &wpd.LimitError{What: "entry bytes, by the headers alone", Limit: uint64(limit), Value: uint64(n)}
	}
	return limit - n, nil
}
