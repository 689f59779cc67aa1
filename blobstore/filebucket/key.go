package filebucket

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// keyBytesMax is S3's limit, the lowest of the stores we speak to.
	keyBytesMax = 1024
	// partBytesMax is what ext4, xfs, btrfs and APFS allow for one name.
	partBytesMax = 255
	// reserved starts the names that the bucket keeps for itself at the top
	// of its directory: temporary files and their lock.
	reserved = ".wpd-"
	// lostFound is made by mkfs at the top of some file systems, and often
	// unreadable.
	lostFound = "lost+found"
)

// CheckKey says whether an object may have this key, as a [*KeyError] or nil.
// A key is 1 to 1,024 bytes of UTF-8: parts of 1 to 255 bytes, joined by "/".
// No part is "." or "..", no byte is a control character or a backslash, and
// the first part is neither "lost+found" nor starts with ".wpd-". The rule is
// the strictest of all stores, so that a bucket can be copied to any other.
func CheckKey(key string) error {
	switch {
	case key == "":
		return &KeyError{key, "is empty"}
	case len(key) > keyBytesMax:
		return &KeyError{key, fmt.Sprintf("has %d bytes, more than %d", len(key), keyBytesMax)}
	case !utf8.ValidString(key):
		return &KeyError{key, "is not UTF-8"}
	}
	for i := range len(key) {
		if c := key[i]; c < 0x20 || c == 0x7f || c == '\\' {
			return &KeyError{key, fmt.Sprintf("has the byte 0x%02x at %d", c, i)}
		}
	}
	for part := range strings.SplitSeq(key, "/") {
		switch {
		case part == "":
			return &KeyError{key, "has an empty part"}
		case part == "." || part == "..":
			return &KeyError{key, "has a part " + part}
		case len(part) > partBytesMax:
			return &KeyError{key, fmt.Sprintf("has a part of %d bytes, more than %d", len(part), partBytesMax)}
		}
	}
	if first, _, _ := strings.Cut(key, "/"); isReserved(first) {
		return &KeyError{key, "starts with a reserved name"}
	}
	return nil
}

// isReserved reports whether a name at the top of the bucket is not an object.
func isReserved(name string) bool {
	return name == lostFound || strings.HasPrefix(name, reserved)
}

// split cuts a key into its directory ("" for the top) and its name.
func split(key string) (dir, name string) {
	i := strings.LastIndexByte(key, '/')
	if i < 0 {
		return "", key
	}
	return key[:i], key[i+1:]
}
