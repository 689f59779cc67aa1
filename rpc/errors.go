package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wpd-io/wpd/fragment"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// row is one line of the table of errors: a reason, the code that it travels
// under, and the error without facts that it stands for.
type row struct {
	reason logv1.ErrorReason
	code   codes.Code
	is     error // nil: an error with facts, or none of ours
}

// table has every reason once. Of the errors without facts the first that fits
// counts: what leaves an outcome open goes before what it wraps, and the
// narrower before the wider.
var table = []row{
	{logv1.ErrorReason_ERROR_REASON_UNCERTAIN, codes.Unknown, api.ErrUncertain},
	{logv1.ErrorReason_ERROR_REASON_MOVED, codes.Aborted, api.ErrMoved},
	{logv1.ErrorReason_ERROR_REASON_DELETED, codes.NotFound, api.ErrDeleted},
	{logv1.ErrorReason_ERROR_REASON_NOT_FOUND, codes.NotFound, api.ErrNotFound},
	{logv1.ErrorReason_ERROR_REASON_EXISTS, codes.AlreadyExists, api.ErrExists},
	{logv1.ErrorReason_ERROR_REASON_UNKNOWN_PRODUCER, codes.FailedPrecondition, api.ErrUnknownProducer},
	{logv1.ErrorReason_ERROR_REASON_STORED, codes.FailedPrecondition, api.ErrStored},
	{logv1.ErrorReason_ERROR_REASON_INVALID, codes.InvalidArgument, api.ErrInvalid},
	{logv1.ErrorReason_ERROR_REASON_FORBIDDEN, codes.PermissionDenied, api.ErrForbidden},
	{logv1.ErrorReason_ERROR_REASON_CLOSING, codes.Unavailable, api.ErrClosed},
	{logv1.ErrorReason_ERROR_REASON_UNAVAILABLE, codes.Unavailable, api.ErrUnavailable},

	{logv1.ErrorReason_ERROR_REASON_ELSEWHERE, codes.Aborted, nil},
	{logv1.ErrorReason_ERROR_REASON_LAG, codes.Unavailable, nil},
	{logv1.ErrorReason_ERROR_REASON_FENCED, codes.Aborted, nil},
	{logv1.ErrorReason_ERROR_REASON_TAIL, codes.FailedPrecondition, nil},
	{logv1.ErrorReason_ERROR_REASON_TRIMMED, codes.OutOfRange, nil},
	{logv1.ErrorReason_ERROR_REASON_BEYOND_TAIL, codes.OutOfRange, nil},
	{logv1.ErrorReason_ERROR_REASON_SEQUENCE, codes.FailedPrecondition, nil},
	{logv1.ErrorReason_ERROR_REASON_LIMIT, codes.ResourceExhausted, nil},
	{logv1.ErrorReason_ERROR_REASON_STALE, codes.Aborted, nil},
	{logv1.ErrorReason_ERROR_REASON_DATA_LOSS, codes.DataLoss, nil},
	{logv1.ErrorReason_ERROR_REASON_WRONG_CLUSTER, codes.FailedPrecondition, nil},
	{logv1.ErrorReason_ERROR_REASON_UNSPECIFIED, codes.Internal, nil},
}

func rowOf(reason logv1.ErrorReason) row {
	for _, r := range table {
		if r.reason == reason {
			return r
		}
	}
	return row{code: codes.Internal} // of a newer version
}

// ToError returns what travels of an error: its reason, its facts and its
// text. The text of an error that is not one of wal/api stays here. nil for
// nil.
func ToError(err error) *logv1.Error {
	if err == nil {
		return nil
	}
	e := &logv1.Error{}
	if !facts(err, e) {
		reason(err, e)
	}
	text := err.Error()
	if e.Reason == logv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		text = "internal error; the node's log has the reason"
	} else if x, ok := errors.AsType[*api.DataLossError](err); ok && x.Err != nil {
		text = x.Err.Error() // the rest of it follows from the facts
	}
	e.Message = strings.ToValidUTF8(text, "\uFFFD") // as protobuf demands
	for _, s := range []*string{&e.What, &e.Object, &e.Node, &e.Addr} {
		*s = strings.ToValidUTF8(*s, "\uFFFD")
	}
	return e
}

