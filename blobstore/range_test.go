package blobstore

import (
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestHTTPRange(t *testing.T) {
	for _, c := range []struct {
		offset, length int64
		want           string
	}{
		{0, 0, "bytes=0-0"}, {0, 64, "bytes=0-63"}, {5, 1, "bytes=5-5"}, {5, 0, "bytes=5-5"},
		{0, math.MaxInt64, "bytes=0-"}, {math.MaxInt64, math.MaxInt64, "bytes=9223372036854775807-"},
		{0, ObjectBytesMax, "bytes=0-16777214"}, {-1, 1, ""}, {1, -1, ""},
	} {
		if got, err := httpRange(c.offset, c.length); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("httpRange(%d, %d) = %q, %v, want %q", c.offset, c.length, got, err, c.want)
		}
	}
}

// TestReadBody: what a store says of a range is believed only as far as it fits
// what was asked for and what comes.
func TestReadBody(t *testing.T) {
	for _, c := range []struct {
		body           string
		contentRange   string
		contentLength  int64
		offset, length int64
		want           string
		size           int64 // -1: an error
	}{
		{"cdef", "bytes 2-5/8", 4, 2, 4, "cdef", 8},
		{"cdef", "bytes 2-5/8", -1, 2, 4, "cdef", 8},
		{"gh", "bytes 6-7/8", 2, 6, 100, "gh", 8},
		{"abc", "", 3, 0, math.MaxInt64, "abc", 3},
		{"", "", 0, 0, 64, "", 0},
		{"c", "bytes 2-2/8", 1, 2, 0, "", 8},
		{"", "bytes 8-7/8", 0, 8, 1, "", 8}, // what azurite says of a range past the end
		{"", "bytes 8-7/8", 0, 8, 4, "", 8},
		{"abcdefgh", "", 8, 0, 4, "abcd", 8},                // it has ignored the range, which does not hurt
		{"abcdefgh", "", 8, 2, 4, "ab", -1},                 // it does
		{"bcde", "bytes 1-4/8", 4, 2, 4, "", -1},            // another range
		{"cdef", "bytes 2-5/*", 4, 2, 4, "", -1},            // a size that it does not tell
		{"cdef", "bytes 2-5/2", 4, 2, 4, "", -1},            // one that can't be
		{"cd", "bytes 2-5/8", 4, 2, 4, "", -1},              // cut short
		{"cd", "bytes 2-5/8", 2, 2, 4, "", -1},              // and it says so
		{"cd", "bytes 2-9/1000000000000", 2, 2, 64, "", -1}, // memory for what comes, not for what is promised
		{"abc", "", -1, 0, 64, "", -1},                      // neither size nor range
	} {
		data, size, err := readBody(io.NopCloser(strings.NewReader(c.body)), c.contentRange, c.contentLength, c.offset, c.length)
		if err != nil {
			size = -1
		}
		if size != c.size || err == nil && string(data) != c.want {
			t.Errorf("%+v: got %q, %d, %v", c, data, size, err)
		}
	}
}

func TestRetryAfterHeader(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "0": 0, "-3": 0, "soon": 0, "99999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {v}}, now); got != want {
			t.Errorf("Retry-After %q means %v, want %v", v, got, want)
		}
	}
}
