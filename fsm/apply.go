package fsm

import (
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// Result is what became of a command. Beside Err, the constructor of each
// command says which member it sets; the others are zero.
type Result struct {
	Err        error // why the command was refused; nil if it was not
	Epoch      fragment.Epoch
	Log        *Log // as it is after the command; read-only
	Attachment fragment.Attachment
	Generation fragment.Generation
}

// Apply runs the command of raft index on the state. A refused command leaves
// the state as it is, but for the index, and says why in Result.Err.
//
// The error is nil, an *UnknownCommandError or a *BreachError, both an
// ErrStop: then nothing was changed and the node must stop.
func (s *State) Apply(index uint64, c *fsmpb.Command) (Result, error) {
	if index <= s.applied {
		return Result{}, &BreachError{Index: index, Reason: fmt.Sprintf("index %d is already applied", s.applied)}
	}
	if err := checkKnown(c); err != nil {
		return Result{}, &UnknownCommandError{Index: index, Reason: err.Error()}
	}
	r, err := s.dispatch(c)
	if b, ok := errors.AsType[*BreachError](err); ok {
		b.Index = index
		return Result{}, b
	}
	s.applied = index
	if err != nil {
		return Result{Err: err}, nil
	}
	return r, nil
}

// dispatch returns a refusal, or a *BreachError, as its error. The functions
// that it calls change nothing before they have refused what they refuse.
func (s *State) dispatch(c *fsmpb.Command) (Result, error) {
	if init := c.GetInitCluster(); init != nil {
		return s.initCluster(init)
	}
	if s.cluster.ID.IsZero() {
		return Result{}, ErrNoCluster
	}
	switch k := c.GetCommand().(type) {
	case *fsmpb.Command_SetFeature:
		return s.setFeature(k.SetFeature)
	case *fsmpb.Command_RegisterBoot:
		return s.registerBoot(k.RegisterBoot)
	case *fsmpb.Command_RemoveNode:
		return s.removeNode(k.RemoveNode)
	case *fsmpb.Command_GrantChain:
		return s.grantChain(k.GrantChain)
	case *fsmpb.Command_BeginSeal:
		return s.beginSeal(k.BeginSeal)
	case *fsmpb.Command_AddCut:
		return s.addCut(k.AddCut)
	case *fsmpb.Command_MergeCuts:
		return s.mergeCuts(k.MergeCuts)
	case *fsmpb.Command_Seal:
		return s.seal(k.Seal)
	case *fsmpb.Command_CreateLog:
		return s.createLog(k.CreateLog)
	case *fsmpb.Command_DeleteLog:
		return s.deleteLog(k.DeleteLog)
	case *fsmpb.Command_ConfigureLog:
		return s.configureLog(k.ConfigureLog)
	case *fsmpb.Command_Attach:
		return s.attach(k.Attach)
	case *fsmpb.Command_Detach:
		return s.detach(k.Detach)
	case *fsmpb.Command_OpenExclusive:
		return s.openExclusive(k.OpenExclusive)
	case *fsmpb.Command_Trim:
		return s.trim(k.Trim)
	case *fsmpb.Command_NextIncarnation:
		return s.nextIncarnation(k.NextIncarnation)
	case *fsmpb.Command_AdoptChain:
		return s.adoptChain(k.AdoptChain)
	case *fsmpb.Command_AdoptLog:
		return s.adoptLog(k.AdoptLog)
	case *fsmpb.Command_AdoptExtents:
		return s.adoptExtents(k.AdoptExtents)
	}
	// Only reached if the proto file has a command that this switch lacks.
	return Result{}, &BreachError{Reason: fmt.Sprintf("command %T is not implemented", c.GetCommand())}
}
