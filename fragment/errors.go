package fragment

import (
	"errors"
	"fmt"
)

// ErrCorrupt: the bytes are not what was written. Every *CorruptError Is it.
var ErrCorrupt = errors.New("corrupt")

// CorruptError says where bytes are damaged and how that shows.
type CorruptError struct {
	Object string // key of the object, "" where the decoder was not told
	Offset int64  // byte offset of the damaged part, in the object if Object is set
	Reason string
}

func (e *CorruptError) Error() string {
	object := e.Object
	if object == "" {
		object = "bytes"
	}
	return fmt.Sprintf("corrupt: %s at byte %d: %s", object, e.Offset, e.Reason)
}

// Is makes every CorruptError an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// VersionError: the bytes are of a format that this program does not know,
// or need a feature that it does not have. They are not damaged.
type VersionError struct {
	What       string // "batch", "fragment", "directory section", "batch feature" …
	Have, Know uint64 // what is there; the highest that this program knows
	Object     string // as in CorruptError
	Offset     int64
}

func (e *VersionError) Error() string {
	where := ""
	if e.Object != "" {
		where = fmt.Sprintf("%s at byte %d: ", e.Object, e.Offset)
	}
	return fmt.Sprintf("%s%s version or feature %d is newer than this program (which knows up to %d)", where, e.What, e.Have, e.Know)
}

// LimitError: a batch or an entry is over a limit.
type LimitError struct {
	What         string
	Limit, Value uint64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %d is over the limit of %d", e.What, e.Value, e.Limit)
}

func corrupt(offset int, format string, args ...any) error {
	return &CorruptError{Offset: int64(offset), Reason: fmt.Sprintf(format, args...)}
}

// At returns err with the object's key, and with offsets counted from base on,
// if it is a *CorruptError or a *VersionError that names no object yet; any
// other error it returns as it is.
func At(err error, object string, base int64) error {
	if c, ok := errors.AsType[*CorruptError](err); ok && c.Object == "" {
		return &CorruptError{Object: object, Offset: base + c.Offset, Reason: c.Reason}
	}
	if v, ok := errors.AsType[*VersionError](err); ok && v.Object == "" {
		return &VersionError{What: v.What, Have: v.Have, Know: v.Know, Object: object, Offset: base + v.Offset}
	}
	return err
}
