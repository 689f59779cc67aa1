package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/wpd-io/wpd/fragment"
)

// Stop ends a chain that somebody seals: no fragment is started any more. What
// is in flight goes on, and is settled by what comes of it; behind that, what
// never was is settled with ErrSealed. Idempotent.
func (w *Writer) Stop() {
	w.mu.Lock()
	w.stopLocked(ErrSealed)
	w.idle.Broadcast()
	w.mu.Unlock()
	w.settle()
}

// SealedAt says that the committed seal of the chain has this number. So all
// fragments below it are part of the chain, also those whose creates were not
// answered yet: they are settled as durable, and no create is waited for any
// longer. The others are settled with ErrSealed.
func (w *Writer) SealedAt(n uint64) {
	w.mu.Lock()
	w.stopLocked(ErrSealed)
	w.sealedAt = n
	w.idle.Broadcast()
	w.mu.Unlock()
	w.cancel()
	w.settle()
}

// countedLocked says whether a fragment whose create ended with err is part of
// the chain all the same: nobody knows what became of the create, but the seal
// stands behind it. A gap stands in its place only where the store has lost it
// after a sealer had read it; the entry was durable, and is reported lost.
func (w *Writer) countedLocked(f *filling, err error) bool {
	_, foreign := errors.AsType[*ForeignError](err)
	return f.n < w.sealedAt && !foreign && !errors.Is(err, ErrSealed)
}

// Look finds out, by what stands where the next fragment would, whether the
// chain was sealed, and ends it then as a create would have. It is for a writer
// that may start none. While some are in flight, or none waits, it does nothing.
func (w *Writer) Look(ctx context.Context) error {
	w.mu.Lock()
	n := w.durable + 1
	idle := w.flying > 0 || w.err != nil || len(w.closed) == 0 && w.open.empty()
	w.mu.Unlock()
	if idle {
		return nil
	}
	key := fragment.ChainKey(w.chain.Epoch, n)
	head, _, err := readHead(ctx, w.store, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at %s: %w", key, err)
	case head.Kind != fragment.KindSeal || head.Epoch != w.chain.Epoch || head.N != n || head.Cluster != w.chain.Cluster:
		return nil // a create judges what else may stand there
	}
	w.Stop()
	return nil
}
