package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// TestMajorityWithout: a node may be stopped only if the others go on.
func TestMajorityWithout(t *testing.T) {
	up := func(name, role string) *adminv1.Node { return &adminv1.Node{NodeId: name, Role: role, LeaseHeld: true} }
	down := func(name, role string) *adminv1.Node { return &adminv1.Node{NodeId: name, Role: role} }
	for _, c := range []struct {
		about string
		nodes []*adminv1.Node
		want  bool
	}{
		{"alone", []*adminv1.Node{up("n1", "leader")}, true},
		{"two never have a majority without one", []*adminv1.Node{up("n1", "leader"), up("n2", "voter")}, true},
		{"three", []*adminv1.Node{up("n1", "voter"), up("n2", "leader"), up("n3", "voter")}, true},
		{"three, of which one is down", []*adminv1.Node{up("n1", "voter"), up("n2", "leader"), down("n3", "voter")}, false},
		{"five, of which one is down", []*adminv1.Node{up("n1", "voter"), up("n2", "leader"), up("n3", "voter"), up("n4", "voter"), down("n5", "voter")}, true},
		{"five, of which two are down", []*adminv1.Node{up("n1", "voter"), up("n2", "leader"), up("n3", "voter"), down("n4", "voter"), down("n5", "voter")}, false},
		{"two voters, and one that has no vote yet", []*adminv1.Node{up("n1", "voter"), up("n2", "leader"), up("n3", "non-voter")}, false},
		{"it has no vote", []*adminv1.Node{up("n1", "non-voter"), up("n2", "leader"), up("n3", "voter")}, true},
	} {
		require.Equal(t, c.want, hasMajorityWithout(c.nodes, "n1"), c.about)
	}
}
