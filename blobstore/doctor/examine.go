package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/rawlimit"
)

const (
	// requestTimeout bounds one request, and so one race.
	requestTimeout = 15 * time.Second
	// cleanupTime bounds the removal of what was made.
	cleanupTime = time.Minute
	// manyAtOnce is how many requests are in flight where it does not matter.
	manyAtOnce = 16
	// largeBytes is the size of a full fragment, smallBytes that of one with an
	// entry of 1 KiB.
	largeBytes = rawlimit.ObjectBytesMax
	smallBytes = 1344
)

// Options says how long to look. Its zero value is a thorough examination.
type Options struct {
	// Rounds is how many keys are raced for. Zero means 250.
	Rounds int
	// Each is how many creates of a key one process sends at once. Zero means 2;
	// 4, if there is no crew.
	Each int
	// Crew are other processes that take part in races. None: only this one.
	Crew []*Crew
	// Keys is how many objects are created to be listed. Zero means 1,100: more
	// than S3 and GCS put into one answer.
	Keys int
	// Large is how many races there are of 8 MiB. Zero means 6.
	Large int
	// SpeedTime bounds each of the eight measurements of speed. Zero means 3 s;
	// negative: there are none.
	SpeedTime time.Duration
	// large is how many bytes a large object has, in tests. Zero means 8 MiB.
	large int
	// Progress is told what is done. Nil means nobody is.
	Progress func(what string, done, of int)
}

func (o Options) withDefaults() Options {
	for _, x := range []struct {
		p    *int
		zero int
	}{{&o.Rounds, 250}, {&o.Keys, 1100}, {&o.Large, 6}, {&o.large, largeBytes}} {
		if *x.p <= 0 {
			*x.p = x.zero
		}
	}
	if o.Each <= 0 {
		o.Each = 2
		if len(o.Crew) == 0 {
			o.Each = 4
		}
	}
	if o.SpeedTime == 0 {
		o.SpeedTime = 3 * time.Second
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	return o
}

// exam is one examination.
type exam struct {
	opts   Options
	bucket *blobstore.Bucket
	raw    blobstore.Raw
	prefix string // of all keys
	report *Report

	made    map[string]bool   // keys of objects that may be there
	owners  map[string]string // of what was raced for, by key; "": nobody's
	refused []int             // bytes of what was created and then again
}

// Examine tests a store. An error means that it could not be used at all, or that
// ctx ended before anything was found; a promise that was not tested because ctx
// ended, or because requests failed, is unclear in the report. What it made is
// removed, also after ctx has ended; what can't be is named in the report.
func Examine(ctx context.Context, bucket *blobstore.Bucket, opts Options) (*Report, error) {
	opts = opts.withDefaults()
	x := &exam{
		opts: opts, bucket: bucket, raw: bucket.Raw(), prefix: rawlimit.ScratchPrefix + "doctor-" + strings.ToLower(rand.Text()) + "/",
		report: &Report{Bucket: bucket.URL(), Processes: 1 + len(opts.Crew)},
		made:   make(map[string]bool), owners: make(map[string]string),
	}
	start := time.Now()
	err := x.access(ctx)
	if err == nil {
		x.promises(ctx)
		x.report.Clock = clockOf(bucket)
		x.speeds(ctx)
	}
	x.report.Left = x.remove(ctx)
	x.report.Result = x.report.Verdict()
	x.report.Seconds = time.Since(start).Seconds()
	if err != nil {
		return nil, fmt.Errorf("bucket %s can't be used: %w", bucket.URL(), err)
	}
	return x.report, nil
}

// promises tests them, the one that all else rests on first.
func (x *exam) promises(ctx context.Context) {
	x.test(ctx, "one-winner", "of several creates of one key at the same time, one succeeds", x.oneWinner)
	x.test(ctx, "one-winner-8mib", "the same for objects of 8 MiB", x.oneWinnerLarge)
	x.test(ctx, "refuses", "a create of a key that is there is refused, and says so", x.refuses)
	x.test(ctx, "keeps", "what is there stays as it was, whoever creates it again", x.keeps)
	x.test(ctx, "whole", "an object appears whole, or not at all", x.whole)
	x.test(ctx, "read-after-create", "an object can be read as soon as it was created", x.readAfterCreate)
	x.test(ctx, "ranges", "any range can be read; past the end there is nothing", x.ranges)
	x.test(ctx, "list-after-create", "an object is listed as soon as it was created", x.listAfterCreate)
	x.test(ctx, "list-order", "listings are whole, and in the order of the keys' bytes", x.listOrder)
	x.test(ctx, "delete", "what was deleted is gone", x.deletes)
	x.test(ctx, "stays", "what was created is the same at the end", x.stays)
}

// test takes in what was found of one promise.
func (x *exam) test(ctx context.Context, promise, what string, test func(ctx context.Context) (seen string, err error)) {
	f := Finding{Promise: promise, What: what, Verdict: Unclear}
	x.opts.Progress(what, 0, 0)
	err := error(&unclearError{"not tested: the time was over"})
	began := ctx.Err() == nil
	if began {
		f.Seen, err = test(ctx)
	}
	broken, isBroken := errors.AsType[*brokenError](err)
	switch {
	case err == nil:
		f.Verdict = Kept
	case isBroken:
		f.Verdict, f.Seen = Broken, broken.saw
	case began && ctx.Err() != nil:
		f.Seen = "not tested to the end: the time was over"
	default:
		f.Seen = err.Error()
	}
	x.report.Findings = append(x.report.Findings, f)
}

// access finds out whether anything works. Nothing that is found here is about a
// promise.
func (x *exam) access(ctx context.Context) error {
	x.opts.Progress("create a first object", 0, 0)
	key := x.key("first")
	if _, _, err := x.bucket.ReadRange(ctx, key, 0, 1); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = errors.New("an object can be read that nobody has created")
		}
		return err
	}
	first := body(key, smallBytes)
	err := tries(ctx, func() error { return x.once(ctx, key, first) })
	if errors.Is(err, fs.ErrExist) { // an attempt whose reply was lost
		return nil
	}
	return err
}

// key makes a key, and notes that there may be an object. Not for concurrent use.
func (x *exam) key(format string, args ...any) string {
	key := x.prefix + fmt.Sprintf(format, args...)
	x.made[key] = true
	return key
}

// remove removes what was made, and says what is left; "": nothing.
func (x *exam) remove(ctx context.Context) string {
	x.opts.Progress("remove what was made", 0, 0)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	keys := make([]string, 0, len(x.made))
	for key := range x.made {
		keys = append(keys, key)
	}
	err := each(ctx, keys, func(ctx context.Context, key string) error { return x.bucket.Delete(ctx, key) })
	if _, lerr := rawlimit.Sweep(ctx, x.bucket, x.prefix, manyAtOnce); err == nil {
		err = lerr
	}
	if err != nil {
		return fmt.Sprintf("not all objects below %s could be removed: %v", x.prefix, err)
	}
	return ""
}
