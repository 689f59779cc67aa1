package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
)

// decodeAll takes an input apart; each entry is copied, since it is good only
// until the next one.
func decodeAll(r io.Reader, format string, limit int) (entries []wpd.Entry, numbers []uint64, err error) {
	d := newDecoder(r, format, limit)
	for {
		e, number, err := d.next()
		if errors.Is(err, io.EOF) {
			return entries, numbers, nil
		}
		numbers = append(numbers, number)
		if err != nil {
			return entries, numbers, err
		}
		e.Data = bytes.Clone(e.Data)
		entries = append(entries, e)
	}
}

func TestDecoders(t *testing.T) {
	long := strings.Repeat("x", 3*inputBuffer)
	for _, c := range []struct {
		format, in string
		want       []string
		numbers    []uint64
		cut        bool // the last one is marked
	}{
		{"lines", "", nil, nil, false},
		{"lines", "\n", []string{""}, []uint64{1}, false},
		{"lines", "a\nb\n", []string{"a", "b"}, []uint64{1, 2}, false},
		{"lines", "a\n\nb", []string{"a", "", "b"}, []uint64{1, 2, 3}, true},
		{"lines", "a\r\n\x00\xff\n", []string{"a\r", "\x00\xff"}, []uint64{1, 2}, false},
		{"lines", long + "\n" + long, []string{long, long}, []uint64{1, 2}, true},
		{"lines", "\n\n" + long + "\n\n", []string{"", "", long, ""}, []uint64{1, 2, 3, 4}, false},
		{"length", "", nil, nil, false},
		{"length", "\x00\x00\x00\x00", []string{""}, []uint64{1}, false},
		{"length", "\x00\x00\x00\x02a\n\x00\x00\x00\x01b", []string{"a\n", "b"}, []uint64{1, 2}, false},
		{"json", "\n \n{\"data\":\"a\"}\r\n\n{\"data\":\"b\"}", []string{"a", "b"}, []uint64{3, 5}, false},
		{"json", "", nil, nil, false},
		{"whole", "", []string{""}, []uint64{1}, false},
		{"whole", "a\nb", []string{"a\nb"}, []uint64{1}, false},
		{"whole", long, []string{long}, []uint64{1}, false},
	} {
		for name, r := range map[string]io.Reader{
			"at once": strings.NewReader(c.in), "byte by byte": iotest.OneByteReader(strings.NewReader(c.in)), "end with data": iotest.DataErrReader(strings.NewReader(c.in)),
		} {
			entries, numbers, err := decodeAll(r, c.format, 1<<20)
			require.NoError(t, err, "%s of %.20q, %s", c.format, c.in, name)
			var got []string
			for i, e := range entries {
				got = append(got, string(e.Data))
				require.Equal(t, c.cut && i == len(entries)-1, lacksNewline(e.Headers))
			}
			require.Equal(t, c.want, got, "%s of %.20q, %s", c.format, c.in, name)
			require.Equal(t, c.numbers, numbers)
		}
	}
}

func TestDecodersRefuse(t *testing.T) {
	broken := errors.New("broken disk")
	for _, c := range []struct {
		format, in string
		limit      int
		code       int
		number     uint64
		text       string
	}{
		{"lines", "1234\n12345\n", 4, exitLimit, 2, "more than 4 bytes"},
		{"lines", "12345", 4, exitLimit, 1, "more than 4 bytes"},
		{"lines", strings.Repeat("x", 2*inputBuffer), inputBuffer + 1, exitLimit, 1, "more than 262,145 bytes"},
		{"length", "\x00\x00\x00\x01a\x00\x00\x00\x05", 4, exitLimit, 2, "its length says 5: it has more than 4 bytes"},
		{"length", "\xff\xff\xff\xff", 4, exitLimit, 1, "its length says 4294967295"},
		{"length", "\x00\x00\x00\x01a\x00\x00", 4, exitUsage, 2, "after 2 of the 4 bytes"},
		{"length", "\x00\x00\x00\x04abc", 4, exitUsage, 1, "after 3 of its 4 bytes"},
		{"length", "\x00\x00\x00\x04", 4, exitUsage, 1, "after 0 of its 4 bytes"},
		{"json", "\n{\"data\":\"a\"}\n{}\n", 4, exitUsage, 3, "it is no entry: want one of data"},
		{"json", strings.Repeat(" ", 2<<20), 4, exitLimit, 1, "more than 4 bytes"},
		{"whole", "12345", 4, exitLimit, 1, "more than 4 bytes"},
	} {
		_, numbers, err := decodeAll(strings.NewReader(c.in), c.format, c.limit)
		code, _ := classify(err)
		require.Equal(t, c.code, code, "%s of %.20q: %v", c.format, c.in, err)
		require.ErrorContains(t, err, c.text)
		require.Equal(t, c.number, numbers[len(numbers)-1])
	}
	for _, format := range appendFormats {
		_, _, err := decodeAll(io.MultiReader(strings.NewReader("\x00\x00\x00\x09{"), iotest.ErrReader(broken)), format, 100)
		require.ErrorIs(t, err, broken, format)
	}
}

