package fragment

import (
	"cmp"
	"slices"
)

// Object is one encoded object: the bytes to store, in parts, and what they
// say. Nothing of it may be changed.
type Object struct {
	Head      Head
	Directory *Directory
	Parts     [][]byte // the bytes, in order
	Size      int      // their sum
}

// Encode makes an object without slices: an opening, a seal, a gap, an index.
func Encode(h Head, d *Directory) Object { return encode(h, d, nil, headLen) }

// encode puts header, body, directory and footer together; end is where the
// body ends.
func encode(h Head, d *Directory, body [][]byte, end int) Object {
	dir := d.encode()
	h.dirOffset, h.dirLen = end, len(dir)
	head := h.encode()
	parts := make([][]byte, 0, len(body)+2)
	parts = append(parts, head)
	parts = append(parts, body...)
	parts = append(parts, append(dir, h.footer(head, dir)...))
	return Object{Head: h, Directory: d, Parts: parts, Size: h.Len()}
}

// gatherMax is the size up to which a batch is copied next to its neighbours
// when a fragment is frozen. A larger one is stored from where it lies, and so
// is held once, however long its producer keeps it for a retry, and the cache
// for its readers. Few parts and few copied bytes both matter.
const gatherMax = 4 << 10

// pointEvery is the distance of a slice's points, in bytes.
const pointEvery = 64 << 10

// Builder collects the batches of one fragment, in any order of logs; those
// of one log in their order. Not safe for concurrent use. The zero value is
// ready.
type Builder struct {
	slices map[LogID]*building
	order  []*building // by log, once laid out
	bytes  int
}

type building struct {
	slice   Slice
	batches []Batch
}

// Add puts a stamped batch behind those of its log.
func (b *Builder) Add(log LogID, batch Batch) {
	s := b.slices[log]
	if s == nil {
		if b.slices == nil {
			b.slices = make(map[LogID]*building)
		}
		s = &building{slice: Slice{Log: log, Attachment: batch.Attachment(), First: batch.From(), TimeMin: batch.Time()}}
		b.slices[log] = s
		b.bytes += sliceBytes
	}
	if last := s.slice.Points; len(s.batches) > 0 && int(s.slice.Length)-lastPoint(last) >= pointEvery {
		s.slice.Points = append(last, Point{LSN: batch.From(), Offset: s.slice.Length})
	}
	s.batches = append(s.batches, batch)
	s.slice.Count += uint32(batch.Count())
	s.slice.Length += uint32(batch.Len())
	s.slice.TimeMax = batch.Time()
	s.slice.Sum = checksumAdd(s.slice.Sum, batch.header())
	b.bytes += batch.Len() + storedBatchBytes
}

func lastPoint(points []Point) int {
	if len(points) == 0 {
		return 0
	}
	return int(points[len(points)-1].Offset)
}

// What a slice and a batch take in the directory, about: with the ends that
// the next fragment repeats.
const (
	sliceBytes       = 96
	storedBatchBytes = 24
)

// Len is about how large the fragment would be, in bytes.
func (b *Builder) Len() int { return b.bytes }

// Slices is the number of logs that have batches here.
func (b *Builder) Slices() int { return len(b.slices) }

// Frozen is a fragment whose bytes will not change any more.
type Frozen struct {
	Object
	Batches [][]Batch // per slice of the directory
}

// Layout decides where everything lies, and fills in the slices of d. Nothing
// may be added after it.
func (b *Builder) Layout(d *Directory) {
	b.order = make([]*building, 0, len(b.slices))
	for _, s := range b.slices {
		b.order = append(b.order, s)
	}
	slices.SortFunc(b.order, func(a, b *building) int { return cmp.Compare(a.slice.Log, b.slice.Log) })
	d.Slices = make([]Slice, len(b.order))
	end := uint32(headLen)
	for i, s := range b.order {
		s.slice.Offset = end
		end += s.slice.Length
		d.Slices[i] = s.slice
	}
}

// Freeze makes the fragment; d is the directory that Layout was given. The
// bytes of small batches are copied next to each other, and what Freeze
// returns refers to the copies: the originals are not needed any more.
func (b *Builder) Freeze(h Head, d *Directory) Frozen {
	var body gatherer
	frozen := Frozen{Batches: make([][]Batch, len(b.order))}
	end := headLen
	for i, s := range b.order {
		for j := range s.batches {
			body.add(&s.batches[j])
		}
		frozen.Batches[i] = s.batches
		end += int(s.slice.Length)
	}
	frozen.Object = encode(h, d, body.finish(), end)
	return frozen
}

// gatherer joins small neighbours into one part.
type gatherer struct {
	parts [][]byte
	small []*Batch // neighbours not joined yet
	bytes int
}

func (g *gatherer) add(b *Batch) {
	if len(b.b) > gatherMax {
		g.finish()
		g.parts = append(g.parts, b.b)
		return
	}
	g.small = append(g.small, b)
	g.bytes += len(b.b)
}

func (g *gatherer) finish() [][]byte {
	if len(g.small) > 0 {
		joined := make([]byte, 0, g.bytes)
		for _, b := range g.small {
			start := len(joined)
			joined = append(joined, b.b...)
			b.b = joined[start:len(joined):len(joined)]
		}
		clear(g.small)
		g.parts, g.small, g.bytes = append(g.parts, joined), g.small[:0], 0
	}
	return g.parts
}
