package offline

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// Log is a log as its chains tell of it.
type Log struct {
	ID            fragment.LogID
	Name          string // "" if every record of it is lost
	EntryBytesMax uint32
	Generation    fragment.Generation
	First         fragment.LSN // the first LSN left when the log was attached last
	End           fragment.LSN // the LSN after the last that is known
	Extents       []Extent     // in order; each ends where the next begins
	places        []*place     // of the extents
}

// Extent is the range [From, To) of a log's LSNs that one chain holds.
type Extent struct {
	Chain      fragment.Epoch
	Attachment fragment.Attachment
	From, To   fragment.LSN
}

// Ref names the log so that Find finds it, whatever other logs there are.
func (l *Log) Ref() string { return fmt.Sprintf("%s@%d", l.Name, l.ID) }

// assemble makes logs of the places that the chains told of. Attachments are
// given out in ascending order, so theirs is the order of a log's extents.
func assemble(all []*place) []*Log {
	slices.SortFunc(all, func(a, b *place) int {
		return cmp.Or(cmp.Compare(a.log, b.log), cmp.Compare(a.attachment, b.attachment))
	})
	var logs []*Log
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].log == all[0].log {
			n++
		}
		logs = append(logs, assembleLog(all[:n:n]))
		all = all[n:]
	}
	return logs
}

func assembleLog(places []*place) *Log {
	l := &Log{ID: places[0].log, First: 1, places: places}
	end := fragment.LSN(1)
	for i, p := range places {
		if a := p.attached; a != nil {
			l.Name, l.EntryBytesMax, l.Generation, l.First = a.Name, a.EntryBytesMax, a.Generation, max(l.First, a.Trim)
		}
		if p.first == 0 {
			p.first = end
		}
		end = max(p.first, p.next)
		if i > 0 {
			places[i-1].limit = p.first
		}
	}
	l.End = end
	for i, p := range places {
		to := end
		if i+1 < len(places) {
			to = places[i+1].first
		}
		l.Extents = append(l.Extents, Extent{Chain: p.chain.epoch, Attachment: p.attachment, From: p.first, To: to})
	}
	return l
}

// Logs returns the logs of the bucket, by name, then id: of several with one
// name, all but the last are deleted ones.
func (b *Bucket) Logs() []*Log {
	logs := slices.Clone(b.logs)
	slices.SortFunc(logs, func(a, b *Log) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return logs
}

// Find finds a log by name, the newest if several had it, or by name@id, or
// by @id alone. Errors: api.ErrNotFound, which says what there is.
func (b *Bucket) Find(ref string) (*Log, error) {
	name, digits, byID := strings.Cut(ref, "@")
	var found *Log
	if byID {
		id, err := strconv.ParseUint(digits, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: log %q: what follows the @ is no log id", api.ErrInvalid, ref)
		}
		for _, l := range b.logs {
			if uint64(l.ID) == id && (name == "" || l.Name == name) {
				found = l
			}
		}
	} else {
		for _, l := range b.logs {
			if l.Name == name && name != "" {
				found = l // ids ascend: the last is the newest
			}
		}
	}
	if found == nil {
		return nil, fmt.Errorf("log %q: %w; %s", ref, api.ErrNotFound, b.has())
	}
	return found, nil
}

// has says which logs there are.
func (b *Bucket) has() string {
	if len(b.logs) == 0 {
		return "the bucket holds no entries of any log"
	}
	var names []string
	for _, l := range b.Logs() {
		name := l.Name
		if name == "" {
			name = l.Ref()
		}
		names = append(names, name)
	}
	names = slices.Compact(names)
	if n := len(names); n > 10 {
		names = append(names[:10], fmt.Sprintf("and %d more", n-10))
	}
	return "the bucket has " + strings.Join(names, ", ")
}
