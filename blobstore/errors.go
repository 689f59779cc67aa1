package blobstore

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// ErrKey is what errors.Is finds in a [KeyError].
var ErrKey = filebucket.ErrKey

// KeyError is returned for a key that no object can have. Nothing was done.
type KeyError = filebucket.KeyError

// ErrTooLarge is wrapped by the error of a create of more than [ObjectBytesMax]
// bytes. Nothing was done.
var ErrTooLarge = filebucket.ErrTooLarge

// ErrShort is wrapped by the error of a read that kept returning fewer bytes
// than the object has.
var ErrShort = errors.New("short read")

// ErrUnknown is what errors.Is finds in an [UnknownError].
var ErrUnknown = errors.New("outcome unknown")

// ExistsError is returned by [Bucket.Create] when something else is there:
// nothing of ours is under that key. errors.Is(err, fs.ErrExist) holds.
type ExistsError struct {
	Key  string
	Size int64  // of what is there, in bytes
	Head []byte // its first bytes, at most 64
}

// Error implements error.
func (e *ExistsError) Error() string {
	return fmt.Sprintf("create %s: another object of %d bytes is there: %v", e.Key, e.Size, fs.ErrExist)
}

// Is reports whether target is fs.ErrExist.
func (e *ExistsError) Is(target error) bool { return target == fs.ErrExist }

// UnknownError is returned by [Bucket.Create] when the context ended before the
// outcome was known: the object may be there, may not, or may still come.
// errors.Is finds [ErrUnknown] and what is in Cause, but nothing of Last: an
// attempt's error says nothing about the outcome.
type UnknownError struct {
	Key      string
	Attempts int   // at least 1
	Last     error // what the last attempt said
	Cause    error // why it was the last: context.Cause
}

// Error implements error.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("create %s: outcome unknown after %d attempts: %v; last error: %v", e.Key, e.Attempts, e.Cause, e.Last)
}

// Is reports whether target is [ErrUnknown].
func (e *UnknownError) Is(target error) bool { return target == ErrUnknown }

// Unwrap returns Cause.
func (e *UnknownError) Unwrap() error { return e.Cause }

// ProbeError is returned by [Bucket.Probe] for a store that breaks a promise.
type ProbeError struct {
	Promise string // what the store should do
	Saw     string // what it did
}

// Error implements error.
func (e *ProbeError) Error() string {
	return fmt.Sprintf("the store does not keep a promise that wpd rests on: %s; saw: %s", e.Promise, e.Saw)
}
