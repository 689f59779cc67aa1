package rpc

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wpd-io/wpd/fragment"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// walked is every error of wal/api, by its name there.
var walked = map[string]struct {
	err    error
	reason logv1.ErrorReason
	code   codes.Code
	is     error // what comes out Is this; nil: the same type and facts
}{
	"ErrNotFound":        {api.ErrNotFound, logv1.ErrorReason_ERROR_REASON_NOT_FOUND, codes.NotFound, fs.ErrNotExist},
	"ErrDeleted":         {api.ErrDeleted, logv1.ErrorReason_ERROR_REASON_DELETED, codes.NotFound, api.ErrDeleted},
	"ErrExists":          {api.ErrExists, logv1.ErrorReason_ERROR_REASON_EXISTS, codes.AlreadyExists, fs.ErrExist},
	"ErrClosed":          {api.ErrClosed, logv1.ErrorReason_ERROR_REASON_CLOSING, codes.Unavailable, api.ErrUnavailable},
	"ErrUnavailable":     {api.ErrUnavailable, logv1.ErrorReason_ERROR_REASON_UNAVAILABLE, codes.Unavailable, api.ErrUnavailable},
	"ErrMoved":           {api.ErrMoved, logv1.ErrorReason_ERROR_REASON_MOVED, codes.Aborted, api.ErrMoved},
	"ErrUncertain":       {api.ErrUncertain, logv1.ErrorReason_ERROR_REASON_UNCERTAIN, codes.Unknown, api.ErrUncertain},
	"ErrUnknownProducer": {api.ErrUnknownProducer, logv1.ErrorReason_ERROR_REASON_UNKNOWN_PRODUCER, codes.FailedPrecondition, api.ErrUnknownProducer},
	"ErrStored":          {api.ErrStored, logv1.ErrorReason_ERROR_REASON_STORED, codes.FailedPrecondition, api.ErrStored},
	"ErrInvalid":         {api.ErrInvalid, logv1.ErrorReason_ERROR_REASON_INVALID, codes.InvalidArgument, api.ErrInvalid},
	"ErrForbidden":       {api.ErrForbidden, logv1.ErrorReason_ERROR_REASON_FORBIDDEN, codes.PermissionDenied, api.ErrForbidden},
	"FencedError":        {&api.FencedError{What: "generation", Have: 3, Want: 4}, logv1.ErrorReason_ERROR_REASON_FENCED, codes.Aborted, nil},
	"TailError":          {&api.TailError{Want: 3, Tail: 4}, logv1.ErrorReason_ERROR_REASON_TAIL, codes.FailedPrecondition, nil},
	"TrimmedError":       {&api.TrimmedError{LSN: 3, First: 4}, logv1.ErrorReason_ERROR_REASON_TRIMMED, codes.OutOfRange, nil},
	"BeyondTailError":    {&api.BeyondTailError{LSN: 4, Tail: 3}, logv1.ErrorReason_ERROR_REASON_BEYOND_TAIL, codes.OutOfRange, nil},
	"SequenceError":      {&api.SequenceError{Have: 4, Last: 9, Conflict: true}, logv1.ErrorReason_ERROR_REASON_SEQUENCE, codes.FailedPrecondition, nil},
	"LimitError":         {&api.LimitError{What: "entry bytes", Limit: 1, Value: 2}, logv1.ErrorReason_ERROR_REASON_LIMIT, codes.ResourceExhausted, nil},
	"StaleError":         {&api.StaleError{What: "configuration", Have: 1, Want: 2}, logv1.ErrorReason_ERROR_REASON_STALE, codes.Aborted, nil},
	"DataLossError":      {&api.DataLossError{Log: 7, From: 1, To: 3, Object: "chains/1/2", Err: errors.New("missing")}, logv1.ErrorReason_ERROR_REASON_DATA_LOSS, codes.DataLoss, nil},
	"WrongClusterError":  {&api.WrongClusterError{Have: "a uuid"}, logv1.ErrorReason_ERROR_REASON_WRONG_CLUSTER, codes.FailedPrecondition, nil},
	"ElsewhereError":     {&api.ElsewhereError{Node: "n2-00", Addr: "h:1"}, logv1.ErrorReason_ERROR_REASON_ELSEWHERE, codes.Aborted, nil},
	"LagError":           {&api.LagError{Age: 3 * time.Second, MaxLag: time.Second}, logv1.ErrorReason_ERROR_REASON_LAG, codes.Unavailable, nil},
	"BusyError":          {&api.BusyError{What: "too much is not durable", RetryAfter: time.Second}, logv1.ErrorReason_ERROR_REASON_UNAVAILABLE, codes.Unavailable, nil},
}

