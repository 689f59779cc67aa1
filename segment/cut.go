package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// producerIdle is how long an anonymous producer is remembered after its last
// batch.
const producerIdle = fragment.Micros(10 * time.Minute / time.Microsecond)

// retryCut is the pause after a cut that did not succeed.
const retryCut = time.Second

// maybeCut starts a cut if one is due. Appenders and acknowledgements go on
// meanwhile: nothing waits for a cut.
func (w *Writer) maybeCut() {
	if w.opts.Commit == nil || !w.segment.due(&w.opts) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	if t, _ := w.segment.rotate(); t != nil {
		w.wg.Go(func() {
			if w.cut(w.ctx, t) == nil {
				w.mergeCuts(w.live)
			}
		})
	}
}

// CutNow cuts what is durable, and waits for it: a chain that is cut to its
// end is sealed quickly. A cut that is under way is waited for first. Errors:
// the context's; those of Append, if the chain is over.
func (w *Writer) CutNow(ctx context.Context) error {
	if w.opts.Commit == nil {
		return nil
	}
	for goal := w.segment.to(); w.segment.from() < goal; {
		t, busy := w.segment.rotate()
		if t != nil {
			if err := w.cut(ctx, t); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-busy:
		}
	}
	return nil
}

// cut writes the index object of what was rotated out and has it committed.
// It tries until that is done, or ctx ends, or the chain is over: then the
// slices stay in the open segment's index, for the next cut, or the seal. A
// cut may have been committed though its outcome is not known, so it is
// repeated as it is.
func (w *Writer) cut(ctx context.Context, t *tally) error {
	defer w.segment.release()
	x, states := w.segment.plan()
	for {
		w.mu.Lock()
		over := w.err
		w.mu.Unlock()
		if over != nil {
			return over
		}
		ref, err := writeIndex(ctx, w.store, w.chain.Cluster, w.chain.Epoch, x)
		if err == nil {
			c := Cut{From: t.from, To: t.to, Index: ref}
			if err = w.opts.Commit(ctx, c); err == nil {
				w.opts.Metrics.cuts.Inc()
				if w.opts.Cache != nil {
					w.opts.Cache.putIndex(ref.Key, x, int(ref.Size))
				}
				w.segment.committed(c, states)
				return nil
			}
		}
		w.opts.Metrics.cutErrors.Inc()
		w.opts.Logger.Warn("cut segment", "chain", w.chain.Epoch, "from", t.from, "to", t.to, "err", err)
		select {
		case <-ctx.Done():
			return err
		case <-w.live.Done():
		case <-time.After(retryCut):
		}
	}
}

// expire forgets the anonymous producers that had sent nothing for a while
// when their log got its last batch; the highest such id is remembered, so
// that none of them is ever taken for new. It goes by the times in the chain,
// so that an index can be made again from its chain, to the byte.
func expire(states map[fragment.LogID]fragment.LogState) {
	for id, s := range states {
		var kept []fragment.ProducerState
		for _, p := range s.Producers {
			if p.Name == "" && p.Time < s.Time-producerIdle {
				s.Dropped = max(s.Dropped, p.ID)
			} else {
				kept = append(kept, p)
			}
		}
		if len(kept) < len(s.Producers) {
			s.Producers = kept
			states[id] = s
		}
	}
}

// writeIndex creates an index object. Equal contents make equal objects, so
// whoever repeats it, or does it twice, finds its own.
func writeIndex(ctx context.Context, store Store, cluster fragment.ClusterID, e fragment.Epoch, x *fragment.Index) (Ref, error) {
	o := encodeIndex(cluster, e, x, fragment.ObjectBytesMax)
	if o.Size > fragment.ObjectBytesMax {
		return Ref{}, fmt.Errorf("index of chain %d, objects [%d, %d): %d bytes, an object has at most %d",
			uint64(e), x.From, x.To, o.Size, fragment.ObjectBytesMax)
	}
	sum := fragment.Checksum(o.Parts...)
	ref := Ref{Key: fragment.IndexKey(e, x.From, x.To, sum), Size: uint64(o.Size), Checksum: sum}
	if err := store.Create(ctx, ref.Key, o.Parts...); err != nil {
		return Ref{}, fmt.Errorf("create index %s: %w", ref.Key, err)
	}
	return ref, nil
}

