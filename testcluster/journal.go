package testcluster

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// journalMax is how many lines a journal keeps: the last ones, which are those
// that led to a failure.
const journalMax = 400

// journal keeps the last of what nodes log and what was done to them, to be
// told if a test fails.
type journal struct {
	start time.Time

	mu    sync.Mutex // guards what follows
	lines []string   // a ring
	next  int        // where the next line goes; all before it, by age
	last  map[said]time.Time
}

// said is what a node says again and again while something is wrong.
type said struct{ node, message string }

// saidEvery is how often a node's message gets into the journal.
const saidEvery = time.Second

func newJournal() *journal { return &journal{start: time.Now(), last: make(map[said]time.Time)} }

func (j *journal) add(at time.Time, s said, line string) {
	line = fmt.Sprintf("%10.3fs %-6s %s", at.Sub(j.start).Seconds(), s.node, line)
	j.mu.Lock()
	defer j.mu.Unlock()
	if last, ok := j.last[s]; ok && at.Sub(last) < saidEvery {
		return
	}
	j.last[s] = at
	if len(j.lines) < journalMax {
		j.lines = append(j.lines, line)
	} else {
		j.lines[j.next%journalMax] = line
	}
	j.next++
}

// String returns the lines, the oldest first.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b strings.Builder
	if j.next > journalMax {
		fmt.Fprintf(&b, "%d earlier lines were dropped\n", j.next-journalMax)
	}
	for i := range j.lines {
		b.WriteString(j.lines[(j.next+i)%len(j.lines)])
		b.WriteByte('\n')
	}
	return b.String()
}

// logger is that of a node: it writes to the journal, and to next, if there is
// one.
func (j *journal) logger(node string, level slog.Level, next *slog.Logger) *slog.Logger {
	h := &journalHandler{journal: j, node: node, level: level}
	if next != nil {
		h.next = next.With("node", node).Handler()
	}
	return slog.New(h)
}

// journalHandler implements slog.Handler.
type journalHandler struct {
	journal *journal
	node    string
	level   slog.Level
	attrs   string       // that every line has
	group   string       // prefix of keys
	next    slog.Handler // nil: none
}

// Enabled implements slog.Handler.
func (h *journalHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level || h.next != nil && h.next.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= h.level {
		var b strings.Builder
		fmt.Fprintf(&b, "%-5s %s%s", r.Level, r.Message, h.attrs)
		r.Attrs(func(a slog.Attr) bool {
			b.WriteString(h.attr(a))
			return true
		})
		h.journal.add(r.Time, said{h.node, r.Message}, b.String())
	}
	if h.next != nil && h.next.Enabled(ctx, r.Level) {
		return h.next.Handle(ctx, r)
	}
	return nil
}

func (h *journalHandler) attr(a slog.Attr) string {
	return fmt.Sprintf(" %s%s=%v", h.group, a.Key, a.Value.Resolve())
}

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	for _, a := range attrs {
		c.attrs += h.attr(a)
	}
	if c.next != nil {
		c.next = c.next.WithAttrs(attrs)
	}
	return &c
}

// WithGroup implements slog.Handler.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.group += name + "."
	if c.next != nil {
		c.next = c.next.WithGroup(name)
	}
	return &c
}
