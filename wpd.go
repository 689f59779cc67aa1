package wpd

import (
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// The values that the service speaks in.
type (
	// LSN is an entry's position in its log: dense from 1, 0 means none.
	LSN = fragment.LSN
	// LogID identifies a log for ever; a recreated name is another log.
	LogID = fragment.LogID
	// Generation counts the exclusive writers of a log.
	Generation = fragment.Generation
	// ProducerEpoch counts the lives of one producer.
	ProducerEpoch = fragment.ProducerEpoch
	// Header is one key and value of an entry. Keys may repeat; order is
	// kept.
	Header = fragment.Header
	// LogConfig is what can be set per log; the zero value is the default.
	LogConfig = api.LogConfig
	// LogInfo tells about a log.
	LogInfo = api.LogInfo
	// Extent is the range of a log's LSNs that one chain of objects holds.
	Extent = api.Extent
	// ProducerInfo tells about a named producer.
	ProducerInfo = api.ProducerInfo
	// Codec is how the entries of a batch are compressed.
	Codec = fragment.Codec
)

// The codecs, for Compress.
const (
	CodecNone = fragment.CodecNone
	CodecS2   = fragment.CodecS2   // fast
	CodecZstd = fragment.CodecZstd // small
)

// ParseCodec returns the codec of a name: none, s2 or zstd.
func ParseCodec(name string) (Codec, error) { return fragment.ParseCodec(name) }

// Entry is one entry of a log.
//
// To append one, set Headers and Data; LSN and Time are ignored, and nothing
// of it is used after the call has returned. In an entry that was read, Data
// and the values of Headers share memory with others: they must not be
// changed, and may be kept.
type Entry struct {
	LSN     LSN
	Time    time.Time // when it was appended, by the service's clock, in microseconds; never decreases within a log
	Headers []Header  // at most 16 KiB, as encoded
	Data    []byte    // any bytes, also none; with Headers at most LogConfig.EntryBytesMax
}

// Ack says where entries are: at the LSNs [From, To), appended at Time.
type Ack struct {
	From, To LSN
	Time     time.Time
}

func timeOf(t fragment.Micros) time.Time { return time.UnixMicro(int64(t)).UTC() }

// microsOf rounds up, so that an entry is at t or later just if its time, in
// microseconds, is not below microsOf(t).
func microsOf(t time.Time) fragment.Micros {
	m := t.UnixMicro()
	if t.After(time.UnixMicro(m)) {
		m++
	}
	return fragment.Micros(m)
}
