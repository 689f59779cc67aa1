package segment

import (
	"iter"

	"github.com/wpd-io/wpd/fragment"
)

// The most that the items of an index take as encoded, in bytes; a producer
// besides its name.
const (
	rowBytesMax      = 60
	indexLogBytesMax = 30
	stateBytesMax    = 60
	producerBytesMax = 80
	storedBytesMax   = 40
)

// partBytes is what the items of a part take at most: it fits a frame.
const partBytes = FeedFrameMax - 1<<10

// parts splits an index into indexes of the same range that fit a frame each,
// at least one. Taken in in their order, they are the whole again.
func parts(x *fragment.Index) iter.Seq[*fragment.Index] {
	return func(yield func(*fragment.Index) bool) {
		p := &splitter{all: x, yield: yield}
		p.next()
		for _, l := range x.Logs {
			if !p.log(l) {
				return
			}
		}
		for _, s := range x.States {
			if !p.state(s) {
				return
			}
		}
		yield(p.part)
	}
}

type splitter struct {
	all   *fragment.Index
	yield func(*fragment.Index) bool
	part  *fragment.Index
	bytes int // of part, at most
}

func (p *splitter) next() {
	p.part, p.bytes = &fragment.Index{From: p.all.From, To: p.all.To}, 0
}

// take makes room for an item of n bytes. False: nobody wants more.
func (p *splitter) take(n int) bool {
	if p.bytes+n > partBytes {
		if !p.yield(p.part) {
			return false
		}
		p.next()
	}
	p.bytes += n
	return true
}

func (p *splitter) log(l fragment.IndexLog) bool {
	for rows := l.Rows; len(rows) > 0; {
		if !p.take(indexLogBytesMax + rowBytesMax) {
			return false
		}
		n := min(len(rows), 1+(partBytes-p.bytes)/rowBytesMax)
		p.bytes += (n - 1) * rowBytesMax
		l.Rows, rows = rows[:n], rows[n:]
		p.part.Logs = append(p.part.Logs, l)
	}
	return true
}

// state splits a state by producers; merged, the pieces are the whole.
func (p *splitter) state(s fragment.LogState) bool {
	if !p.take(stateBytesMax) {
		return false
	}
	p.part.States = append(p.part.States, s)
	piece := &p.part.States[len(p.part.States)-1]
	piece.Producers = nil
	for i, x := range s.Producers {
		part := p.part
		if !p.take(producerBytesMax + len(x.Name) + storedBytesMax*len(x.Batches)) {
			return false
		}
		if p.part != part { // it goes on there
			p.bytes += stateBytesMax
			p.part.States = append(p.part.States, s)
			piece = &p.part.States[0]
			piece.Producers = nil
		}
		piece.Producers = append(piece.Producers, s.Producers[i])
	}
	return true
}
