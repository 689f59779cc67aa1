package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/wpd-io/wpd/fragment"
)

// lineReader reads a file's lines without their newlines.
type lineReader struct {
	file   *os.File
	r      *bufio.Reader
	buf    []byte
	number int64 // of the line read last, from 1
	cut    bool  // it had no newline: the file ends without one
}

func openLines(path string) (*lineReader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &lineReader{file: f, r: bufio.NewReaderSize(f, 256<<10)}, nil
}

func (l *lineReader) Close() error { return l.file.Close() }

// next returns the next line, which is good until the next call, or io.EOF.
func (l *lineReader) next() ([]byte, error) {
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if err == nil && len(l.buf) == 0 {
			l.number++
			return part[:len(part)-1], nil
		}
		l.buf = append(l.buf, part...)
		switch {
		case err == nil:
			l.number++
			return l.buf[:len(l.buf)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
			if len(l.buf) > fragment.EntryBytesDefault {
				return nil, fmt.Errorf("line %d of %s has more than %s, the most that an entry holds",
					l.number+1, l.file.Name(), sizeText(fragment.EntryBytesDefault))
			}
		case !errors.Is(err, io.EOF):
			return nil, err
		case len(l.buf) == 0:
			return nil, io.EOF
		default:
			l.number++
			l.cut = true
			return l.buf, nil
		}
	}
}

// skip passes over n lines.
func (l *lineReader) skip(n int64) error {
	for l.number < n {
		if _, err := l.next(); err != nil {
			return fmt.Errorf("skip to line %d of %s: %w", n+1, l.file.Name(), err)
		}
	}
	return nil
}

// source is the file of a demo.
type source struct {
	path  string
	from  string // what it is, for people
	lines int64
	bytes int64
	cut   bool // it ends without a newline
	sum   []byte
}

// scanSource counts a file's lines, and sums it up.
func scanSource(path, from string) (*source, error) {
	r, err := openLines(path)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // nothing was written
	s := &source{path: path, from: from}
	sum := sha256.New()
	for {
		line, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		s.bytes += int64(len(line)) + 1
		hashLine(sum, line)
	}
	s.lines, s.cut, s.sum = r.number, r.cut, sum.Sum(nil)
	if s.cut {
		s.bytes--
	}
	return s, nil
}

// hashLine adds a line, and the end of it, to a sum.
func hashLine(h hash.Hash, line []byte) {
	h.Write(line)
	h.Write(newline)
}

var newline = []byte{'\n'}

// makeSource writes a file of at least so many lines out of the sources of the
// Go toolchain.
func makeSource(ctx context.Context, path string, lines int) (from string, err error) {
	root, version, err := findGo(ctx)
	if err != nil {
		return "", advise(err, "wpd demo FILE, with any file of text")
	}
	out, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	have := 0
	err = filepath.WalkDir(filepath.Join(root, "src"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, err := out.Write(text); err != nil {
			return err
		}
		if have += bytes.Count(text, newline); have >= lines {
			return fs.SkipAll
		}
		return ctx.Err()
	})
	if err == nil && have < lines {
		err = advise(fmt.Errorf("the sources in %s have only %d lines", root, have), "wpd demo FILE, with any file of text")
	}
	return "sources of " + version, err
}

// findGo returns the directory and the version of the Go toolchain.
func findGo(ctx context.Context) (root, version string, err error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return "", "", fmt.Errorf("find the sources of Go: %w", err)
	}
	root, version, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	return root, version, nil
}