// The mark of a last line without a newline is left out where it does not fit,
// rather than the line.
func TestLastLineThatFillsAnEntry(t *testing.T) {
	room := headerBytes(unterminated)
	for size, marked := range map[int]bool{100 - room: true, 101 - room: false, 100: false} {
		d := newDecoder(strings.NewReader(strings.Repeat("x", size)), "lines", 100).(*lineDecoder)
		e, _, err := d.next()
		require.NoError(t, err)
		require.Len(t, e.Data, size)
		require.Equal(t, marked, lacksNewline(e.Headers))
		require.Equal(t, !marked, d.unmarked)
	}
}

func FuzzLength(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x00\x00\x00\x01a\x00\x00\x00\x00"))
	f.Add([]byte("\x7f\xff\xff\xffa"))
	f.Fuzz(func(t *testing.T, in []byte) {
		entries, _, err := decodeAll(bytes.NewReader(in), "length", 1000)
		var again []byte
		for _, e := range entries {
			require.LessOrEqual(t, len(e.Data), 1000)
			again = binary.BigEndian.AppendUint32(again, uint32(len(e.Data)))
			again = append(again, e.Data...)
		}
		if err == nil {
			require.Equal(t, string(in), string(again))
			return
		}
		require.True(t, bytes.HasPrefix(in, again))
		code, _ := classify(err)
		require.Contains(t, []int{exitUsage, exitLimit}, code)
	})
}

func TestParseHeaders(t *testing.T) {
	headers, err := parseHeaders([]string{"a=b", "a=c=d", "k=", "x=1,2"})
	require.NoError(t, err)
	require.Equal(t, []wpd.Header{header("a", "b"), header("a", "c=d"), header("k", ""), header("x", "1,2")}, headers)
	for _, in := range []string{"", "a", "=v", "="} {
		_, err := parseHeaders([]string{in})
		require.ErrorContains(t, err, "-H is", in)
	}
}

func TestDataLimit(t *testing.T) {
	few := []wpd.Header{header("k", "v")} // 4 bytes
	n, err := dataLimit(wpd.LogConfig{}, few)
	require.NoError(t, err)
	require.Equal(t, 1<<20-4, n)
	n, err = dataLimit(wpd.LogConfig{EntryBytesMax: 4}, few)
	require.NoError(t, err)
	require.Zero(t, n)
	for _, c := range []struct {
		max  uint32
		size int
	}{{3, 1}, {0, 16 << 10}} {
		_, err = dataLimit(wpd.LogConfig{EntryBytesMax: c.max}, []wpd.Header{header("k", strings.Repeat("v", c.size))})
		code, _ := classify(err)
		require.Equal(t, exitLimit, code)
	}
	for n, want := range map[int]int{0: 1, 127: 1, 128: 2, 16383: 2, 16384: 3} {
		require.Len(t, binary.AppendUvarint(nil, uint64(n)), want)
		require.Equal(t, want, varintBytes(n))
	}
}

// Entries that are complete are given out before the input is waited for.
func TestFeedHoldsNothingBack(t *testing.T) {
	r, w := io.Pipe()
	f := feed(r, "lines", 100, []wpd.Header{header("k", "v")})
	defer func() {
		f.close()
		require.NoError(t, w.Close())
		<-f.over
	}()
	var got []string
	for _, in := range []string{"a\nb\nhal", "f\n", "c\n"} {
		_, err := io.WriteString(w, in)
		require.NoError(t, err)
		c := <-f.chunks
		for _, e := range c.entries {
			got = append(got, string(e.Data))
			require.Equal(t, []wpd.Header{header("k", "v")}, e.Headers)
		}
		f.done(c)
	}
	require.Equal(t, []string{"a", "b", "half", "c"}, got)
}

// A chunk is within the limits of a batch, whatever the entries are.
func TestFeedChunks(t *testing.T) {
	var in strings.Builder
	total := 0
	for i := range 5000 {
		n := 1 + i%7
		if i%1000 == 0 {
			n = 700_000
		}
		in.WriteString(strings.Repeat("y", n) + "\n")
		total += n
	}
	f := feed(strings.NewReader(in.String()), "lines", 1<<20, nil)
	next := uint64(1)
	for c := range f.chunks {
		size := 0
		for i, e := range c.entries {
			size += len(e.Data)
			require.Equal(t, strings.Repeat("y", len(e.Data)), string(e.Data))
			require.Equal(t, next, c.numbers[i])
			next++
		}
		require.True(t, len(c.entries) == 1 || len(c.entries) <= 1000 && size <= chunkBytes)
		total -= size
		f.done(c)
	}
	require.NoError(t, f.err)
	require.Zero(t, total)
	require.EqualValues(t, 5001, next)
	<-f.over
}
