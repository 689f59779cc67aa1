package fsm

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

func TestApplyIndexOnlyRises(t *testing.T) {
	s := populated(t, 0)
	_, err := s.Apply(s.AppliedIndex(), NewDeleteLog(1))
	_, ok := errors.AsType[*BreachError](err)
	require.True(t, ok, err)
}

func TestLogsFrom(t *testing.T) {
	s := New()
	mustApply(t, s, NewInitCluster(fragment.ClusterID{15: 7}, 1))
	for _, name := range []string{"b", "a/2", "a", "a/1", "a-", "c"} {
		mustApply(t, s, NewCreateLog(name, LogConfig{EntryBytesMax: 1}, 0))
	}
	list := func(prefix, after string) (names []string) {
		for l := range s.LogsFrom(prefix, after) {
			names = append(names, l.Name)
		}
		return names
	}
	require.Equal(t, []string{"a", "a-", "a/1", "a/2", "b", "c"}, list("", ""))
	require.Equal(t, []string{"a/1", "a/2"}, list("a/", ""))
	require.Equal(t, []string{"a/2"}, list("a/", "a/1"))
	require.Equal(t, []string{"a/1", "a/2"}, list("a/", "a/0"))
	require.Equal(t, []string{"b", "c"}, list("", "a/2"))
	require.Empty(t, list("a/", "b"))
	require.Empty(t, list("d", ""))
}

func TestErrorsMatch(t *testing.T) {
	require.ErrorIs(t, &NotFoundError{}, ErrNotFound)
	require.ErrorIs(t, ErrNotFound, fs.ErrNotExist)
	require.ErrorIs(t, &ExistsError{}, ErrExists)
	require.ErrorIs(t, ErrExists, fs.ErrExist)
	require.ErrorIs(t, &ChainExistsError{}, ErrExists)
	require.ErrorIs(t, &NameTakenError{}, ErrExists)
	require.ErrorIs(t, &UnknownCommandError{}, ErrStop)
	require.ErrorIs(t, &BreachError{}, ErrStop)
}

func TestNodeByName(t *testing.T) {
	s := New()
	mustApply(t, s, NewInitCluster(fragment.ClusterID{15: 7}, 1))
	mustApply(t, s, NewRegisterBoot(Node{Identity: "n1-a", Name: "n1", Boot: 1}))
	mustApply(t, s, NewRemoveNode("n1-a"))
	_, ok := s.NodeByName("n1")
	require.False(t, ok, "a removed node has lost its name")
	mustApply(t, s, NewRegisterBoot(Node{Identity: "n1-b", Name: "n1", Boot: 1}))
	n, ok := s.NodeByName("n1")
	require.True(t, ok)
	require.Equal(t, "n1-b", n.Identity)
}

func TestUnsealedAndOwner(t *testing.T) {
	s := New()
	mustApply(t, s, NewInitCluster(fragment.ClusterID{15: 7}, 1))
	mustApply(t, s, NewRegisterBoot(Node{Identity: "n1-a", Name: "n1", Boot: 1}))
	for range 3 {
		mustApply(t, s, NewGrantChain("n1-a", 1, 8, KindObjects, 0))
	}
	id := mustApply(t, s, NewCreateLog("a", LogConfig{EntryBytesMax: 1}, 0)).Log.ID
	unsealed := func() (epochs []fragment.Epoch) {
		for c := range s.Unsealed() {
			epochs = append(epochs, c.Epoch)
		}
		return epochs
	}
	owned := func() fragment.Epoch {
		c, ok := s.Owner(id)
		if !ok {
			require.Nil(t, c)
			return 0
		}
		return c.Epoch
	}
	require.Zero(t, owned(), "never attached")
	a := mustApply(t, s, NewAttach(id, 2, 1, 0, false)).Attachment
	require.Equal(t, fragment.Epoch(2), owned())
	mustApply(t, s, NewDetach(id, a, 5))
	require.Zero(t, owned(), "detached")
	mustApply(t, s, NewAttach(id, 1, 5, a, false))
	require.Equal(t, fragment.Epoch(1), owned())
	mustApply(t, s, NewBeginSeal(1, 0, "n1-a"))
	require.Zero(t, owned(), "its chain is being sealed")
	require.Equal(t, []fragment.Epoch{1, 2, 3}, unsealed())
	mustApply(t, s, NewSeal(1, Seal{At: 1, Index: Ref{Key: "seal", Size: 1}}))
	require.Zero(t, owned(), "its chain is sealed")
	require.Equal(t, []fragment.Epoch{2, 3}, unsealed())
	s = thaw(t, s.Freeze())
	require.Equal(t, []fragment.Epoch{2, 3}, unsealed())
	mustApply(t, s, NewDeleteLog(id))
	require.Zero(t, owned(), "deleted")
}

