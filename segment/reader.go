package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/wpd-io/wpd/fragment"
)

// Reader reads chains: where slices are, and the slices. Safe for concurrent
// use. Everything it returns is shared and must not be changed.
type Reader struct {
	store  Store
	cache  *Cache
	flight singleflight.Group // one read serves all that wait for it
	wg     sync.WaitGroup     // reads that somebody waits or waited for

	mu     sync.Mutex
	closed bool
	busy   map[string]int // slices being read, by object
}

// NewReader makes a reader; cache may be shared with writers. nil: none.
func NewReader(store Store, cache *Cache) *Reader {
	if cache == nil {
		cache = NewCache(0)
	}
	return &Reader{store: store, cache: cache, busy: make(map[string]int)}
}

// Close waits for reads under way. Later ones fail with ErrClosed.
func (r *Reader) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wg.Wait()
}

// View is a chain as far as it can be read: either what is open, or its cuts
// and its seal.
type View struct {
	Chain  Chain
	Cuts   []Cut
	Sealed *Cut // [last cut, seal), once the chain is sealed
	Open   Open // before that; it knows its own cuts
	// Attached lists, of a sealed chain, the logs that are on no later one.
	// It is asked if the last index must be made again.
	Attached func() []Stay
}

// Rows returns up to most rows of a log's stay, from the one that holds from
// on, of one segment: the next call goes on behind the last. None means that
// the chain holds no such LSN (yet).
func (r *Reader) Rows(ctx context.Context, v View, k Stay, from fragment.LSN, most int) ([]fragment.Row, error) {
	cuts := v.Cuts
	if v.Open != nil {
		if rows := v.Open.Rows(k, from, most); len(rows) > 0 {
			return rows, nil
		}
		cuts = v.Open.Cuts() // after the rows: what is in neither was never there
	} else if v.Sealed != nil {
		cuts = append(cuts[:len(cuts):len(cuts)], *v.Sealed)
	}
	lo, hi := 0, len(cuts)
	for lo < hi {
		mid := (lo + hi) / 2
		x, err := r.index(ctx, v, cuts[:mid+1])
		if err != nil {
			return nil, err
		}
		if st, ok := x.State(k.Log); ok && st.Attachment >= k.Attachment && st.End > from {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo == len(cuts) {
		return nil, nil
	}
	x, err := r.index(ctx, v, cuts[:lo+1])
	if err != nil {
		return nil, err
	}
	rows := rowsFrom(x.Find(k.Log, k.Attachment), from, most)
	if st, _ := x.State(k.Log); len(rows) == 0 || rows[0].First > from {
		// The chain held it, but its index does not say where.
		hole := fragment.Row{N: x.From, First: from, Count: uint64(st.End - from), Lost: true}
		if len(rows) > 0 {
			hole.Count = uint64(rows[0].First - from)
		}
		return []fragment.Row{hole}, nil
	}
	return rows, nil
}

// Final returns the index at the end of a sealed chain, which knows where all
// its logs ended.
func (r *Reader) Final(ctx context.Context, v View) (*fragment.Index, error) {
	return r.index(ctx, v, append(v.Cuts[:len(v.Cuts):len(v.Cuts)], *v.Sealed))
}

// State returns where a log stands at the end of a chain, as far as that is
// known. False: the chain holds nothing of it.
func (r *Reader) State(ctx context.Context, v View, log fragment.LogID) (fragment.LogState, bool, error) {
	if v.Sealed != nil {
		x, err := r.Final(ctx, v)
		if err != nil {
			return fragment.LogState{}, false, err
		}
		s, ok := x.State(log)
		return s, ok, nil
	}
	s, ok := v.Open.State(log)
	cuts := v.Open.Cuts() // after the state: what is not in it is in one of these
	if len(cuts) == 0 {
		return s, ok, nil
	}
	x, err := r.index(ctx, v, cuts)
	if err != nil {
		return fragment.LogState{}, false, err
	}
	before, found := x.State(log)
	switch {
	case !found:
		return s, ok, nil
	case ok && s.Attachment >= before.Attachment:
		return before.Merge(s), true, nil
	}
	return before, true, nil
}

// index returns the index of the last of cuts, of which there must be one. If
// its object is damaged or missing, the index is made again from the chain.
func (r *Reader) index(ctx context.Context, v View, cuts []Cut) (*fragment.Index, error) {
	ref := cuts[len(cuts)-1].Index
	if x := r.cache.index(ref.Key); x != nil {
		return x, nil
	}
	var attached func() []Stay
	if v.Sealed != nil && len(cuts) > len(v.Cuts) {
		attached = v.Attached
	}
	got, err := r.once(ctx, ref.Key, func(ctx context.Context) (any, error) {
		if x := r.cache.index(ref.Key); x != nil { // it came in between
			return x, nil
		}
		x, _, err := loadIndex(ctx, r.store, v.Chain, cuts, attached)
		if err == nil {
			r.cache.putIndex(ref.Key, x, int(ref.Size))
		}
		return x, err
	})
	if err != nil {
		return nil, err
	}
	return got.(*fragment.Index), nil
}

// once runs f for all that ask for key at the same time. A caller whose ctx
// ends stops waiting; the read goes on for the others.
func (r *Reader) once(ctx context.Context, key string, f func(ctx context.Context) (any, error)) (any, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, fmt.Errorf("read %s: %w", key, ErrClosed)
	}
	r.wg.Add(1) // not in the read's goroutine: Close could be faster
	r.mu.Unlock()
	c := r.flight.DoChan(key, func() (any, error) { return f(context.WithoutCancel(ctx)) })
	select {
	case x := <-c:
		r.wg.Done()
		return x.Val, x.Err
	case <-ctx.Done():
		go func() {
			<-c
			r.wg.Done()
		}()
		return nil, ctx.Err()
	}
}

// begin says that a slice of an object is about to be read, and how many
// others are being read.
func (r *Reader) begin(key string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy[key]++
	return r.busy[key] - 1
}

func (r *Reader) ended(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[key]--; r.busy[key] == 0 {
		delete(r.busy, key)
	}
}

// Damage says that LSNs of a slice can't be read.
type Damage struct {
	From, To fragment.LSN
	Object   string
	Err      error // Is fragment.ErrCorrupt, fs.ErrNotExist, or a *LostError
}

// Slice is what could be read of a slice: its batches in order, and what is
// missing between them.
type Slice struct {
	Batches []fragment.Batch
	Damage  []Damage
}

// Slice reads the slice that a row of a stay stands for. Damage is part of the
// result; an error means that the store did not answer.
func (r *Reader) Slice(ctx context.Context, e fragment.Epoch, k Stay, row fragment.Row) (Slice, error) {
	key := fragment.ChainKey(e, row.N)
	if row.Lost {
		return lostRow(key, row, &LostError{Object: key, Epoch: e, N: row.N}), nil
	}
	batches, near := r.cache.slice(e, row.N, k.Log)
	if fits(batches, k, row) {
		return Slice{Batches: batches}, nil
	}
	slice := fmt.Sprintf("%s/%d", key, k.Log)
	if !near {
		v, err := r.once(ctx, slice, func(ctx context.Context) (any, error) {
			if b := r.cache.peek(e, row.N); b != nil && fits(b.slices[k.Log], k, row) { // it came in between
				return Slice{Batches: b.slices[k.Log]}, nil
			}
			defer r.ended(key)
			if r.begin(key) > 0 && r.cache.bytesMax >= fragment.FragmentBytes {
				return nil, errNear
			}
			return r.part(ctx, key, e, k, row)
		})
		if !errors.Is(err, errNear) {
			return r.result(v, err, key, k, row)
		}
	}
	// Somebody else wants another slice of it: it is read whole, for all.
	v, err := r.once(ctx, key, func(ctx context.Context) (any, error) { return r.whole(ctx, key, e, row.N) })
	if errors.Is(err, errNotWhole) {
		v, err = r.once(ctx, slice, func(ctx context.Context) (any, error) { return r.part(ctx, key, e, k, row) })
	}
	return r.result(v, err, key, k, row)
}

var (
	errNear     = errors.New("another slice of the object is being read")
	errNotWhole = errors.New("the object can't be read whole; its slices may")
)

// lostRow is a slice of which nothing can be read.
func lostRow(key string, row fragment.Row, err error) Slice {
	return Slice{Damage: []Damage{{From: row.First, To: row.End(), Object: key, Err: err}}}
}

// result makes a Slice of what a read came to.
func (r *Reader) result(v any, err error, key string, k Stay, row fragment.Row) (Slice, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return lostRow(key, row, fmt.Errorf("read %s: %w", key, err)), nil
	}
	if err != nil {
		return Slice{}, err // the store did not answer: that is no damage
	}
	switch x := v.(type) {
	case map[fragment.LogID][]fragment.Batch:
		b := x[k.Log]
		if !fits(b, k, row) {
			return lostRow(key, row, &fragment.CorruptError{Object: key, Reason: "the slice that the index names is not in it"}), nil
		}
		return Slice{Batches: b}, nil
	case Slice:
		return x, nil
	}
	return Slice{}, fmt.Errorf("read %s: %T", key, v)
}

