package segment

import (
	"context"
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
)

// A chain that lives for a year has a hundred thousand cuts, and each is an
// entry of the metadata, at every node, for ever. So its writer puts one cut in
// the place of some that follow each other, again and again: what is left grows
// with the bytes of the indexes, and with the logarithm of their number.
//
// A merge forgets one thing: where the logs stood at the ends of cuts within it.
// Its index has every row of theirs, and the states at its end, so what was read
// at an LSN before is read from the same fragment after it; nothing of a
// fragment changes. The index objects that it replaces stay where they are: some
// reader may just have learned of them.
//
// The last cut is never merged. What a seal says rests on the states at the end
// of that one, and if its object is lost, they are made again from the chain
// between its bounds, the same at every sealer, to the byte.
const (
	// mergeRun cuts of one rank are merged into one of the next.
	mergeRun = 16
	// mergeBytesDefault is Options.MergeBytes: a reader has to get an index whole
	// before it finds a row, and that should be no more than a fragment.
	mergeBytesDefault = 2 << 20
	// mergeRead bounds the index objects that a merge reads, by how much more
	// than MergeBytes they may have. They are in memory together, about four
	// times as large.
	mergeRead = 4
	// rankFull is that of a cut that is as large as it may be.
	rankFull = 255
)

// mergeCuts merges cuts as long as there are any to merge. Nothing waits for it,
// and what it does not get done, the next cut does.
func (w *Writer) mergeCuts(ctx context.Context) {
	if w.opts.Merge == nil || !w.merging.TryLock() {
		return
	}
	defer w.merging.Unlock()
	for ctx.Err() == nil {
		cuts, i, j := w.segment.mergeable()
		if i == j {
			return
		}
		err := w.merge(ctx, cuts, i, j)
		switch {
		case err == nil:
			continue
		case ctx.Err() == nil:
			w.opts.Metrics.mergeErrors.Inc()
			w.opts.Logger.Warn("merge cuts", "chain", w.chain.Epoch, "from", cuts[i].From, "to", cuts[j-1].To, "err", err)
		}
		return
	}
}

// merge puts one cut in the place of cuts [i, j), or of as many of the first as
// fit into one.
func (w *Writer) merge(ctx context.Context, cuts []Cut, i, j int) error {
	var bytes uint64
	for k := i; k < j; k++ {
		if bytes += cuts[k].Index.Size; bytes > mergeRead*uint64(w.opts.MergeBytes) {
			j = k
		}
	}
	var all []*fragment.Index
	for k := i; k < j && j-i > 1; k++ {
		x, err := w.committedIndex(ctx, cuts[:k+1])
		if err != nil {
			return err
		}
		all = append(all, x)
	}
	for ; len(all) > 1; all = all[:len(all)/2] {
		x := joined(all)
		if encodeIndex(w.chain.Cluster, w.chain.Epoch, x, fragment.ObjectBytesMax).Size > w.opts.MergeBytes {
			continue
		}
		ref, err := writeIndex(ctx, w.store, w.chain.Cluster, w.chain.Epoch, x)
		if err != nil {
			return err
		}
		c := Cut{From: x.From, To: x.To, Index: ref}
		if err := w.opts.Merge(ctx, c); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		w.opts.Metrics.merges.Inc()
		return w.segment.merged(c, len(all))
	}
	w.segment.full(i)
	return nil
}

// committedIndex is the index of the last of cuts.
func (w *Writer) committedIndex(ctx context.Context, cuts []Cut) (*fragment.Index, error) {
	if c := w.opts.Cache; c != nil {
		if x := c.index(cuts[len(cuts)-1].Index.Key); x != nil {
			return x, nil
		}
	}
	x, _, err := loadIndex(ctx, w.store, w.chain, cuts, nil)
	return x, err
}

// joined is the index of a run of cuts, of which each begins where the one
// before ends.
func joined(run []*fragment.Index) *fragment.Index {
	first, last := run[0], run[len(run)-1]
	t := newTally(first.From)
	for _, x := range run {
		t.addRows(x, 0)
	}
	x := t.index()
	x.To, x.States = last.To, last.States
	return x
}

// mergeable returns the committed cuts, and which of them are next to be merged:
// [i, j), empty if none are.
func (s *openSegment) mergeable() (cuts []Cut, i, j int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, j = nextRun(s.ranks)
	return s.cuts, i, j
}

// nextRun returns the last mergeRun cuts that are of one rank and can be merged,
// the oldest of these, and without the very last cut; ranks never rise but to
// rankFull.
func nextRun(ranks []uint8) (i, j int) {
	for j = len(ranks) - 1; j > 0; j = i {
		for i = j - 1; i > 0 && ranks[i-1] == ranks[j-1]; {
			i--
		}
		if j-i >= mergeRun && ranks[i] != rankFull {
			return i, i + mergeRun
		}
	}
	return 0, 0
}

// merged takes in that one cut is in the place of so many. Readers that have the
// others yet may go on with them.
func (s *openSegment) merged(c Cut, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.cuts {
		if j := i + n; s.cuts[i].From == c.From && j <= len(s.cuts) && s.cuts[j-1].To == c.To {
			rank := uint8(rankFull)
			if n == mergeRun {
				rank = s.ranks[i] + 1
			}
			cuts, ranks := append([]Cut(nil), s.cuts[:i]...), append([]uint8(nil), s.ranks[:i]...)
			s.cuts = append(append(cuts, c), s.cuts[j:]...)
			s.ranks = append(append(ranks, rank), s.ranks[j:]...)
			return nil
		}
	}
	return errors.New("the cuts that were merged are not there any more")
}

// full takes in that no other fits to a cut.
func (s *openSegment) full(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ranks[i] = rankFull
}
