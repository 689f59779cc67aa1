package fragment

// DecodeDirectory decodes the directory of an object: head is its first
// HeadLen bytes, tail all from the directory on, to the end (see
// Head.Directory). Errors: *CorruptError, *VersionError.
func DecodeDirectory(h Head, head, tail []byte) (*Directory, error) {
	if len(tail) != h.dirLen+footLen || len(head) < headLen {
		return nil, corrupt(h.dirOffset, "directory and footer: %d bytes, want %d", len(tail), h.dirLen+footLen)
	}
	dir, foot := tail[:h.dirLen], tail[h.dirLen:]
	if err := h.checkFooter(head, dir, foot); err != nil {
		return nil, err
	}
	d, err := decodeDirectory(dir, h.dirOffset)
	if err != nil {
		return nil, err
	}
	return d, d.check(h)
}

// Decode decodes a whole object and checks every checksum in it, down to the
// batches. Errors: *CorruptError, *VersionError.
func Decode(b []byte) (Frozen, error) {
	h, err := DecodeHead(b)
	if err != nil {
		return Frozen{}, err
	}
	if len(b) != h.Len() {
		return Frozen{}, corrupt(min(len(b), h.Len()), "object has %d bytes, want %d", len(b), h.Len())
	}
	d, err := DecodeDirectory(h, b[:headLen], b[h.dirOffset:])
	if err != nil {
		return Frozen{}, err
	}
	f := Frozen{Object: Object{Head: h, Directory: d, Parts: [][]byte{b}, Size: len(b)}, Batches: make([][]Batch, len(d.Slices))}
	for i, s := range d.Slices {
		if f.Batches[i], err = s.Read(h.Epoch, b[s.Offset:s.Offset+s.Length]); err != nil {
			return Frozen{}, err
		}
	}
	return f, nil
}

// check holds a directory against its header: the parts fit the kind, and the
// slices fill the body without a hole.
func (d *Directory) check(h Head) error {
	end := uint64(headLen)
	for _, s := range d.Slices {
		if uint64(s.Offset) != end || s.Count == 0 || s.Length < batchHeaderLen || s.First == 0 || s.End() <= s.First {
			return corrupt(h.dirOffset, "directory: slice of log %d, %d entries from LSN %d, %d bytes at %d, does not follow byte %d",
				s.Log, s.Count, s.First, s.Length, s.Offset, end)
		}
		end += uint64(s.Length)
	}
	if end != uint64(h.dirOffset) {
		return corrupt(h.dirOffset, "directory: the slices end at byte %d, the directory starts at %d", end, h.dirOffset)
	}
	ok := true
	switch h.Kind {
	case KindFragment:
		ok = h.N > 0 && d.Opening == nil && d.Seal == nil
	case KindOpening:
		ok = h.N == 0 && d.Opening != nil && d.Slices == nil
	case KindSeal, KindGap:
		ok = h.N > 0 && d.Seal != nil && d.Slices == nil
	case KindIndex:
		ok = d.Index != nil && d.Slices == nil && h.N == d.Index.To
	}
	if !ok {
		return corrupt(h.dirOffset, "directory: its parts do not fit a %s", h.Kind)
	}
	return nil
}

// Read splits the bytes of a slice, as they lie at Offset, into its batches,
// and checks each: that it is whole, of this log, chain and attachment, and
// in its place. Errors: *CorruptError, *VersionError.
func (s Slice) Read(e Epoch, b []byte) ([]Batch, error) {
	if len(b) != int(s.Length) || len(b) == 0 {
		return nil, corrupt(int(s.Offset), "slice of log %d: %d bytes, want %d", s.Log, len(b), s.Length)
	}
	batches, sum, err := readBatches(s.Log, s.Attachment, e, s.First, b)
	if err != nil {
		return nil, At(err, "", int64(s.Offset))
	}
	last := batches[len(batches)-1]
	if last.To() != s.End() || sum != s.Sum || batches[0].Time() != s.TimeMin || last.Time() != s.TimeMax {
		return nil, corrupt(int(s.Offset), "slice of log %d: its batches do not fit the directory", s.Log)
	}
	return batches, s.checkPoints(batches)
}

// checkPoints checks that every point is the start of a batch.
func (s Slice) checkPoints(batches []Batch) error {
	points, offset := s.Points, uint32(0)
	for _, b := range batches {
		if len(points) > 0 && points[0] == (Point{LSN: b.From(), Offset: offset}) {
			points = points[1:]
		}
		offset += uint32(b.Len())
	}
	if len(points) > 0 {
		return corrupt(int(s.Offset+points[0].Offset), "slice of log %d: no batch starts at its point, LSN %d", s.Log, points[0].LSN)
	}
	return nil
}

// ReadRow is Read for what an index row says of a slice.
func ReadRow(log LogID, a Attachment, e Epoch, r Row, b []byte) ([]Batch, error) {
	if r.Lost {
		return nil, corrupt(int(r.Offset), "slice of log %d: object %d is lost", log, r.N)
	}
	if len(b) != int(r.Length) || len(b) == 0 {
		return nil, corrupt(int(r.Offset), "slice of log %d: %d bytes, want %d", log, len(b), r.Length)
	}
	batches, _, err := readBatches(log, a, e, r.First, b)
	if err != nil {
		return nil, At(err, "", int64(r.Offset))
	}
	if last := batches[len(batches)-1]; last.To() != r.End() {
		return nil, corrupt(int(r.Offset), "slice of log %d: ends at LSN %d, want %d", log, last.To(), r.End())
	}
	if !r.Fits(batches) {
		return nil, corrupt(int(r.Offset), "slice of log %d: appended at other times than it was: it is another cluster's", log)
	}
	return batches, nil
}

func readBatches(log LogID, a Attachment, e Epoch, next LSN, b []byte) ([]Batch, uint32, error) {
	var batches []Batch
	var sum uint32
	for all := len(b); len(b) > 0; {
		at := all - len(b)
		batch, rest, err := ReadBatch(b, log)
		if err != nil {
			return nil, 0, At(err, "", int64(at))
		}
		if batch.From() != next || batch.Epoch() != e || batch.Attachment() != a {
			return nil, 0, corrupt(at, "batch: LSN %d of chain %d, attachment %d, want LSN %d of chain %d, attachment %d",
				batch.From(), batch.Epoch(), batch.Attachment(), next, e, a)
		}
		sum = checksumAdd(sum, batch.header())
		batches = append(batches, batch)
		next, b = batch.To(), rest
	}
	return batches, sum, nil
}
