package fsm

import (
	"fmt"
	"strings"
)

// CheckName returns a *NameError unless the name may be that of a log: 1 to
// 255 bytes of [A-Za-z0-9._/-], parted by single slashes into parts that are
// neither empty nor "." nor "..".
func CheckName(name string) error {
	if reason := nameFault(name); reason != "" {
		return &NameError{Name: name, Reason: reason}
	}
	return nil
}

func nameFault(name string) string {
	if name == "" {
		return "is empty"
	}
	if len(name) > NameBytesMax {
		return fmt.Sprintf("has %d bytes, the limit is %d", len(name), NameBytesMax)
	}
	if i := strings.IndexFunc(name, notKeyRune); i >= 0 {
		return fmt.Sprintf("has %q at byte %d, allowed are A-Z a-z 0-9 . _ / -", firstRune(name[i:]), i)
	}
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "":
			return "begins or ends with a slash, or has two in a row"
		case ".", "..":
			return fmt.Sprintf("has a part %q", part)
		}
	}
	return ""
}

// CheckNodeName returns an *InvalidError unless the name may be that of a node
// or its identity: 1 to 255 bytes of [A-Za-z0-9._-], not "." or "..". It
// becomes a part of object keys.
func CheckNodeName(field, name string) error {
	if strings.Contains(name, "/") {
		return &InvalidError{Field: field, Reason: fmt.Sprintf("%q has a slash", name)}
	}
	if reason := nameFault(name); reason != "" {
		return &InvalidError{Field: field, Reason: fmt.Sprintf("%.300q %s", name, reason)}
	}
	return nil
}

// checkAddress takes what a node advertises. Whether it can be reached shows.
func checkAddress(field, address string) error {
	return checkText(field, address, AddressBytesMax, '!')
}

// checkLabel takes a zone or a version.
func checkLabel(field, label string) error {
	return checkText(field, label, LabelBytesMax, ' ')
}

// checkText takes up to bytesMax of the characters from low to the last of
// ASCII that can be printed. What else can be printed is for each version of
// Unicode to say, and replicas must not differ.
func checkText(field, text string, bytesMax int, low byte) error {
	if len(text) > bytesMax {
		return &InvalidError{Field: field, Reason: fmt.Sprintf("has %d bytes, the limit is %d", len(text), bytesMax)}
	}
	for i := range len(text) {
		if text[i] < low || text[i] > '~' {
			return &InvalidError{Field: field, Reason: fmt.Sprintf("%q has the byte %#02x at %d, which is not allowed", text, text[i], i)}
		}
	}
	return nil
}

func checkRef(field string, r Ref) error {
	switch {
	case r.Key == "":
		return &InvalidError{Field: field, Reason: "names no object"}
	case len(r.Key) > RefKeyBytesMax:
		return &InvalidError{Field: field, Reason: fmt.Sprintf("the key has %d bytes, the limit is %d", len(r.Key), RefKeyBytesMax)}
	case strings.ContainsFunc(r.Key, notKeyRune):
		return &InvalidError{Field: field, Reason: fmt.Sprintf("the key %q is not one of ours", r.Key)}
	case r.Size == 0:
		return &InvalidError{Field: field, Reason: fmt.Sprintf("object %s has no bytes", r.Key)}
	}
	return nil
}

func checkConfig(c LogConfig) error {
	if c.EntryBytesMax == 0 || c.EntryBytesMax > EntryBytesMaxLimit {
		return &InvalidError{
			Field:  "entry_bytes_max",
			Reason: fmt.Sprintf("%d is outside of [1, %d]", c.EntryBytesMax, EntryBytesMaxLimit),
		}
	}
	return checkLabel("zone", c.Zone)
}

func notKeyRune(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		r == '.' || r == '_' || r == '/' || r == '-')
}

func firstRune(s string) rune {
	for _, r := range s {
		return r
	}
	return 0
}
