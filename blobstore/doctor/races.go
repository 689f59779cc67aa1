package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/internal/race"
)

// together is how many races of small objects are run at the same time: on a
// store with latency they take most of the time otherwise.
const together = 4

// tally is what came of some races.
type tally struct {
	races, decided, wrong int
	unanswered            int // creates
	creates               int // of a race
	first                 string
	lastErr               string // of a create
}

func (x *exam) oneWinner(ctx context.Context) (string, error) {
	return x.raceAll(ctx, "race", x.opts.Rounds, together, x.opts.Each, race.HeadBytes)
}

func (x *exam) oneWinnerLarge(ctx context.Context) (string, error) {
	creates := 1
	if len(x.opts.Crew) == 0 {
		creates = 2
	}
	return x.raceAll(ctx, "large-race", x.opts.Large, 1, creates, x.opts.large)
}

// raceAll runs races, some together, and says what came of them.
func (x *exam) raceAll(ctx context.Context, name string, races, together, creates, size int) (string, error) {
	t := tally{creates: creates * (1 + len(x.opts.Crew))}
	for t.races < races && ctx.Err() == nil {
		x.opts.Progress("race creates of one key", t.races, races)
		var keys []string
		for i := range min(together, races-t.races) {
			keys = append(keys, x.key("%s/%06d", name, t.races+i))
		}
		err := x.race(ctx, &t, heat{Keys: keys, Each: creates, Bytes: size, Timeout: requestTimeout})
		if err != nil && t.wrong > 0 {
			break // what was seen before is no less so
		}
		if err != nil {
			return "", err
		}
	}
	switch {
	case t.wrong > 0:
		return "", brokenf("wrong in %d of %d races: %s", t.wrong, t.races, t.first)
	case t.races < races:
		return "", context.Cause(ctx)
	case 2*t.decided < t.races:
		return "", &unclearError{fmt.Sprintf("only %d of %d races were decided: %d creates were not answered, one of them with: %s",
			t.decided, t.races, t.unanswered, t.lastErr)}
	}
	return t.text(1 + len(x.opts.Crew)), nil
}

func (t *tally) text(processes int) string {
	s := fmt.Sprintf("%d races of %d creates from %d processes", t.races, t.creates, processes)
	if processes == 1 {
		s = fmt.Sprintf("%d races of %d creates from one process", t.races, t.creates)
	}
	if t.unanswered > 0 {
		s += fmt.Sprintf("; %d creates were not answered, and %d races decided all the same", t.unanswered, t.decided)
	}
	return s
}

// race runs the races of a heat in all processes, and judges them.
func (x *exam) race(ctx context.Context, t *tally, h heat) error {
	all := make([][][]race.Claim, 1+len(x.opts.Crew)) // by process, key
	var g errgroup.Group
	for i, c := range x.opts.Crew {
		h := h
		h.Name = fmt.Sprintf("process%d", 1+i)
		g.Go(func() (err error) {
			all[1+i], err = c.race(h)
			return err
		})
	}
	h.Name = "process0"
	all[0] = h.run(ctx, x.raw)
	if err := g.Wait(); err != nil {
		return err
	}
	for k, key := range h.Keys {
		var claims []race.Claim
		for _, process := range all {
			claims = append(claims, process[k]...)
		}
		there, err := x.owner(ctx, key)
		if err != nil {
			return err
		}
		t.add(claims, there)
		x.owners[key] = there
	}
	return nil
}

// add judges one race.
func (t *tally) add(claims []race.Claim, there string) {
	t.races++
	if race.Decided(claims, there) {
		t.decided++
	}
	if wrong := race.Judge(claims, there); wrong != "" {
		if t.wrong++; t.wrong == 1 {
			t.first = wrong
		}
	}
	for _, c := range claims {
		if c.Outcome == race.Unknown {
			t.unanswered++
			t.lastErr = c.Err
		}
	}
}

// owner says whose object is there; "": nobody's.
func (x *exam) owner(ctx context.Context, key string) (string, error) {
	head, _, err := x.bucket.ReadRange(ctx, key, 0, race.HeadBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return race.Owner(head), err
}

// refuses creates what is there again, small and large, with other bytes.
func (x *exam) refuses(ctx context.Context) (string, error) {
	unsaid := ""
	for _, size := range []int{smallBytes, x.opts.large} {
		key := x.key("refused/%d", size)
		if err := x.create(ctx, key, size); err != nil {
			if errors.Is(err, fs.ErrExist) {
				return "", brokenf("other bytes are there than those just created: %v", err)
			}
			return "", err
		}
		x.refused = append(x.refused, size)
		other := body(key+" again", size)
		err := tries(ctx, func() error { return x.once(ctx, key, other) })
		switch {
		case err == nil:
			return "", brokenf("a second create of %d bytes succeeded", size)
		case errors.Is(err, fs.ErrExist):
			if x.report.Conflict == "" {
				x.report.Conflict = conflictText(err, key)
			}
		case size == x.opts.large && hungUp(err) && ctx.Err() == nil:
			// It refuses before it has read the bytes, and what it says is lost
			// with the connection. A Create of ours then looks what is there.
			if err := x.same(ctx, key, size); err != nil {
				return "", err
			}
			unsaid = fmt.Sprintf(", and of 8 MiB hung up in %d attempts, after which the object was as before", triesMax)
		default:
			return "", fmt.Errorf("a second create of %d bytes failed in %d attempts, but not because the object is there: %w", size, triesMax, err)
		}
	}
	return "small and 8 MiB; the store says " + x.report.Conflict + unsaid, nil
}

// hungUp says whether an error is the end of a connection that the other side
// brought about, before an answer was read.
func hungUp(err error) bool {
	for _, end := range []error{syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// conflictText is what a store says of a create of a key that it refuses.
func conflictText(err error, key string) string {
	status, code, ok := blobstore.Told(err)
	switch {
	case ok && code != "":
		return fmt.Sprintf("%d %s", status, code)
	case ok:
		return fmt.Sprint(status)
	}
	return strings.ReplaceAll(err.Error(), key, "KEY")
}

// keeps looks whether what refuses has created twice is as it was.
func (x *exam) keeps(ctx context.Context) (string, error) {
	for _, size := range x.refused {
		if err := x.same(ctx, x.key("refused/%d", size), size); err != nil {
			return "", err
		}
	}
	if len(x.refused) < 2 {
		return "", &unclearError{"not tested to the end: no small and large object was created twice"}
	}
	return "read after a refused create, small and 8 MiB", nil
}

// stays reads what the races have left once more: a store may take some time to
// replace an object. It does not end with the first that can't be read, as the
// next may show that it was replaced, but after many.
func (x *exam) stays(ctx context.Context) (string, error) {
	var keys []string
	for key, owner := range x.owners {
		if owner != "" {
			keys = append(keys, key)
		}
	}
	var mu sync.Mutex
	var unread []error
	err := each(ctx, keys, func(ctx context.Context, key string) error {
		there, err := x.owner(ctx, key)
		if err == nil && there != x.owners[key] {
			return brokenf("%s was that of %s after the race, and is that of %q now", key, x.owners[key], there)
		}
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			if unread = append(unread, err); len(unread) > manyAtOnce {
				return err
			}
		}
		return nil
	})
	if err == nil && len(unread) > 0 {
		err = unread[0]
	}
	return fmt.Sprintf("the objects of %d races, read again", len(keys)), err
}
