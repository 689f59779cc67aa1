package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/server"
	"github.com/wpd-io/wpd/wal/api"
)

// service is the log service of one node among several: what only the writer of
// a log can do is done there, everything else here. A call that another node has
// forwarded is answered here, or with an *api.ElsewhereError; it never travels
// on. Calls wait until the node is open.
type service struct {
	n       *Node
	remotes remotes
	routes  routes
	lanes   lanes
}

var (
	_ server.Logs = (*service)(nil)
	_ server.Aged = (*service)(nil)
)

func newService(n *Node) *service {
	s := &service{n: n}
	s.remotes.init(n)
	s.routes.init(s.remotes.drop)
	s.lanes.init()
	return s
}

// close ends what is under way to other nodes. Nothing comes in any more.
func (s *service) close(ctx context.Context) error {
	err := s.remotes.close(ctx)
	s.lanes.wait()
	return err
}

// writerOf finds out, or has the leader decide, where the node serves that writes
// a log; empty: it is this one.
func (s *service) writerOf(ctx context.Context, log fragment.LogID) (addr string, err error) {
	if addr, ok := s.knownWriter(ctx, log); ok {
		return addr, nil
	}
	identity, addr := s.n.ownerOf(log)
	if identity == "" {
		if identity, err = s.n.member.Place(ctx, log); err != nil {
			return "", fmt.Errorf("%w: choose a node to write log %d: %w", api.ErrUnavailable, log, err)
		}
		addr = s.n.addressOf(identity)
	}
	switch {
	case identity == s.n.member.Identity():
		return "", nil
	case addr == "":
		return "", fmt.Errorf("%w: node %s, which writes log %d, has no address", api.ErrUnavailable, identity, log)
	}
	return addr, nil
}

// knownWriter is writerOf as far as this node has heard. False: perhaps nobody
// writes the log, or nobody knows where.
func (s *service) knownWriter(ctx context.Context, log fragment.LogID) (addr string, ok bool) {
	if rpc.Forwarded(ctx) {
		return "", true
	}
	identity, addr := s.n.ownerOf(log)
	if identity == s.n.member.Identity() {
		return "", true
	}
	return addr, addr != ""
}

// The pause before a call is made again because the log has moved meanwhile;
// it doubles with each.
const (
	movePause    = 5 * time.Millisecond
	movePauseMax = 200 * time.Millisecond
)

// moving waits before a call is made again that was made n times more, unless it
// may not be: its error is final then. A forwarded one is made once more, by what
// the metadata says now.
func (s *service) moving(ctx context.Context, n int, err error) error {
	switch {
	case !errors.Is(err, api.ErrMoved), rpc.Forwarded(ctx) && n > 0: // an *api.ElsewhereError Is one
		return err
	case rpc.Forwarded(ctx): // whoever sent it here may know more than this node did
		if unsure := s.n.member.Confirm(ctx); unsure != nil {
			return err
		}
		return nil
	}
	t := time.NewTimer(min(movePause<<min(n, 10), movePauseMax))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.n.closing.Done():
		return api.ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("%w: the log is changing hands: %w", api.ErrUnavailable, ctx.Err())
	}
}

// atWriter has f done where the log is written.
func atWriter[T any](ctx context.Context, s *service, log fragment.LogID, f func(api.Service) (T, error)) (T, error) {
	var none T
	logs, err := s.n.here(ctx)
	if err != nil {
		return none, err
	}
	for n := 0; ; n++ {
		addr, err := s.writerOf(ctx, log)
		if err != nil {
			return none, err
		}
		at := api.Service(logs)
		if addr != "" {
			if at, err = s.remotes.at(ctx, addr); err != nil {
				return none, err
			}
		}
		v, err := f(at)
		if err == nil {
			return v, nil
		}
		if err := s.moving(ctx, n, err); err != nil {
			return none, err
		}
	}
}
