package wal

import (
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/wal/api"
)

// stand is where a log stands by the metadata.
type stand struct {
	log   *fsm.Log
	last  fsm.Extent // zero: there is none
	chain *fsm.Chain // that the log is attached to, open or being sealed; nil: none
	node  *fsm.Node  // that writes it; nil with chain
	mine  *chain     // chain, if it is open, ours and takes batches
}

// stand says where a log stands. Errors: ErrDeleted.
func (s *Service) stand(id fragment.LogID) (stand, error) {
	var st stand
	s.cfg.Meta.View(func(m *fsm.State) {
		var ok bool
		if st.log, ok = m.Log(id); !ok {
			return
		}
		st.last, _ = st.log.Last()
		if _, st.chain, ok = m.Attached(st.log); ok {
			st.node, _ = m.Node(st.chain.Node)
		}
	})
	if st.log == nil {
		return st, fmt.Errorf("log %d: %w", id, api.ErrDeleted)
	}
	if st.chain != nil && st.chain.State == fsm.ChainOpen {
		s.mu.RLock()
		c := s.chains[st.chain.Epoch]
		s.mu.RUnlock()
		if c != nil && c.alive() {
			st.mine = c
		}
	}
	return st, nil
}

// elsewhere says who else writes the log; nil if nobody does, or this node.
func (s *Service) elsewhere(st stand) error {
	if st.chain == nil || st.chain.State != fsm.ChainOpen || st.chain.Node == s.cfg.Identity.Node {
		return nil
	}
	e := &api.ElsewhereError{Node: st.chain.Node}
	if st.node != nil {
		e.Addr = st.node.GRPC
	}
	return e
}

// berthFor says in which berth a log belongs.
func berthFor(m *fsm.Log) fragment.LogID {
	if m.Config.Dedicated {
		return m.ID
	}
	return 0
}
