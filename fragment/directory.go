package fragment

import "cmp"

// Directory says what an object holds. Which parts are there follows from the
// object's kind; parts that are not are nil.
type Directory struct {
	Opening  *Opening   // of an opening
	Seal     *Seal      // of a seal or a gap
	Slices   []Slice    // by log; a log stands once
	PrevEnds []End      // the ends of the slices of the object before this one
	Attached []Attached // logs whose first slice under an attachment is here, by log
	States   []LogState // of the logs that this fragment touched, by log
	Index    *Index     // the sum of every 64th fragment; all that an index object is about
}

// Opening is what object 0 says of its chain.
type Opening struct {
	Node   string // identity of the member that writes the chain
	Boot   uint64
	Window uint32 // W: how many fragments may be in flight
	Type   uint32 // how the chain is made durable; 0: one bucket
}

// Seal says who ended the chain, or declared a fragment lost.
type Seal struct {
	Node string
	Boot uint64
}

// Slice is one log's batches inside one fragment.
type Slice struct {
	Log              LogID
	Attachment       Attachment
	First            LSN
	Count            uint32 // entries
	TimeMin, TimeMax Micros
	Offset, Length   uint32 // bytes, in the object
	Sum              uint32 // checksum of the headers of its batches
	Points           []Point
}

// Point says that the batch which starts Offset bytes into a slice starts at
// an LSN; there is one about every 64 KiB.
type Point struct {
	LSN    LSN
	Offset uint32
}

// End is the LSN after the slice.
func (s Slice) End() LSN { return s.First + LSN(s.Count) }

// End is where a log's slice in a fragment ended.
type End struct {
	Log        LogID
	Attachment Attachment
	LSN        LSN
}

// Attached says, with the first slice under an attachment, which log it is.
type Attached struct {
	Log           LogID
	Attachment    Attachment
	Name          string
	EntryBytesMax uint32 // its configuration
	Generation    Generation
	First         LSN // of the extent
	Trim          LSN // the first LSN left when the log was attached
}

// Tags of the directory's sections. A reader skips an unknown section, unless
// its tag has the highest bit: then it must know it.
const (
	sectionOpening  = 0x81
	sectionSeal     = 0x82
	sectionSlices   = 0x83
	sectionPrevEnds = 0x84
	sectionAttached = 0x85
	sectionStates   = 0x86
	sectionIndex    = 0x87
)

func (d *Directory) encode() []byte {
	var out []byte
	section := func(tag byte, there bool, body func(dst []byte) []byte) {
		if there {
			out = appendBytes(append(out, tag), body(nil))
		}
	}
	section(sectionOpening, d.Opening != nil, d.appendOpening)
	section(sectionSeal, d.Seal != nil, d.appendSeal)
	section(sectionSlices, len(d.Slices) > 0, d.appendSlices)
	section(sectionPrevEnds, len(d.PrevEnds) > 0, d.appendPrevEnds)
	section(sectionAttached, len(d.Attached) > 0, d.appendAttached)
	section(sectionStates, len(d.States) > 0, func(b []byte) []byte { return appendStates(b, d.States) })
	section(sectionIndex, d.Index != nil, func(b []byte) []byte { return appendIndex(b, d.Index) })
	return out
}

// decodeDirectory decodes a directory whose checksum was checked; base is its
// offset in the object.
func decodeDirectory(b []byte, base int) (*Directory, error) {
	d := &Directory{}
	for last := byte(0); len(b) > 0; {
		tag := b[0]
		body, rest, ok := cutBytes(b[1:])
		if !ok {
			return nil, corrupt(base, "directory: a section is cut off")
		}
		if tag&0x7f <= last {
			return nil, corrupt(base, "directory: section %#02x is out of order", tag)
		}
		last = tag & 0x7f
		c := newCursor(body, base+len(b)-len(rest)-len(body))
		switch {
		case tag >= sectionOpening && tag <= sectionIndex:
			d.decodeSection(tag, c)
			c.end()
		case tag&0x80 != 0:
			return nil, &VersionError{What: "directory section", Have: uint64(tag), Know: sectionIndex, Offset: int64(base)}
		}
		if c.err != nil {
			return nil, c.err
		}
		base += len(b) - len(rest)
		b = rest
	}
	return d, nil
}

func (d *Directory) decodeSection(tag byte, c *cursor) {
	switch tag {
	case sectionOpening:
		d.Opening = &Opening{Node: c.string(textBytesMax), Boot: c.uvarint(), Window: uint32(c.bounded(1 << 20)), Type: uint32(c.bounded(1 << 20))}
	case sectionSeal:
		d.Seal = &Seal{Node: c.string(textBytesMax), Boot: c.uvarint()}
	case sectionSlices:
		d.decodeSlices(c)
	case sectionPrevEnds:
		n := c.items(endMin)
		d.PrevEnds = room[End](n)
		for range n {
			d.PrevEnds = append(d.PrevEnds, End{LogID(c.uvarint()), Attachment(c.uvarint()), LSN(c.uvarint())})
		}
	case sectionAttached:
		d.decodeAttached(c)
	case sectionStates:
		if d.States = c.states(); len(d.States) == 0 {
			c.fail("an empty section")
		}
	case sectionIndex:
		d.Index = c.index()
	}
}