// fits says whether batches of an object that was read whole, which says itself
// what is in it, are those that a row stands for.
func fits(b []fragment.Batch, k Stay, row fragment.Row) bool {
	return row.Fits(b) && b[0].Attachment() == k.Attachment
}

// whole reads a fragment that several logs want something of, and returns its
// slices.
func (r *Reader) whole(ctx context.Context, key string, e fragment.Epoch, n uint64) (map[fragment.LogID][]fragment.Batch, error) {
	if x := r.cache.peek(e, n); x != nil && x.whole { // it came in between
		return x.slices, nil
	}
	b, _, err := r.store.ReadRange(ctx, key, 0, fragment.ObjectBytesMax)
	if err != nil {
		return nil, err
	}
	f, err := fragment.Decode(b)
	if err != nil || f.Head.Epoch != e || f.Head.N != n {
		return nil, errNotWhole
	}
	all := make(map[fragment.LogID][]fragment.Batch, len(f.Batches))
	for i, s := range f.Directory.Slices {
		all[s.Log] = f.Batches[i]
	}
	r.cache.put(e, &f)
	return all, nil
}

// part reads one slice by its range. What does not check is read once more,
// in case it was damaged on its way only, before it is called damaged.
func (r *Reader) part(ctx context.Context, key string, e fragment.Epoch, k Stay, row fragment.Row) (Slice, error) {
	var b []byte
	for range 2 {
		var err error
		if b, _, err = r.store.ReadRange(ctx, key, int64(row.Offset), int64(row.Length)); err != nil {
			return Slice{}, err
		}
		batches, err := fragment.ReadRow(k.Log, k.Attachment, e, row, b)
		if err == nil {
			r.cache.putSlice(e, row.N, k.Log, batches, len(b))
			return Slice{Batches: batches}, nil
		}
		if _, newer := errors.AsType[*fragment.VersionError](err); newer {
			return Slice{}, fragment.At(err, key, 0) // not lost: this program is too old for it
		}
	}
	return salvage(key, e, k, row, b), nil
}

