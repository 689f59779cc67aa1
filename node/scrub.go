package node

import (
	"time"

	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal"
)

// scrubOf tells of the scrub of a node's logs, as it crosses the wire.
func scrubOf(logs *wal.Service) *adminv1.Scrub {
	x := logs.Scrub()
	s := &adminv1.Scrub{
		Off: x.Off, Passes: x.Passes, BeganMicros: microsOf(x.Began), EndedMicros: microsOf(x.Ended),
		Objects: x.Objects, ObjectsOf: x.ObjectsOf, Bytes: x.Bytes, Skipped: x.Skipped, ProblemsTotal: x.ProblemsTotal,
	}
	for _, p := range x.Problems {
		s.Problems = append(s.Problems, &adminv1.ScrubProblem{
			Kind: string(p.Kind), Object: p.Object, Objects: p.Objects, LogId: uint64(p.Log), Log: p.Name,
			From: uint64(p.From), To: uint64(p.To), Detail: p.Detail, SinceMicros: microsOf(p.Since),
		})
	}
	return s
}

// microsOf is a time as it crosses the wire; 0: it is none.
func microsOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
