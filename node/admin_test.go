package node_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal/api"
	"github.com/wpd-io/wpd/wal/offline"
)

func TestStatus(t *testing.T) {
	dir := t.TempDir()
	before := time.Now()
	n, err := node.Open(t.Context(), node.Config{
		Bucket: "file://" + dir + "/objects", DataDir: dir + "/node", Name: "alpha", Listen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0",
		Version: "v1.2.3", Commit: "abc", Settings: []node.Setting{{Key: "cache", Value: "1MiB", Source: "flag"}},
	})
	require.NoError(t, err)
	s := newSender(t, n, "a")
	s.send(t)
	require.NoError(t, s.next(t).err)
	a := dialAdmin(t, n)
	st, err := a.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, "alpha", st.GetNodeId())
	require.Regexp(t, "^alpha-[0-9a-f]{16}$", st.GetIdentity())
	require.Len(t, st.GetClusterId(), 32)
	require.Equal(t, "v1.2.3", st.GetVersion())
	require.Equal(t, "abc", st.GetCommit())
	require.GreaterOrEqual(t, st.GetStartedMicros(), before.UnixMicro())
	require.GreaterOrEqual(t, st.GetNowMicros(), st.GetStartedMicros())
	require.Equal(t, "file://"+dir+"/objects", st.GetBucket())
	require.Equal(t, dir+"/node", st.GetDataDir())
	require.Len(t, st.GetListeners(), 2)
	require.Equal(t, n.Addr().String(), st.GetListeners()[0].GetAddr())
	require.Equal(t, "http", st.GetListeners()[1].GetName())
	require.Equal(t, n.HTTPAddr().String(), st.GetListeners()[1].GetAddr())
	require.EqualValues(t, 1, st.GetBoot())
	require.EqualValues(t, 1, st.GetIncarnation())
	require.Positive(t, st.GetRaftIndex())
	require.EqualValues(t, 1, st.GetChainEpoch())
	require.EqualValues(t, 1, st.GetLogs())
	require.Empty(t, st.GetFailure())
	require.False(t, st.GetDraining())
	require.EqualValues(t, 1, st.GetStats().GetAppendedEntries())
	require.EqualValues(t, 1, st.GetStats().GetAppendStreams())
	if _, err := os.Stat("/proc/self/status"); err == nil {
		require.Positive(t, st.GetStats().GetRssBytes())
		require.GreaterOrEqual(t, st.GetStats().GetRssPeakBytes(), st.GetStats().GetRssBytes()/2)
	}
	settings, err := a.Config(t.Context())
	require.NoError(t, err)
	require.Len(t, settings, 1)
	require.Equal(t, "cache", settings[0].GetKey())
	require.Equal(t, "1MiB", settings[0].GetValue())
	require.Equal(t, "flag", settings[0].GetSource())
	require.NoError(t, n.Close())
}

func TestSetLogLevel(t *testing.T) {
	var log lockedBuffer
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	n, err := node.Open(t.Context(), node.Config{
		Bucket: "mem://", Level: level, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: level})),
	})
	require.NoError(t, err)
	require.Empty(t, log.String())
	was, err := n.SetLogLevel("Debug")
	require.NoError(t, err)
	require.Equal(t, "warn", was)
	require.Equal(t, slog.LevelDebug, level.Level())
	require.Contains(t, log.String(), "log level changed")
	_, err = n.SetLogLevel("verbose")
	require.ErrorIs(t, err, api.ErrInvalid)
	require.NoError(t, n.Close())
	for _, s := range []string{"debug", "info", "warn", "error"} {
		l, err := node.ParseLevel(s)
		require.NoError(t, err)
		require.Equal(t, s, node.LevelText(l))
	}
}

func TestReadObject(t *testing.T) {
	w, mem := serving(t)
	p := start(t, w)
	mem.Put("x/largest", make([]byte, 16<<20-1))
	mem.Put("x/larger", make([]byte, 16<<20))
	for key, want := range map[string]int{"cluster.json": -1, "x/largest": 16<<20 - 1} {
		b, err := p.Node.ReadObject(t.Context(), key)
		require.NoError(t, err)
		if want < 0 {
			there, _ := mem.Object(key)
			require.Equal(t, there, b)
			continue
		}
		require.Len(t, b, want)
	}
	_, err := p.Node.ReadObject(t.Context(), "x/larger")
	requireAs[*api.LimitError](t, err)
	_, err = p.Node.ReadObject(t.Context(), "x/none")
	require.ErrorIs(t, err, api.ErrNotFound)
	for _, key := range []string{"", "/etc/passwd", "../x", "a//b"} {
		_, err = p.Node.ReadObject(t.Context(), key)
		require.ErrorIs(t, err, api.ErrInvalid, key)
	}
	broken := p.Faults.Add(blobtest.Fault{Kind: blobtest.Read, Before: blobtest.ErrFault})
	_, err = p.Node.ReadObject(t.Context(), "x/largest")
	require.ErrorIs(t, err, api.ErrUnavailable)
	require.Positive(t, broken.Hits())
	broken.Remove()
	stop(t, p)
}

