package fsm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// VersionError says that a snapshot was written by a version of wpd that this
// one can't read.
type VersionError struct{ Have, Known uint32 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("snapshot has format version %d, this version of wpd knows %d", e.Have, e.Known)
}

// CorruptError says that a snapshot is damaged.
type CorruptError struct {
	Offset int64 // bytes that were read before it was noticed
	Reason string
	Err    error // may be nil
}

func (e *CorruptError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("corrupt snapshot at byte %d: %s: %v", e.Offset, e.Reason, e.Err)
	}
	return fmt.Sprintf("corrupt snapshot at byte %d: %s", e.Offset, e.Reason)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// Restore reads what Snapshot wrote, to the end of r. A *VersionError and a
// *CorruptError speak of the snapshot; any other error is that of r. What it
// allocates is bounded by what it has read.
func Restore(r io.Reader) (*State, error) {
	sr := &snapshotReader{buf: bufio.NewReaderSize(r, 64<<10)}
	if err := sr.header(); err != nil {
		return nil, err
	}
	l := &loader{s: New()}
	for !l.ended {
		rec, err := sr.record()
		if err != nil {
			return nil, err
		}
		if err := l.load(rec); err != nil {
			return nil, sr.corrupt("bad record", err)
		}
	}
	if err := sr.trailer(); err != nil {
		return nil, err
	}
	l.flush()
	if err := l.s.Check(); err != nil {
		return nil, sr.corrupt("the state contradicts itself", err)
	}
	return l.s, nil
}

type snapshotReader struct {
	buf    *bufio.Reader
	sum    uint32
	offset int64
}

func (r *snapshotReader) corrupt(reason string, err error) error {
	return &CorruptError{Offset: r.offset, Reason: reason, Err: err}
}

// read returns the next n bytes; n is small.
func (r *snapshotReader) read(n int) ([]byte, error) {
	b := make([]byte, n)
	got, err := io.ReadFull(r.buf, b)
	r.offset += int64(got)
	r.sum = crc32.Update(r.sum, castagnoli, b[:got])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, r.corrupt("it ends early", io.ErrUnexpectedEOF)
	}
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	return b, nil
}

// ReadByte makes it an io.ByteReader for lengths.
func (r *snapshotReader) ReadByte() (byte, error) {
	b, err := r.read(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (r *snapshotReader) header() error {
	b, err := r.read(len(snapshotMagic) + 4)
	if err != nil {
		return err
	}
	if string(b[:len(snapshotMagic)]) != snapshotMagic {
		return r.corrupt("it does not begin like one", nil)
	}
	if v := binary.LittleEndian.Uint32(b[len(snapshotMagic):]); v != snapshotVersion {
		return &VersionError{Have: v, Known: snapshotVersion}
	}
	return nil
}

func (r *snapshotReader) record() (*fsmpb.Record, error) {
	n, err := r.length()
	if err != nil {
		return nil, err
	}
	b, err := r.read(n)
	if err != nil {
		return nil, err
	}
	rec := new(fsmpb.Record)
	if err := proto.Unmarshal(b, rec); err != nil {
		return nil, r.corrupt("bad record", err)
	}
	if hasUnknown(rec.ProtoReflect()) {
		return nil, r.corrupt("a record has unknown parts", nil)
	}
	return rec, nil
}

func (r *snapshotReader) length() (int, error) {
	var n uint64
	for shift := 0; shift < 21; shift += 7 { // three bytes hold recordBytesMax
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if n > recordBytesMax {
				break
			}
			return int(n), nil
		}
	}
	return 0, r.corrupt(fmt.Sprintf("a record is longer than %d bytes", recordBytesMax), nil)
}

func (r *snapshotReader) trailer() error {
	want := r.sum
	b, err := r.read(4)
	if err != nil {
		return err
	}
	if have := binary.LittleEndian.Uint32(b); have != want {
		return r.corrupt(fmt.Sprintf("checksum is %08x, not %08x", want, have), nil)
	}
	switch _, err := r.buf.ReadByte(); {
	case err == nil:
		return r.corrupt("bytes follow its end", nil)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read snapshot: %w", err)
	}
	return nil
}
