package main

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// inspectPrinter prints an inspection for people. The first error sticks.
type inspectPrinter struct {
	w   io.Writer
	ink ink
	err error
}

func (p *inspectPrinter) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// field prints a name and what it is.
func (p *inspectPrinter) field(name, format string, args ...any) {
	p.line("%s  %s", p.ink.dim(fmt.Sprintf("%-10s", name)), fmt.Sprintf(format, args...))
}

// table prints a titled table; columns that start with "<" stand left.
func (p *inspectPrinter) table(title string, columns []string, rows [][]string) {
	if len(rows) == 0 || p.err != nil {
		return
	}
	p.line("\n%s", p.ink.bold(title))
	var cols []column
	for _, c := range columns {
		name, left := strings.CutPrefix(c, "<")
		cols = append(cols, column{title: name, left: left})
	}
	if p.err == nil {
		p.err = printTable(p.w, p.ink, cols, rows)
	}
}

func (p *inspectPrinter) print(in *inspection) {
	p.field("object", "%s", p.ink.bold(in.Object))
	if in.Size < 1000 {
		p.field("size", "%d bytes", in.Size)
	} else {
		p.field("size", "%s bytes (%s)", countText(in.Size), sizeText(in.Size))
	}
	if in.err == nil {
		p.field("state", "%s", p.ink.green("whole"))
	} else {
		p.field("state", "%s", p.ink.red("damaged: ")+why(in.err))
	}
	for _, key := range slices.Sorted(maps.Keys(in.own)) {
		if n, ok := in.own[key].(float64); ok {
			p.field(key, "%s", strconv.FormatFloat(n, 'f', -1, 64))
			continue
		}
		p.field(key, "%v", in.own[key])
	}
	if h := in.x.Head; h != nil {
		p.head(h)
	} else if f := in.x.Footer; f != nil {
		p.field("kind", "%s, by its footer; the header can't be decoded", what(f.Kind, f.Epoch, f.N))
	}
	p.checks(in.x.Checks)
	if d := in.x.Directory; d != nil {
		p.directory(d)
	}
	for _, s := range in.batches {
		p.batches(s)
	}
}

// why is an error without the object's name, which stands above it.
func why(err error) string {
	if e, ok := errors.AsType[*fragment.CorruptError](err); ok {
		return fmt.Sprintf("at byte %d: %s", e.Offset, e.Reason)
	}
	return err.Error()
}

// what names an object.
func what(k fragment.Kind, e fragment.Epoch, n uint64) string {
	switch k {
	case fragment.KindOpening:
		return fmt.Sprintf("opening of chain %d", uint64(e))
	case fragment.KindIndex:
		return fmt.Sprintf("index of chain %d, up to object %d", uint64(e), n)
	}
	return fmt.Sprintf("%s %d of chain %d", k, n, uint64(e))
}

func (p *inspectPrinter) head(h *fragment.Head) {
	p.field("kind", "%s", what(h.Kind, h.Epoch, h.N))
	if h.Kind == fragment.KindIndex {
		p.field("cluster", "%s", h.Cluster)
		return // the rest is the same whoever writes it, and when
	}
	p.field("cluster", "%s, incarnation %d, raft index %d", h.Cluster, h.Incarnation, h.Applied)
	p.field("nonce", "%s", h.Nonce)
	if h.Kind == fragment.KindFragment {
		p.field("frozen", "%s, when objects up to %d were durable", timestamp(h.Time), h.Durable)
	} else {
		p.field("frozen", "%s", timestamp(h.Time))
	}
	offset, _ := h.Directory()
	p.field("layout", "header %d, slices up to byte %s, directory and footer up to %s", fragment.HeadLen, countText(offset), countText(h.Len()))
}

func timestamp(t fragment.Micros) string {
	if t == 0 {
		return "-"
	}
	return time.UnixMicro(int64(t)).UTC().Format("2006-01-02T15:04:05.000000Z")
}

func (p *inspectPrinter) checks(checks []fragment.Check) {
	var rows [][]string
	for _, c := range checks {
		rows = append(rows, []string{c.What, countText(c.Offset), fmt.Sprintf("%08x", c.Have), p.verdict(c)})
	}
	p.table("Checksums", []string{"<of", "at byte", "stored", "<"}, rows)
}

func (p *inspectPrinter) verdict(c fragment.Check) string {
	if c.OK() {
		return "ok"
	}
	return p.ink.red(fmt.Sprintf("BAD: the bytes have %08x", c.Want))
}

func num[N ~uint64 | ~uint32](n N) string { return strconv.FormatUint(uint64(n), 10) }

func (p *inspectPrinter) directory(d *fragment.Directory) {
	if o := d.Opening; o != nil {
		p.table("Opening", []string{"<node", "boot", "window", "type"}, [][]string{{o.Node, num(o.Boot), num(o.Window), num(o.Type)}})
	}
	if s := d.Seal; s != nil {
		p.table("Sealer", []string{"<node", "boot"}, [][]string{{s.Node, num(s.Boot)}})
	}
	var rows [][]string
	for _, s := range d.Slices {
		rows = append(rows, []string{num(s.Log), num(s.Attachment), num(s.First), num(s.End()), num(s.Count), num(s.Offset), num(s.Length),
			num(uint32(len(s.Points))), timestamp(s.TimeMin), after(s.TimeMin, s.TimeMax)})
	}
	p.table("Slices", []string{"log", "attachment", "from", "to", "entries", "at byte", "bytes", "points", "<first appended", "last"}, rows)
	rows = nil
	for _, a := range d.Attached {
		rows = append(rows, []string{num(a.Log), a.Name, num(a.Attachment), num(a.First), num(a.Trim), num(a.Generation), num(a.EntryBytesMax)})
	}
	p.table("Attached logs", []string{"log", "<name", "attachment", "first", "first left", "generation", "entry limit"}, rows)
	rows = nil
	for _, e := range d.PrevEnds {
		rows = append(rows, []string{num(e.Log), num(e.Attachment), num(e.LSN)})
	}
	p.table("Ends of the object before", []string{"log", "attachment", "end"}, rows)
	p.states("", d.States)
	if d.Index != nil {
		p.index(d.Index)
	}
}

