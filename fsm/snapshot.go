package fsm

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// A snapshot is
//
//	magic      8 bytes  "wpdmeta\n"
//	version    u32      1
//	records    each its length as a uvarint, then a fsmpb.Record
//	checksum   u32      CRC32C of all before it
//
// with integers little-endian, and the records in the order that
// fsmpb/fsm.proto gives, the last one counting those before it. Equal states
// have equal snapshots.
const (
	snapshotMagic   = "wpdmeta\n"
	snapshotVersion = 1

	// recordBytesMax is above the largest record: a cut or chain with a key
	// of RefKeyBytesMax and names of NameBytesMax.
	recordBytesMax = 4 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Frozen is a State at one moment. It is safe for concurrent use, also while
// that State goes on.
type Frozen struct{ s *State }

// Freeze returns the state as it is now. It takes a microsecond, whatever the
// size; what changes afterwards is copied as it changes.
func (s *State) Freeze() *Frozen {
	s.holders = nil // a map, which the two can't share; it is made again if need be
	f := *s
	f.nodes = s.nodes.Clone()
	f.chains = s.chains.Clone()
	f.unsealed = s.unsealed.Clone()
	f.logs = s.logs.Clone()
	f.names = s.names.Clone()
	return &Frozen{s: &f}
}

// Snapshot writes the state to w, for Restore.
func (s *State) Snapshot(w io.Writer) error {
	_, err := s.Freeze().WriteTo(w)
	return err
}

// WriteTo writes a snapshot for Restore, and returns how many bytes it wrote.
func (f *Frozen) WriteTo(w io.Writer) (int64, error) {
	sw := newSnapshotWriter(w)
	f.records(sw.record)
	return sw.finish()
}

// records calls put with all but the end record, in order, until put returns
// false.
func (f *Frozen) records(put func(*fsmpb.Record) bool) {
	s := f.s
	if !put(&fsmpb.Record{Record: &fsmpb.Record_Head{Head: s.headProto()}}) {
		return
	}
	for n := range s.Nodes() {
		if !put(&fsmpb.Record{Record: &fsmpb.Record_Node{Node: n.proto()}}) {
			return
		}
	}
	for c := range s.Chains() {
		if !put(&fsmpb.Record{Record: &fsmpb.Record_Chain{Chain: c.proto()}}) {
			return
		}
		for _, cut := range c.Cuts {
			if !put(&fsmpb.Record{Record: &fsmpb.Record_Cut{Cut: cut.proto()}}) {
				return
			}
		}
	}
	for l := range ascend(s.logs) {
		if !put(&fsmpb.Record{Record: &fsmpb.Record_Log{Log: l.proto()}}) {
			return
		}
		for _, x := range l.Extents {
			if !put(&fsmpb.Record{Record: &fsmpb.Record_Extent{Extent: x.proto()}}) {
				return
			}
		}
	}
}

// snapshotWriter keeps the first error and writes nothing after it.
type snapshotWriter struct {
	buf     *bufio.Writer
	scratch []byte
	sum     uint32
	bytes   int64
	records uint64
	err     error
}

func newSnapshotWriter(w io.Writer) *snapshotWriter {
	sw := &snapshotWriter{buf: bufio.NewWriterSize(w, 64<<10)}
	sw.write(binary.LittleEndian.AppendUint32([]byte(snapshotMagic), snapshotVersion))
	return sw
}

// finish writes what follows the records, and returns how many bytes there
// are in all.
func (w *snapshotWriter) finish() (int64, error) {
	w.record(&fsmpb.Record{Record: &fsmpb.Record_End{End: &fsmpb.End{Records: w.records}}})
	w.write(binary.LittleEndian.AppendUint32(nil, w.sum))
	if w.err == nil {
		w.err = w.buf.Flush()
	}
	if w.err != nil {
		return w.bytes, fmt.Errorf("write snapshot: %w", w.err)
	}
	return w.bytes, nil
}

func (w *snapshotWriter) write(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.buf.Write(b)
	w.sum = crc32.Update(w.sum, castagnoli, b[:n])
	w.bytes += int64(n)
	w.err = err
}

func (w *snapshotWriter) record(r *fsmpb.Record) bool {
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(w.scratch[:0], r)
	if err != nil {
		w.err = err
		return false
	}
	w.scratch = b
	var length [binary.MaxVarintLen64]byte
	w.write(length[:binary.PutUvarint(length[:], uint64(len(b)))])
	w.write(b)
	w.records++
	return w.err == nil
}
