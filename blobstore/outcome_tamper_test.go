package blobstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/wpd-io/wpd/blobstore"
)

// outcome is what became of one create, as its caller was told.
type outcome struct {
	writer
	err error
}

// holds says what is wrong about what the writer was told.
func (o outcome) holds(body []byte) error {
	mine := body != nil && bytes.Equal(body, o.body)
	exists, other := errors.AsType[*blobstore.ExistsError](o.err)
	switch {
	case o.err == nil && !mine:
		return fmt.Errorf("told that ours is there; there is %q", body)
	case other && (body == nil || mine):
		return fmt.Errorf("told that another's is there; there is %q", body)
	case other && (exists.Size != int64(len(body)) || !bytes.Equal(exists.Head, body[:min(64, len(body))])):
		return fmt.Errorf("told of %d bytes that begin with %q; there is %q", exists.Size, exists.Head, body)
	case o.err == nil, other, errors.Is(o.err, blobstore.ErrUnknown):
		return nil
	case errors.Is(o.err, fs.ErrExist) || mine && !o.twin:
		return fmt.Errorf("told %w; there is %q", o.err, body)
	}
	return nil // nothing was sent
}

// holds says what is wrong if this is what the server has and the writers were
// told that: nothing of anybody else may be there either. A nil body is no
// object.
func holds(outcomes []outcome, body []byte) error {
	var errs []error
	whose := body == nil
	for i, o := range outcomes {
		if err := o.holds(body); err != nil {
			errs = append(errs, fmt.Errorf("writer %d: %w", i, err))
		}
		whose = whose || bytes.Equal(body, o.body)
	}
	if !whose {
		errs = append(errs, fmt.Errorf("nobody has created what is there: %q", body))
	}
	return errors.Join(errs...)
}

// says sums up what the writer was told.
func (o outcome) says() string {
	switch {
	case o.err == nil:
		return "ours"
	case errors.Is(o.err, fs.ErrExist):
		return "another's"
	case errors.Is(o.err, blobstore.ErrUnknown):
		return "unknown"
	}
	return "not sent"
}

// String implements [fmt.Stringer].
func (o outcome) String() string { return fmt.Sprintf("%s (%v)", o.says(), o.err) }