// salvage finds the batches of a damaged slice that are whole, wherever they
// are: each proves by its checksums that it is of this log, and by its stamps
// where it belongs.
func salvage(key string, e fragment.Epoch, k Stay, row fragment.Row, b []byte) Slice {
	var s Slice
	next, at := row.First, 0
	var why error
	for at < len(b) {
		batch, _, err := fragment.ReadBatch(b[at:], k.Log)
		if err == nil && batch.Epoch() == e && batch.Attachment() == k.Attachment && batch.From() >= next && batch.To() <= row.End() &&
			batch.Time() >= row.TimeMin && batch.Time() <= row.TimeMax {
			if batch.From() > next {
				s.Damage = append(s.Damage, Damage{next, batch.From(), key, cause(why, key, row)})
				why = nil
			}
			s.Batches = append(s.Batches, batch)
			next = batch.To()
			at += batch.Len()
			continue
		}
		if why == nil {
			why = fragment.At(err, key, int64(row.Offset)+int64(at))
		}
		at++
		if skip := fragment.FindBatch(b[at:]); skip < 0 {
			break
		} else {
			at += skip
		}
	}
	if next < row.End() {
		s.Damage = append(s.Damage, Damage{next, row.End(), key, cause(why, key, row)})
	}
	return s
}

func cause(why error, key string, row fragment.Row) error {
	if why != nil {
		return why
	}
	return &fragment.CorruptError{Object: key, Offset: int64(row.Offset), Reason: "batches are missing"}
}
