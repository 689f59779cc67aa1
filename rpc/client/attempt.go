package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

const (
	// callTries is how often a call is made at most: what is still unavailable
	// after the pauses between, about a second and a half, is told the caller.
	callTries = 6
	// moveWait is how long a call follows a log that changes hands. It outlasts
	// the longest failover.
	moveWait = 30 * time.Second
	// hopsMax is how many hints are followed without a pause: two nodes that
	// point at each other must not be asked as fast as they answer.
	hopsMax = 2
)

// anyNode is no log: the call may go to any node.
const anyNode fragment.LogID = 0

// attempt attempts something, and attempts it again as long as it surely did
// nothing: what is unavailable, tries times in all; what another node must do,
// there. log is one whose writer had better be asked, or anyNode.
func (p *pool) attempt(ctx context.Context, log fragment.LogID, tries int, do func(*node) error) error {
	var pause pauses
	var hint *node
	var moving time.Time // when the first hint came
	for try, hops := 1, 0; ; {
		n, err := p.nodeFor(ctx, log, hint)
		if err == nil {
			err = do(n)
		}
		elsewhere, moved := errors.AsType[*api.ElsewhereError](err)
		switch {
		case !moved && !errors.Is(err, api.ErrUnavailable), p.cfg.Forwarded:
			return err
		case !moved && try >= tries:
			return err
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return err
		case !moved:
			hint, hops = nil, 0
			try++
		default:
			if moving.IsZero() {
				moving = time.Now()
			}
			if hint = p.routes.follow(log, n, elsewhere); hint != nil && hops < hopsMax {
				hops++
				continue
			}
			hops = 0
			err = fmt.Errorf("%w: no node says that it writes the log: the one at %s says that %v", api.ErrUnavailable, n.addr, elsewhere)
			if time.Since(moving) > moveWait {
				return err
			}
		}
		if !pause.wait(ctx, err) {
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// nodeFor returns the node to ask: where a hint points to, or where the log is
// written, or any.
func (p *pool) nodeFor(ctx context.Context, log fragment.LogID, hint *node) (*node, error) {
	n := hint
	if n == nil && log != anyNode {
		n = p.routes.writer(log)
	}
	if n != nil && n.visit(ctx) == nil {
		return n, nil
	}
	n, _, err := p.reach(ctx)
	return n, err
}
