package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/wal/offline"
)

// offlineOptions are those of a read from a bucket alone; what of the
// selection they can't say, readOffline does.
func (s *selection) offlineOptions() (offline.ReadOptions, error) {
	o := offline.ReadOptions{To: s.to}
	switch {
	case s.follow, s.linearizable, s.from.kind == placeTail:
		return o, errors.New("a bucket alone can't be followed, and knows of no tail: --follow, --linearizable and --from tail need a server, or --data-dir")
	case s.from.kind == placeLSN:
		o.From = wpd.LSN(s.from.n)
	case s.from.kind == placeLast:
		o.Last = s.from.n
	}
	return o, nil
}

// readOffline reads from a bucket alone.
func (s *selection) readOffline(cmd *cobra.Command, bucket, ref string) (err error) {
	o, err := s.offlineOptions()
	if err != nil {
		return usage(cmd, err)
	}
	timeout, _ := cmd.Flags().GetDuration("timeout")
	if timeout < 0 || cmd.Flags().Changed("addr") {
		return usagef(cmd, "--bucket alone asks no server, and a --timeout is not negative")
	}
	ctx, cancel := target{timeout: timeout}.context(cmd.Context())
	defer cancel()
	store, err := openForReading(ctx, bucket)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	out := newReadOutput(cmd, s)
	b, err := offline.Open(ctx, store, offline.Options{Progress: func(p offline.Progress) {
		out.progress.say("looking for logs: %s of %s objects", countText(p.Objects), countText(p.Of))
	}})
	if err != nil {
		return err
	}
	l, err := b.Find(ref)
	if err != nil {
		return err
	}
	next, err := s.copyOffline(ctx, b, l, o, out)
	return out.end(l.Ref(), next, err)
}

// copyOffline writes what the bucket has of a log, and returns the LSN behind
// what was written.
func (s *selection) copyOffline(ctx context.Context, b *offline.Bucket, l *offline.Log, o offline.ReadOptions, out *readOutput) (next wpd.LSN, err error) {
	next = max(o.From, l.First)
	for e, err := range b.Read(ctx, l, o) {
		switch {
		case typed[*wpd.DataLossError](err):
			if err := out.lost(err); err != nil {
				return next, err
			}
			continue
		case err != nil:
			return next, err
		case s.from.kind == placeTime && e.Time.Before(s.from.time):
			continue
		case !s.until.IsZero() && !e.Time.Before(s.until): // times never decrease within a log
			return next, nil
		}
		if err := out.write([]wpd.Entry{{LSN: e.LSN, Time: e.Time, Headers: e.Headers, Data: e.Data}}); err != nil {
			return next, err
		}
		if next = e.LSN + 1; out.count == s.limit {
			break
		}
	}
	return next, nil
}

// openForReading opens a bucket that must be there: a directory that is not is
// no bucket to be made.
func openForReading(ctx context.Context, bucket string) (*blobstore.Bucket, error) {
	if u, err := url.Parse(bucket); err == nil && u.Scheme == "file" && u.Path != "" {
		if _, err := os.Stat(u.Path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open bucket: %w", err)
		}
	}
	return blobstore.Open(ctx, bucket, blobstore.Options{})
}