// reason finds the reason of an error without facts.
func reason(err error, e *logv1.Error) {
	for _, r := range table {
		if r.is != nil && errors.Is(err, r.is) {
			e.Reason = r.reason
			break
		}
	}
	if b, ok := errors.AsType[*api.BusyError](err); ok {
		e.What, e.RetryMicros = b.What, uint64(max(b.RetryAfter, 0).Microseconds())
	}
}

// facts takes over the facts of an error that has some.
func facts(err error, e *logv1.Error) bool {
	if errors.Is(err, api.ErrUncertain) {
		return false // whatever made it so
	}
	if x, ok := errors.AsType[*api.ElsewhereError](err); ok {
		e.Reason, e.Node, e.Addr = logv1.ErrorReason_ERROR_REASON_ELSEWHERE, x.Node, x.Addr
		return true
	}
	if errors.Is(err, api.ErrMoved) {
		return false
	}
	if x, ok := errors.AsType[*api.FencedError](err); ok {
		e.Reason, e.What, e.Have, e.Want = logv1.ErrorReason_ERROR_REASON_FENCED, x.What, x.Have, x.Want
	} else if x, ok := errors.AsType[*api.TailError](err); ok {
		e.Reason, e.Want, e.Tail = logv1.ErrorReason_ERROR_REASON_TAIL, uint64(x.Want), uint64(x.Tail)
	} else if x, ok := errors.AsType[*api.TrimmedError](err); ok {
		e.Reason, e.Lsn, e.First = logv1.ErrorReason_ERROR_REASON_TRIMMED, uint64(x.LSN), uint64(x.First)
	} else if x, ok := errors.AsType[*api.BeyondTailError](err); ok {
		e.Reason, e.Lsn, e.Tail = logv1.ErrorReason_ERROR_REASON_BEYOND_TAIL, uint64(x.LSN), uint64(x.Tail)
	} else if x, ok := errors.AsType[*api.SequenceError](err); ok {
		e.Reason, e.Have, e.Last, e.Conflict = logv1.ErrorReason_ERROR_REASON_SEQUENCE, x.Have, x.Last, x.Conflict
	} else if x, ok := errors.AsType[*api.LimitError](err); ok {
		e.Reason, e.What, e.Limit, e.Value = logv1.ErrorReason_ERROR_REASON_LIMIT, x.What, x.Limit, x.Value
	} else if x, ok := errors.AsType[*fragment.LimitError](err); ok {
		e.Reason, e.What, e.Limit, e.Value = logv1.ErrorReason_ERROR_REASON_LIMIT, x.What, x.Limit, x.Value
	} else if x, ok := errors.AsType[*api.StaleError](err); ok {
		e.Reason, e.What, e.Have, e.Want = logv1.ErrorReason_ERROR_REASON_STALE, x.What, x.Have, x.Want
	} else if x, ok := errors.AsType[*api.DataLossError](err); ok {
		e.Reason, e.LogId, e.From, e.To, e.Object = logv1.ErrorReason_ERROR_REASON_DATA_LOSS, uint64(x.Log), uint64(x.From), uint64(x.To), x.Object
	} else if x, ok := errors.AsType[*api.WrongClusterError](err); ok {
		e.Reason, e.What = logv1.ErrorReason_ERROR_REASON_WRONG_CLUSTER, x.Have
	} else if x, ok := errors.AsType[*api.LagError](err); ok {
		e.Reason, e.AgeMicros, e.MaxLagMicros = logv1.ErrorReason_ERROR_REASON_LAG, durationTo(x.Age), durationTo(x.MaxLag)
	} else {
		return false
	}
	return true
}