func (d *Directory) appendOpening(dst []byte) []byte {
	dst = appendBytes(dst, d.Opening.Node)
	dst = appendUvarint(dst, d.Opening.Boot)
	dst = appendUvarint(dst, uint64(d.Opening.Window))
	return appendUvarint(dst, uint64(d.Opening.Type))
}

func (d *Directory) appendSeal(dst []byte) []byte {
	return appendUvarint(appendBytes(dst, d.Seal.Node), d.Seal.Boot)
}

func (d *Directory) appendSlices(dst []byte) []byte {
	dst = appendUvarint(dst, uint64(len(d.Slices)))
	for _, s := range d.Slices {
		dst = appendUvarint(dst, uint64(s.Log))
		dst = appendUvarint(dst, uint64(s.Attachment))
		dst = appendUvarint(dst, uint64(s.First))
		dst = appendUvarint(dst, uint64(s.Count))
		dst = appendMicros(dst, s.TimeMin)
		dst = appendMicros(dst, s.TimeMax-s.TimeMin)
		dst = appendUvarint(dst, uint64(s.Offset))
		dst = appendUvarint(dst, uint64(s.Length))
		dst = le.AppendUint32(dst, s.Sum)
		dst = appendUvarint(dst, uint64(len(s.Points)))
		prev := Point{LSN: s.First}
		for _, p := range s.Points {
			dst = appendUvarint(dst, uint64(p.LSN-prev.LSN))
			dst = appendUvarint(dst, uint64(p.Offset-prev.Offset))
			prev = p
		}
	}
	return dst
}

func (d *Directory) decodeSlices(c *cursor) {
	n := c.items(sliceMin)
	d.Slices = room[Slice](n)
	for range n {
		s := Slice{
			Log: LogID(c.uvarint()), Attachment: Attachment(c.uvarint()),
			First: LSN(c.uvarint()), Count: uint32(c.bounded(ObjectBytesMax)),
			TimeMin: c.micros(),
		}
		s.TimeMax = s.TimeMin + c.micros()
		s.Offset, s.Length = uint32(c.bounded(ObjectBytesMax)), uint32(c.bounded(ObjectBytesMax))
		s.Sum = c.uint32()
		prev := Point{LSN: s.First}
		points := c.count(pointMin)
		s.Points = room[Point](points)
		for range points {
			p := Point{LSN: prev.LSN + LSN(c.uvarint()), Offset: prev.Offset + uint32(c.bounded(ObjectBytesMax))}
			if p.LSN <= prev.LSN || p.LSN >= s.End() || p.Offset <= prev.Offset || p.Offset >= s.Length {
				c.fail("points of the slice of log %d are out of order", s.Log)
				return
			}
			s.Points = append(s.Points, p)
			prev = p
		}
		if n := len(d.Slices); n > 0 && cmp.Compare(s.Log, d.Slices[n-1].Log) <= 0 {
			c.fail("slices are out of order")
		}
		if c.err != nil {
			return
		}
		d.Slices = append(d.Slices, s)
	}
}

func (d *Directory) appendPrevEnds(dst []byte) []byte {
	dst = appendUvarint(dst, uint64(len(d.PrevEnds)))
	for _, e := range d.PrevEnds {
		dst = appendUvarint(dst, uint64(e.Log))
		dst = appendUvarint(dst, uint64(e.Attachment))
		dst = appendUvarint(dst, uint64(e.LSN))
	}
	return dst
}

func (d *Directory) appendAttached(dst []byte) []byte {
	dst = appendUvarint(dst, uint64(len(d.Attached)))
	for _, a := range d.Attached {
		dst = appendUvarint(dst, uint64(a.Log))
		dst = appendUvarint(dst, uint64(a.Attachment))
		dst = appendBytes(dst, a.Name)
		dst = appendUvarint(dst, uint64(a.EntryBytesMax))
		dst = appendUvarint(dst, uint64(a.Generation))
		dst = appendUvarint(dst, uint64(a.First))
		dst = appendUvarint(dst, uint64(a.Trim))
	}
	return dst
}

func (d *Directory) decodeAttached(c *cursor) {
	n := c.items(attachedLogsMin)
	d.Attached = room[Attached](n)
	for range n {
		d.Attached = append(d.Attached, Attached{
			Log: LogID(c.uvarint()), Attachment: Attachment(c.uvarint()), Name: c.string(nameBytesMax),
			EntryBytesMax: uint32(c.bounded(EntryBytesMax)), Generation: Generation(c.uvarint()),
			First: LSN(c.uvarint()), Trim: LSN(c.uvarint()),
		})
	}
}