func TestCheckAddress(t *testing.T) {
	for _, good := range []string{"", "10.0.0.1:7070", "[fe80::1%eth0]:7070", "n1.example.com:1", strings.Repeat("x", AddressBytesMax)} {
		require.NoError(t, checkAddress("raft address", good))
	}
	for _, bad := range []string{" ", "a b", "a\n", "\x00", "\x7f", "ä", strings.Repeat("x", AddressBytesMax+1)} {
		_, ok := errors.AsType[*InvalidError](checkAddress("raft address", bad))
		require.True(t, ok, "%q", bad)
	}
	require.NoError(t, checkLabel("version", "v1.2 (abc)"))
	require.Error(t, checkLabel("version", "v1\n"))
}

// The cluster's level never rises above what a member knows, nor does a member
// come in below it. There is no second level yet: so this is below Apply, which
// would stop.
func TestFeatureLevels(t *testing.T) {
	s := New()
	mustApply(t, s, NewInitCluster(fragment.ClusterID{15: 7}, 1))
	old := Node{Identity: "n1-a", Name: "n1", Boot: 1}
	mustApply(t, s, NewRegisterBoot(old))
	mustApply(t, s, NewRegisterBoot(Node{Identity: "n2-b", Name: "n2", Boot: 1, Feature: 2}))
	mustApply(t, s, NewRegisterBoot(Node{Identity: "n3-c", Name: "n3", Boot: 1, Feature: 1}))
	raise := func() error {
		_, err := s.dispatch(NewSetFeature(1, 2))
		return err
	}
	require.Equal(t, &FeatureError{Level: 2, Nodes: []string{"n1-a", "n3-c"}}, raise())
	mustApply(t, s, NewRemoveNode("n3-c"))
	require.Equal(t, &FeatureError{Level: 2, Nodes: []string{"n1-a"}}, raise())
	old.Boot, old.Feature = 2, 3
	mustApply(t, s, NewRegisterBoot(old))
	require.NoError(t, raise())
	require.Equal(t, uint64(2), s.Cluster().Feature)
	require.NoError(t, raise(), "the same again")
	old.Boot, old.Feature = 3, 1
	_, err := s.dispatch(NewRegisterBoot(old))
	require.Equal(t, &FeatureError{Level: 2, Nodes: []string{"n1-a"}}, err)
}

// An unknown part deep inside of a command is not skipped either.
func TestUnknownPartOfAnExtent(t *testing.T) {
	c := NewAdoptLog(Log{ID: 1, Extents: []Extent{{Epoch: 1}, {Epoch: 2}}})
	_, err := Encode(c)
	require.NoError(t, err)
	c.GetAdoptLog().Extents[1].ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	b, err := proto.Marshal(c)
	require.NoError(t, err)
	_, err = Decode(b)
	_, ok := errors.AsType[*UnknownCommandError](err)
	require.True(t, ok, "%v", err)
}

// A kind of chain that this code does not know stops the node.
func TestUnknownKind(t *testing.T) {
	for _, c := range []*fsmpb.Command{
		NewGrantChain("n1-a", 1, 8, KindObjects+1, 0),
		NewAdoptChain(Chain{Epoch: 1, Node: "n1-a", Boot: 1, Incarnation: 1, Window: 8, Kind: KindObjects + 1, Sealer: "n1-a"}),
	} {
		b, err := proto.Marshal(c)
		require.NoError(t, err)
		_, err = Decode(b)
		require.ErrorIs(t, err, ErrStop)
		require.ErrorContains(t, err, "kind 2")
	}
}
