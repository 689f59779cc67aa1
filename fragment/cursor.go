package fragment

import (
	"encoding/binary"
	"fmt"
)

// cursor decodes the fields of a directory. The first error sticks, and every
// read after it gives zero.
type cursor struct {
	b    []byte
	base int // offset of the first byte in the object, for errors
	all  int
	err  error
}

func newCursor(b []byte, base int) *cursor { return &cursor{b: b, base: base, all: len(b)} }

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = corrupt(c.offset(), "directory: %s", fmt.Sprintf(format, args...))
		c.b = nil
	}
}

func (c *cursor) offset() int { return c.base + c.all - len(c.b) }

func (c *cursor) uvarint() uint64 {
	n, rest, ok := cutUvarint(c.b)
	if !ok {
		c.fail("a number is cut off")
		return 0
	}
	c.b = rest
	return n
}

// count reads the number of items that follow, each of which takes at least
// min bytes: so no more is allocated than what was read.
func (c *cursor) count(min int) int {
	n := c.uvarint()
	if n > uint64(len(c.b)/min) {
		c.fail("%d items in %d bytes", n, len(c.b))
		return 0
	}
	return int(n)
}

// items is count where there must be one at least: a section without any is
// left out, so that there is one way to encode a directory.
func (c *cursor) items(min int) int {
	n := c.count(min)
	if n == 0 {
		c.fail("an empty section")
	}
	return n
}

// room makes a slice for n items; nil for none.
func room[T any](n int) []T {
	if n == 0 {
		return nil
	}
	return make([]T, 0, n)
}

// bounded reads a number that must not be above most.
func (c *cursor) bounded(most uint64) uint64 {
	n := c.uvarint()
	if n > most {
		c.fail("number %d is above %d", n, most)
		return 0
	}
	return n
}

func (c *cursor) micros() Micros { return Micros(unzigzag(c.uvarint())) }

func (c *cursor) uint32() uint32 {
	if len(c.b) < 4 {
		c.fail("a checksum is cut off")
		return 0
	}
	n := le.Uint32(c.b)
	c.b = c.b[4:]
	return n
}

func (c *cursor) bytes(most int) []byte {
	n := c.uvarint()
	if n > uint64(len(c.b)) || n > uint64(most) {
		c.fail("%d bytes of text, at most %d, %d are left", n, most, len(c.b))
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) string(most int) string { return string(c.bytes(most)) }

// end reports what is left over as damage.
func (c *cursor) end() {
	if len(c.b) != 0 {
		c.fail("%d bytes are left over", len(c.b))
	}
}

func appendUvarint(dst []byte, n uint64) []byte { return binary.AppendUvarint(dst, n) }

func appendMicros(dst []byte, t Micros) []byte { return appendUvarint(dst, zigzag(int64(t))) }

func zigzag(n int64) uint64   { return uint64(n<<1) ^ uint64(n>>63) }
func unzigzag(n uint64) int64 { return int64(n>>1) ^ -int64(n&1) }
