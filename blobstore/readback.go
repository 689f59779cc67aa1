package blobstore

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
)

// endBytes is how much of each end of an object is compared to tell ours from
// another's; what is written there must differ between writers (design: epoch,
// number, nonce, checksums).
const endBytes = 64

// there says what a create's key holds.
type there int

const (
	thereNothing there = iota
	thereOurs
	thereOther
)

// readBack compares what is under key with parts: length and both ends.
func (b *Bucket) readBack(ctx context.Context, key string, parts [][]byte) (there, *ExistsError, error) {
	n := size(parts)
	got, has, err := b.readOnce(ctx, key, 0, endBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return thereNothing, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	other := &ExistsError{Key: key, Size: has, Head: got}
	if has != n || !bytes.Equal(got, head(parts)) {
		return thereOther, other, nil
	}
	if n > endBytes {
		got, has, err = b.readOnce(ctx, key, n-endBytes, endBytes)
		if errors.Is(err, fs.ErrNotExist) {
			return thereNothing, nil, nil // deleted between the two reads
		}
		if err != nil {
			return 0, nil, err
		}
		if has != n || !bytes.Equal(got, tail(parts)) {
			return thereOther, other, nil
		}
	}
	return thereOurs, nil, nil
}

// size is the length of the concatenation of parts, in bytes.
func size(parts [][]byte) int64 {
	var n int64
	for _, p := range parts {
		n += int64(len(p))
	}
	return n
}

// head returns the first bytes of the concatenation, at most endBytes.
func head(parts [][]byte) []byte {
	out := make([]byte, 0, endBytes)
	for _, p := range parts {
		out = append(out, p[:min(len(p), endBytes-len(out))]...)
	}
	return out
}

// tail returns the last bytes of the concatenation, at most endBytes.
func tail(parts [][]byte) []byte {
	out := make([]byte, endBytes)
	at := endBytes
	for i := len(parts) - 1; i >= 0 && at > 0; i-- {
		p := parts[i]
		n := min(len(p), at)
		at -= n
		copy(out[at:], p[len(p)-n:])
	}
	return out[at:]
}
