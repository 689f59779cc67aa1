package fsm

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// TestScripts runs the scripts in testdata. A line is a command and its
// arguments; what follows is what became of it. "state" prints the state,
// "raw" takes the bytes of a command in hexadecimal. After each command the
// invariants are checked, and a snapshot must restore to its like.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := New()
		index := uint64(0)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "state" {
				return dump(s)
			}
			c, err := scripted(t, d)
			if err != nil {
				require.ErrorIs(t, err, ErrStop)
				// protobuf varies the space in its errors from build to build.
				return "STOP: " + strings.ReplaceAll(err.Error(), "\u00a0", " ") + "\n"
			}
			index++
			before := snapshotOf(t, s)
			r, err := s.Apply(index, c)
			require.NoError(t, s.Check())
			after := snapshotOf(t, s)
			restored, rerr := Restore(bytes.NewReader(after))
			require.NoError(t, rerr)
			require.Equal(t, after, snapshotOf(t, restored))
			if err != nil {
				require.ErrorIs(t, err, ErrStop)
				require.Equal(t, before, after, "a command that stops the node must not change the state")
				return "STOP: " + err.Error() + "\n"
			}
			if r.Err != nil {
				s2, _ := Restore(bytes.NewReader(before))
				s2.applied = s.applied
				require.Equal(t, snapshotOf(t, s2), after, "a refusal must not change the state")
				require.NotErrorIs(t, r.Err, ErrStop)
			}
			return printed(r)
		})
	})
}

func snapshotOf(t require.TestingT, s *State) []byte {
	var b bytes.Buffer
	require.NoError(t, s.Snapshot(&b))
	return b.Bytes()
}

// scripted makes the command of a script's line.
func scripted(t *testing.T, d *datadriven.TestData) (*fsmpb.Command, error) {
	if d.Cmd != "raw" {
		return built(t, d), nil
	}
	b, err := hex.DecodeString(strings.TrimSpace(d.Input))
	require.NoError(t, err)
	return Decode(b)
}

