package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/wpd-io/wpd"
)

// A decoder takes an input apart into entries. It holds at most one of them,
// and what it reads ahead.
type decoder interface {
	// next returns the next entry, whose bytes are good until the next call,
	// and its number: that of its line, or just its own, from 1. With io.EOF
	// the input ends; any other error is about the entry of the number.
	next() (e wpd.Entry, number uint64, err error)
}

// inputNoun is what the numbers of a decoder count.
func inputNoun(format string) string {
	if format == "lines" || format == "json" {
		return "line"
	}
	return "entry"
}

// inputBuffer is how much of an input is read at once.
const inputBuffer = 256 << 10

// newDecoder takes r apart. Entries of more than limit bytes are an error;
// no more than that, and some, is held of one.
func newDecoder(r io.Reader, format string, limit int) decoder {
	b := bufio.NewReaderSize(r, inputBuffer)
	switch format {
	case "length":
		return &lengthDecoder{r: b, limit: limit}
	case "json":
		// Of all that JSON can make of a byte, \u00xx is the longest; the
		// rest is for the names of the fields.
		return &jsonDecoder{lineDecoder{r: b, limit: limit, most: 6*limit + 1<<20}}
	case "whole":
		return &wholeDecoder{r: b, limit: limit}
	}
	return &lineDecoder{r: b, limit: limit, most: limit}
}

// tooLong is an entry over the limit.
func tooLong(limit int) error {
	return advise(&exitError{exitLimit, fmt.Errorf("it has more than %s bytes, the most that fits into an entry of this log", countText(limit))},
		"wpd log set LOG --entry-bytes-max raises the limit, up to 8MiB")
}

// malformed is an input that is not in its format.
func malformed(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// lineDecoder makes an entry of each line, without its newline. What follows
// the last newline is an entry too, marked by newlineHeader.
type lineDecoder struct {
	r        *bufio.Reader
	limit    int // of an entry
	most     int // of a line; for JSON it is higher
	number   uint64
	buf      []byte // of a line that the reader's buffer did not hold in one piece
	unmarked bool   // the last line fills an entry, so that there is no room for the mark
}

// unterminated is what the last line of an input is marked with if it has no
// newline.
var unterminated = []wpd.Header{{Key: newlineHeader, Value: newlineNone}}

func (d *lineDecoder) next() (wpd.Entry, uint64, error) {
	line, ended, err := d.line()
	e := wpd.Entry{Data: line}
	if err == nil && !ended {
		if d.unmarked = len(line)+headerBytes(unterminated) > d.limit; !d.unmarked {
			e.Headers = unterminated
		}
	}
	return e, d.number, err
}

// line returns the next line, and whether it ended with a newline.
func (d *lineDecoder) line() (line []byte, ended bool, err error) {
	d.number++
	d.buf = d.buf[:0]
	for {
		part, err := d.r.ReadSlice('\n')
		if ended = err == nil; ended {
			part = part[:len(part)-1]
		}
		switch {
		case len(d.buf)+len(part) > d.most:
			return nil, false, tooLong(d.limit)
		case ended && len(d.buf) == 0:
			return part, true, nil
		}
		d.buf = append(d.buf, part...)
		switch {
		case ended:
			return d.buf, true, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case !errors.Is(err, io.EOF):
			return nil, false, err
		case len(d.buf) == 0:
			return nil, false, io.EOF
		default:
			return d.buf, false, nil
		}
	}
}

// jsonDecoder makes an entry of each line of read --format json. Blank lines
// are none.
type jsonDecoder struct{ lines lineDecoder }

func (d *jsonDecoder) next() (wpd.Entry, uint64, error) {
	for {
		line, _, err := d.lines.line()
		if line = bytes.TrimSpace(line); err == nil && len(line) == 0 {
			continue
		}
		var e wpd.Entry
		if err == nil {
			if e, err = parseEntryJSON(line); err != nil {
				err = malformed("it is no entry: %w", err)
			}
		}
		return e, d.lines.number, err
	}
}

// lengthDecoder makes an entry of each run of bytes that its length precedes:
// 4 bytes, big-endian.
type lengthDecoder struct {
	r      *bufio.Reader
	limit  int
	number uint64
	buf    []byte
}

func (d *lengthDecoder) next() (wpd.Entry, uint64, error) {
	d.number++
	size, err := d.length()
	if err != nil {
		return wpd.Entry{}, d.number, err
	}
	// Grown as bytes come, not as a length promises them.
	buf := bytes.NewBuffer(d.buf[:0])
	got, err := io.CopyN(buf, d.r, size)
	d.buf = buf.Bytes()
	if errors.Is(err, io.EOF) {
		err = malformed("the input ends after %d of its %d bytes", got, size)
	}
	return wpd.Entry{Data: d.buf}, d.number, err
}

func (d *lengthDecoder) length() (int64, error) {
	var head [4]byte
	n, err := io.ReadFull(d.r, head[:])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, malformed("the input ends after %d of the 4 bytes of its length", n)
	}
	size := int64(binary.BigEndian.Uint32(head[:]))
	if err == nil && size > int64(d.limit) {
		err = fmt.Errorf("its length says %d: %w", size, tooLong(d.limit))
	}
	return size, err
}

// wholeDecoder makes one entry of all that there is, also of nothing.
type wholeDecoder struct {
	r     *bufio.Reader
	limit int
	over  bool
}

func (d *wholeDecoder) next() (wpd.Entry, uint64, error) {
	if d.over {
		return wpd.Entry{}, 2, io.EOF
	}
	d.over = true
	all, err := io.ReadAll(io.LimitReader(d.r, int64(d.limit)+1))
	if err == nil && len(all) > d.limit {
		err = tooLong(d.limit)
	}
	return wpd.Entry{Data: all}, 1, err
}
