package wal

import (
	"context"
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
)

// view returns a chain as far as it can be read: by its indexes once its seal
// is committed, before that by what this process knows of it, if it does.
func (s *Service) view(e fragment.Epoch) (segment.View, error) {
	c, ok := s.chainMeta(e)
	if ok && c.State == fsm.ChainSealed {
		return s.sealedView(c), nil
	}
	s.mu.RLock()
	mine := s.chains[e]
	s.mu.RUnlock()
	switch {
	case mine != nil:
		return segment.View{Chain: mine.writer.Chain(), Open: mine.writer}, nil
	case !ok:
		return segment.View{}, fmt.Errorf("chain %d is not in the metadata", uint64(e))
	}
	return segment.View{Chain: chainOf(s.cfg.Identity.Cluster, c), Cuts: cutsOf(c)}, nil
}

// complete is view, with all that was durable at the call: so it holds a stay
// to its end, once View shows that the log was detached.
func (s *Service) complete(ctx context.Context, e fragment.Epoch) (segment.View, error) {
	for {
		v, f, err := s.readable(ctx, e)
		if err == nil && f != nil {
			err = f.sync(ctx)
		}
		if !errors.Is(err, errOver) {
			return v, err
		}
	}
}

func (s *Service) sealedView(c *fsm.Chain) segment.View {
	from := uint64(1)
	if n := len(c.Cuts); n > 0 {
		from = c.Cuts[n-1].To
	}
	return segment.View{
		Chain: chainOf(s.cfg.Identity.Cluster, c), Cuts: cutsOf(c),
		Sealed:   &segment.Cut{From: from, To: c.Seal.At, Index: segment.Ref(c.Seal.Index)},
		Attached: func() []segment.Stay { return s.attachedTo(c.Epoch) },
	}
}
