package offline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// Entry is one entry of a log.
type Entry struct {
	LSN  fragment.LSN
	Time time.Time // of its append
	fragment.Entry
}

// ReadOptions say what to read of a log.
type ReadOptions struct {
	From  fragment.LSN // the first LSN to read; 0: the first left
	Last  uint64       // start so many entries before the end instead
	To    fragment.LSN // end before this LSN; 0: at the end
	Limit uint64       // end after so many entries; 0: no
}

// start is the LSN that a read begins at.
func (l *Log) start(o ReadOptions) (fragment.LSN, error) {
	switch {
	case o.Last > 0:
		return l.End - fragment.LSN(min(o.Last, uint64(l.End-l.First))), nil
	case o.From == 0:
		return l.First, nil
	case o.From < l.First:
		return 0, &api.TrimmedError{LSN: o.From, First: l.First}
	case o.From > l.End:
		return 0, &api.BeyondTailError{LSN: o.From, Tail: l.End}
	}
	return o.From, nil
}

// Read returns the entries of a log, in order. An error is the last thing it
// yields, but for an *api.DataLossError: entries [From, To) can't be read,
// and it goes on behind them. Where nothing tells how many were lost at the end of a
// log, To is only known not to be exceeded. Other errors: *api.TrimmedError,
// *api.BeyondTailError; a *fragment.VersionError; whatever keeps the store
// from answering.
func (b *Bucket) Read(ctx context.Context, l *Log, o ReadOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		from, err := l.start(o)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		r := &reading{log: l, next: from, to: l.End, left: o.Limit, yield: yield}
		if o.To != 0 {
			r.to = min(r.to, o.To)
		}
		if o.Limit == 0 {
			r.left = 1<<64 - 1
		}
		for i, p := range l.places {
			x := l.Extents[i]
			if x.To <= r.next || r.over() {
				continue
			}
			if x.From > r.next { // only the first extent does not begin where another ends
				r.lose(r.next, x.From, fragment.ChainsPrefix(), errNoChain)
			}
			if err := r.place(ctx, b, p, x.To); err != nil {
				r.fail(fmt.Errorf("read log %s: %w", l.Ref(), err))
				return
			}
		}
		if p := l.places[len(l.places)-1]; p.missing && r.next == l.End && (o.To == 0 || o.To > l.End) {
			r.to = l.End + lostUnknown
			r.lose(l.End, r.to, fragment.ChainKey(p.chain.epoch, p.chain.lost), errUnknownEnd)
		}
	}
}

// Why entries are lost that no damaged object held.
var (
	errUnknownEnd = errors.New("objects at the end of the log's last chain can't be read, and nothing tells how many entries they held")
	errNoChain    = fmt.Errorf("the chain that held these entries is gone: %w", fs.ErrNotExist)
	errHole       = fmt.Errorf("nothing holds these entries, and no object is known to be missing: %w", fragment.ErrCorrupt)
	errShort      = fmt.Errorf("the chain ends here, though the log went on: %w", fs.ErrNotExist)
)

// reading is one read. It is the sink of a ledger.
type reading struct {
	log   *Log
	next  fragment.LSN // that comes next
	to    fragment.LSN // the end
	left  uint64       // entries until the limit
	yield func(Entry, error) bool
	ended bool // nothing more is wanted
	chain *chain
}

func (r *reading) over() bool { return r.ended || r.next >= r.to }

// place reads what one chain holds of the log, up to to.
func (r *reading) place(ctx context.Context, b *Bucket, p *place, to fragment.LSN) error {
	r.chain = p.chain
	spans := p.spans
	for len(spans) > 1 && spans[1].first <= r.next {
		spans = spans[1:]
	}
	g := newLedger(r)
	g.only = p.attachment
	st := &stand{log: p.log, attachment: p.attachment, next: p.first, limit: to}
	if len(spans) > 0 {
		st.next = max(p.first, spans[0].first)
	}
	g.stays[p.attachment] = st
	o := segment.ScanOptions{Only: segment.Stay{Log: p.log, Attachment: p.attachment}}
	for _, s := range spans {
		if s.first >= r.to && s.first > p.first {
			break
		}
		for x, err := range segment.ScanRange(ctx, b.store, b.segment(p.chain.epoch), s.from, s.to, o) {
			if err != nil {
				return err
			}
			if err := enter(ctx, b.store, g, x); err != nil {
				return err
			}
			if _, newer := errors.AsType[*fragment.VersionError](x.Damage); newer && !r.over() {
				return x.Damage
			}
			if r.over() {
				return nil
			}
		}
	}
	g.tellStand(st, to, p.chain.end)
	return nil
}

// batches implements sink.
func (r *reading) batches(_ *stand, n uint64, all []fragment.Batch) {
	for _, b := range all {
		if b.To() <= r.next || r.over() {
			continue
		}
		if lsn, err := r.batch(b); err != nil {
			r.lose(lsn, b.To(), fragment.ChainKey(b.Epoch(), n), err)
		}
	}
}

// batch gives the entries of a batch. An error says that those from the LSN
// on can't be decoded.
func (r *reading) batch(b fragment.Batch) (fragment.LSN, error) {
	entries, err := b.Entries()
	if err != nil {
		return b.From(), err
	}
	at := time.UnixMicro(int64(b.Time())).UTC()
	for lsn := b.From(); !r.over(); lsn++ {
		e, ok := entries.Next()
		if !ok {
			return lsn, entries.Err()
		}
		if lsn < r.next {
			continue
		}
		r.next = lsn + 1
		r.left--
		r.ended = !r.yield(Entry{LSN: lsn, Time: at, Entry: e}, nil) || r.left == 0
	}
	return 0, nil
}

// lost implements sink.
func (r *reading) lost(st *stand, from, to fragment.LSN, at []*loss) {
	switch {
	case len(at) > 0:
		r.lose(from, to, at[0].key, at[0].err)
	case to == st.limit:
		r.lose(from, to, fragment.ChainKey(r.chain.epoch, r.chain.end), errShort)
	default:
		r.lose(from, to, fragment.ChainPrefix(r.chain.epoch), errHole)
	}
}

// double implements sink. What stands twice is read once.
func (r *reading) double(*stand, uint64, fragment.LSN, fragment.LSN) {}

func (r *reading) lose(from, to fragment.LSN, key string, err error) {
	from, to = max(from, r.next), min(to, r.to)
	if from >= to || r.ended {
		return
	}
	r.next = to
	r.fail(&api.DataLossError{Log: r.log.ID, From: from, To: to, Object: key, Err: err})
}

func (r *reading) fail(err error) {
	if !r.ended {
		r.ended = !r.yield(Entry{}, err)
	}
}