// FromError is the way back: an error of wal/api with the same facts and text.
// That the node is closing is ErrUnavailable here: the client is not closed.
// An unknown reason is ErrUncertain. nil for nil.
func FromError(e *logv1.Error) error {
	if e == nil {
		return nil
	}
	switch e.Reason {
	case logv1.ErrorReason_ERROR_REASON_FENCED:
		return &api.FencedError{What: e.What, Have: e.Have, Want: e.Want}
	case logv1.ErrorReason_ERROR_REASON_TAIL:
		return &api.TailError{Want: fragment.LSN(e.Want), Tail: fragment.LSN(e.Tail)}
	case logv1.ErrorReason_ERROR_REASON_TRIMMED:
		return &api.TrimmedError{LSN: fragment.LSN(e.Lsn), First: fragment.LSN(e.First)}
	case logv1.ErrorReason_ERROR_REASON_BEYOND_TAIL:
		return &api.BeyondTailError{LSN: fragment.LSN(e.Lsn), Tail: fragment.LSN(e.Tail)}
	case logv1.ErrorReason_ERROR_REASON_SEQUENCE:
		return &api.SequenceError{Have: e.Have, Last: e.Last, Conflict: e.Conflict}
	case logv1.ErrorReason_ERROR_REASON_LIMIT:
		return &api.LimitError{What: e.What, Limit: e.Limit, Value: e.Value}
	case logv1.ErrorReason_ERROR_REASON_STALE:
		return &api.StaleError{What: e.What, Have: e.Have, Want: e.Want}
	case logv1.ErrorReason_ERROR_REASON_DATA_LOSS:
		return &api.DataLossError{
			Log: fragment.LogID(e.LogId), From: fragment.LSN(e.From), To: fragment.LSN(e.To), Object: e.Object, Err: errors.New(e.Message),
		}
	case logv1.ErrorReason_ERROR_REASON_WRONG_CLUSTER:
		return &api.WrongClusterError{Have: e.What}
	case logv1.ErrorReason_ERROR_REASON_ELSEWHERE:
		return &api.ElsewhereError{Node: e.Node, Addr: e.Addr}
	case logv1.ErrorReason_ERROR_REASON_LAG:
		return &api.LagError{Age: DurationFrom(e.AgeMicros), MaxLag: DurationFrom(e.MaxLagMicros)}
	case logv1.ErrorReason_ERROR_REASON_CLOSING:
		return &remote{e.Message, api.ErrUnavailable}
	case logv1.ErrorReason_ERROR_REASON_UNAVAILABLE:
		if e.What != "" {
			return &api.BusyError{What: e.What, RetryAfter: time.Duration(min(e.RetryMicros, 1<<32)) * time.Microsecond}
		}
	}
	if r := rowOf(e.Reason); r.is != nil {
		return &remote{e.Message, r.is}
	}
	return &remote{e.Message, api.ErrUncertain}
}

// remote is an error that a node gave, in its words.
type remote struct {
	text string
	is   error
}

func (e *remote) Error() string { return e.text }
func (e *remote) Unwrap() error { return e.is }

// Status returns err as the answer to a call: a gRPC status with an Error in
// its details. What is a gRPC status already, or a context's end, stays what
// it is. nil for nil.
func Status(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	e := ToError(err)
	if e.Reason == logv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		switch {
		case errors.Is(err, context.Canceled):
			return status.Error(codes.Canceled, "the caller has left")
		case errors.Is(err, context.DeadlineExceeded):
			return status.Error(codes.DeadlineExceeded, "the caller's time is over")
		}
	}
	s, derr := status.New(rowOf(e.Reason).code, e.Message).WithDetails(e)
	if derr != nil {
		return status.Errorf(codes.Internal, "an error that can't be encoded: %v", derr)
	}
	return s.Err()
}

// FromStatus returns what a failed call means to its caller. If the node said
// so itself, that is the error it gave; otherwise the connection broke or the
// context ended, and it is ErrUncertain if the call was, or may have been,
// sent, and ErrUnavailable if surely not. nil for nil.
func FromStatus(err error, sent bool) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if ok {
		for _, d := range s.Details() {
			if e, ok := d.(*logv1.Error); ok {
				return FromError(e)
			}
		}
	}
	outcome, text := api.ErrUnavailable, err.Error()
	if sent {
		outcome = api.ErrUncertain
	}
	if ok {
		text = s.Message()
	}
	switch {
	case !ok:
		return fmt.Errorf("%w: %w", outcome, err)
	case s.Code() == codes.Canceled:
		return fmt.Errorf("%w: %w", outcome, context.Canceled)
	case s.Code() == codes.DeadlineExceeded:
		return fmt.Errorf("%w: %w", outcome, context.DeadlineExceeded)
	case s.Code() == codes.Unimplemented:
		return fmt.Errorf("%w: the node does not know this call: %s", api.ErrInvalid, text)
	}
	return fmt.Errorf("%w: %s: %s", outcome, s.Code(), text)
}
