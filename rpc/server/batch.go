package server

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/wpd-io/wpd/fragment"
)

// batchID says which batch one is.
type batchID struct {
	request  uint64
	log      fragment.LogID
	producer fragment.ProducerID // and the next two: once it was looked at
	epoch    fragment.ProducerEpoch
	sequence uint64 // of its first entry
}

// attrs names a batch in a log.
func (b batchID) attrs(c *call) []any {
	return []any{
		"append", fmt.Sprintf("%s/%d", c.request, b.request), "log", b.log,
		"producer", b.producer, "epoch", b.epoch, "sequence", b.sequence,
	}
}

func (a *appending) logTaken(id batchID, b fragment.Batch) {
	if log := a.s.cfg.Logger; log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("batch taken", append(id.attrs(a.call), "entries", b.Count(), "bytes", b.Len())...)
	}
}

func (a *appending) logAnswer(x answer) {
	log := a.s.cfg.Logger
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	attrs := append(x.batch.attrs(a.call), "from", x.ack.From, "to", x.ack.To)
	if x.err != nil {
		attrs = append(x.batch.attrs(a.call), "err", x.err)
	}
	log.Debug("batch answered", attrs...)
}
