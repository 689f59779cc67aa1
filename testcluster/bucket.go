package testcluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/offline"
)

// ReadBucket reads back logs from the bucket alone, without a node. A log
// that the bucket says nothing of is empty. What it reads is noted in the
// ledger as seen. The bucket must verify; what it reports as wrong is an
// error.
func ReadBucket(ctx context.Context, store segment.Store, names []string, l *Ledger) ([]Contents, error) {
	report, err := offline.Verify(ctx, store, offline.VerifyOptions{})
	if err != nil {
		return nil, fmt.Errorf("verify the bucket: %w", err)
	}
	if !report.OK() {
		return nil, fmt.Errorf("the bucket has %d problems: %v", report.ProblemsTotal, report.Problems[:min(len(report.Problems), 10)])
	}
	b, err := offline.Open(ctx, store, offline.Options{})
	if err != nil {
		return nil, fmt.Errorf("read the bucket: %w", err)
	}
	var all []Contents
	for _, name := range names {
		c := Contents{Log: name, First: 1, Tail: 1}
		var log *offline.Log // of several of that name, that which was made last: the others are deleted
		for _, x := range b.Logs() {
			if x.Name == name && (log == nil || x.ID > log.ID) {
				log = x
			}
		}
		if log != nil {
			c.First, c.Tail = log.First, log.End
			for e, err := range b.Read(ctx, log, offline.ReadOptions{}) {
				if lost, ok := errors.AsType[*wpd.DataLossError](err); ok {
					c.Lost = append(c.Lost, Range{lost.From, lost.To})
					continue
				}
				if err != nil {
					return nil, fmt.Errorf("read %s from the bucket: %w", name, err)
				}
				entry := wpd.Entry{LSN: e.LSN, Time: e.Time, Headers: e.Headers, Data: e.Data}
				if err := l.Saw(name, entry); err != nil {
					return nil, fmt.Errorf("read %s from the bucket: %w", name, err)
				}
				c.Entries = append(c.Entries, entry)
			}
		}
		all = append(all, c)
	}
	return all, nil
}
