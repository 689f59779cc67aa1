package main

import (
	"fmt"
	"strings"
	"time"
)

// watch shows progress, tells when acknowledgements stay away, and gives up
// when they do for longer than the user's patience.
func (a *appending) watch(over <-chan struct{}) {
	say := a.progress()
	defer say.clear()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	noticed := time.Time{} // the change after which nothing came for long
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		c := a.tally.snapshot()
		a.say(say, c)
		quiet := time.Since(c.changed)
		switch {
		case c.inFlight == 0:
		case a.patience > 0 && quiet > a.patience:
			a.stop(errStalled)
			a.giveUp(errStalled)
		case quiet > stallNotice && noticed != c.changed:
			noticed = c.changed
			say.clear()
			fmt.Fprintf(a.cmd.ErrOrStderr(), "no acknowledgement for %s; trying on\n", timeText(stallNotice))
		}
	}
}

// progress is silent where it would be in the way: of who types the entries,
// or of acknowledgements on the same screen.
func (a *appending) progress() *progress {
	typing := a.file == "-" && isTerminalInput(a.cmd.InOrStdin())
	if typing || wantsObjects(a.cmd) && isTerminal(a.cmd.OutOrStdout()) {
		return &progress{}
	}
	return newProgress(a.cmd)
}

func (a *appending) say(p *progress, c counts) {
	if c.stored+c.inFlight == 0 && a.last.count > 0 {
		p.say("passing over what is stored: %s of %s", countText(c.skipped), entriesText(a.last.count))
		return
	}
	p.say("appended %s, %s, %s; %s in flight", entriesText(c.stored), sizeText(c.bytes), a.rate(c), countText(c.inFlight))
}

func (a *appending) rate(c counts) string {
	seconds := max(time.Since(a.start).Seconds(), 1e-3)
	return sizeText(int64(float64(c.bytes)/seconds)) + "/s"
}

// tell sums up on stderr: what was appended and, after an error, what became
// of the rest and how to go on. With -o json a success needs no words.
func (a *appending) tell(err error) error {
	c := a.tally.snapshot()
	w := a.cmd.ErrOrStderr()
	if a.unmarked {
		fmt.Fprintln(w, "the last line of the input fills an entry; it is read back with a newline, though it has none")
	}
	if isBrokenPipe(err) || err == nil && wantsObjects(a.cmd) {
		return nil
	}
	said := []string{"appended " + entriesText(c.stored)}
	switch {
	case c.first == 0:
	case uint64(c.end-c.first) == c.stored:
		said = append(said, fmt.Sprintf("LSNs [%d, %d)", c.first, c.end))
	default: // others have appended meanwhile
		said = append(said, fmt.Sprintf("within LSNs [%d, %d)", c.first, c.end))
	}
	if c.skipped > 0 {
		said = append(said, "after "+countText(c.skipped)+" that were stored before")
	}
	if err == nil && c.stored > 0 {
		said = append(said, sizeText(c.bytes)+" in "+timeText(time.Since(a.start)), a.rate(c))
	}
	if _, err := fmt.Fprintln(w, strings.Join(said, ", ")); err != nil {
		return err
	}
	if err == nil {
		return nil
	}
	return a.tellRest(c)
}

// tellRest says what an error has left open, and how to go on.
func (a *appending) tellRest(c counts) error {
	w := a.cmd.ErrOrStderr()
	if c.unknown > 0 {
		fmt.Fprintf(w, "%s more may or may not be stored\n", entriesText(c.unknown))
	}
	how := ""
	switch {
	case c.holes:
		how = fmt.Sprintf("compare the input with wpd read %s --from %d: entries behind the first that is not stored are", a.log, c.first)
	case a.producer != "" && a.resume:
		how = "run the same command on the same input again"
	case a.producer != "":
		how = "run the same command on the same input, with --resume"
	case c.unknown > 0:
		how = fmt.Sprintf("wpd read %s --from %d shows which of them are; --producer and --resume find it out by themselves", a.log, max(c.end, 1))
	case c.stored > 0 && a.format == "json": // blank lines count for nothing
		how = fmt.Sprintf("the input from its object %d on is not stored", c.stored+1)
	case c.stored > 0 && a.format != "whole":
		how = fmt.Sprintf("the input from its %s %d on is not stored", inputNoun(a.format), c.stored+1)
	default:
		return nil
	}
	_, err := fmt.Fprintln(w, "to go on:", how)
	return err
}