// TestEveryError: each error crosses the wire and comes out with its meaning,
// its facts and its text, also from inside of others.
func TestEveryError(t *testing.T) {
	for name, w := range walked {
		t.Run(name, func(t *testing.T) {
			for _, err := range []error{w.err, fmt.Errorf("log %q: %w", "a", w.err)} {
				e := ToError(err)
				require.Equal(t, w.reason, e.Reason)
				s := Status(err)
				require.Equal(t, w.code, status.Code(s))
				for _, sent := range []bool{false, true} {
					got := FromStatus(s, sent)
					if w.is != nil {
						require.ErrorIs(t, got, w.is)
						require.Equal(t, err.Error(), got.Error())
						continue
					}
					require.Equal(t, w.err.Error(), got.Error())
					require.IsType(t, w.err, got)
					if name != "DataLossError" { // whose cause is only a text
						require.Equal(t, w.err, got)
					}
				}
				require.Equal(t, s, Status(s), "a status stays what it is")
			}
		})
	}
}

// TestNoErrorForgotten finds the exported errors of wal/api in its source.
func TestNoErrorForgotten(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../wal/api/errors.go", nil, 0)
	require.NoError(t, err)
	found := 0
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range g.Specs {
			var name string
			switch s := spec.(type) {
			case *ast.ValueSpec:
				name = s.Names[0].Name
			case *ast.TypeSpec:
				name = s.Name.Name
			}
			if ast.IsExported(name) {
				found++
				require.Contains(t, walked, name, "%s has no line in the table of errors", name)
			}
		}
	}
	require.Len(t, walked, found)
	for reason := range logv1.ErrorReason_name {
		rows := 0
		for _, r := range table {
			if r.reason == logv1.ErrorReason(reason) {
				rows++
			}
		}
		require.Equal(t, 1, rows, "%v", logv1.ErrorReason(reason))
	}
}

// TestUncertainFirst: an error that leaves the outcome open is never taken for
// one that says that nothing was done.
func TestUncertainFirst(t *testing.T) {
	for name, w := range walked {
		if name == "ErrUncertain" {
			continue
		}
		err := fmt.Errorf("%w: %w", api.ErrUncertain, w.err)
		require.ErrorIs(t, FromError(ToError(err)), api.ErrUncertain, name)
		err = fmt.Errorf("%w: %w", w.err, api.ErrUncertain)
		require.ErrorIs(t, FromError(ToError(err)), api.ErrUncertain, name)
	}
}

func TestOtherErrors(t *testing.T) {
	require.Nil(t, ToError(nil))
	require.NoError(t, FromError(nil))
	require.NoError(t, Status(nil))
	require.NoError(t, FromStatus(nil, true))

	secret := errors.New("open /etc/secret: no")
	e := ToError(secret)
	require.Equal(t, logv1.ErrorReason_ERROR_REASON_UNSPECIFIED, e.Reason)
	require.NotContains(t, e.Message, "secret")
	require.Equal(t, codes.Internal, status.Code(Status(secret)))
	require.ErrorIs(t, FromStatus(Status(secret), true), api.ErrUncertain)

	require.Equal(t, codes.DeadlineExceeded, status.Code(Status(context.DeadlineExceeded)))
	require.Equal(t, codes.Canceled, status.Code(Status(fmt.Errorf("x: %w", context.Canceled))))

	limit := FromError(ToError(fmt.Errorf("batch: %w", &fragment.LimitError{What: "entries", Limit: 1, Value: 2})))
	require.Equal(t, &api.LimitError{What: "entries", Limit: 1, Value: 2}, limit)

	// Both ask for the identical batch again; where, one of them knows better.
	moved := FromError(ToError(fmt.Errorf("%w: %w", api.ErrMoved, &api.ElsewhereError{Node: "n2"})))
	require.Equal(t, &api.ElsewhereError{Node: "n2"}, moved)

	got := ToError(fmt.Errorf("%w: \xff", api.ErrInvalid))
	require.True(t, strings.HasSuffix(got.Message, "\uFFFD"), "text that is no UTF-8")
	require.ErrorIs(t, FromError(&logv1.Error{Reason: 9999, Message: "of a newer node"}), api.ErrUncertain)
}

