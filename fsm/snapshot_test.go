package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

func mustApply(t require.TestingT, s *State, c *fsmpb.Command) Result {
	r, err := s.Apply(s.AppliedIndex()+1, c)
	require.NoError(t, err)
	require.NoError(t, r.Err)
	return r
}

func thaw(t require.TestingT, f *Frozen) *State {
	var b bytes.Buffer
	_, err := f.WriteTo(&b)
	require.NoError(t, err)
	s, err := Restore(&b)
	require.NoError(t, err)
	return s
}

// populated returns a state with something of everything, and n attached logs.
func populated(t require.TestingT, n int) *State {
	s := New()
	mustApply(t, s, NewInitCluster(fragment.ClusterID{15: 7}, 1))
	node := Node{
		Identity: "n1-a", Name: "n1", Boot: 1, GRPC: "h:1", HTTP: "h:2", Raft: "h:3", Gossip: "h:4",
		Zone: "z", Version: "v", Feature: 1,
	}
	mustApply(t, s, NewRegisterBoot(node))
	mustApply(t, s, NewGrantChain("n1-a", 1, 8, KindObjects, 0))
	for _, at := range []uint64{1, 2, 3} {
		mustApply(t, s, NewAddCut(1, Cut{From: at, To: at + 1, Index: Ref{Key: "index/1", Size: 3, Checksum: 4}}))
	}
	mustApply(t, s, NewMergeCuts(1, 1, 3, Ref{Key: "index/m", Size: 3, Checksum: 4}))
	node.Boot = 2
	mustApply(t, s, NewRegisterBoot(node))
	mustApply(t, s, NewSeal(1, Seal{At: 7, Index: Ref{Key: "index/s", Size: 3, Checksum: 4}}))
	mustApply(t, s, NewGrantChain("n1-a", 2, 8, KindObjects, 0))
	mustApply(t, s, NewGrantChain("n1-a", 2, 8, KindObjects, 0))
	mustApply(t, s, NewRegisterBoot(Node{Identity: "n2-b", Name: "n2", Boot: 1}))
	mustApply(t, s, NewGrantChain("n2-b", 1, 8, KindObjects, 0))
	mustApply(t, s, NewRemoveNode("n2-b"))
	for i := range n {
		l := mustApply(t, s, NewCreateLog(fmt.Sprintf("log/%06d", i), LogConfig{EntryBytesMax: 1 << 20, Dedicated: i == 0, Zone: "z"}, 5)).Log
		a := mustApply(t, s, NewAttach(l.ID, 2, 1, 0, false)).Attachment
		mustApply(t, s, NewDetach(l.ID, a, 10))
		a = mustApply(t, s, NewAttach(l.ID, 3, 10, a, false)).Attachment
		mustApply(t, s, NewOpenExclusive(l.ID, a, 1))
		mustApply(t, s, NewTrim(l.ID, 4, 12))
	}
	if n > 0 {
		mustApply(t, s, NewGrantChain("n1-a", 2, 8, KindObjects, 1))
	}
	return s
}

func TestSnapshotRoundTrip(t *testing.T) {
	for _, s := range []*State{New(), populated(t, 0), populated(t, 3)} {
		b := snapshotOf(t, s)
		restored, err := Restore(iotest.OneByteReader(bytes.NewReader(b)))
		require.NoError(t, err)
		require.Equal(t, b, snapshotOf(t, restored))
		require.Equal(t, dump(s), dump(restored))
		require.Equal(t, s.AppliedIndex(), restored.AppliedIndex())
	}
}

