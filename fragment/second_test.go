package fragment_test

// A second decoder, written from docs/format.md alone: it imports nothing of
// this package, shares no code with it, and makes text of an object.
// second_agree_test.go holds the two against each other.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

type second struct {
	strings.Builder
	object []byte
	epoch  uint64
	slices []secondSlice
}

type secondSlice struct {
	log, attachment, first, count, offset, length uint64
	timeMin, timeMax                              int64
	sum                                           uint32
	points                                        [][2]uint64
}

var (
	errSecond = errors.New("second decoder")
	crcTable  = crc32.MakeTable(0x82F63B78)

	secondZstd = sync.OnceValue(func() *zstd.Decoder {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
		must(err == nil, "zstd")
		return z
	})
)

func crc(parts ...[]byte) (sum uint32) {
	for _, p := range parts {
		sum = crc32.Update(sum, crcTable, p)
	}
	return sum
}

func u16(b []byte) uint64 { return uint64(binary.LittleEndian.Uint16(b)) }
func u32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func u64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

func must(ok bool, what string) {
	if !ok {
		panic(fmt.Errorf("%w: %s", errSecond, what))
	}
}

// decodeSecond reads an object from the back.
func decodeSecond(b []byte) (text string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = r.(error) // a slice out of range, or must
		}
	}()
	d := &second{object: b}
	foot := b[len(b)-64:]
	must(string(foot[60:]) == "FDPW" && foot[56] == 1 && u16(foot[58:]) == 0, "footer")
	at, length := u64(foot), uint64(u32(foot[8:]))
	must(at >= 112 && at+length+64 == uint64(len(b)) && len(b) < 16<<20, "length")
	head, dir := b[:112], b[at:at+length]
	must(crc(dir) == u32(foot[12:]), "directory checksum")
	must(crc(head, dir, foot[:52], foot[56:]) == u32(foot[52:]), "last checksum")
	must(string(head[:4]) == "WPDF" && head[4] == 1 && head[6] == 0 && u16(head[104:]) == 112, "header")
	must(crc(head[:60], head[64:]) == u32(head[60:]) && u32(head[60:]) == u32(foot[48:]), "header checksum")
	must(string(head[8:40]) == string(foot[16:48]) && head[5] == foot[57], "footer is of another header")
	must(u64(head[48:]) == at && uint64(u32(head[56:])) == length, "directory")
	d.epoch = u64(head[8:])
	fmt.Fprintf(d, "kind %d epoch %d n %d nonce %x durable %d cluster %x incarnation %d applied %d time %d\n",
		head[5], d.epoch, u64(head[16:]), head[24:40], u64(head[40:]), head[64:80], u64(head[80:]), u64(head[88:]), int64(u64(head[96:])))
	d.directory(dir)
	end := uint64(112)
	for _, s := range d.slices {
		must(s.offset == end, "hole between slices")
		end += s.length
		d.slice(s)
	}
	must(end == at, "hole before the directory")
	return d.String(), nil
}

// secondCursor reads the numbers of a section.
type secondCursor struct{ b []byte }

func (c *secondCursor) u() uint64 {
	n, k := binary.Uvarint(c.b)
	must(k == 1 || k > 1 && c.b[k-1] != 0, "uvarint")
	c.b = c.b[k:]
	return n
}

func (c *secondCursor) z() int64 {
	n := c.u()
	return int64(n>>1) ^ -int64(n&1)
}

func (c *secondCursor) bytes() []byte {
	n := c.u()
	must(n <= uint64(len(c.b)), "bytes")
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *secondCursor) sum() uint32 {
	n := u32(c.b)
	c.b = c.b[4:]
	return n
}

func (d *second) directory(b []byte) {
	c := &secondCursor{b}
	for last := byte(0); len(c.b) > 0; {
		tag := c.b[0]
		must(tag&0x7f > last, "sections out of order")
		last, c.b = tag&0x7f, c.b[1:]
		s := &secondCursor{c.bytes()}
		switch tag {
		case 0x81:
			fmt.Fprintf(d, "opening %q boot %d window %d type %d\n", s.bytes(), s.u(), s.u(), s.u())
		case 0x82:
			fmt.Fprintf(d, "seal %q boot %d\n", s.bytes(), s.u())
		case 0x83:
			d.slicesSection(s)
		case 0x84:
			for n := s.u(); n > 0; n-- {
				fmt.Fprintf(d, "end log %d attachment %d lsn %d\n", s.u(), s.u(), s.u())
			}
		case 0x85:
			for n := s.u(); n > 0; n-- {
				fmt.Fprintf(d, "attached log %d attachment %d name %q entry %d generation %d first %d trim %d\n", s.u(), s.u(), s.bytes(), s.u(), s.u(), s.u(), s.u())
			}
		case 0x86:
			d.states(s)
		case 0x87:
			d.index(s)
		default:
			must(tag < 0x80, "unknown section")
			continue
		}
		must(len(s.b) == 0, "left over in a section")
	}
}

