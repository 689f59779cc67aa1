package cluster

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// A command in the raft log is
//
//	version   u8    1
//	checksum  u32   CRC32C of the command, little-endian
//	command         fsm.Encode
//
// because bbolt has no checksum of its own for it.
const (
	envelopeVersion = 1
	envelopeBytes   = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// envelope returns a command's bytes for the raft log.
func envelope(c *fsmpb.Command) ([]byte, error) {
	b, err := fsm.Encode(c)
	if err != nil {
		return nil, err
	}
	return sealed(b), nil
}

// sealed puts an envelope around a command's bytes.
func sealed(b []byte) []byte {
	out := make([]byte, 0, envelopeBytes+len(b))
	out = append(out, envelopeVersion)
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(b, castagnoli))
	return append(out, b...)
}

// checkEnvelope reports damage, but no unknown version.
func checkEnvelope(data []byte) error {
	if len(data) < envelopeBytes {
		return fmt.Errorf("corrupt command: %d bytes", len(data))
	}
	if data[0] != envelopeVersion {
		return nil
	}
	want := binary.LittleEndian.Uint32(data[1:])
	if have := crc32.Checksum(data[envelopeBytes:], castagnoli); have != want {
		return fmt.Errorf("corrupt command: checksum is %08x, not %08x", have, want)
	}
	return nil
}

// openEnvelope is the inverse of envelope. After its error the node must stop.
func openEnvelope(index uint64, data []byte) (*fsmpb.Command, error) {
	if err := checkEnvelope(data); err != nil {
		return nil, fmt.Errorf("raft log entry %d: %w", index, err)
	}
	if data[0] != envelopeVersion {
		return nil, &fsm.UnknownCommandError{Index: index, Reason: fmt.Sprintf("envelope version %d, this version of wpd knows %d", data[0], envelopeVersion)}
	}
	c, err := fsm.Decode(data[envelopeBytes:])
	if err != nil {
		return nil, fmt.Errorf("raft log entry %d: %w", index, err)
	}
	return c, nil
}
