package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"reflect"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc/peer"
	"github.com/wpd-io/wpd/rpc/server"
	"github.com/wpd-io/wpd/rpc/wpdpb/peerv1"
	"github.com/wpd-io/wpd/wal/api"
)

// filled holds a test of conversions to all fields, those of structs within, too.
func filled(t *testing.T, v any) {
	t.Helper()
	for i, r := 0, reflect.ValueOf(v); i < r.NumField(); i++ {
		f := r.Field(i)
		require.False(t, f.IsZero(), "%T.%s is not tested", v, r.Type().Field(i).Name)
		if f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[time.Time]() {
			filled(t, f.Interface())
		}
		if f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct {
			filled(t, f.Index(0).Interface())
		}
	}
}

// TestPeerMessages: every field of what members say to each other comes back.
func TestPeerMessages(t *testing.T) {
	now := time.UnixMicro(1_700_000_000_123_456)
	renewal := cluster.Renewal{
		Identity: "n1-00", Boot: 2, Incarnation: 3, Applied: 4, Clock: now,
		Report: cluster.Report{
			Chains: []cluster.ChainReport{{Epoch: 5, Durable: 6}, {Epoch: 7}}, Logs: 8, BytesPerSec: 9,
			Draining: true, ClockSkew: -time.Minute,
		},
	}
	filled(t, renewal)
	require.Equal(t, renewal, renewalFrom(renewalTo(renewal)))
	renewed := cluster.Renewed{
		Epochs: []fragment.Epoch{5, 7}, Clock: now, Lease: 3 * time.Second, Nodes: []cluster.NodeAge{{Identity: "n2-00", Age: time.Second}, {Identity: "n3-00"}},
	}
	filled(t, renewed)
	require.Equal(t, renewed, renewedFrom(renewedTo(renewed)))
	join := cluster.JoinRequest{Identity: "n1-00", Name: "n1", Raft: "h:1", Boot: 2, Nonce: fragment.Nonce{3}}
	filled(t, join)
	got, err := joinFrom(joinTo(join))
	require.NoError(t, err)
	require.Equal(t, join, got)
	for _, nonce := range [][]byte{nil, make([]byte, 15), make([]byte, 17)} {
		_, err := joinFrom(&peerv1.JoinRequest{Nonce: nonce})
		require.ErrorIs(t, err, cluster.ErrRefused)
	}
	for refusal, m := range map[cluster.Refusal]peerv1.Refusal{
		cluster.RefusalNone:    peerv1.Refusal_REFUSAL_UNSPECIFIED,
		cluster.RefusalRemoved: peerv1.Refusal_REFUSAL_REMOVED,
		cluster.RefusalName:    peerv1.Refusal_REFUSAL_NAME,
		cluster.RefusalBucket:  peerv1.Refusal_REFUSAL_BUCKET,
	} {
		require.EqualValues(t, m, refusal)
	}
	require.Len(t, peerv1.Refusal_name, 4)

	// What no clock can have counted stays a time.
	mad := renewedFrom(&peerv1.RenewResponse{Nodes: []*peerv1.NodeAge{{AgeMicros: math.MaxUint64}}})
	require.Greater(t, mad.Nodes[0].Age, time.Hour)
	require.Less(t, renewalFrom(&peerv1.RenewRequest{ClockSkewMicros: math.MinInt64}).Report.ClockSkew, -time.Hour)
}

// otherNode answers every question as a test says.
type otherNode struct {
	peer.Handlers
	err error
}

func (o *otherNode) Place(context.Context, *peerv1.PlaceRequest) (*peerv1.PlaceResponse, error) {
	if o.err == nil {
		panic("an error that nobody thought of")
	}
	return nil, o.err
}

func (o *otherNode) Tail(context.Context, *peerv1.TailRequest) (*peerv1.TailResponse, error) {
	return nil, o.err
}

func (o *otherNode) Follow(_ context.Context, q *peerv1.FollowRequest, send func([]byte) error) error {
	return errors.Join(send([]byte{byte(q.GetChainEpoch())}), o.err)
}

type noLogs struct{ api.Service }

func (noLogs) Limits(fragment.LogID) (fragment.Limits, error) {
	return fragment.Limits{}, api.ErrNotFound
}

