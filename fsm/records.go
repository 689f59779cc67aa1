package fsm

import (
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// What each thing is in a snapshot. The loader is the inverse.

func (s *State) headProto() *fsmpb.Head {
	h := &fsmpb.Head{
		Applied:           s.applied,
		Incarnation:       s.cluster.Incarnation,
		Feature:           s.cluster.Feature,
		HighestEpoch:      uint64(s.highestEpoch),
		HighestLog:        uint64(s.highestLog),
		HighestAttachment: uint64(s.highestAttachment),
	}
	if id := s.cluster.ID; !id.IsZero() {
		h.Cluster = id[:]
	}
	return h
}

func (n *Node) proto() *fsmpb.Node {
	return &fsmpb.Node{
		Identity: n.Identity, Name: n.Name, Boot: n.Boot, Nonce: n.Nonce[:],
		Grpc: n.GRPC, Http: n.HTTP, Raft: n.Raft, Gossip: n.Gossip,
		Zone: n.Zone, Version: n.Version, Feature: n.Feature, Removed: n.Removed,
	}
}

func (c *Chain) proto() *fsmpb.Chain {
	p := &fsmpb.Chain{
		Epoch:       uint64(c.Epoch),
		Node:        c.Node,
		Boot:        c.Boot,
		Incarnation: c.Incarnation,
		Window:      c.Window,
		Kind:        uint32(c.Kind),
		Log:         uint64(c.Log),
		State:       uint32(c.State),
		DurableHint: c.DurableHint,
		Sealer:      c.Sealer,
	}
	if c.State == ChainSealed {
		p.SealAt, p.SealIndex = c.Seal.At, c.Seal.Index.proto()
	}
	return p
}

func (c Cut) proto() *fsmpb.Cut {
	return &fsmpb.Cut{From: c.From, To: c.To, Index: c.Index.proto()}
}

func (l *Log) proto() *fsmpb.Log {
	return &fsmpb.Log{
		Id:            uint64(l.ID),
		Name:          l.Name,
		Config:        l.Config.proto(),
		ConfigVersion: l.ConfigVersion,
		Generation:    uint64(l.Generation),
		Attachment:    uint64(l.Attachment),
		First:         uint64(l.First),
		CreatedMicros: int64(l.Created),
	}
}

func (x Extent) proto() *fsmpb.Extent {
	return &fsmpb.Extent{
		Epoch:      uint64(x.Epoch),
		Attachment: uint64(x.Attachment),
		Previous:   uint64(x.Previous),
		First:      uint64(x.First),
		End:        uint64(x.End),
	}
}

func extentsProto(extents []Extent) []*fsmpb.Extent {
	var p []*fsmpb.Extent
	for _, x := range extents {
		p = append(p, x.proto())
	}
	return p
}

func extentsOf(p []*fsmpb.Extent) []Extent {
	var extents []Extent
	for _, x := range p {
		extents = append(extents, extentOf(x))
	}
	return extents
}

func extentOf(x *fsmpb.Extent) Extent {
	return Extent{
		Epoch:      fragment.Epoch(x.GetEpoch()),
		Attachment: fragment.Attachment(x.GetAttachment()),
		Previous:   fragment.Attachment(x.GetPrevious()),
		First:      fragment.LSN(x.GetFirst()),
		End:        fragment.LSN(x.GetEnd()),
	}
}

func (r Ref) proto() *fsmpb.Ref {
	return &fsmpb.Ref{Key: r.Key, Size: r.Size, Checksum: r.Checksum}
}

func refOf(r *fsmpb.Ref) Ref {
	return Ref{Key: r.GetKey(), Size: r.GetSize(), Checksum: r.GetChecksum()}
}

func (c LogConfig) proto() *fsmpb.LogConfig {
	return &fsmpb.LogConfig{EntryBytesMax: c.EntryBytesMax, Dedicated: c.Dedicated, Zone: c.Zone}
}

func configOf(c *fsmpb.LogConfig) LogConfig {
	return LogConfig{EntryBytesMax: c.GetEntryBytesMax(), Dedicated: c.GetDedicated(), Zone: c.GetZone()}
}
