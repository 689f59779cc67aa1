package fragment

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Codec is how the entries of a batch are compressed.
type Codec uint8

// The codecs; the values are part of the format.
const (
	CodecNone Codec = 0
	CodecS2   Codec = 1 // github.com/klauspost/compress/s2, block format
	CodecZstd Codec = 2 // RFC 8878, no dictionary

	codecLast = CodecZstd
)

func (c Codec) known() bool { return c <= codecLast }

func (c Codec) String() string {
	switch c {
	case CodecNone:
		return "none"
	case CodecS2:
		return "s2"
	case CodecZstd:
		return "zstd"
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// ParseCodec is the inverse of Codec.String.
func ParseCodec(s string) (Codec, error) {
	for c := CodecNone; c <= codecLast; c++ {
		if c.String() == s {
			return c, nil
		}
	}
	return 0, fmt.Errorf("codec %q: want none, s2 or zstd", s)
}

// The zstd coders are stateless here: EncodeAll and DecodeAll start no
// goroutines; as many of them run at once as there are processors, and others
// wait. They are made on first use, since they are large. The decoder gives up
// where its output outgrows the room that it is given.
var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)))
		if err != nil {
			panic(err) // the options are constants
		}
		return e
	})
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(BatchBytesMax), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic(err)
		}
		return d
	})
)

// compress returns the compressed form of raw, appended to dst.
func (c Codec) compress(dst, raw []byte) []byte {
	switch c {
	case CodecS2:
		return append(dst, s2.Encode(nil, raw)...)
	case CodecZstd:
		return zstdEncoder().EncodeAll(raw, dst)
	}
	return append(dst, raw...)
}

// decompress is the inverse; the result must have rawLen bytes, which the
// caller has checked against a limit.
func (c Codec) decompress(b []byte, rawLen int) ([]byte, error) {
	var raw []byte
	var err error
	switch c {
	case CodecS2:
		n, lenErr := s2.DecodedLen(b)
		if lenErr == nil && n != rawLen {
			return nil, corrupt(0, "batch entries, %s: they say %d bytes, the header says %d", c, n, rawLen)
		}
		if err = lenErr; err == nil {
			raw, err = s2.Decode(make([]byte, rawLen), b)
		}
	case CodecZstd:
		raw, err = zstdDecoder().DecodeAll(b, make([]byte, 0, rawLen))
	}
	if err != nil {
		return nil, corrupt(0, "batch entries, %s: %v", c, err)
	}
	if len(raw) != rawLen {
		return nil, corrupt(0, "batch entries, %s: %d bytes decompressed, want %d", c, len(raw), rawLen)
	}
	return raw, nil
}
