package wal

import (
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// refusal puts a refusal of the metadata into the words of the contract. What
// is none becomes ErrUnavailable where nothing was done, and ErrUncertain where
// the command may have been applied, or may still be.
func refusal(err error) error {
	var stale *fsm.StaleError
	var missing *fsm.NotFoundError
	var name *fsm.NameError
	var invalid *fsm.InvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing):
		if missing.Deleted {
			return fmt.Errorf("%w: %w", err, api.ErrDeleted)
		}
		return fmt.Errorf("%w: %w", err, api.ErrNotFound)
	case errors.Is(err, fsm.ErrExists):
		return fmt.Errorf("%w: %w", err, api.ErrExists)
	case errors.As(err, &stale):
		return &api.StaleError{What: stale.What + " of " + stale.Of, Have: stale.Want, Want: stale.Have}
	case errors.As(err, &name), errors.As(err, &invalid):
		return fmt.Errorf("%w: %w", api.ErrInvalid, err)
	}
	if isUncertain(err) {
		return fmt.Errorf("%w: metadata: %w", api.ErrUncertain, err)
	}
	return fmt.Errorf("%w: metadata: %w", api.ErrUnavailable, err)
}

// harmless turns "may have been applied" into ErrUnavailable for a command that
// does no harm when it is repeated, and after which nothing was taken.
func harmless(err error) error {
	if errors.Is(err, api.ErrUncertain) {
		return fmt.Errorf("%w: %v", api.ErrUnavailable, err)
	}
	return err
}

// overError is what an append, or an answer that rested on one, gets when its
// chain ends before it is durable: the identical batch, sent again, is
// answered by what the committed seal says.
func overError(err error) error {
	if errors.Is(err, segment.ErrClosed) {
		return fmt.Errorf("%w: %w", api.ErrUncertain, err)
	}
	return fmt.Errorf("%w: %w", api.ErrMoved, err)
}
