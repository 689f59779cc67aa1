package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// The exit codes; scripts rely on them.
const (
	exitDone        = 0
	exitUnexpected  = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4 // exists, tail mismatch, fenced, sequence, in use, belongs elsewhere
	exitUnavailable = 5 // nothing was done
	exitUnknown     = 6 // it may have been done
	exitDataLoss    = 7 // or a store on which it can't be avoided
	exitLimit       = 8
	exitInterrupted = 130
	exitPipe        = 141 // as a shell sees a process that died of SIGPIPE
)

// exitError is an error whose exit code was chosen where it arose.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// adviceError adds what the user may try.
type adviceError struct {
	err error
	try string
}

func (e *adviceError) Error() string { return e.err.Error() }
func (e *adviceError) Unwrap() error { return e.err }

// advise adds what the user may try to err.
func advise(err error, try string) error { return &adviceError{err, try} }

// usage is a wrong command line.
func usage(cmd *cobra.Command, err error) error {
	return &exitError{exitUsage, advise(err, cmd.CommandPath()+" --help")}
}

// usagef is a wrong command line.
func usagef(cmd *cobra.Command, format string, args ...any) error {
	return usage(cmd, fmt.Errorf(format, args...))
}

// kind is what an exit code means, and what may be tried if the error does not
// say it.
type kind struct {
	is   func(error) bool
	code int
	try  string
}

// kinds is the one table from errors to exit codes; the first that fits
// counts. An unknown outcome and lost data go first: they must not hide behind
// what they wrap.
var kinds = []kind{
	{anyOf(wpd.ErrUncertain, cluster.ErrUncertain, blobstore.ErrUnknown), exitUnknown, "look at the tail, or append again with the same producer: what is stored is not stored twice"},
	{typed[*wpd.DataLossError], exitDataLoss, "wpd verify says what is damaged; all around it can still be read"},
	{typed[*fsm.CorruptError], exitDataLoss, "use another file; or without one: wpd cluster recover"},
	{typed[*fragment.CorruptError], exitDataLoss, "wpd inspect shows what can be decoded; restore the object from a copy"},
	{typed[*segment.LostError], exitDataLoss, "wpd verify says what is damaged"},
	{typed[*unsafeError], exitDataLoss, "use another store; docs/stores.md says which are known, and what to set"},
	{typed[*node.UnsafeBucketError], exitDataLoss, "wpd doctor --bucket URL tells more; use another store, or accept the loss of data: " + unsafeFlag},
	{typed[*segment.ForeignError], exitConflict, "find out who else writes to this bucket"},
	{typed[*wpd.LimitError], exitLimit, ""},
	{anyOf(blobstore.ErrTooLarge), exitLimit, ""},
	{anyOf(blobstore.ErrURL), exitUsage, "file:///absolute/path, s3://NAME, gs://NAME, azblob://NAME or mem://"},
	{anyOf(wpd.ErrInvalid, blobstore.ErrKey), exitUsage, ""},
	{anyOf(wpd.ErrNotFound, wpd.ErrUnknownProducer), exitNotFound, ""},
	{typed[*wpd.TrimmedError], exitNotFound, "start at the first LSN left"},
	{typed[*wpd.BeyondTailError], exitNotFound, "start at the tail"},
	{typed[*wpd.FencedError], exitConflict, "somebody newer writes; open the writer again to take over"},
	{typed[*wpd.SequenceError], exitConflict, "two writers seem to use one producer name"},
	{typed[*wpd.TailError], exitConflict, "read up to the tail, then append with the new one"},
	{typed[*wpd.StaleError], exitConflict, "try again"},
	{typed[*cluster.LockedError], exitConflict, "stop that process, or use another --data-dir"},
	{typed[*cluster.OtherClusterError], exitConflict, "use the data directory and the bucket that belong together"},
	{typed[*cluster.CopiedError], exitConflict, "use the data directory that was used last"},
	{typed[*cluster.RolledBackError], exitConflict, "use the data directory that was used last"},
	{typed[*cluster.RecoveryCutError], exitConflict, "run wpd cluster recover, or snapshot restore, again"},
	{typed[*cluster.OverError], exitConflict, "move the data directory away, and start the node again: it joins as a new one"},
	{typed[*cluster.NameError], exitConflict, ""},
	{typed[*cluster.VersionError], exitConflict, "use a newer wpd"},
	{typed[*wpd.WrongClusterError], exitConflict, "run the command again; if the cluster changes once more, --addr names servers of two"},
	{anyOf(context.DeadlineExceeded), exitUnavailable, "try again, with a longer --timeout or with none"},
	{anyOf(wpd.ErrUnavailable, wpd.ErrClosed, cluster.ErrNotLeader, cluster.ErrBusy, cluster.ErrClosed), exitUnavailable, "try again"},
	{anyOf(api.ErrForbidden), exitUnexpected, "the server's configuration decides that; wpd dev allows it"},
	{anyOf(fs.ErrExist), exitConflict, ""},
	{anyOf(fs.ErrNotExist), exitNotFound, ""},
	{anyOf(syscall.ENOSPC, syscall.EDQUOT), exitLimit, "make room on the disk"},
	{anyOf(fs.ErrPermission, syscall.EROFS), exitUnexpected, "check who owns the directory, and its mode"},
}

func anyOf(targets ...error) func(error) bool {
	return func(err error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
}

func typed[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// classify returns the exit code of an error, and what may be tried.
func classify(err error) (code int, try string) {
	code = exitUnexpected
	for _, k := range kinds {
		if k.is(err) {
			code, try = k.code, k.try
			break
		}
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		code = e.code
	}
	if e, ok := errors.AsType[*adviceError](err); ok {
		try = e.try
	}
	return code, try
}

// isBrokenPipe says whether the reader of our output has left. That of a
// connection is another matter.
func isBrokenPipe(err error) bool {
	return errors.Is(err, syscall.EPIPE) && !typed[*net.OpError](err)
}

// headlines say in a word or two what went wrong, by exit code.
var headlines = map[int]string{
	exitUnexpected: "failed", exitUsage: "wrong usage", exitNotFound: "not found", exitConflict: "conflict",
	exitUnavailable: "unavailable", exitUnknown: "outcome unknown", exitDataLoss: "data loss", exitLimit: "over a limit",
}

// headline says in a word or two what an error is.
func headline(code int, err error) string {
	if typed[*unsafeError](err) || typed[*node.UnsafeBucketError](err) {
		return "unsafe bucket" // nothing is lost yet
	}
	return headlines[code]
}

// report tells of an error on stderr, in lines of what, why and what to try,
// and returns the exit code. A reader of our output that left is no news to
// anybody.
func report(cmd *cobra.Command, err error, interrupted bool) int {
	w := cmd.ErrOrStderr()
	ink := inkFor(cmd, w)
	switch {
	case isBrokenPipe(err):
		return exitPipe
	case typed[*quietError](err):
		quiet, _ := errors.AsType[*quietError](err)
		return quiet.code
	case interrupted && !typed[*exitError](err):
		fmt.Fprintln(w, cmd.CommandPath()+": interrupted")
		return exitInterrupted
	}
	code, try := classify(err)
	why := strings.ReplaceAll(err.Error(), "\n", "; ") // of joined errors
	fmt.Fprintf(w, "%s: %s\n  why: %s\n", cmd.CommandPath(), ink.red(headline(code, err)), why)
	if try != "" {
		fmt.Fprintf(w, "  try: %s\n", try)
	}
	return code
}
