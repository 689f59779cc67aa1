package segment

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// traceCreate tells, at level debug, which LSNs of which logs an object has: the
// last step for who follows an append.
func (w *Writer) traceCreate(key string, f *filling, took time.Duration, err error) {
	log := w.opts.Logger
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	log.Debug("create", "object", key, "bytes", f.frozen.Size, "took", took, "err", err, "holds", holdings(f.frozen.Directory.Slices))
}

// holdingsMax bounds what one line says.
const holdingsMax = 256

func holdings(slices []fragment.Slice) string {
	var b strings.Builder
	for i, s := range slices {
		if i == holdingsMax {
			fmt.Fprintf(&b, " and %d more", len(slices)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "log %d [%d, %d)", s.Log, s.First, s.First+fragment.LSN(s.Count))
	}
	return b.String()
}
