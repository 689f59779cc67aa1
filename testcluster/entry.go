package testcluster

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Entry is what a test entry carries. Log and Producer are words without
// spaces.
type Entry struct {
	Run      uint64
	Log      string
	Producer string
	Seq      uint64 // counts the entries of the producer, from 1
	Nonce    uint64 // of the append, unique in a run
	Index    int    // within the append's batch
	Bytes    int    // length of the data, if it is more than all this takes
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

const entryMagic = "wpdtest1"

// Data returns the bytes of the entry: its fields, padding that depends on
// them, and a checksum of both. Equal entries have equal data.
func (e Entry) Data() []byte {
	b := make([]byte, 0, max(e.Bytes, 128))
	b = fmt.Appendf(b, "%s %x %s %s %d %x %d %d ", entryMagic, e.Run, e.Log, e.Producer, e.Seq, e.Nonce, e.Index, e.Bytes)
	pad := rand.NewPCG(e.Nonce, e.Seq)
	for len(b)+8 < e.Bytes {
		b = append(b, 'a'+byte(pad.Uint64()%26))
	}
	return fmt.Appendf(b, "%08x", crc32.Checksum(b, castagnoli))
}

// ParseEntry is the inverse of Data. It checks every byte.
func ParseEntry(data []byte) (Entry, error) {
	if len(data) < 8 {
		return Entry{}, fmt.Errorf("%d bytes are no test entry", len(data))
	}
	body, sum := data[:len(data)-8], string(data[len(data)-8:])
	if want := fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)); sum != want {
		return Entry{}, fmt.Errorf("checksum %q, want %s, of %.60q", sum, want, data)
	}
	f := strings.SplitN(string(body[:min(len(body), 1024)]), " ", 9)
	if len(f) != 9 || f[0] != entryMagic {
		return Entry{}, fmt.Errorf("no test entry: %.60q", data)
	}
	e := Entry{Log: f[2], Producer: f[3]}
	var errs [5]error
	e.Run, errs[0] = strconv.ParseUint(f[1], 16, 64)
	e.Seq, errs[1] = strconv.ParseUint(f[4], 10, 64)
	e.Nonce, errs[2] = strconv.ParseUint(f[5], 16, 64)
	e.Index, errs[3] = strconv.Atoi(f[6])
	e.Bytes, errs[4] = strconv.Atoi(f[7])
	for _, err := range errs {
		if err != nil {
			return Entry{}, fmt.Errorf("bad test entry %.60q: %w", data, err)
		}
	}
	if !bytes.Equal(e.Data(), data) {
		return Entry{}, fmt.Errorf("padding of %.60q is not what it was", data)
	}
	return e, nil
}
