package blobstore

import (
	"errors"
	"io"
)

// partsReader reads parts as if they were joined. Its size is fixed.
type partsReader struct {
	parts [][]byte
	size  int64
	at    int64 // position in the whole
	i     int   // the part that holds it
	off   int   // and where in that part
}

func (r *partsReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && r.i < len(r.parts) {
		m := copy(p[n:], r.parts[r.i][r.off:])
		r.advance(m)
		n += m
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// WriteTo hands the parts on without a buffer between.
func (r *partsReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for r.i < len(r.parts) {
		n, err := w.Write(r.parts[r.i][r.off:])
		r.advance(n)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// advance moves on by m bytes of the current part.
func (r *partsReader) advance(m int) {
	r.at += int64(m)
	r.off += m
	if r.off == len(r.parts[r.i]) {
		r.i, r.off = r.i+1, 0
	}
}

// Seek implements io.Seeker.
func (r *partsReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	default:
		return 0, errors.New("seek: unknown whence")
	}
	if offset < 0 {
		return 0, errors.New("seek: negative position")
	}
	r.at, r.i, r.off = offset, 0, 0
	for left := offset; r.i < len(r.parts); r.i++ {
		if n := int64(len(r.parts[r.i])); left < n {
			r.off = int(left)
			break
		} else {
			left -= n
		}
	}
	return offset, nil
}

// Len is what is left to read, in bytes.
func (r *partsReader) Len() int { return int(max(r.size-r.at, 0)) }