func after(from, to fragment.Micros) string {
	if to == from {
		return "same"
	}
	return "+" + timeText(time.Duration(to-from)*time.Microsecond)
}

func (p *inspectPrinter) states(of string, states []fragment.LogState) {
	var logs, producers [][]string
	for _, s := range states {
		logs = append(logs, []string{num(s.Log), num(s.Attachment), num(s.End), timestamp(s.Time), dash(s.Dropped), num(uint32(len(s.Producers)))})
		for _, x := range s.Producers {
			remembered := "-"
			if n := len(x.Batches); n > 0 {
				remembered = fmt.Sprintf("%d, sequences [%d, %d)", n, x.Batches[0].First, x.Batches[n-1].End())
			}
			producers = append(producers, []string{num(s.Log), dash(x.ID), x.Name, num(x.Epoch), num(x.Last), num(x.Lowest), timestamp(x.Time), remembered})
		}
	}
	p.table("States"+of, []string{"log", "attachment", "end", "<last appended", "<producers forgotten up to", "producers"}, logs)
	p.table("Producers"+of, []string{"log", "<id", "<name", "epoch", "last", "waits for", "<last appended", "<batches remembered"}, producers)
}

// dash is a producer id, in its two halves.
func dash(id fragment.ProducerID) string {
	if id == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", uint64(id)>>32, uint64(id)&(1<<32-1))
}

func (p *inspectPrinter) index(x *fragment.Index) {
	var rows [][]string
	for _, l := range x.Logs {
		for _, r := range l.Rows {
			lost := ""
			if r.Lost {
				lost = p.ink.red("lost")
			}
			rows = append(rows, []string{num(l.Log), num(l.Attachment), num(r.N), num(r.First), num(r.End()), num(r.Offset), num(r.Length),
				timestamp(r.TimeMin), after(r.TimeMin, r.TimeMax), lost})
		}
	}
	of := fmt.Sprintf(" of objects [%d, %d)", x.From, x.To)
	p.table("Slices"+of, []string{"log", "attachment", "object", "from", "to", "at byte", "bytes", "<first appended", "last", "<"}, rows)
	if len(rows) == 0 {
		p.line("\n%s\nnone", p.ink.bold("Slices"+of))
	}
	p.states(fmt.Sprintf(" at object %d", x.To), x.States)
}

func (p *inspectPrinter) batches(s inspectedSlice) {
	title := fmt.Sprintf("Batches of log %d", s.log)
	if s.log == 0 {
		title = "Batches, of which log is not known"
	}
	var rows [][]string
	for _, x := range s.batches {
		rows = append(rows, p.batch(x))
	}
	p.table(title, []string{"at byte", "bytes", "from", "to", "<appended", "<producer", "epoch", "sequences", "<codec", "<payload", "<stamp", "<"}, rows)
	if !s.entries {
		return
	}
	rows = nil
	for _, x := range s.batches {
		if x.Batch.Len() == 0 {
			continue
		}
		for lsn, e := range entriesOf(x.Batch) {
			var headers []string
			for _, h := range e.Headers {
				headers = append(headers, h.Key+"="+preview(h.Value, 24))
			}
			rows = append(rows, []string{num(lsn), countText(len(e.Data)), strings.Join(headers, " "), preview(e.Data, 72)})
		}
	}
	p.table("Entries"+strings.TrimPrefix(title, "Batches"), []string{"lsn", "bytes", "<headers", "<data"}, rows)
}

func (p *inspectPrinter) batch(x fragment.ExaminedBatch) []string {
	row := []string{countText(x.Offset), countText(x.Length), "", "", "", "", "", "", "", "", "", ""}
	if b := x.Batch; b.Len() > 0 {
		copy(row[2:], []string{num(b.From()), num(b.To()), timestamp(b.Time()), dash(b.Producer()), num(b.ProducerEpoch()),
			fmt.Sprintf("[%d, %d)", b.FirstSeq(), b.LastSeq()+1), b.Codec().String()})
	}
	for i, c := range x.Checks {
		row[9+i] = "ok"
		if !c.OK() {
			row[9+i] = "BAD"
		}
	}
	if x.Err != nil {
		row[11] = p.ink.red(why(x.Err))
	}
	return row
}

// entriesOf walks the entries of a batch as far as they can be decoded.
func entriesOf(b fragment.Batch) iter.Seq2[fragment.LSN, fragment.Entry] {
	return func(yield func(fragment.LSN, fragment.Entry) bool) {
		entries, err := b.Entries()
		if err != nil {
			return
		}
		for lsn := b.From(); ; lsn++ {
			e, ok := entries.Next()
			if !ok || !yield(lsn, e) {
				return
			}
		}
	}
}

// preview is the beginning of some bytes, quoted.
func preview(b []byte, most int) string {
	if len(b) <= most {
		return strconv.Quote(string(b))
	}
	return strconv.Quote(string(b[:most])) + "…"
}