// TestPeerErrors: what another member found wrong is the same error here; a
// connection that broke is none of them, unless nothing was sent.
func TestPeerErrors(t *testing.T) {
	id := fragment.ClusterID{1}
	other := &otherNode{}
	s, err := server.New(server.Config{Logs: noLogs{}, ClusterID: id.String(), Register: peer.Register(id.String(), other)})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	defer func() {
		require.NoError(t, s.Close(context.Background()))
		serving.Wait()
	}()
	p := &peers{client: peer.New(peer.Config{}), addr: func(identity string) string {
		if identity == "n2-00" {
			return l.Addr().String()
		}
		return ""
	}}
	defer p.client.Close() //nolint:errcheck // a test's
	p.Introduce(id, "n1-00")
	place := func() error {
		_, err := p.Place(t.Context(), l.Addr().String(), 1)
		return err
	}
	all := []error{cluster.ErrNotLeader, cluster.ErrBusy, cluster.ErrClosed, cluster.ErrRefused, cluster.ErrUncertain, cluster.ErrUnreachable}
	for name, c := range map[string]struct{ given, want error }{
		"not leader":          {fromCluster(&cluster.NotLeaderError{Leader: "n3-00"}), cluster.ErrNotLeader},
		"busy":                {fromCluster(cluster.ErrBusy), cluster.ErrBusy},
		"closed":              {fromCluster(cluster.ErrClosed), cluster.ErrClosed},
		"failed":              {fromCluster(fmt.Errorf("%w: disk", cluster.ErrFailed)), cluster.ErrClosed},
		"refused":             {fromCluster(&cluster.RefusedError{Reason: "no"}), cluster.ErrRefused},
		"uncertain":           {fromCluster(&cluster.UncertainError{Err: cluster.ErrBusy}), cluster.ErrUncertain},
		"the caller's end":    {fromCluster(context.DeadlineExceeded), cluster.ErrBusy},
		"anything":            {fromCluster(errors.New("what?")), cluster.ErrUncertain},
		"a panic":             {nil, cluster.ErrUncertain},
		"too many calls":      {&api.BusyError{What: "too many calls"}, cluster.ErrBusy},
		"of the layers below": {api.ErrInvalid, cluster.ErrRefused},
	} {
		other.err = c.given
		err := place()
		for _, x := range all {
			require.Equal(t, x == c.want, errors.Is(err, x) && (x == cluster.ErrUncertain || !errors.Is(err, cluster.ErrUncertain)), "%s: %v is a %v", name, err, x)
		}
		if name == "not leader" {
			leads, _ := errors.AsType[*cluster.NotLeaderError](err)
			require.Equal(t, "n3-00", leads.Leader)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.Confirm(ctx, l.Addr().String())
	require.ErrorIs(t, err, cluster.ErrUnreachable)
	require.ErrorIs(t, err, context.Canceled)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	_, err = p.Propose(t.Context(), closed.Addr().String(), nil)
	require.ErrorIs(t, err, cluster.ErrUnreachable)
	require.ErrorContains(t, err, syscall.ECONNREFUSED.Error())
	broken := toCluster(&peer.BrokenError{Addr: "x", Sent: true, Err: io.ErrUnexpectedEOF})
	for _, x := range all {
		require.NotErrorIs(t, broken, x)
	}
	require.NoError(t, toCluster(nil))
	require.NoError(t, fromCluster(nil))

	other.err = api.ErrDeleted
	_, err = p.Tail(t.Context(), "n2-00", 1)
	require.ErrorIs(t, err, api.ErrDeleted)
	_, err = p.Tail(t.Context(), "n9-00", 1)
	require.ErrorIs(t, err, api.ErrUnavailable)
	require.ErrorContains(t, err, "has no address")
	other.err = &api.ElsewhereError{Node: "n3-00"}
	_, err = p.Tail(t.Context(), "n2-00", 1)
	require.Equal(t, other.err, err)
	f, err := p.Follow(t.Context(), "n2-00", 7)
	require.NoError(t, err)
	b, err := f.Next()
	require.NoError(t, err)
	require.Equal(t, []byte{7}, b)
	_, err = f.Next()
	require.Equal(t, other.err, err)
	require.NoError(t, f.Close())
	f, err = p.Follow(t.Context(), "n9-00", 7)
	require.ErrorIs(t, err, api.ErrUnavailable)
	require.True(t, f == nil, "not a nil of another type")
	require.NoError(t, p.client.Close())
	f, err = p.Follow(t.Context(), "n2-00", 7)
	require.ErrorIs(t, err, api.ErrUnavailable)
	require.True(t, f == nil)
}