// TestBroken: an error that no node gave.
func TestBroken(t *testing.T) {
	for _, c := range []struct {
		err  error
		sent bool
		is   []error
	}{
		{status.Error(codes.Unavailable, "connection refused"), false, []error{api.ErrUnavailable}},
		{status.Error(codes.Unavailable, "EOF"), true, []error{api.ErrUncertain}},
		{status.Error(codes.DeadlineExceeded, "x"), true, []error{api.ErrUncertain, context.DeadlineExceeded}},
		{status.Error(codes.Canceled, "x"), false, []error{api.ErrUnavailable, context.Canceled}},
		{status.Error(codes.Internal, "x"), true, []error{api.ErrUncertain}},
		{status.Error(codes.ResourceExhausted, "the answer is too large"), true, []error{api.ErrUncertain}},
		{status.Error(codes.Unimplemented, "x"), true, []error{api.ErrInvalid}},
		{errors.New("anything"), true, []error{api.ErrUncertain}},
	} {
		got := FromStatus(c.err, c.sent)
		for _, is := range c.is {
			require.ErrorIs(t, got, is)
		}
		if c.sent {
			require.NotErrorIs(t, got, api.ErrUnavailable)
		}
	}
}

// TestConvert: every field of every value comes back.
func TestConvert(t *testing.T) {
	when := time.UnixMicro(1_700_000_000_123_456).UTC()
	log := api.LogInfo{
		Name: "a", ID: 2, Config: api.LogConfig{EntryBytesMax: 3, Dedicated: true, Zone: "z"}, ConfigVersion: 4, Generation: 5, Created: when, First: 6, Tail: 7,
		Bytes: 8, TrimmedBytes: 9, Extents: []api.Extent{{Chain: 10, Attachment: 11, From: 12, To: 13}},
		Writer: "n1", Epoch: 14,
	}
	filled(t, log)
	filled(t, log.Config)
	require.Equal(t, log, LogFrom(LogTo(log)))
	producer := api.ProducerInfo{Name: "p", ID: 1, Epoch: 2, Last: 3, LastLSN: 4, Time: when}
	filled(t, producer)
	require.Equal(t, producer, ProducerFrom(ProducerTo(producer)))
	open := api.OpenRequest{Log: 1, Name: "p", ID: 2, Epoch: 3, Exclusive: true, Generation: 4}
	filled(t, open)
	require.Equal(t, open, OpenFrom(OpenTo(open)))
	opened := api.Opened{ID: 1, Epoch: 2, Last: 3, LastLSN: 4, Generation: 5, Tail: 6, EntryBytesMax: 7}
	filled(t, opened)
	require.Equal(t, opened, OpenedFrom(OpenedTo(opened)))
	level := api.Level{AtLeast: 1, Linearizable: true, MaxLag: time.Second}
	filled(t, level)
	require.Equal(t, level, LevelFrom(LevelTo(level)))
	require.Nil(t, LevelTo(api.Level{}))
	require.NotZero(t, LevelFrom(LevelTo(api.Level{MaxLag: 1})).MaxLag, "a tiny bound is a bound")
	for from := api.FromEarliest; from <= api.FromTime; from++ {
		read := api.ReadRequest{Log: 1, From: from, Value: 2, Time: 3, To: 4, Until: 5, Limit: 6, Follow: true, Level: level}
		if from != api.FromEarliest {
			filled(t, read)
		}
		got, err := ReadFrom(ReadTo(read))
		require.NoError(t, err)
		require.Equal(t, read, got)
	}
	for _, m := range []*logv1.ReadRequest{{From: 99}, {TimeMicros: -1}, {UntilMicros: -1}} {
		_, err := ReadFrom(m)
		require.ErrorIs(t, err, api.ErrInvalid)
	}
	require.Equal(t, api.LogInfo{}, LogFrom(nil))
	require.Equal(t, api.ProducerInfo{}, ProducerFrom(nil))
}

// filled holds the test above to all fields.
func filled(t *testing.T, v any) {
	t.Helper()
	for i, r := 0, reflect.ValueOf(v); i < r.NumField(); i++ {
		require.False(t, r.Field(i).IsZero(), "%T.%s is not tested", v, r.Type().Field(i).Name)
	}
}
