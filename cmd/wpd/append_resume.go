package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/wpd-io/wpd"
)

// lastStored is how far a producer got in an earlier command.
type lastStored struct {
	producer string
	count    uint64    // entries; 0: it is new, and nothing is to be compared
	entry    wpd.Entry // the last of them
}

// findLastStored asks the log for the last entry of a producer that has stored
// count of them.
func findLastStored(ctx context.Context, log *wpd.Log, producer string, count uint64) (lastStored, error) {
	s := lastStored{producer: producer, count: count}
	if count == 0 {
		return s, nil
	}
	info, err := log.Producer(ctx, producer)
	if err != nil {
		return s, err
	}
	if info.Last != count {
		return s, conflict("producer %s went on meanwhile, from %d entries to %d: somebody else writes under its name", producer, count, info.Last)
	}
	r, err := log.Reader(ctx, wpd.From(info.LastLSN), wpd.Limit(1), wpd.AtLeast(info.LastLSN))
	if typed[*wpd.TrimmedError](err) {
		return s, advise(fmt.Errorf("the last entry of producer %s can't be compared with the input: %w", producer, err),
			fmt.Sprintf("if it is the same input, append what is behind its first %s without --resume", entriesText(count)))
	}
	if err == nil {
		s.entry, err = r.Next(ctx)
		err = errors.Join(err, r.Close())
	}
	if err != nil {
		return s, fmt.Errorf("read the last entry of producer %s: %w", producer, err)
	}
	return s, nil
}

// missing is the error of an input that ends before all is found in it that is
// stored.
func (s *lastStored) missing(found uint64) error {
	if found >= s.count {
		return nil
	}
	return conflict("the input has %s, but producer %s has stored %d", entriesText(found), s.producer, s.count)
}

// pass passes over the entries of a chunk that are stored already, and returns
// the index of the first that is not. It compares the last that is stored with
// its place in the input.
func (a *appending) pass(c *chunk) (int, error) {
	s := &a.last
	if s.count == 0 {
		return 0, nil
	}
	found := a.tally.snapshot().skipped
	n := int(min(s.count-found, uint64(len(c.entries))))
	for range n {
		a.tally.skip()
	}
	if n == 0 || found+uint64(n) < s.count {
		return n, nil
	}
	here := c.entries[n-1]
	own := here.Headers[:len(here.Headers)-len(a.given)]
	if what := s.differs(wpd.Entry{Headers: own, Data: here.Data}); what != "" {
		return 0, a.at(c.numbers[n-1], conflict("it is not what producer %s stored last, at LSN %d: %s", s.producer, s.entry.LSN, what))
	}
	return n, nil
}

// differs compares an entry of the input, with its own headers, with the one
// stored. That headers were added, and whether the line had a newline, makes no
// difference: the line may have been the last one then.
func (s *lastStored) differs(e wpd.Entry) string {
	if !bytes.Equal(e.Data, s.entry.Data) {
		return fmt.Sprintf("%s there, %s in the log", excerpt(e.Data), excerpt(s.entry.Data))
	}
	own, stored := unmarked(e.Headers), unmarked(s.entry.Headers)
	same := len(own) <= len(stored) && slices.EqualFunc(own, stored[:len(own)], func(a, b wpd.Header) bool {
		return a.Key == b.Key && bytes.Equal(a.Value, b.Value)
	})
	if !same {
		return "the data are the same, the headers are not"
	}
	return ""
}

// unmarked is headers without the mark of a line that had no newline.
func unmarked(headers []wpd.Header) []wpd.Header {
	return slices.DeleteFunc(slices.Clone(headers), func(h wpd.Header) bool { return lacksNewline([]wpd.Header{h}) })
}

// excerpt is the beginning of data, for people.
func excerpt(data []byte) string {
	const most = 40
	if len(data) <= most {
		return strconv.Quote(string(data))
	}
	return strings.TrimSuffix(strconv.Quote(string(data[:most])), `"`) + `…"`
}

// conflict is an error of two things that don't fit together.
func conflict(format string, args ...any) error {
	return &exitError{exitConflict, fmt.Errorf(format, args...)}
}
