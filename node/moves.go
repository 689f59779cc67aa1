package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/wal/api"
)

// moveTries is how often a log is handed over until the node that it is for
// has it: whoever uses it in between may have made another one take it.
const moveTries = 5

// handOver makes a node the writer of a log. This node leads. A crash in the
// middle leaves the log to whoever uses it next.
func (n *Node) handOver(ctx context.Context, m cluster.Move) error {
	for try := 1; ; try++ {
		if err := n.member.Steer(ctx, m.Log, m.To); err != nil {
			return notNow(fmt.Sprintf("have log %d given to %s", m.Log, m.To), err)
		}
		err := n.release(ctx, m.From, m.Log)
		if err == nil {
			err = n.take(ctx, m.To, m.Log)
		}
		again := errors.Is(err, api.ErrMoved) || errors.Is(err, api.ErrUnavailable) // an *api.ElsewhereError Is ErrMoved
		if err != nil {
			n.cfg.Logger.Debug("hand a log over", "log", uint64(m.Log), "from", m.From, "to", m.To, "try", try, "err", err)
		}
		if !again || try == moveTries {
			return err
		}
		if err := n.member.Confirm(ctx); err != nil {
			return notNow("find out who writes the log", err)
		}
		if m.From, _ = n.ownerOf(m.Log); m.From == m.To {
			return nil
		}
	}
}

// release has a node give up a log; empty: nobody writes it.
func (n *Node) release(ctx context.Context, identity string, log fragment.LogID) error {
	switch identity {
	case "":
		return nil
	case n.member.Identity():
		logs, err := n.here(ctx)
		if err != nil {
			return err
		}
		return logs.Release(ctx, log)
	}
	return n.peers.Release(ctx, identity, log)
}

// take has a node become the writer of a log that nobody writes.
func (n *Node) take(ctx context.Context, identity string, log fragment.LogID) error {
	if identity == n.member.Identity() {
		logs, err := n.here(ctx)
		if err != nil {
			return err
		}
		return logs.Take(ctx, log)
	}
	return n.peers.Take(ctx, identity, log)
}

// MoveLog hands a log over. The leader does it: it is asked where the log belongs
// while nobody writes it.
func (n *Node) MoveLog(ctx context.Context, name, node string) (string, error) {
	to, err := n.find(node)
	if err != nil {
		return "", err
	}
	if !n.member.Leads() {
		return viaLeader(ctx, n, func(a *client.Admin) (string, error) { return a.MoveLog(ctx, name, node) })
	}
	if err := n.member.Confirm(ctx); err != nil {
		return "", notNow("find out who writes the log", err)
	}
	var log *fsm.Log
	from := &fsm.Node{}
	n.member.View(func(s *fsm.State) {
		if log, _ = s.LogByName(name); log == nil {
			return
		}
		if c, ok := s.Owner(log.ID); ok {
			from, _ = s.Node(c.Node)
		}
	})
	switch {
	case log == nil:
		return "", fmt.Errorf("log %q: %w", name, api.ErrNotFound)
	case from.Identity == to.Identity:
		return from.Name, nil
	}
	return from.Name, n.handOver(ctx, cluster.Move{Log: log.ID, From: from.Identity, To: to.Identity})
}
