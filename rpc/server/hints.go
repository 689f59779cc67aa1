package server

import (
	"github.com/wpd-io/wpd/fragment"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
)

// hintsMax bounds the logs of which a stream remembers what it was told. Beyond
// that it forgets them all, and the client is told again.
const hintsMax = 4096

// hints tells the client of an Append stream where its logs are written, once
// for each that another node writes, and again when that changes.
type hints struct {
	s    *Server
	told map[fragment.LogID]string // logs that another node writes
}

// about returns what an answer is a reason to tell; nil: nothing. A refused
// batch says by itself where it belongs.
func (h *hints) about(x answer) *logv1.AppendHint {
	if h == nil || x.err != nil {
		return nil
	}
	log := x.batch.log
	addr := h.s.writer(log)
	if addr == h.s.cfg.Addr {
		addr = ""
	}
	if addr == h.told[log] {
		return nil
	}
	if addr == "" {
		delete(h.told, log)
		return nil
	}
	if h.told == nil || len(h.told) >= hintsMax {
		h.told = make(map[fragment.LogID]string)
	}
	h.told[log] = addr
	return &logv1.AppendHint{LogId: uint64(log), WriterAddr: addr}
}
