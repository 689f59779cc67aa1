package fragment

import (
	"cmp"
	"slices"
)

// SumEvery is how often a directory sums up: that of every 64th fragment
// holds the Index of the last 64, itself included.
const SumEvery = 64

// Index says where the slices of objects [From, To) of a chain are, and where
// the logs stand at To.
type Index struct {
	From, To uint64
	Logs     []IndexLog // by log, then attachment
	// States are, in an index object, those of all logs attached to the
	// chain so far; in a sum, of those that its objects touched.
	States []LogState
}

// IndexLog holds the slices of one log under one attachment, in order.
type IndexLog struct {
	Log        LogID
	Attachment Attachment
	Rows       []Row
}

// Row is one slice. Lost says that a gap stands for its fragment: then only
// N, First and Count mean anything.
type Row struct {
	N                uint64
	Offset, Length   uint32 // bytes, in the object
	First            LSN
	Count            uint64
	TimeMin, TimeMax Micros
	Lost             bool
}

// End is the LSN after the slice.
func (r Row) End() LSN { return r.First + LSN(r.Count) }

// Fits says whether batches are what the row stands for, by their LSNs and by the
// times of the first and the last: where two clusters have given out the same
// numbers, those tell their entries apart.
func (r Row) Fits(batches []Batch) bool {
	if len(batches) == 0 {
		return false
	}
	first, last := batches[0], batches[len(batches)-1]
	return first.From() == r.First && last.To() == r.End() && first.Time() == r.TimeMin && last.Time() == r.TimeMax
}

// Find returns the rows of a log under an attachment, nil if there are none.
func (x *Index) Find(log LogID, a Attachment) []Row {
	i, ok := slices.BinarySearchFunc(x.Logs, IndexLog{Log: log, Attachment: a}, compareIndexLog)
	if !ok {
		return nil
	}
	return x.Logs[i].Rows
}

// State returns the state of a log at To.
func (x *Index) State(log LogID) (LogState, bool) {
	i, ok := slices.BinarySearchFunc(x.States, log, func(s LogState, id LogID) int { return cmp.Compare(s.Log, id) })
	if !ok {
		return LogState{}, false
	}
	return x.States[i], true
}

func compareIndexLog(a, b IndexLog) int {
	return cmp.Or(cmp.Compare(a.Log, b.Log), cmp.Compare(a.Attachment, b.Attachment))
}

func appendIndex(dst []byte, x *Index) []byte {
	dst = appendUvarint(dst, x.From)
	dst = appendUvarint(dst, x.To-x.From)
	dst = appendUvarint(dst, uint64(len(x.Logs)))
	for _, l := range x.Logs {
		dst = appendUvarint(dst, uint64(l.Log))
		dst = appendUvarint(dst, uint64(l.Attachment))
		dst = appendUvarint(dst, uint64(len(l.Rows)))
		prev := Row{N: x.From}
		for _, r := range l.Rows {
			dst = r.append(dst, prev)
			prev = r
		}
	}
	return appendStates(dst, x.States)
}

// append encodes a row as its difference from the one before.
func (r Row) append(dst []byte, prev Row) []byte {
	lost := uint64(0)
	if r.Lost {
		lost = 1
	}
	dst = appendUvarint(dst, (r.N-prev.N)<<1|lost)
	dst = appendUvarint(dst, uint64(r.First-prev.End()))
	dst = appendUvarint(dst, r.Count)
	dst = appendUvarint(dst, uint64(r.Offset))
	dst = appendUvarint(dst, uint64(r.Length))
	dst = appendMicros(dst, r.TimeMin-prev.TimeMax)
	return appendMicros(dst, r.TimeMax-r.TimeMin)
}

func (c *cursor) index() *Index {
	x := &Index{From: c.uvarint()}
	x.To = x.From + c.uvarint()
	if x.To < x.From {
		c.fail("index of objects [%d, %d)", x.From, x.To)
	}
	logs := c.count(indexLogMin)
	x.Logs = room[IndexLog](logs)
	for range logs {
		l := IndexLog{Log: LogID(c.uvarint()), Attachment: Attachment(c.uvarint())}
		if n := len(x.Logs); n > 0 && compareIndexLog(x.Logs[n-1], l) >= 0 {
			c.fail("logs of an index are out of order")
		}
		n := c.count(rowMin)
		l.Rows = room[Row](n)
		prev := Row{N: x.From}
		for range n {
			r := c.row(prev)
			if r.N >= x.To || r.N < prev.N || r.First < prev.End() || r.End() < r.First {
				c.fail("rows of log %d are out of order", l.Log)
			}
			if c.err != nil {
				return x
			}
			l.Rows = append(l.Rows, r)
			prev = r
		}
		x.Logs = append(x.Logs, l)
	}
	x.States = c.states()
	return x
}

func (c *cursor) row(prev Row) Row {
	n := c.uvarint()
	r := Row{
		N:      prev.N + n>>1,
		Lost:   n&1 != 0,
		First:  prev.End() + LSN(c.uvarint()),
		Count:  c.uvarint(),
		Offset: uint32(c.bounded(ObjectBytesMax)),
		Length: uint32(c.bounded(ObjectBytesMax)),
	}
	r.TimeMin = prev.TimeMax + c.micros()
	r.TimeMax = r.TimeMin + c.micros()
	return r
}
