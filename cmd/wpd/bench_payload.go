package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"time"
)

// A payload starts with: checksum of all that follows (CRC32C), log, producer,
// checksum of the payload before it in the same stream (4 bytes each), sequence
// in the stream, time when it was due (8 bytes each, little-endian). The rest
// is random. A stream is what one producer appends to one log.
const payloadHeaderBytes = 32

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// payload is the head of one, decoded.
type payload struct {
	crc, log, producer, prev uint32
	seq                      uint64
	due                      int64
}

// payloads makes payloads: views into one pool of random bytes that moves on a
// little with each, so that making one costs a header and a checksum.
type payloads struct {
	pool []byte
	size int
	at   int
}

// poolBytes is how far views move before they come back: more than the caches
// of a processor hold is of no use, less makes entries alike.
const poolBytes = 1 << 20

func newPayloads(size int, seed uint64, producer int) *payloads {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	binary.LittleEndian.PutUint64(key[8:], uint64(producer))
	p := &payloads{pool: make([]byte, poolBytes+size), size: size}
	rand.NewChaCha8(key).Read(p.pool) //nolint:errcheck // never fails
	return p
}

// next makes the payload that follows in a stream. It is good until the next
// call.
func (p *payloads) next(s *stream, due int64) []byte {
	b := p.pool[p.at : p.at+p.size]
	p.at = (p.at + 64) % poolBytes
	s.seq++
	binary.LittleEndian.PutUint32(b[4:], s.log)
	binary.LittleEndian.PutUint32(b[8:], s.producer)
	binary.LittleEndian.PutUint32(b[12:], s.prev)
	binary.LittleEndian.PutUint64(b[16:], s.seq)
	binary.LittleEndian.PutUint64(b[24:], uint64(due))
	s.prev = crc32.Checksum(b[4:], castagnoli)
	binary.LittleEndian.PutUint32(b, s.prev)
	return b
}

// parsePayload checks a payload's own checksum.
func parsePayload(b []byte) (payload, error) {
	if len(b) < payloadHeaderBytes {
		return payload{}, fmt.Errorf("entry of %d bytes is no payload of a bench", len(b))
	}
	p := payload{
		crc: binary.LittleEndian.Uint32(b), log: binary.LittleEndian.Uint32(b[4:]),
		producer: binary.LittleEndian.Uint32(b[8:]), prev: binary.LittleEndian.Uint32(b[12:]),
		seq: binary.LittleEndian.Uint64(b[16:]), due: int64(binary.LittleEndian.Uint64(b[24:])),
	}
	if sum := crc32.Checksum(b[4:], castagnoli); sum != p.crc {
		return p, fmt.Errorf("payload's checksum is %08x, its bytes have %08x", p.crc, sum)
	}
	return p, nil
}

// chainPos is how far a stream was seen.
type chainPos struct {
	seq  uint64
	prev uint32
	sum  uint64 // over all (sequence, LSN)
}

// placeSum mixes where an entry is into a sum that doesn't depend on the order.
func placeSum(seq, lsn uint64) uint64 {
	x := seq*0x9e3779b97f4a7c15 ^ lsn*0xc2b2ae3d27d4eb4f
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	return x ^ x>>32
}

// checker follows the chains of a log as it is read.
type checker struct {
	log     uint32
	any     bool // the log's number is not known
	next    uint64
	chains  map[uint32]*chainPos
	entries int64
	bytes   int64

	last  *chainPos // of the producer that was last seen
	lastP uint32
}

func newChecker(log uint32) *checker {
	return &checker{log: log, next: 1, chains: map[uint32]*chainPos{}}
}

// check takes the entry that stands next in the log.
func (c *checker) check(lsn uint64, data []byte) (payload, error) {
	if lsn != c.next {
		return payload{}, fmt.Errorf("LSN %d comes after %d", lsn, c.next-1)
	}
	c.next++
	p, err := parsePayload(data)
	if err != nil {
		return p, fmt.Errorf("LSN %d: %w", lsn, err)
	}
	if c.any && c.entries == 0 {
		c.log = p.log
	}
	if p.log != c.log {
		return p, fmt.Errorf("LSN %d of log %d holds an entry of log %d", lsn, c.log, p.log)
	}
	if c.last == nil || p.producer != c.lastP {
		if c.chains[p.producer] == nil {
			c.chains[p.producer] = &chainPos{}
		}
		c.last, c.lastP = c.chains[p.producer], p.producer
	}
	at := c.last
	if p.seq != at.seq+1 || p.prev != at.prev {
		return p, fmt.Errorf("LSN %d holds entry %d of producer %d, which follows checksum %08x; entry %d stands before it, with checksum %08x",
			lsn, p.seq, p.producer, p.prev, at.seq, at.prev)
	}
	at.seq, at.prev = p.seq, p.crc
	at.sum += placeSum(p.seq, lsn)
	c.entries++
	c.bytes += int64(len(data))
	return p, nil
}

// compare says what was acknowledged but isn't there, or the other way round.
func (c *checker) compare(streams []*stream) error {
	for _, s := range streams {
		got := c.chains[s.producer]
		if got == nil {
			got = &chainPos{}
		}
		switch {
		case got.seq != s.acked.seq:
			return fmt.Errorf("log %d, producer %d: %d entries read, %d acknowledged", s.log, s.producer, got.seq, s.acked.seq)
		case got.prev != s.prev:
			return fmt.Errorf("log %d, producer %d: the last checksum read is %08x, %08x was appended", s.log, s.producer, got.prev, s.prev)
		case got.sum != s.acked.sum:
			return fmt.Errorf("log %d, producer %d: entries stand at other LSNs than those acknowledged", s.log, s.producer)
		}
	}
	return nil
}

// sinceStart is the time of a bench's clock: monotonic, from the start of the
// process.
func sinceStart() int64 { return int64(time.Since(processStart)) }

var processStart = time.Now()