// Every truncation and every flipped bit of a snapshot is noticed.
func TestRestoreDamaged(t *testing.T) {
	b := snapshotOf(t, populated(t, 2))
	for n := range b {
		_, err := Restore(bytes.NewReader(b[:n]))
		e, ok := errors.AsType[*CorruptError](err)
		require.Truef(t, ok, "%d bytes: %v", n, err)
		require.ErrorIs(t, e, io.ErrUnexpectedEOF)
	}
	for bit := range 8 * len(b) {
		flipped := bytes.Clone(b)
		flipped[bit/8] ^= 1 << (bit % 8)
		_, err := Restore(bytes.NewReader(flipped))
		require.Errorf(t, err, "bit %d", bit)
		if at := bit / 8; at >= len(snapshotMagic) && at < len(snapshotMagic)+4 {
			v, ok := errors.AsType[*VersionError](err)
			require.Truef(t, ok, "bit %d: %v", bit, err)
			require.NotEqual(t, v.Have, v.Known)
			continue
		}
		_, ok := errors.AsType[*CorruptError](err)
		require.Truef(t, ok, "bit %d: %v", bit, err)
	}
	_, err := Restore(bytes.NewReader(append(bytes.Clone(b), 0)))
	require.ErrorContains(t, err, "bytes follow")
}

