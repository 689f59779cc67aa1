package peer

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wpd-io/wpd/rpc"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	peerv1 "github.com/wpd-io/wpd/rpc/wpdpb/peerv1"
)

// Error is what the other node found wrong. Handlers return it, and the caller
// gets it.
type Error struct {
	Reason peerv1.ErrorReason
	Text   string
	Leader string // identity, of ERROR_REASON_NOT_LEADER; empty: not known
}

func (e *Error) Error() string { return e.Text }

// BrokenError: there is no answer of the other node, because the connection
// broke, or the caller's ctx ended.
type BrokenError struct {
	Addr string
	Sent bool // the call may have been done; otherwise it surely was not
	Err  error
}

func (e *BrokenError) Error() string {
	if e.Sent {
		return fmt.Sprintf("no answer from the node at %s: %v", e.Addr, e.Err)
	}
	return fmt.Sprintf("the node at %s was not reached: %v", e.Addr, e.Err)
}

func (e *BrokenError) Unwrap() error { return e.Err }

// errClosed is the cause of calls that this side's Close ended.
var errClosed = errors.New("this node is closing its connections")

// codeOf is the gRPC code that a reason travels under.
var codeOf = map[peerv1.ErrorReason]codes.Code{
	peerv1.ErrorReason_ERROR_REASON_NOT_LEADER: codes.Unavailable,
	peerv1.ErrorReason_ERROR_REASON_BUSY:       codes.Unavailable,
	peerv1.ErrorReason_ERROR_REASON_CLOSED:     codes.Unavailable,
	peerv1.ErrorReason_ERROR_REASON_UNCERTAIN:  codes.Unknown,
	peerv1.ErrorReason_ERROR_REASON_REFUSED:    codes.FailedPrecondition,
}

// toStatus returns an *Error as the answer to a call. What is another error is
// for rpc/server, which knows those of wal/api.
func toStatus(err error) error {
	e, ok := errors.AsType[*Error](err)
	code, known := codeOf[reasonOf(e)]
	if !ok || !known {
		return err
	}
	m := &peerv1.Error{
		Reason: e.Reason, Message: strings.ToValidUTF8(err.Error(), "\uFFFD"), Leader: strings.ToValidUTF8(e.Leader, "\uFFFD"),
	}
	s, derr := status.New(code, m.Message).WithDetails(m)
	if derr != nil {
		return errors.Join(err, derr)
	}
	return s.Err()
}

func reasonOf(e *Error) peerv1.ErrorReason {
	if e == nil {
		return peerv1.ErrorReason_ERROR_REASON_UNSPECIFIED
	}
	return e.Reason
}

// fromStatus returns what the other node said, nil if it said nothing.
func fromStatus(err error) error {
	for _, d := range status.Convert(err).Details() {
		switch m := d.(type) {
		case *peerv1.Error:
			if _, known := codeOf[m.GetReason()]; known {
				return &Error{Reason: m.GetReason(), Text: m.GetMessage(), Leader: m.GetLeader()}
			}
		case *logv1.Error:
			return rpc.FromError(m)
		}
	}
	return nil
}
