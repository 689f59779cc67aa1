package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// Encode returns a command's bytes. It fails with an *InvalidError on one that
// Decode would not take back.
func Encode(c *fsmpb.Command) ([]byte, error) {
	if err := checkKnown(c); err != nil {
		return nil, &InvalidError{Field: "command", Reason: err.Error()}
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		return nil, &InvalidError{Field: "command", Reason: err.Error()}
	}
	if len(b) > CommandBytesMax {
		return nil, &InvalidError{Field: "command", Reason: fmt.Sprintf("has %d bytes, the limit is %d", len(b), CommandBytesMax)}
	}
	return b, nil
}

// Decode is the inverse of Encode. Its error is an *UnknownCommandError.
func Decode(b []byte) (*fsmpb.Command, error) {
	if len(b) > CommandBytesMax {
		return nil, &UnknownCommandError{Reason: fmt.Sprintf("%d bytes, the limit is %d", len(b), CommandBytesMax)}
	}
	c := new(fsmpb.Command)
	if err := proto.Unmarshal(b, c); err != nil {
		return nil, &UnknownCommandError{Reason: err.Error()}
	}
	if err := checkKnown(c); err != nil {
		return nil, &UnknownCommandError{Reason: err.Error()}
	}
	return c, nil
}

// checkKnown tells whether this code knows all that a command says. A field
// that it does not know must not be skipped either: a newer replica heeds it.
func checkKnown(c *fsmpb.Command) error {
	switch {
	case c == nil:
		return fmt.Errorf("it is empty")
	case hasUnknown(c.ProtoReflect()):
		return fmt.Errorf("a newer version of wpd made it, or it is damaged: it has parts that this version does not know")
	case c.GetCommand() == nil:
		return fmt.Errorf("it is empty")
	}
	switch k := c.GetCommand().(type) {
	case *fsmpb.Command_GrantChain:
		return checkKind(k.GrantChain.GetKind())
	case *fsmpb.Command_AdoptChain:
		return checkKind(k.AdoptChain.GetKind())
	case *fsmpb.Command_InitCluster:
		return checkFeature(k.InitCluster.GetFeature())
	case *fsmpb.Command_SetFeature:
		return checkFeature(k.SetFeature.GetLevel())
	}
	return nil
}

func checkKind(kind uint32) error {
	if ChainKind(kind) != KindObjects {
		return fmt.Errorf("it is about a chain of kind %d, which this version does not know", kind)
	}
	return nil
}

func checkFeature(level uint64) error {
	if level > FeatureLevel {
		return fmt.Errorf("it sets feature level %d, this version of wpd knows up to %d", level, FeatureLevel)
	}
	return nil
}

func hasUnknown(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return true
	}
	found := false
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				found = found || hasUnknown(v.List().Get(i).Message())
			}
		default: // no message of ours has a map
			found = hasUnknown(v.Message())
		}
		return !found
	})
	return found
}
