package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/node/process"
	"github.com/wpd-io/wpd/rpc/server"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

var _ server.Admin = (*Node)(nil)

// Status tells what the node is and how it is, as far as it is open.
func (n *Node) Status(context.Context) (*adminv1.GetStatusResponse, error) {
	s := &adminv1.GetStatusResponse{
		NodeId: n.member.Name(), Identity: n.member.Identity(), ClusterId: n.member.ClusterID().String(),
		Version: n.cfg.Version, Commit: n.cfg.Commit,
		StartedMicros: n.started.UnixMicro(), NowMicros: time.Now().UnixMicro(),
		Bucket: n.store.URL(), DataDir: n.cfg.DataDir,
		Boot: n.member.Boot(), Incarnation: n.member.Incarnation(), RaftIndex: n.member.Applied(),
		Draining: n.isDraining(), Stats: n.Stats(),
	}
	if err := n.member.Space(); err != nil {
		s.Refusal = err.Error()
	}
	n.member.View(func(m *fsm.State) { s.Logs = uint64(m.LogCount()) })
	if logs := n.opened(); logs == nil {
		s.Refusal = starting
	} else {
		s.ChainEpoch, s.Scrub = uint64(logs.Epoch()), scrubOf(logs)
		if err := logs.Err(); err != nil {
			s.Failure = err.Error()
		}
	}
	for _, l := range []*adminv1.Listener{{Name: grpcListener}, {Name: httpListener}} {
		addr := n.Addr()
		if l.Name == httpListener {
			addr = n.HTTPAddr()
		}
		if addr != nil {
			l.Addr = addr.String()
			s.Listeners = append(s.Listeners, l)
		}
	}
	return s, nil
}

// isDraining says whether Close has begun.
func (n *Node) isDraining() bool { return n.draining.Err() != nil }

// Stats are the node's counters. The times of acknowledgements are those of
// the last second, whoever asks and whenever. Before the node is open, those of
// the logs are 0.
func (n *Node) Stats() *adminv1.Stats {
	var w wal.Stats
	if logs := n.opened(); logs != nil {
		w = logs.Stats()
	}
	rss, peak := process.RSS()
	s := &adminv1.Stats{
		NowMicros:       time.Now().UnixMicro(),
		AppendedBatches: w.AppendedBatches, AppendedEntries: w.AppendedEntries, AppendedBytes: w.AppendedBytes,
		ReadBatches: w.ReadBatches, ReadBytes: w.ReadBytes,
		Creates: w.Creates, CreatedBytes: w.CreatedBytes,
		CacheHits: w.CacheHits, CacheMisses: w.CacheMisses, CacheBytes: uint64(w.CacheBytes),
		InFlightBytes: uint64(w.InFlightBytes),
		RssBytes:      uint64(rss), RssPeakBytes: uint64(peak), CpuMicros: uint64(process.CPU().Microseconds()),
		AckP50Micros: uint64(w.AckP50.Microseconds()), AckP99Micros: uint64(w.AckP99.Microseconds()),
		AckMaxMicros: uint64(w.AckMax.Microseconds()),
	}
	if n.server != nil {
		appends, reads := n.server.Stats()
		s.AppendStreams, s.ReadStreams = uint64(appends), uint64(reads)
	}
	return s
}

// Settings are those of the configuration.
func (n *Node) Settings() []*adminv1.Setting {
	all := make([]*adminv1.Setting, len(n.cfg.Settings))
	for i, s := range n.cfg.Settings {
		all[i] = &adminv1.Setting{Key: s.Key, Value: s.Value, Source: s.Source}
	}
	return all
}

// ParseLevel is the inverse of LevelText. Errors: api.ErrInvalid.
func ParseLevel(s string) (slog.Level, error) {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(s, LevelText(l)) {
			return l, nil
		}
	}
	return 0, fmt.Errorf("%w: log level %.32q: want debug, info, warn or error", api.ErrInvalid, s)
}

// LevelText is the name of a log level: debug, info, warn or error.
func LevelText(l slog.Level) string { return strings.ToLower(l.String()) }

// SetLogLevel changes what the node logs, until it stops, and tells what it was
// before. Errors: api.ErrInvalid, api.ErrForbidden.
func (n *Node) SetLogLevel(level string) (previous string, err error) {
	l, err := ParseLevel(level)
	if err != nil {
		return "", err
	}
	if n.cfg.Level == nil {
		return "", fmt.Errorf("%w: the program that this node is part of has fixed its log level", api.ErrForbidden)
	}
	was := n.cfg.Level.Level()
	n.cfg.Level.Set(l)
	n.cfg.Logger.Log(context.Background(), max(l, slog.LevelInfo), "log level changed", "from", LevelText(was), "to", LevelText(l))
	return LevelText(was), nil
}

// ReadObject returns an object of the bucket, of any kind, if it is not larger
// than any of ours. Errors: api.ErrNotFound, api.ErrInvalid, *api.LimitError,
// api.ErrUnavailable.
func (n *Node) ReadObject(ctx context.Context, key string) ([]byte, error) {
	data, size, err := n.store.ReadRange(ctx, key, 0, fragment.ObjectBytesMax)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("object %q: %w", key, api.ErrNotFound)
	case errors.Is(err, blobstore.ErrKey):
		return nil, fmt.Errorf("%w: %w", api.ErrInvalid, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	case size > fragment.ObjectBytesMax:
		return nil, &api.LimitError{What: fmt.Sprintf("bytes of object %q", key), Limit: fragment.ObjectBytesMax, Value: uint64(size)}
	}
	return data, nil
}
