package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"

	"github.com/wpd-io/wpd"
)

// The formats of entries, as append takes them and read gives them.
var (
	appendFormats = []string{"lines", "length", "json", "whole"}
	readFormats   = []string{"lines", "length", "json", "raw"}
)

// newlineHeader marks the entry of an input's last line if that line had no
// newline, so that it has none when it is read back either.
const newlineHeader = "wpd-newline"

var newlineNone = []byte("none")

// lacksNewline says whether an entry was a line without a newline.
func lacksNewline(headers []wpd.Header) bool {
	return slices.ContainsFunc(headers, func(h wpd.Header) bool {
		return h.Key == newlineHeader && bytes.Equal(h.Value, newlineNone)
	})
}

// entryWriter writes entries in a format.
type entryWriter struct {
	w      *bufio.Writer
	format string
	// settle: a line without a newline gets one only if another entry follows.
	settle bool
	owed   bool // the last entry's newline
	json   *json.Encoder
}

// newEntryWriter writes to w. With settle, a last line that had no newline
// when it was appended gets none.
func newEntryWriter(w *bufio.Writer, format string, settle bool) *entryWriter {
	x := &entryWriter{w: w, format: format, settle: settle, json: json.NewEncoder(w)}
	x.json.SetEscapeHTML(false)
	return x
}

// write writes one entry. Its errors are those of the writer below.
func (x *entryWriter) write(e wpd.Entry) error {
	switch x.format {
	case "json":
		return x.json.Encode(makeEntryJSON(e))
	case "length":
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(e.Data)))
		_, _ = x.w.Write(n[:]) // the next one returns its error again
	case "lines":
		if x.owed {
			_ = x.w.WriteByte('\n')
		}
		_, err := x.w.Write(e.Data)
		if x.owed = x.settle && len(e.Headers) > 0 && lacksNewline(e.Headers); !x.owed {
			err = x.w.WriteByte('\n')
		}
		return err
	}
	_, err := x.w.Write(e.Data)
	return err
}

func oneOf(values []string) string {
	last := len(values) - 1
	return strings.Join(values[:last], ", ") + " or " + values[last]
}
