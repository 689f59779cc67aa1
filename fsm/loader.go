package fsm

import (
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// loader puts records into a state. It demands their order; whether they make
// sense together is for Check.
type loader struct {
	s       *State
	records uint64
	chain   *Chain // takes the cuts that follow
	log     *Log   // takes the extents that follow
	stage   int    // of the last record
	ended   bool
}

// The stages of a snapshot, in order.
const (
	stageHead = iota + 1
	stageNode
	stageChain
	stageLog
	stageEnd
)

var errOrder = errors.New("it is out of order")

func (l *loader) load(rec *fsmpb.Record) error {
	var err error
	switch k := rec.GetRecord().(type) {
	case *fsmpb.Record_Head:
		err = l.head(k.Head)
	case *fsmpb.Record_Node:
		err = l.node(k.Node)
	case *fsmpb.Record_Chain:
		err = l.beginChain(k.Chain)
	case *fsmpb.Record_Cut:
		err = l.cut(k.Cut)
	case *fsmpb.Record_Log:
		err = l.beginLog(k.Log)
	case *fsmpb.Record_Extent:
		err = l.extent(k.Extent)
	case *fsmpb.Record_End:
		err = l.end(k.End)
	default:
		err = errors.New("it is empty")
	}
	l.records++
	return err
}

// enter moves on to a stage, which may not lie behind, and finishes the chain
// or log that was being read.
func (l *loader) enter(stage int) error {
	if stage < l.stage || (l.stage == 0) != (stage == stageHead) || stage == l.stage && stage == stageHead {
		return errOrder
	}
	l.stage = stage
	l.flush()
	return nil
}

func (l *loader) flush() {
	if l.chain != nil {
		l.s.putChain(l.chain)
	}
	if l.log != nil {
		l.s.putLog(l.log)
	}
	l.chain, l.log = nil, nil
}

func (l *loader) head(h *fsmpb.Head) error {
	if err := l.enter(stageHead); err != nil {
		return err
	}
	s := l.s
	s.applied = h.GetApplied()
	s.cluster.Incarnation = h.GetIncarnation()
	s.cluster.Feature = h.GetFeature()
	s.highestEpoch = fragment.Epoch(h.GetHighestEpoch())
	s.highestLog = fragment.LogID(h.GetHighestLog())
	s.highestAttachment = fragment.Attachment(h.GetHighestAttachment())
	if len(h.GetCluster()) > 0 {
		if len(h.GetCluster()) != len(s.cluster.ID) {
			return fmt.Errorf("the cluster id has %d bytes", len(h.GetCluster()))
		}
		s.cluster.ID = fragment.ClusterID(h.GetCluster())
	}
	return nil
}

func (l *loader) node(p *fsmpb.Node) error {
	if err := l.enter(stageNode); err != nil {
		return err
	}
	n := &Node{
		Identity: p.GetIdentity(), Name: p.GetName(), Boot: p.GetBoot(),
		GRPC: p.GetGrpc(), HTTP: p.GetHttp(), Raft: p.GetRaft(), Gossip: p.GetGossip(),
		Zone: p.GetZone(), Version: p.GetVersion(), Feature: featureOf(p.GetFeature()), Removed: p.GetRemoved(),
	}
	if len(p.GetNonce()) != len(n.Nonce) {
		return fmt.Errorf("the nonce of node %s has %d bytes", n.Identity, len(p.GetNonce()))
	}
	n.Nonce = fragment.Nonce(p.GetNonce())
	if last, ok := l.s.nodes.Max(); ok && last.Identity >= n.Identity {
		return errOrder
	}
	l.s.nodes.ReplaceOrInsert(n)
	return nil
}

func (l *loader) beginChain(p *fsmpb.Chain) error {
	if err := l.enter(stageChain); err != nil {
		return err
	}
	c := &Chain{
		Epoch:       fragment.Epoch(p.GetEpoch()),
		Node:        p.GetNode(),
		Boot:        p.GetBoot(),
		Incarnation: p.GetIncarnation(),
		Window:      p.GetWindow(),
		Kind:        ChainKind(p.GetKind()),
		Log:         fragment.LogID(p.GetLog()),
		State:       ChainState(p.GetState()),
		DurableHint: p.GetDurableHint(),
		Sealer:      p.GetSealer(),
		Seal:        Seal{At: p.GetSealAt(), Index: refOf(p.GetSealIndex())},
	}
	if last, ok := l.s.chains.Max(); ok && last.Epoch >= c.Epoch {
		return errOrder
	}
	l.chain = c
	return nil
}

func (l *loader) cut(p *fsmpb.Cut) error {
	if l.chain == nil {
		return errOrder
	}
	l.chain.Cuts = append(l.chain.Cuts, Cut{From: p.GetFrom(), To: p.GetTo(), Index: refOf(p.GetIndex())})
	return nil
}

func (l *loader) beginLog(p *fsmpb.Log) error {
	if err := l.enter(stageLog); err != nil {
		return err
	}
	g := &Log{
		ID:            fragment.LogID(p.GetId()),
		Name:          p.GetName(),
		Config:        configOf(p.GetConfig()),
		ConfigVersion: p.GetConfigVersion(),
		Generation:    fragment.Generation(p.GetGeneration()),
		Attachment:    fragment.Attachment(p.GetAttachment()),
		First:         fragment.LSN(p.GetFirst()),
		Created:       fragment.Micros(p.GetCreatedMicros()),
	}
	if last, ok := l.s.logs.Max(); ok && last.ID >= g.ID {
		return errOrder
	}
	if _, ok := l.s.LogByName(g.Name); ok {
		return fmt.Errorf("two logs are named %q", g.Name)
	}
	l.log = g
	return nil
}

func (l *loader) extent(p *fsmpb.Extent) error {
	if l.log == nil {
		return errOrder
	}
	l.log.Extents = append(l.log.Extents, extentOf(p))
	return nil
}

func (l *loader) end(p *fsmpb.End) error {
	if err := l.enter(stageEnd); err != nil {
		return err
	}
	if p.GetRecords() != l.records {
		return fmt.Errorf("it counts %d records before it, there are %d", p.GetRecords(), l.records)
	}
	l.ended = true
	return nil
}
