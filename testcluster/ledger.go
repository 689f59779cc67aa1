package testcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/wpd-io/wpd"
)

// Outcome is what became of an append, as its caller was told.
type Outcome byte

// The outcomes. Open is that of an append whose caller died first.
const (
	Open         Outcome = iota // nothing was heard: unknown
	Acknowledged                // it is at an LSN
	Stored                      // it is in the log, at an LSN that is forgotten
	Refused                     // it is not in the log and never will be
	Unknown                     // it may be in the log
)

func (o Outcome) String() string {
	return [...]string{"open", "acknowledged", "stored", "refused", "unknown"}[o]
}

// OutcomeOf says what an error of an append means, by the words of
// [wpd.Writer.Append].
func OutcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return Acknowledged
	case errors.Is(err, wpd.ErrStored):
		return Stored
	case errors.Is(err, wpd.ErrUncertain):
		return Unknown
	}
	return Refused
}

// Append is one atomic append of Count entries, with the sequences Seq on.
type Append struct {
	Nonce       uint64
	Log         string
	Producer    string
	Seq         uint64
	Count       int
	Bytes       int  // of each entry
	Conditional bool // it may be refused on its own account, as by IfTail

	Outcome Outcome
	LSN     wpd.LSN // of the first entry, if acknowledged
	Reason  string  // of a refusal, or of not knowing

	sent, settled int // the events of the ledger in which it was
}

// Entry returns the i-th entry of the append.
func (a *Append) Entry(run uint64, i int) Entry {
	return Entry{Run: run, Log: a.Log, Producer: a.Producer, Seq: a.Seq + uint64(i), Nonce: a.Nonce, Index: i, Bytes: a.Bytes}
}

// Entries returns all entries of the append, as they are handed to a writer.
func (a *Append) Entries(run uint64) []wpd.Entry {
	all := make([]wpd.Entry, a.Count)
	for i := range all {
		all[i].Data = a.Entry(run, i).Data()
	}
	return all
}

// resumed says that a log's owner told a producer how far it had got: what
// lies above, of earlier appends, is not stored and never will be.
type resumed struct {
	log, producer string
	stored        uint64
	at            int
}

// tailed is a durable tail that somebody was told, asked for at event from.
type tailed struct {
	log      string
	lsn      wpd.LSN
	from, at int
}

// Ledger remembers what was tried, what came of it, and what was seen. Safe
// for concurrent use; the order of its events is the order of the calls.
type Ledger struct {
	Run uint64

	mu      sync.Mutex
	out     io.Writer
	err     error // of out
	dead    bool
	events  int
	appends map[uint64]*Append
	order   []*Append // by intent
	resumes []resumed
	tails   []tailed
	seen    map[string]map[wpd.LSN]uint32 // checksums of what was read once
	trims   map[string]wpd.LSN
	faults  map[string]int
}

// NewLedger makes an empty one. Every event is also written to out as one
// line, in one call, before the method that reports it returns; nil: nowhere.
func NewLedger(run uint64, out io.Writer) *Ledger {
	l := &Ledger{
		Run: run, out: out,
		appends: make(map[uint64]*Append),
		seen:    make(map[string]map[wpd.LSN]uint32),
		trims:   make(map[string]wpd.LSN),
		faults:  make(map[string]int),
	}
	return l
}

// Die makes the ledger deaf: its process is dead, whatever of it still runs.
func (l *Ledger) Die() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
}

// Rebirth makes it listen again, for the next process.
func (l *Ledger) Rebirth() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = false
}

// Err is the first error of writing the lines.
func (l *Ledger) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// event notes an event and writes its line. It returns false if the ledger is
// deaf, and then nothing may be changed.
func (l *Ledger) eventLocked(format string, args ...any) bool {
	if l.dead {
		return false
	}
	l.events++
	if l.out != nil && l.err == nil {
		_, l.err = fmt.Fprintf(l.out, format+"\n", args...)
	}
	return true
}

// Intend notes that an append is about to be sent.
func (l *Ledger) Intend(a Append) *Append {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.Outcome = Open
	c := &a
	if l.eventLocked("i %x %s %s %d %d %d %t", a.Nonce, a.Log, a.Producer, a.Seq, a.Count, a.Bytes, a.Conditional) {
		if l.appends[a.Nonce] != nil {
			panic(fmt.Sprintf("testcluster: nonce %x is used twice", a.Nonce))
		}
		c.sent = l.events
		l.appends[a.Nonce] = c
		l.order = append(l.order, c)
	}
	return c
}

// Settle notes the outcome of an append, as its caller was told it. ctx
// errors that are not uncertain count as refusals: nothing was sent.
func (l *Ledger) Settle(nonce uint64, lsn wpd.LSN, err error) {
	reason := "-"
	if err != nil {
		reason = strings.Join(strings.Fields(err.Error()), "_")
		reason = reason[:min(len(reason), 200)]
	}
	l.settle(nonce, OutcomeOf(err), lsn, reason)
}

func (l *Ledger) settle(nonce uint64, o Outcome, lsn wpd.LSN, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.appends[nonce]
	if a == nil || !l.eventLocked("o %x %d %d %s", nonce, o, lsn, reason) {
		return
	}
	a.Outcome, a.LSN, a.Reason, a.settled = o, lsn, reason, l.events
}

