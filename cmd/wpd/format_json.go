package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/wpd-io/wpd"
)

// entryJSON is an entry as JSON. Text stands as it is; what is no UTF-8 stands
// in base64, in the field whose name ends in _b64.
type entryJSON struct {
	LSN     wpd.LSN      `json:"lsn"`
	Time    time.Time    `json:"time"`
	Headers []headerJSON `json:"headers,omitempty"`
	dataJSON
}

type headerJSON struct {
	Key      *string `json:"key,omitempty"`
	KeyB64   *[]byte `json:"key_b64,omitempty"`
	Value    *string `json:"value,omitempty"`
	ValueB64 *[]byte `json:"value_b64,omitempty"`
}

type dataJSON struct {
	Data    *string `json:"data,omitempty"`
	DataB64 *[]byte `json:"data_b64,omitempty"`
}

// textOrB64 is bytes as text if they are UTF-8, otherwise as they are: package
// json puts them in base64.
func textOrB64(b []byte) (text *string, b64 *[]byte) {
	if utf8.Valid(b) {
		s := string(b)
		return &s, nil
	}
	return nil, &b
}

func makeEntryJSON(e wpd.Entry) entryJSON {
	return entryJSON{LSN: e.LSN, Time: e.Time, Headers: makeHeadersJSON(e.Headers), dataJSON: makeDataJSON(e.Data)}
}

func makeHeadersJSON(headers []wpd.Header) (all []headerJSON) {
	for _, h := range headers {
		var j headerJSON
		j.Key, j.KeyB64 = textOrB64([]byte(h.Key))
		j.Value, j.ValueB64 = textOrB64(h.Value)
		all = append(all, j)
	}
	return all
}

func makeDataJSON(data []byte) (d dataJSON) {
	d.Data, d.DataB64 = textOrB64(data)
	return d
}

// parseEntryJSON reads one line of makeEntryJSON's. Where the entry was, its lsn and
// time, is not part of the entry that is returned. What can't be taken over as
// it is written is an error.
func parseEntryJSON(line []byte) (wpd.Entry, error) {
	var x entryJSON
	if !utf8.Valid(line) {
		return wpd.Entry{}, errors.New("it is no UTF-8; give such data in base64, as data_b64")
	}
	if i := loneSurrogate(line); i >= 0 {
		return wpd.Entry{}, fmt.Errorf("%s is half a character; give such data in base64, as data_b64", line[i:i+6])
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&x); err != nil {
		return wpd.Entry{}, err
	}
	if rest := bytes.TrimSpace(line[d.InputOffset():]); len(rest) > 0 {
		return wpd.Entry{}, fmt.Errorf("%q follows the object; want one object a line", rest[:min(len(rest), 20)])
	}
	e := wpd.Entry{}
	for i, j := range x.Headers {
		h, err := j.header()
		if err != nil {
			return wpd.Entry{}, fmt.Errorf("header %d: %w", i+1, err)
		}
		e.Headers = append(e.Headers, h)
	}
	switch {
	case (x.Data == nil) == (x.DataB64 == nil):
		return wpd.Entry{}, errors.New("want one of data and data_b64")
	case x.Data != nil:
		e.Data = []byte(*x.Data)
	default:
		e.Data = *x.DataB64
	}
	return e, nil
}

func (j headerJSON) header() (wpd.Header, error) {
	var h wpd.Header
	switch {
	case (j.Key == nil) == (j.KeyB64 == nil):
		return h, errors.New("want one of key and key_b64")
	case j.Key != nil:
		h.Key = *j.Key
	default:
		h.Key = string(*j.KeyB64)
	}
	switch {
	case j.Value != nil && j.ValueB64 != nil:
		return h, errors.New("want one of value and value_b64")
	case j.Value != nil:
		h.Value = []byte(*j.Value)
	case j.ValueB64 != nil:
		h.Value = *j.ValueB64
	}
	return h, nil
}

// loneSurrogate returns the index of an escape of half a character that its
// other half is missing of, or -1. Package json would put another character
// there and say nothing.
func loneSurrogate(line []byte) int {
	for i := 0; i < len(line); i++ {
		next := bytes.IndexByte(line[i:], '\\')
		if next < 0 {
			break
		}
		i += next
		r, ok := unicodeEscape(line[i:])
		if !ok {
			i++ // the escaped character
			continue
		}
		if utf16.IsSurrogate(r) {
			low, _ := unicodeEscape(line[i+6:])
			if utf16.DecodeRune(r, low) == utf8.RuneError {
				return i
			}
			i += 6
		}
		i += 5
	}
	return -1
}

// unicodeEscape reads \uXXXX.
func unicodeEscape(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 32)
	return rune(n), err == nil
}
