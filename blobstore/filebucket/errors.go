package filebucket

import (
	"errors"
	"fmt"
)

// ErrKey is what errors.Is finds in a [KeyError].
var ErrKey = errors.New("invalid object key")

// ErrPoisoned is wrapped by every operation on a directory whose fsync has
// failed once since the bucket was opened. Only a restart clears it; look at the
// disk first.
var ErrPoisoned = errors.New("an earlier fsync of the directory failed")

// ErrClosed is wrapped by operations on a bucket that has been closed.
var ErrClosed = errors.New("file bucket is closed")

// KeyError is returned for a key that no object can have, here or on any other
// store. Nothing was done, and trying again is useless.
type KeyError struct {
	Key    string
	Reason string
}

// Error implements error.
func (e *KeyError) Error() string {
	return fmt.Sprintf("object key %q: %s", e.Key, e.Reason)
}

// Is reports whether target is [ErrKey].
func (e *KeyError) Is(target error) bool { return target == ErrKey }
