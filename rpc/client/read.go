package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/wpd-io/wpd/fragment"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// resumeWait is how long one call of Next tries to get a broken stream going
// again. It outlasts a node's restart, or a failover.
const resumeWait = 2 * time.Minute

// stream reads a log, from one connection to the next. It implements
// api.Stream.
type stream struct {
	pool   *pool
	r      api.ReadRequest // what is still to come: From is where it goes on, Limit is what is left
	feed   *feed           // nil: it broke, or was never there
	pause  pauses          // since the last chunk
	ended  bool            // there is no more
	closed bool
}

// Read implements api.Service.
func (s *Service) Read(ctx context.Context, r api.ReadRequest) (api.Stream, error) {
	if r.From < api.FromEarliest || r.From > api.FromTime {
		return nil, fmt.Errorf("%w: position %d", api.ErrInvalid, r.From)
	}
	// Nothing was appended before 1970, and the wire has no such times.
	r.Time = max(r.Time, 0)
	if r.Until < 0 {
		r.Until = 1
	}
	st := &stream{pool: s.pool, r: r}
	if err := s.pool.attempt(ctx, anyNode, callTries, func(n *node) error { return st.open(ctx, n) }); err != nil {
		return nil, err
	}
	return st, nil
}

// open opens a feed where the stream goes on.
func (st *stream) open(ctx context.Context, n *node) error {
	f, err := openFeed(ctx, n, st.r)
	if err != nil {
		return err
	}
	st.feed = f
	st.moved(f.start)
	return nil
}

// moved notes where the stream stands.
func (st *stream) moved(to fragment.LSN) {
	st.r.From, st.r.Value, st.r.Time = api.FromLSN, uint64(to), 0
}

// Position implements api.Stream.
func (st *stream) Position() fragment.LSN { return fragment.LSN(st.r.Value) }

// Next implements api.Stream.
func (st *stream) Next(ctx context.Context) (api.Chunk, error) {
	var until time.Time // of all tries of this call to go on
	for {
		switch {
		case st.closed:
			return api.Chunk{}, api.ErrClosed
		case st.ended:
			return api.Chunk{}, io.EOF
		case st.feed == nil:
			if until.IsZero() {
				until = time.Now().Add(resumeWait)
			}
			if err := st.resume(ctx, until); err != nil {
				return api.Chunk{}, err
			}
		}
		select {
		case x, ok := <-st.feed.items:
			if !ok { // it ends so only if the client is closed
				x = item{err: api.ErrClosed, last: true}
			}
			if again, err := st.take(x); !again {
				return x.chunk, err
			}
		case <-ctx.Done():
			return api.Chunk{}, ctx.Err()
		}
	}
}

// take takes what a feed gave; again says that it was nothing, since the feed
// broke, and that the stream may go on with another one.
func (st *stream) take(x item) (again bool, err error) {
	loss, lost := errors.AsType[*api.DataLossError](x.err)
	switch {
	case x.err == nil:
		st.pause = pauses{}
		st.moved(x.chunk.To)
		if n := uint64(x.chunk.To - x.chunk.From); st.r.Limit != 0 {
			st.r.Limit -= n // the feed has seen to it that it is not more
			st.ended = st.r.Limit == 0
		}
		return false, nil
	case lost && !x.last:
		st.moved(loss.To)
		return false, loss
	}
	n := st.feed.node
	st.feed = nil
	if errors.Is(x.err, io.EOF) {
		st.ended = true
		return false, io.EOF
	}
	reason := reasonOf(x.err)
	n.judge(context.Background(), true, x.err)
	switch err := st.pool.foreign(n, st.pool.meaning(context.Background(), x.err, false)); {
	case !errors.Is(err, api.ErrUnavailable):
		return false, err
	case reason == logv1.ErrorReason_ERROR_REASON_UNSPECIFIED, reason == logv1.ErrorReason_ERROR_REASON_CLOSING:
		return true, nil
	default: // it lives, and can't read now: that is not for this to wait for
		return false, err
	}
}

// unreachedPauseMax bounds the pauses while no node can be reached: one that
// comes and goes must not be missed again and again.
const unreachedPauseMax = 100 * time.Millisecond

// resume opens a feed in the place of one that broke.
func (st *stream) resume(ctx context.Context, until time.Time) error {
	limited, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	var why error
	for {
		// The first time at once; a feed that breaks before it gave anything, as
		// often as one that can't be opened, makes the pause longer.
		if st.pause.last == 0 || st.pause.wait(limited, why) {
			st.pause.last = max(st.pause.last, 1)
			n, _, err := st.pool.reach(limited)
			if err == nil {
				err = st.open(limited, n)
			} else {
				st.pause.last = min(st.pause.last, unreachedPauseMax)
			}
			if !errors.Is(err, api.ErrUnavailable) {
				return err
			}
			if limited.Err() == nil {
				why = err
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case limited.Err() == nil:
			continue
		case why == nil: // there was no connection all the while
			why = st.pool.unreachable(ctx, errors.New("no answer"))
		}
		return fmt.Errorf("the stream broke, and could not go on for %v: %w", resumeWait, why)
	}
}

// Close implements api.Stream.
func (st *stream) Close() error {
	st.closed = true
	if st.feed != nil {
		st.feed.close()
		st.feed = nil
	}
	return nil
}