// encodeIndex encodes an index in at most so many bytes, if it can: where it
// is too large, fewer batches per producer are remembered. A retry of one that
// is forgotten is refused as stored; it is never stored again.
func encodeIndex(cluster fragment.ClusterID, e fragment.Epoch, x *fragment.Index, bytesMax int) fragment.Object {
	head := fragment.Head{Kind: fragment.KindIndex, Epoch: e, N: x.To, Cluster: cluster}
	o := fragment.Encode(head, &fragment.Directory{Index: x})
	for keep := fragment.InFlightMax / 2; o.Size > bytesMax && keep > 0; keep /= 2 {
		less := *x
		less.States = make([]fragment.LogState, len(x.States))
		for i, s := range x.States {
			s.Producers = slices.Clone(s.Producers)
			for j := range s.Producers {
				p := &s.Producers[j]
				p.Batches = p.Batches[max(0, len(p.Batches)-keep):]
			}
			less.States[i] = s
		}
		o = fragment.Encode(head, &fragment.Directory{Index: &less})
	}
	return o
}

// readIndex reads the index object that a Ref names.
func readIndex(ctx context.Context, store Store, ref Ref) (*fragment.Index, error) {
	b, size, err := store.ReadRange(ctx, ref.Key, 0, fragment.ObjectBytesMax)
	if err != nil {
		return nil, fmt.Errorf("read index %s: %w", ref.Key, err)
	}
	if uint64(size) != ref.Size || uint64(len(b)) != ref.Size || fragment.Checksum(b) != ref.Checksum {
		return nil, &fragment.CorruptError{Object: ref.Key, Reason: fmt.Sprintf(
			"%d bytes with checksum %08x, the metadata says %d with %08x", size, fragment.Checksum(b), ref.Size, ref.Checksum)}
	}
	f, err := fragment.Decode(b)
	if err != nil {
		return nil, fragment.At(err, ref.Key, 0)
	}
	if f.Directory.Index == nil {
		return nil, &fragment.CorruptError{Object: ref.Key, Reason: "no index, a " + f.Head.Kind.String()}
	}
	return f.Directory.Index, nil
}

// loadIndex reads the index of the last of cuts. One that is damaged or
// missing is made again from the chain itself, on top of the cut before; then
// it comes with what was found. attached is given where the last of cuts ends
// with the seal: if objects are lost there that nothing tells the content of,
// LSNs of these logs are given up, as Seal does.
func loadIndex(ctx context.Context, store Store, c Chain, cuts []Cut, attached func() []Stay) (*fragment.Index, *findings, error) {
	if len(cuts) == 0 {
		return &fragment.Index{From: 1, To: 1}, nil, nil
	}
	before, last := cuts[:len(cuts)-1], cuts[len(cuts)-1]
	var x *fragment.Index
	err := rereading(func() (err error) {
		x, err = readIndex(ctx, store, last.Index)
		return err
	})
	if !errors.Is(err, fragment.ErrCorrupt) && !errors.Is(err, fs.ErrNotExist) {
		return x, nil, err
	}
	base, remade, err := loadIndex(ctx, store, c, before, nil)
	if err != nil {
		return nil, nil, err
	}
	var stays []Stay
	if attached != nil {
		stays = attached()
	}
	f := newFindings(c.Epoch, last.From, base, stays)
	if remade != nil {
		f.carry(remade)
	}
	if err := readSure(ctx, store, c, last.From, last.To, isLost, f.add); err != nil {
		return nil, nil, err
	}
	if attached != nil {
		f.giveUp()
	}
	return f.index(last.To), f, nil
}
