package wal

import (
	"context"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
)

// seal ends a chain and commits where: first that it is being sealed, which is
// never undone, then the seal. It may be repeated at any point, and by several
// nodes at once.
func (s *Service) seal(ctx context.Context, c *fsm.Chain) error {
	if err := s.beginSeal(ctx, c); err != nil {
		return err
	}
	request := segment.SealRequest{
		Sealer:  s.identity(0),
		Applied: s.cfg.Meta.Applied(),
		Logger:  s.cfg.Logger,
		Check: func(key string, h fragment.Head) error {
			if h.Incarnation == 0 {
				return nil
			}
			return s.cfg.Meta.CheckRaftIndex(ctx, key, h.Nonce, h.Incarnation, h.Applied)
		},
	}
	s.cfg.Meta.View(func(m *fsm.State) { c, _ = m.Chain(c.Epoch) }) // its cuts are final now
	request.Attached = s.attachedTo(c.Epoch)
	request.Chain = chainOf(s.cfg.Identity.Cluster, c)
	request.Cuts = cutsOf(c)
	request.Durable = c.DurableHint
	sealed, err := segment.Seal(ctx, s.cfg.Store, request)
	if err != nil {
		return err
	}
	_, err = s.cfg.Meta.Propose(ctx, fsm.NewSeal(c.Epoch, fsm.Seal{At: sealed.At, Index: fsm.Ref(sealed.Index)}))
	if err != nil {
		return fmt.Errorf("commit the seal of chain %d: %w", uint64(c.Epoch), err)
	}
	s.cfg.Logger.Info("sealed chain", "chain", c.Epoch, "at", sealed.At, "lost", len(sealed.Lost))
	return nil
}

// beginSeal says that a chain is being sealed, and how far its writer knows it
// to be durable, unless the metadata hold all that already.
func (s *Service) beginSeal(ctx context.Context, c *fsm.Chain) error {
	var durable uint64
	s.mu.RLock()
	if mine := s.chains[c.Epoch]; mine != nil {
		durable = mine.writer.Durable()
	}
	s.mu.RUnlock()
	if c.State == fsm.ChainSealing && c.DurableHint >= durable {
		return nil
	}
	if _, err := s.cfg.Meta.Propose(ctx, fsm.NewBeginSeal(c.Epoch, durable, s.cfg.Identity.Node)); err != nil {
		return fmt.Errorf("begin to seal chain %d: %w", uint64(c.Epoch), err)
	}
	return nil
}

// attachedTo lists the logs whose last extent is on a chain.
func (s *Service) attachedTo(e fragment.Epoch) []segment.Stay {
	var stays []segment.Stay
	s.cfg.Meta.View(func(m *fsm.State) {
		for l := range m.LogsOn(e) {
			x, _ := l.Last()
			stays = append(stays, segment.Stay{Log: l.ID, Attachment: x.Attachment, First: x.First})
		}
	})
	return stays
}

func (s *Service) commitCut(ctx context.Context, e fragment.Epoch, c segment.Cut) error {
	_, err := s.cfg.Meta.Propose(ctx, fsm.NewAddCut(e, fsm.Cut{From: c.From, To: c.To, Index: fsm.Ref(c.Index)}))
	return err
}

// commitMerge puts a cut in the place of several. Only a chain's writer does: it
// knows what it has cut, and has the indexes at hand. What it has not merged when
// the chain ends stays so; that is little.
func (s *Service) commitMerge(ctx context.Context, e fragment.Epoch, c segment.Cut) error {
	_, err := s.cfg.Meta.Propose(ctx, fsm.NewMergeCuts(e, c.From, c.To, fsm.Ref(c.Index)))
	return err
}

func chainOf(cluster fragment.ClusterID, c *fsm.Chain) segment.Chain {
	return segment.Chain{Cluster: cluster, Incarnation: c.Incarnation, Epoch: c.Epoch, Node: c.Node, Boot: c.Boot, Window: uint64(c.Window)}
}

func cutsOf(c *fsm.Chain) []segment.Cut {
	cuts := make([]segment.Cut, len(c.Cuts))
	for i, x := range c.Cuts {
		cuts[i] = segment.Cut{From: x.From, To: x.To, Index: segment.Ref(x.Index)}
	}
	return cuts
}
