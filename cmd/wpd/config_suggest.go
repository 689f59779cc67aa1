package main

import (
	"errors"
	"slices"
	"strings"
)

// unknown says which names are those of no setting, and which one each was
// meant to be.
func (s *settings) unknown(names []string, complain func(name string) string, proper func(*knob) string) []error {
	var errs []error
	slices.Sort(names)
	for _, name := range names {
		if s.knob(name) != nil {
			continue
		}
		text := complain(name)
		if k := s.nearest(name); k != nil {
			text += "; did you mean " + proper(k) + "?"
		}
		errs = append(errs, errors.New(text))
	}
	return errs
}

func (s *settings) knob(key string) *knob {
	for k := range s.all {
		if k.key == key {
			return k
		}
	}
	return nil
}

// nearest is the setting that a name was probably meant to be; nil if there is
// none. Settings are not nested, so what stands before a dot does not matter.
func (s *settings) nearest(name string) *knob {
	last := name[strings.LastIndex(name, ".")+1:]
	whole := strings.ReplaceAll(strings.ReplaceAll(name, ".", "_"), "-", "_")
	best := 2 + len(last)/4 // more mistakes make another word
	var nearest *knob
	for k := range s.all {
		if d := min(distance(whole, k.key), distance(last, k.key)); d < best {
			nearest, best = k, d
		}
	}
	return nearest
}

// distance is how many letters must be added, left out, replaced or swapped
// with the next to make one word of another.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
