package wal

import (
	"context"

	"github.com/wpd-io/wpd/fragment"
)

// Take makes this node the writer of a log that nobody writes, as its first
// append would, by what the metadata says after the call: whoever wrote it has
// given it up just now. nil if it is the writer already. Errors: *api.ElsewhereError,
// ErrDeleted, ErrNotFound, *api.LimitError, ErrMoved, ErrUnavailable.
func (s *Service) Take(ctx context.Context, id fragment.LogID) error {
	l, err := s.log(ctx, id)
	if err != nil {
		return err
	}
	if err := s.confirm(ctx); err != nil {
		return err
	}
	_, err = s.attached(ctx, l, l.visit())
	return err
}