func (d *second) slicesSection(c *secondCursor) {
	for n := c.u(); n > 0; n-- {
		s := secondSlice{log: c.u(), attachment: c.u(), first: c.u(), count: c.u(), timeMin: c.z()}
		s.timeMax = s.timeMin + c.z()
		s.offset, s.length, s.sum = c.u(), c.u(), c.sum()
		lsn, offset := s.first, uint64(0)
		for k := c.u(); k > 0; k-- {
			lsn += c.u()
			offset += c.u()
			s.points = append(s.points, [2]uint64{lsn, offset})
		}
		d.slices = append(d.slices, s)
		fmt.Fprintf(d, "slice log %d attachment %d first %d count %d times %d %d bytes %d at %d points %v\n",
			s.log, s.attachment, s.first, s.count, s.timeMin, s.timeMax, s.length, s.offset, s.points)
	}
}

func (d *second) states(c *secondCursor) {
	for n := c.u(); n > 0; n-- {
		fmt.Fprintf(d, "state log %d attachment %d end %d time %d dropped %d\n", c.u(), c.u(), c.u(), c.z(), c.u())
		for p := c.u(); p > 0; p-- {
			fmt.Fprintf(d, "producer %d name %q epoch %d last %d lowest %d time %d\n", c.u(), c.bytes(), c.u(), c.u(), c.u(), c.z())
			var first, count, from uint64
			var time int64
			for b := c.u(); b > 0; b-- {
				first += count + c.u()
				oldCount := count
				count = c.u()
				from += oldCount + uint64(c.z())
				time += c.z()
				fmt.Fprintf(d, "stored %d count %d from %d time %d sum %08x\n", first, count, from, time, c.sum())
			}
		}
	}
}

func (d *second) index(c *secondCursor) {
	from := c.u()
	to := from + c.u()
	fmt.Fprintf(d, "index %d %d\n", from, to)
	for logs := c.u(); logs > 0; logs-- {
		fmt.Fprintf(d, "log %d attachment %d\n", c.u(), c.u())
		n, end, timeMax := from, uint64(0), int64(0)
		for rows := c.u(); rows > 0; rows-- {
			x := c.u()
			n += x >> 1
			first := end + c.u()
			count := c.u()
			offset, length := c.u(), c.u()
			timeMin := timeMax + c.z()
			timeMax = timeMin + c.z()
			end = first + count
			must(n < to, "row of another index")
			fmt.Fprintf(d, "row %d lost %t first %d count %d bytes %d at %d times %d %d\n", n, x&1 == 1, first, count, length, offset, timeMin, timeMax)
		}
	}
	d.states(c)
}

func (d *second) slice(s secondSlice) {
	b := d.object[s.offset : s.offset+s.length]
	next, sum, points := s.first, uint32(0), s.points
	for at := uint64(0); at < uint64(len(b)); {
		batch := b[at:]
		length, header := uint64(u32(batch[8:])), u16(batch[12:])
		batch = batch[:length]
		must(string(batch[:4]) == "WPDb" && batch[4] == 1 && batch[6] == 0 && u16(batch[14:]) == 0, "batch")
		must(crc(batch[header:], batch[:16], batch[56:header]) == u32(batch[16:]), "payload checksum")
		must(crc(binary.LittleEndian.AppendUint64(nil, s.log), batch[16:20], batch[24:56]) == u32(batch[20:]), "stamp checksum")
		must(u64(batch[24:]) == next && u64(batch[40:]) == d.epoch && u64(batch[48:]) == s.attachment, "place of a batch")
		if len(points) > 0 && points[0] == [2]uint64{next, at} {
			points = points[1:]
		}
		sum = crc32.Update(sum, crcTable, batch[:header])
		fmt.Fprintf(d, "batch lsn %d time %d count %d producer %d epoch %d seq %d lowest %d generation %d\n",
			next, int64(u64(batch[32:])), u32(batch[56:]), u64(batch[64:]), u64(batch[72:]), u64(batch[80:]), u64(batch[88:]), u64(batch[96:]))
		d.entries(batch[5], int(u32(batch[60:])), u32(batch[56:]), batch[header:])
		next += uint64(u32(batch[56:]))
		at += length
	}
	must(next == s.first+s.count && sum == s.sum && len(points) == 0, "slice")
}

func (d *second) entries(codec byte, rawLen int, count uint32, b []byte) {
	var err error
	switch codec {
	case 1:
		b, err = s2.Decode(nil, b)
	case 2:
		b, err = secondZstd().DecodeAll(b, nil)
	}
	must(err == nil && codec < 3 && len(b) == rawLen, "codec")
	c := &secondCursor{b}
	for ; count > 0; count-- {
		n := c.u()
		fmt.Fprint(d, "entry")
		if n&1 == 1 {
			for block := (&secondCursor{c.bytes()}); len(block.b) > 0; {
				fmt.Fprintf(d, " %q=%q", block.bytes(), block.bytes())
			}
		}
		fmt.Fprintf(d, " %q\n", c.b[:n>>1])
		c.b = c.b[n>>1:]
	}
	must(len(c.b) == 0, "left over behind the entries")
}