func built(t *testing.T, d *datadriven.TestData) *fsmpb.Command {
	list := func(key string) []string {
		for _, arg := range d.CmdArgs {
			if arg.Key == key {
				return arg.Vals
			}
		}
		return nil
	}
	str := func(key string) string { return strings.Join(list(key), ",") }
	num := func(key string) uint64 {
		if str(key) == "" {
			return 0
		}
		n, err := strconv.ParseUint(str(key), 10, 64)
		require.NoError(t, err, d.Pos)
		return n
	}
	log := fragment.LogID(num("log"))
	epoch := fragment.Epoch(num("epoch"))
	ref := Ref{Key: str("key"), Size: 9, Checksum: 0xc0ffee}
	config := LogConfig{EntryBytesMax: uint32(num("max")), Dedicated: num("dedicated") == 1, Zone: str("zone")}
	extents := scriptedExtents(t, d)
	switch d.Cmd {
	case "init":
		return NewInitCluster(fragment.ClusterID{15: byte(num("id"))}, 1)
	case "feature":
		return NewSetFeature(num("from"), num("level"))
	case "boot":
		name := str("name")
		if name == "" {
			name, _, _ = strings.Cut(str("id"), "-")
		}
		return NewRegisterBoot(Node{
			Identity: str("id"), Name: name, Boot: num("n"), Nonce: fragment.Nonce{byte(num("nonce"))},
			GRPC: str("grpc"), HTTP: str("http"), Raft: str("raft"), Gossip: str("gossip"),
			Zone: str("zone"), Version: str("version"), Feature: num("feature"),
		})
	case "remove":
		return NewRemoveNode(str("id"))
	case "grant":
		return NewGrantChain(str("id"), num("boot"), uint32(num("window")), KindObjects, log)
	case "begin-seal":
		return NewBeginSeal(epoch, num("hint"), str("sealer"))
	case "cut":
		return NewAddCut(epoch, Cut{From: num("from"), To: num("to"), Index: ref})
	case "merge":
		return NewMergeCuts(epoch, num("from"), num("to"), ref)
	case "seal":
		return NewSeal(epoch, Seal{At: num("at"), Index: ref})
	case "create":
		return NewCreateLog(str("name"), config, fragment.Micros(num("created")))
	case "delete":
		return NewDeleteLog(log)
	case "configure":
		return NewConfigureLog(log, num("version"), config)
	case "attach":
		return NewAttach(log, epoch, fragment.LSN(num("first")), fragment.Attachment(num("previous")), num("blank") == 1)
	case "detach":
		return NewDetach(log, fragment.Attachment(num("a")), fragment.LSN(num("end")))
	case "exclusive":
		return NewOpenExclusive(log, fragment.Attachment(num("a")), fragment.Generation(num("g")))
	case "trim":
		return NewTrim(log, fragment.LSN(num("before")), fragment.LSN(num("tail")))
	case "incarnation":
		return NewNextIncarnation(num("from"), epoch, log, fragment.Attachment(num("a")), list("members"), str("sealer"))
	case "adopt-chain":
		return NewAdoptChain(Chain{
			Epoch: epoch, Node: str("id"), Boot: num("boot"), Incarnation: num("incarnation"),
			Window: uint32(num("window")), Kind: KindObjects, Log: log, Sealer: str("sealer"),
		})
	case "adopt-log":
		return NewAdoptLog(Log{
			ID: log, Name: str("name"), Config: config, First: fragment.LSN(num("first")), Created: fragment.Micros(num("created")),
			Generation: fragment.Generation(num("g")), Extents: extents,
		})
	case "adopt-extents":
		return NewAdoptExtents(Log{
			ID: log, First: fragment.LSN(num("first")), Generation: fragment.Generation(num("g")), Extents: extents,
		}, fragment.Attachment(num("previous")), num("blank") == 1)
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return nil
}

// scriptedExtents reads extents=(epoch:attachment:previous:first:end,...).
func scriptedExtents(t *testing.T, d *datadriven.TestData) (extents []Extent) {
	for _, arg := range d.CmdArgs {
		if arg.Key != "extents" {
			continue
		}
		for _, val := range arg.Vals {
			var x Extent
			_, err := fmt.Sscanf(val, "%d:%d:%d:%d:%d", (*uint64)(&x.Epoch), (*uint64)(&x.Attachment), (*uint64)(&x.Previous), (*uint64)(&x.First), (*uint64)(&x.End))
			require.NoError(t, err, d.Pos)
			extents = append(extents, x)
		}
	}
	return extents
}

func printed(r Result) string {
	if r.Err != nil {
		return "refused: " + r.Err.Error() + "\n"
	}
	out := "ok"
	if r.Epoch != 0 {
		out += fmt.Sprintf(" epoch=%d", r.Epoch)
	}
	if r.Attachment != 0 {
		out += fmt.Sprintf(" attachment=%d", r.Attachment)
	}
	if r.Generation != 0 {
		out += fmt.Sprintf(" generation=%d", r.Generation)
	}
	if r.Log != nil {
		out += fmt.Sprintf(" log=%d", r.Log.ID)
	}
	return out + "\n"
}

// dump prints everything that a state holds.
func dump(s *State) string {
	var b strings.Builder
	c := s.Cluster()
	fmt.Fprintf(&b, "cluster %x incarnation=%d feature=%d\n", c.ID[15:], c.Incarnation, c.Feature)
	fmt.Fprintf(&b, "highest epoch=%d log=%d attachment=%d\n", s.HighestEpoch(), s.HighestLog(), s.HighestAttachment())
	for n := range s.Nodes() {
		fmt.Fprintf(&b, "node %s boot=%d feature=%d", n.Identity, n.Boot, n.Feature)
		for _, x := range [][2]string{{"grpc", n.GRPC}, {"http", n.HTTP}, {"raft", n.Raft}, {"gossip", n.Gossip}, {"zone", n.Zone}, {"version", n.Version}} {
			if x[1] != "" {
				fmt.Fprintf(&b, " %s=%s", x[0], x[1])
			}
		}
		if n.Removed {
			b.WriteString(" removed")
		}
		b.WriteString("\n")
	}
	for c := range s.Chains() {
		fmt.Fprintf(&b, "chain %d of %s boot=%d incarnation=%d %s", c.Epoch, c.Node, c.Boot, c.Incarnation, c.State)
		if c.Log != 0 {
			fmt.Fprintf(&b, " log=%d", c.Log)
		}
		if c.State != ChainOpen {
			fmt.Fprintf(&b, " hint=%d sealer=%s", c.DurableHint, c.Sealer)
		}
		if c.State == ChainSealed {
			fmt.Fprintf(&b, " at=%d index=%s", c.Seal.At, c.Seal.Index.Key)
		}
		for _, cut := range c.Cuts {
			fmt.Fprintf(&b, " [%d,%d)=%s", cut.From, cut.To, cut.Index.Key)
		}
		b.WriteString("\n")
	}
	for l := range s.Logs("") {
		fmt.Fprintf(&b, "log %d %s max=%d version=%d generation=%d attachment=%d first=%d",
			l.ID, l.Name, l.Config.EntryBytesMax, l.ConfigVersion, l.Generation, l.Attachment, l.First)
		if l.Config.Dedicated {
			b.WriteString(" dedicated")
		}
		if l.Config.Zone != "" {
			fmt.Fprintf(&b, " zone=%s", l.Config.Zone)
		}
		for _, x := range l.Extents {
			fmt.Fprintf(&b, " %d:%d(after %d)[%d,%d)", x.Epoch, x.Attachment, x.Previous, x.First, x.End)
		}
		b.WriteString("\n")
	}
	return b.String()
}