func TestSnapshotIOErrors(t *testing.T) {
	disk := errors.New("the disk is gone")
	_, err := Restore(iotest.ErrReader(disk))
	require.ErrorIs(t, err, disk)
	_, ok := errors.AsType[*CorruptError](err)
	require.False(t, ok, "an error of the reader is no damage")

	s := populated(t, 2000)
	require.ErrorIs(t, s.Snapshot(failingWriter{disk}), disk)
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// Restore must not trust what is whole but makes no sense.
func TestRestoreNonsense(t *testing.T) {
	head := &fsmpb.Record{Record: &fsmpb.Record_Head{Head: &fsmpb.Head{
		Cluster: bytes.Repeat([]byte{1}, 16), Incarnation: 1, Feature: 1, HighestEpoch: 3, HighestLog: 3, HighestAttachment: 3,
	}}}
	node := &fsmpb.Record{Record: &fsmpb.Record_Node{Node: &fsmpb.Node{Identity: "n1-a", Name: "n1", Boot: 1, Nonce: make([]byte, 16)}}}
	chain := &fsmpb.Record{Record: &fsmpb.Record_Chain{Chain: &fsmpb.Chain{
		Epoch: 1, Node: "n1-a", Boot: 1, Incarnation: 1, Window: 8, Kind: 1, State: 1,
	}}}
	cut := &fsmpb.Record{Record: &fsmpb.Record_Cut{Cut: &fsmpb.Cut{From: 1, To: 2, Index: &fsmpb.Ref{Key: "k", Size: 1}}}}
	log := &fsmpb.Record{Record: &fsmpb.Record_Log{Log: &fsmpb.Log{
		Id: 1, Name: "a", Config: &fsmpb.LogConfig{EntryBytesMax: 1}, ConfigVersion: 1, Attachment: 1, First: 1,
	}}}
	extent := &fsmpb.Record{Record: &fsmpb.Record_Extent{Extent: &fsmpb.Extent{Epoch: 1, Attachment: 1, First: 1}}}

	stay := func(attachment, previous, first, end uint64) *fsmpb.Record {
		return &fsmpb.Record{Record: &fsmpb.Record_Extent{Extent: &fsmpb.Extent{
			Epoch: 1, Attachment: attachment, Previous: previous, First: first, End: end,
		}}}
	}
	third := &fsmpb.Record{Record: &fsmpb.Record_Log{Log: &fsmpb.Log{
		Id: 1, Name: "a", Config: &fsmpb.LogConfig{EntryBytesMax: 1}, ConfigVersion: 1, Attachment: 3, First: 2,
	}}}

	other := func(identity, name string, removed bool) *fsmpb.Record {
		return &fsmpb.Record{Record: &fsmpb.Record_Node{Node: &fsmpb.Node{
			Identity: identity, Name: name, Boot: 1, Nonce: make([]byte, 16), Feature: 1, Removed: removed,
		}}}
	}
	granted := func(c *fsmpb.Chain) *fsmpb.Record {
		c.Epoch, c.Boot, c.Incarnation, c.Window, c.Kind = 2, 1, 1, 8, 1
		return &fsmpb.Record{Record: &fsmpb.Record_Chain{Chain: c}}
	}

	s, err := Restore(bytes.NewReader(framed(t, head, node, chain, cut, log, extent)))
	require.NoError(t, err)
	n, _ := s.Node("n1-a")
	require.Equal(t, uint64(1), n.Feature, "the first versions did not write it")
	_, err = Restore(bytes.NewReader(framed(t, head, node, other("n2-b", "n1", true), granted(&fsmpb.Chain{Node: "gone", State: 2, Sealer: "n1-a", Log: 3}))))
	require.NoError(t, err, "a removed node may share its name, an adopted chain be of a node that nobody knew and of a log that was deleted")
	_, err = Restore(bytes.NewReader(framed(t, head, node, chain, third, stay(1, 0, 1, 3), stay(2, 1, 3, 3), stay(3, 2, 3, 0))))
	require.NoError(t, err, "the last but one may be empty")
	_, err = Restore(bytes.NewReader(framed(t, head, node, chain, third, stay(2, 1, 1, 2), stay(3, 2, 2, 0))))
	require.NoError(t, err, "the last but one may be below the trim point")
	for name, records := range map[string][]*fsmpb.Record{
		"no head":             {node},
		"two heads":           {head, head},
		"cut without chain":   {head, node, cut},
		"chain without node":  {head, chain},
		"node after chain":    {head, node, chain, node},
		"two equal nodes":     {head, node, node},
		"two equal chains":    {head, node, chain, chain},
		"cut twice":           {head, node, chain, cut, cut},
		"extent of no log":    {head, node, chain, extent},
		"extent of no chain":  {head, log, extent},
		"log without extent":  {head, node, chain, log},
		"two equal logs":      {head, node, chain, log, extent, log, extent},
		"chain after its log": {head, node, log, chain},
		"empty record":        {head, {}},
		"empty extent":        {head, node, chain, third, stay(1, 0, 2, 2), stay(2, 1, 2, 3), stay(3, 2, 3, 0)},
		"trimmed extent":      {head, node, chain, third, stay(1, 0, 1, 2), stay(2, 1, 2, 3), stay(3, 2, 3, 0)},
		"extent without end":  {head, node, chain, third, stay(2, 1, 1, 0), stay(3, 2, 2, 0)},
		"two nodes of a name": {head, node, other("n2-b", "n1", false)},
		"bad address": {head, {Record: &fsmpb.Record_Node{Node: &fsmpb.Node{
			Identity: "n1-a", Name: "n1", Boot: 1, Nonce: make([]byte, 16), Grpc: "a b",
		}}}},
		"open chain of a removed node": {head, node, other("n2-b", "n2", true), granted(&fsmpb.Chain{Node: "n2-b", State: 1})},
		"open chain with a sealer":     {head, node, granted(&fsmpb.Chain{Node: "n1-a", State: 1, Sealer: "n1-a"})},
		"removed sealer":               {head, node, other("n2-b", "n2", true), granted(&fsmpb.Chain{Node: "n1-a", State: 2, Sealer: "n2-b"})},
		"chain of a log to come":       {head, node, granted(&fsmpb.Chain{Node: "n1-a", State: 1, Log: 4})},
		"extent on another's chain":    {head, node, granted(&fsmpb.Chain{Node: "n1-a", State: 1, Log: 2}), log, {Record: &fsmpb.Record_Extent{Extent: &fsmpb.Extent{Epoch: 2, Attachment: 1, First: 1}}}},
		"backward extent":              {head, node, chain, third, stay(1, 0, 1, 3), stay(2, 1, 3, 2), stay(3, 2, 2, 0)},
	} {
		_, err := Restore(bytes.NewReader(framed(t, records...)))
		_, ok := errors.AsType[*CorruptError](err)
		require.Truef(t, ok, "%s: %v", name, err)
	}
}

// framed returns the records as a snapshot.
func framed(t require.TestingT, records ...*fsmpb.Record) []byte {
	var b bytes.Buffer
	w := newSnapshotWriter(&b)
	for _, r := range records {
		w.record(r)
	}
	_, err := w.finish()
	require.NoError(t, err)
	return b.Bytes()
}

// FuzzRestore feeds whole frames (the checksum is put right) with arbitrary
// content: a typed error or a state that keeps its invariants, no panic.
func FuzzRestore(f *testing.F) {
	for _, s := range []*State{New(), populated(f, 0), populated(f, 2)} {
		b := snapshotOf(f, s)
		f.Add(b[:len(b)-4])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = binary.LittleEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, castagnoli))
		s, err := Restore(bytes.NewReader(b))
		if err != nil {
			_, corrupt := errors.AsType[*CorruptError](err)
			_, version := errors.AsType[*VersionError](err)
			require.True(t, corrupt || version, "%v", err)
			return
		}
		require.NoError(t, s.Check())
		again, err := Restore(bytes.NewReader(snapshotOf(t, s)))
		require.NoError(t, err)
		require.Equal(t, dump(s), dump(again))
	})
}

