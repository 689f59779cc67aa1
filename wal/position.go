package wal

import (
	"context"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// position finds the LSN that a read starts at.
func (s *Service) position(ctx context.Context, l *log, r api.ReadRequest) (fragment.LSN, error) {
	m, err := s.meta(l.id)
	if err != nil {
		return 0, err
	}
	first, tail := m.First, l.tailBy(m)
	switch r.From {
	case api.FromEarliest:
		return first, nil
	case api.FromTail:
		return tail, nil
	case api.FromLSN:
		lsn := fragment.LSN(r.Value)
		switch {
		case lsn == 0:
			return 0, fmt.Errorf("%w: LSN 0: the first is 1", api.ErrInvalid)
		case lsn < first:
			return 0, &api.TrimmedError{LSN: lsn, First: first}
		case lsn > tail:
			return 0, &api.BeyondTailError{LSN: lsn, Tail: tail}
		}
		return lsn, nil
	case api.FromLast:
		return tail - fragment.LSN(min(r.Value, uint64(tail-first))), nil
	case api.FromTime:
		return s.atTime(ctx, l, first, tail, r.Time)
	}
	return 0, fmt.Errorf("%w: position %d", api.ErrInvalid, r.From)
}

// atTime finds the first entry of [lo, hi) that was appended at t or later; hi
// if there is none. Times never decrease within a log, so it halves the range,
// by what the indexes say, and reads one slice at the end.
func (s *Service) atTime(ctx context.Context, l *log, lo, hi fragment.LSN, t fragment.Micros) (fragment.LSN, error) {
	for lo < hi {
		mid := lo + (hi-lo)/2
		at, rows, err := s.rows(ctx, l, mid, 1)
		if err != nil {
			return 0, err
		}
		if len(rows) == 0 {
			return 0, fmt.Errorf("%w: LSN %d of log %d is not to be found", api.ErrUnavailable, mid, l.id)
		}
		switch row := rows[0]; {
		case row.Lost:
			// What follows the loss decides on which side t lies. If that is
			// later than t, the loss may hold t: it is begun at, and told.
			end, later, err := s.behindLoss(ctx, l, row.End(), hi, t)
			if err != nil {
				return 0, err
			}
			if later {
				hi = max(lo, row.First)
			} else {
				lo = end
			}
		case row.TimeMax < t:
			lo = row.End()
		case row.TimeMin >= t:
			hi = max(lo, row.First)
		default:
			slice, err := s.reader.Slice(ctx, at.view.Chain.Epoch, at.stay, row)
			if err != nil {
				return 0, fmt.Errorf("%w: %w", api.ErrUnavailable, err)
			}
			for _, b := range slice.Batches {
				if b.Time() >= t {
					return max(lo, b.From()), nil
				}
			}
			return min(row.End(), hi), nil
		}
	}
	return lo, nil
}

// behindLoss finds the first slice at lsn or behind it that is not lost, and
// says whether it begins at t or later; so does the end, hi.
func (s *Service) behindLoss(ctx context.Context, l *log, lsn, hi fragment.LSN, t fragment.Micros) (end fragment.LSN, later bool, err error) {
	for lsn < hi {
		_, rows, err := s.rows(ctx, l, lsn, 1)
		if err != nil {
			return 0, false, err
		}
		if len(rows) == 0 {
			break
		}
		if !rows[0].Lost {
			return lsn, rows[0].TimeMin >= t, nil
		}
		lsn = rows[0].End()
	}
	return lsn, true, nil
}