// Resumed notes that a producer was opened, and had so many entries stored.
func (l *Ledger) Resumed(log, producer string, stored uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.eventLocked("r %s %s %d", log, producer, stored) {
		l.resumes = append(l.resumes, resumed{log, producer, stored, l.events})
	}
}

// Now is the number of events so far, for Tail.
func (l *Ledger) Now() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events
}

// Tail notes a durable tail that was asked for when Now was from.
func (l *Ledger) Tail(log string, from int, lsn wpd.LSN) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.eventLocked("t %s %d %d", log, from, lsn) {
		l.tails = append(l.tails, tailed{log, lsn, from, l.events})
	}
}

// Trimmed notes that a log is about to be trimmed before an LSN.
func (l *Ledger) Trimmed(log string, before wpd.LSN) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.eventLocked("d %s %d", log, before) {
		l.trims[log] = max(l.trims[log], before)
	}
}

// Fault notes that a fault took effect, by its name.
func (l *Ledger) Fault(name string, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if times > 0 && l.eventLocked("f %s %d", name, times) {
		l.faults[name] += times
	}
}

// Saw notes an entry that was read. An error means that something else was
// read there before.
func (l *Ledger) Saw(log string, e wpd.Entry) error {
	sum := checksum(e.Data)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.eventLocked("s %s %d %08x", log, e.LSN, sum) {
		return nil
	}
	return l.sawLocked(log, e.LSN, sum)
}

func (l *Ledger) sawLocked(log string, lsn wpd.LSN, sum uint32) error {
	at := l.seen[log]
	if at == nil {
		at = make(map[wpd.LSN]uint32)
		l.seen[log] = at
	}
	if have, ok := at[lsn]; ok && have != sum {
		return fmt.Errorf("log %s: LSN %d was read as %08x, and now as %08x", log, lsn, have, sum)
	}
	at[lsn] = sum
	return nil
}

// Count counts the appends with an outcome.
func (l *Ledger) Count(o Outcome) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.order {
		if a.Outcome == o {
			n++
		}
	}
	return n
}

// Entries counts the entries of appends with an outcome.
func (l *Ledger) Entries(o Outcome) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.order {
		if a.Outcome == o {
			n += a.Count
		}
	}
	return n
}

// Logs are the names of all logs of which it has appends, in order.
func (l *Ledger) Logs() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make(map[string]bool)
	for _, a := range l.order {
		names[a.Log] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// FaultCount is how often faults took effect, whichever.
func (l *Ledger) FaultCount() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, times := range l.faults {
		n += times
	}
	return n
}

// Reasons lists the appends of an outcome, with what was said of them.
func (l *Ledger) Reasons(o Outcome) (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.order {
		if a.Outcome == o {
			all = append(all, a.String()+": "+a.Reason)
		}
	}
	return all
}

// Replay takes in the lines of another ledger, up to the end of r, or to a
// line that was cut off by the death of its writer.
func (l *Ledger) Replay(ctx context.Context, r io.Reader) error {
	b := bufio.NewReaderSize(r, 64<<10)
	base := l.Now() // the events of the other count from here
	for ctx.Err() == nil {
		line, err := b.ReadString('\n')
		if err == io.EOF {
			return nil // what is left is half a line
		}
		if err != nil {
			return fmt.Errorf("read ledger: %w", err)
		}
		if err := l.line(base, strings.TrimSuffix(line, "\n")); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (l *Ledger) line(base int, line string) (err error) {
	var a Append
	var o Outcome
	var lsn wpd.LSN
	var n, m uint64
	var log, name string
	kind, rest, _ := strings.Cut(line, " ")
	switch kind {
	case "i":
		_, err = fmt.Sscanf(rest, "%x %s %s %d %d %d %t", &a.Nonce, &a.Log, &a.Producer, &a.Seq, &a.Count, &a.Bytes, &a.Conditional)
		if err == nil {
			l.Intend(a)
		}
	case "o":
		if _, err = fmt.Sscanf(rest, "%x %d %d %s", &n, &o, &lsn, &name); err == nil {
			l.settle(n, o, lsn, name)
		}
	case "r":
		if _, err = fmt.Sscanf(rest, "%s %s %d", &log, &name, &n); err == nil {
			l.Resumed(log, name, n)
		}
	case "t":
		if _, err = fmt.Sscanf(rest, "%s %d %d", &log, &n, &lsn); err == nil {
			l.Tail(log, base+int(n), lsn)
		}
	case "d":
		if _, err = fmt.Sscanf(rest, "%s %d", &log, &lsn); err == nil {
			l.Trimmed(log, lsn)
		}
	case "f":
		if _, err = fmt.Sscanf(rest, "%s %d", &name, &n); err == nil {
			l.Fault(name, int(n))
		}
	case "s":
		if _, err = fmt.Sscanf(rest, "%s %d %x", &log, &lsn, &m); err == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.events++
			return l.sawLocked(log, lsn, uint32(m))
		}
	default:
		err = errors.New("unknown event")
	}
	if err != nil {
		return fmt.Errorf("ledger line %.100q: %w", line, err)
	}
	return nil
}
