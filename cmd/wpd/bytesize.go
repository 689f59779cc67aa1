package main

import (
	"fmt"
	"strconv"
	"strings"
)

// byteSize is a flag's number of bytes: 65536, 64KiB, 1.5GiB, 8MB.
type byteSize int64

var byteUnits = map[string]float64{
	"": 1, "b": 1,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12,
}

// Set implements pflag.Value.
func (b *byteSize) Set(s string) error {
	end := strings.LastIndexAny(s, "0123456789.") + 1
	unit, known := byteUnits[strings.ToLower(strings.TrimSpace(s[end:]))]
	v, err := strconv.ParseFloat(s[:end], 64)
	if err != nil || !known {
		return fmt.Errorf("%q is no number of bytes; want for example 65536, 64KiB or 1GB", s)
	}
	if v *= unit; v < 0 || v > 1<<60 {
		return fmt.Errorf("%s is out of range", s)
	}
	*b = byteSize(v)
	return nil
}

// String implements pflag.Value.
func (b *byteSize) String() string {
	for _, u := range []struct {
		name string
		size byteSize
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if *b >= u.size && *b%u.size == 0 {
			return strconv.FormatInt(int64(*b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Type implements pflag.Value.
func (b *byteSize) Type() string { return "bytes" }
