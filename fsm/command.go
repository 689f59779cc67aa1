package fsm

import (
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// NewInitCluster names the cluster. Equal to what is: no change. Otherwise
// refused with *ClusterError.
func NewInitCluster(id fragment.ClusterID, feature uint64) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_InitCluster{InitCluster: &fsmpb.InitCluster{Cluster: id[:], Feature: feature}}}
}

// NewSetFeature raises the feature level from one that it is decided on.
// Refused with *StaleError, and with *FeatureError while a node that is not
// removed does not know the level.
func NewSetFeature(from, level uint64) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_SetFeature{SetFeature: &fsmpb.SetFeature{From: from, Level: level}}}
}

// NewRegisterBoot says that a node started, and all that n tells of it but
// Removed. Open chains of its earlier boots are being sealed from then on, by
// itself. The same again is no change. Refused with *StaleError unless the
// boot is above the known one, *RemovedError, *NameTakenError, *FeatureError if
// the cluster is above the node's Feature (0 is taken for 1, the level of those
// who did not tell), *InvalidError.
func NewRegisterBoot(n Node) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_RegisterBoot{RegisterBoot: &fsmpb.RegisterBoot{
		Identity: n.Identity, Name: n.Name, Boot: n.Boot, Nonce: n.Nonce[:],
		Grpc: n.GRPC, Http: n.HTTP, Raft: n.Raft, Gossip: n.Gossip,
		Zone: n.Zone, Version: n.Version, Feature: n.Feature,
	}}}
}

// NewRemoveNode keeps an identity out for ever. Its open chains are being
// sealed from then on; those, and the ones that it was asked to seal, have no
// Sealer until BeginSeal names one. The same again is no change. Refused with
// *NotFoundError.
func NewRemoveNode(identity string) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_RemoveNode{RemoveNode: &fsmpb.RemoveNode{Identity: identity}}}
}

// NewGrantChain asks for a chain; Result.Epoch is its epoch. It is for one log,
// which must be there and Dedicated, or for all if log is 0. Refused with
// *StaleError unless the boot is the node's latest, *RemovedError,
// *NotFoundError, *DedicatedError. Proposed twice it grants twice: an epoch
// that nobody uses costs one seal.
func NewGrantChain(identity string, boot uint64, window uint32, kind ChainKind, log fragment.LogID) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_GrantChain{GrantChain: &fsmpb.GrantChain{
		Identity: identity, Boot: boot, Window: window, Kind: uint32(kind), Log: uint64(log),
	}}}
}

// NewBeginSeal says that a chain is being sealed. The hint, the highest
// fragment heard to be durable, only rises; the sealer is replaced. No change
// to a sealed chain. Refused with *NotFoundError, and with *RemovedError if the
// sealer is removed.
func NewBeginSeal(e fragment.Epoch, durableHint uint64, sealer string) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_BeginSeal{BeginSeal: &fsmpb.BeginSeal{
		Epoch: uint64(e), DurableHint: durableHint, Sealer: sealer,
	}}}
}

// NewAddCut cuts a segment off an open chain, where the last one ended, the
// first from fragment 1. An equal one is no change, also on a chain that is
// no longer open. Otherwise refused with *ChainStateError or *StaleError.
func NewAddCut(e fragment.Epoch, c Cut) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_AddCut{AddCut: &fsmpb.AddCut{
		Epoch: uint64(e), From: c.From, To: c.To, Index: c.Index.proto(),
	}}}
}

// NewMergeCuts puts one cut in the place of the two or more that cover its
// range exactly, on a chain in any state; the proposer vouches that its index
// says all that theirs do. An equal one is no change. Otherwise refused with
// *CutsError.
func NewMergeCuts(e fragment.Epoch, from, to uint64, index Ref) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_MergeCuts{MergeCuts: &fsmpb.MergeCuts{
		Epoch: uint64(e), From: from, To: to, Index: index.proto(),
	}}}
}

// NewSeal ends a chain that is being sealed. An equal one is no change, a
// different one is a *BreachError and stops the node.
func NewSeal(e fragment.Epoch, s Seal) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_Seal{Seal: &fsmpb.Seal{
		Epoch: uint64(e), At: s.At, Index: s.Index.proto(),
	}}}
}
