package wal

import (
	"context"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
)

// seal ends a chain and commits where: first that it is being sealed, which is
// never undone, then the seal. It may be repeated at any point.
func (s *Service) seal(ctx context.Context, c *fsm.Chain) error {
	var durable uint64
	s.mu.RLock()
	if mine := s.chains[c.Epoch]; mine != nil {
		durable = mine.writer.Durable()
	}
	s.mu.RUnlock()
	if _, err := s.cfg.Meta.Propose(ctx, fsm.NewBeginSeal(c.Epoch, durable, s.cfg.Identity.Node)); err != nil {
		return fmt.Errorf("begin to seal chain %d: %w", uint64(c.Epoch), err)
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
	ref := sealed.Index
	_, err = s.cfg.Meta.Propose(ctx, fsm.NewSeal(c.Epoch, fsm.Seal{At: sealed.At,
		Index: fsm.Ref{Key: ref.Key, Size: ref.Size, Checksum: ref.Checksum}}))
	if err != nil {
		return fmt.Errorf("commit the seal of chain %d: %w", uint64(c.Epoch), err)
	}
	s.cfg.Logger.Info("sealed chain", "chain", c.Epoch, "at", sealed.At, "lost", len(sealed.Lost))
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.chains, c.Epoch) // from now on, it is read by its indexes
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
	_, err := s.cfg.Meta.Propose(ctx, fsm.NewAddCut(e, fsm.Cut{From: c.From, To: c.To,
		Index: fsm.Ref{Key: c.Index.Key, Size: c.Index.Size, Checksum: c.Index.Checksum}}))
	return err
}

func chainOf(cluster fragment.ClusterID, c *fsm.Chain) segment.Chain {
	return segment.Chain{Cluster: cluster, Incarnation: c.Incarnation, Epoch: c.Epoch, Node: c.Node, Boot: c.Boot, Window: uint64(c.Window)}
}

func cutsOf(c *fsm.Chain) []segment.Cut {
	cuts := make([]segment.Cut, len(c.Cuts))
	for i, x := range c.Cuts {
		cuts[i] = segment.Cut{From: x.From, To: x.To, Index: refOf(x.Index)}
	}
	return cuts
}

func refOf(r fsm.Ref) segment.Ref { return segment.Ref{Key: r.Key, Size: r.Size, Checksum: r.Checksum} }

// view returns a chain as far as it can be read.
func (s *Service) view(e fragment.Epoch) (segment.View, error) {
	s.mu.RLock()
	mine := s.chains[e]
	s.mu.RUnlock()
	if mine != nil {
		return segment.View{Chain: mine.writer.Chain(), Writer: mine.writer}, nil
	}
	var c *fsm.Chain
	s.cfg.Meta.View(func(m *fsm.State) { c, _ = m.Chain(e) })
	if c == nil {
		return segment.View{}, fmt.Errorf("chain %d is not in the metadata", uint64(e))
	}
	v := segment.View{Chain: chainOf(s.cfg.Identity.Cluster, c), Cuts: cutsOf(c)}
	if c.State == fsm.ChainSealed {
		from := uint64(1)
		if n := len(c.Cuts); n > 0 {
			from = c.Cuts[n-1].To
		}
		v.Attached = func() []segment.Stay { return s.attachedTo(e) }
		v.Sealed = &segment.Cut{From: from, To: c.Seal.At, Index: refOf(c.Seal.Index)}
	}
	return v, nil
}
