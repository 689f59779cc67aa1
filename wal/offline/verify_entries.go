package offline

import (
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// badEntries are entries of a batch that is whole and yet can't be decoded.
type badEntries struct {
	log      fragment.LogID
	from, to fragment.LSN
	err      error
}

// checkEntries decodes every entry of an object. It runs in parallel.
func checkEntries(x *segment.Scanned) {
	var bad []badEntries
	for _, c := range x.Contents {
		for _, b := range c.Batches {
			if n, err := countEntries(b); err != nil {
				bad = append(bad, badEntries{c.Log, b.From() + fragment.LSN(n), b.To(), err})
			}
		}
	}
	x.Note = bad
}

// countEntries walks the entries of a batch.
func countEntries(b fragment.Batch) (n int, err error) {
	entries, err := b.Entries()
	if err != nil {
		return 0, err
	}
	for {
		if _, ok := entries.Next(); !ok {
			return n, entries.Err()
		}
		n++
	}
}

// entries reports what checkEntries found.
func (cc *chainCheck) entries(x *segment.Scanned) {
	bad, _ := x.Note.([]badEntries)
	for _, e := range bad {
		cc.verifier.lost(Problem{Kind: KindCorrupt, Object: x.Key, Log: e.log, Name: cc.name(e.log),
			From: e.from, To: e.to, Detail: fmt.Sprintf("the batch is whole, its entries are not: %v", e.err)})
	}
}
