package segment

import (
	"context"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
)

// Salvaged is what could be found of the batches of an object whose directory
// can't be read.
type Salvaged struct {
	// Batches of each stay, in order of their LSNs. Each is whole, of its log
	// and of this chain; between them, some may be missing.
	Batches map[fragment.Attachment][]fragment.Batch
	// Complete says that the object's body holds nothing but these batches:
	// nothing of it is lost.
	Complete bool
}

// Salvage looks for whole batches in object n of a chain, whose directory
// can't be read. logOf says whose an attachment is: only a batch that proves
// by its checksums to be of that log, and by its stamps to be of this chain,
// counts. Errors: fs.ErrNotExist; whatever keeps the store from answering.
func Salvage(ctx context.Context, store Store, e fragment.Epoch, n uint64, logOf func(fragment.Attachment) (fragment.LogID, bool)) (Salvaged, error) {
	key := fragment.ChainKey(e, n)
	b, _, err := store.ReadRange(ctx, key, 0, fragment.ObjectBytesMax+1)
	if err != nil {
		return Salvaged{}, fmt.Errorf("read %s: %w", key, err)
	}
	s := Salvaged{Batches: make(map[fragment.Attachment][]fragment.Batch)}
	end, known := bodyEnd(b)
	at := min(fragment.HeadLen, len(b))
	whole := true
	for at < end {
		batch, _, err := fragment.SplitBatch(b[at:end])
		if err == nil && s.take(batch, e, logOf) {
			at += batch.Len()
			continue
		}
		whole = false
		skip := fragment.FindBatch(b[at+1 : end])
		if skip < 0 {
			break
		}
		at += 1 + skip
	}
	s.Complete = known && whole
	return s, nil
}

func (s *Salvaged) take(b fragment.Batch, e fragment.Epoch, logOf func(fragment.Attachment) (fragment.LogID, bool)) bool {
	a := b.Attachment()
	log, ok := logOf(a)
	if !ok || b.Epoch() != e || b.Verify(log) != nil {
		return false
	}
	if have := s.Batches[a]; len(have) > 0 && have[len(have)-1].To() > b.From() {
		return false
	}
	s.Batches[a] = append(s.Batches[a], b)
	return true
}

// bodyEnd is where the batches of an object end, and whether that is known.
func bodyEnd(b []byte) (int, bool) {
	if h, err := fragment.DecodeHead(b); err == nil {
		offset, _ := h.Directory()
		return min(offset, len(b)), offset <= len(b)
	}
	if f, ok := fragment.ReadFooter(b); ok && f.DirOffset >= fragment.HeadLen && f.DirOffset <= uint64(len(b)) {
		return int(f.DirOffset), true
	}
	return len(b), false
}