// FuzzApply applies arbitrary bytes as two commands: each is refused, applied
// or stops the node, without a panic or a broken invariant.
func FuzzApply(f *testing.F) {
	for _, c := range []*fsmpb.Command{
		NewTrim(1, 11, 11), NewDetach(1, 2, 11), NewAttach(2, 3, 1, 0, false), NewAttach(1, 2, 10, 2, true), NewDeleteLog(1),
		NewSeal(1, Seal{At: 7, Index: Ref{Key: "index/s", Size: 3, Checksum: 4}}),
		NewBeginSeal(3, 4, "n1-a"), NewRegisterBoot(Node{Identity: "n1-a", Name: "n1", Boot: 3}),
		NewSetFeature(1, 1), NewInitCluster(fragment.ClusterID{15: 7}, 1), NewOpenExclusive(1, 2, 2),
		NewRemoveNode("n1-a"), NewGrantChain("n1-a", 2, 8, KindObjects, 1), NewMergeCuts(1, 1, 4, Ref{Key: "index/m", Size: 1}),
		NewNextIncarnation(1, 9, 9, 9, []string{"n1-a"}, "n1-a"),
		NewAdoptChain(Chain{Epoch: 4, Node: "n2-b", Boot: 1, Incarnation: 1, Window: 8, Kind: KindObjects, Sealer: "n1-a"}),
		NewAdoptLog(Log{ID: 1, Name: "a", Config: LogConfig{EntryBytesMax: 1}, First: 1, Extents: []Extent{{Epoch: 1, Attachment: 1, First: 1}}}),
		NewAdoptExtents(Log{ID: 1, First: 20, Extents: []Extent{{Epoch: 1, Attachment: 9, Previous: 2, First: 15}}}, 2, false),
	} {
		b, err := Encode(c)
		require.NoError(f, err)
		f.Add(b, b)
	}
	base := snapshotOf(f, populated(f, 1))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		s, err := Restore(bytes.NewReader(base))
		require.NoError(t, err)
		for _, b := range [][]byte{first, second} {
			c, err := Decode(b)
			if err != nil {
				require.ErrorIs(t, err, ErrStop)
				continue
			}
			if _, err := s.Apply(s.AppliedIndex()+1, c); err != nil {
				require.ErrorIs(t, err, ErrStop)
			}
			require.NoError(t, s.Check())
			_, err = Restore(bytes.NewReader(snapshotOf(t, s)))
			require.NoError(t, err)
		}
	})
}

// A snapshot is written while commands go on (the race detector watches), and
// holds what was there when it was taken.
func TestSnapshotWhileApplying(t *testing.T) {
	s := populated(t, 500)
	want := snapshotOf(t, s)
	frozen := s.Freeze()
	var got bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = frozen.WriteTo(&got) })
	for i := range 500 {
		id := fragment.LogID(i + 1)
		mustApply(t, s, NewTrim(id, 11, 11))
		mustApply(t, s, NewAddCut(3, Cut{From: uint64(i + 1), To: uint64(i + 2), Index: Ref{Key: "index/c", Size: 3}}))
		mustApply(t, s, NewDeleteLog(id))
	}
	wg.Wait()
	require.Equal(t, want, got.Bytes())
	require.NoError(t, s.Check())
}