// TestVerifyAndMeasure: a server verifies its bucket and measures it, also at
// the same time as it works, but only one of these at a time; and what a
// measurement that was cut short has left is no damage.
func TestVerifyAndMeasure(t *testing.T) {
	w, mem := serving(t)
	w.Config.AllowBench = true
	p := start(t, w)
	s := newSender(t, p.Node, "a")
	for range 10 {
		s.send(t)
		require.NoError(t, s.next(t).err)
	}
	a := dialAdmin(t, p.Node)
	verify := func() (r struct {
		OK bool `json:"ok"`
		*offline.Report
		Seconds float64 `json:"seconds"`
	}) {
		b, err := a.Verify(t.Context(), func(uint64, uint64) {})
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &r))
		return r
	}
	require.True(t, verify().OK)
	require.EqualValues(t, 10, verify().Entries)

	m, err := a.MeasureRaw(t.Context())
	require.NoError(t, err)
	for i := range 2 {
		r, err := m.Measure(t.Context(), &adminv1.MeasureRawRequest{ObjectBytes: 1000, Concurrency: 4, Objects: 50})
		require.NoError(t, err)
		require.Len(t, r.GetCreateMicros(), 50)
		require.Positive(t, r.GetElapsedMicros())
		require.Zero(t, r.GetRemovedBytes())
		require.Len(t, mem.Keys("scratch/"), 50*(i+1), "what was made stays")
	}
	require.True(t, verify().OK, "between two measurements the node is free")
	require.NoError(t, m.Close())
	require.Empty(t, mem.Keys("scratch/"), "what was made is removed")

	// While one runs, the other is refused; cut off, it leaves nothing.
	rule := p.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Hang: true, Prefix: "scratch/", Skip: 7})
	ctx, cancel := context.WithCancel(t.Context())
	measured := make(chan error, 1)
	own, err := p.Node.MeasureRaw(ctx)
	require.NoError(t, err)
	go func() {
		_, err := own.Measure(ctx, &adminv1.MeasureRawRequest{ObjectBytes: 1000, Concurrency: 3, Objects: 50})
		own.End()
		measured <- err
	}()
	require.NoError(t, rule.Wait(t.Context(), 3))
	require.Len(t, mem.Keys("scratch/"), 7)
	_, err = p.Node.Verify(t.Context(), func(uint64, uint64) {})
	requireAs[*api.BusyError](t, err)
	_, err = p.Node.MeasureRaw(t.Context())
	requireAs[*api.BusyError](t, err)
	s.send(t)
	require.NoError(t, s.next(t).err, "the node works on")
	cancel()
	require.ErrorIs(t, <-measured, context.Canceled)
	rule.Release()
	require.Empty(t, mem.Keys("scratch/"))

	mem.Put("scratch/0123-00000001", []byte("left by a node that died"))
	mem.Put("scratch/0123-00000002", []byte("left by a node that died"))
	r := verify()
	require.True(t, r.OK)
	require.EqualValues(t, 11, r.Entries)
	var notes []string
	for _, n := range r.Notes {
		if n.Kind == offline.NoteForeign {
			notes = append(notes, n.Object)
		}
	}
	require.Equal(t, []string{"scratch/"}, notes)

	// A node that closes ends it too.
	rule = p.Faults.Add(blobtest.Fault{Kind: blobtest.Read, Hang: true, Prefix: "chains/"})
	go func() {
		_, err := p.Node.Verify(t.Context(), func(uint64, uint64) {})
		measured <- err
	}()
	require.NoError(t, rule.Wait(t.Context(), 1))
	rule.Remove()
	stop(t, p)
	require.ErrorIs(t, <-measured, api.ErrClosed)
}

func TestMeasureRefuses(t *testing.T) {
	w, mem := newWorld(t)
	p := start(t, w)
	_, err := p.Node.MeasureRaw(t.Context())
	require.ErrorIs(t, err, api.ErrForbidden)
	stop(t, p)
	w.Config.AllowBench = true
	p = start(t, w)
	m, err := p.Node.MeasureRaw(t.Context())
	require.NoError(t, err)
	for _, r := range []*adminv1.MeasureRawRequest{
		{}, {ObjectBytes: 1, Concurrency: 1}, {ObjectBytes: 1, Objects: 1}, {Objects: 1, Concurrency: 1},
	} {
		_, err := m.Measure(t.Context(), r)
		require.ErrorIs(t, err, api.ErrInvalid, "%v", r)
	}
	for _, r := range []*adminv1.MeasureRawRequest{
		{ObjectBytes: 8<<20 + 1, Concurrency: 1, Objects: 1}, {ObjectBytes: 1, Concurrency: 65, Objects: 1},
		{ObjectBytes: 1, Concurrency: 1, Objects: 4097}, {ObjectBytes: 8 << 20, Concurrency: 1, Objects: 513},
		{ObjectBytes: 1<<32 - 1, Concurrency: 1<<32 - 1, Objects: 1<<32 - 1},
	} {
		_, err := m.Measure(t.Context(), r)
		requireAs[*api.LimitError](t, err)
	}
	require.Empty(t, mem.Keys("scratch/"))
	m.End()
	stop(t, p)
	_, err = p.Node.MeasureRaw(t.Context())
	require.ErrorIs(t, err, api.ErrClosed)
}
