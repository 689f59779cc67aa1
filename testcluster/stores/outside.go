package stores

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"github.com/wpd-io/wpd/blobstore"
)

// Outside lets tests in bubbles of testing/synctest use buckets of the real
// world. Its goroutines belong to no bubble, and neither do the connections that
// they open: for a test, a call that waits for one is a call that is at work, so
// that the bubble's clock stands still meanwhile. A request takes no time in
// there, however long it takes.
//
// Make it before the bubbles, and close it after them.
type Outside struct {
	lines chan line
	ended sync.WaitGroup
}

// line is a goroutine that runs functions, one at a time.
type line struct{ work, done chan func() }

// callMax is how long a call may take, by the clock of the real world.
const callMax = time.Minute

// NewOutside makes one that runs up to lines calls at a time; more wait.
func NewOutside(lines int) *Outside {
	o := &Outside{lines: make(chan line, lines)}
	for range lines {
		l := line{make(chan func()), make(chan func())}
		o.lines <- l
		o.ended.Go(func() {
			for f := range l.work {
				f()
				l.done <- f
			}
		})
	}
	return o
}

// Close ends its goroutines. No call may be under way, and none may follow.
func (o *Outside) Close() {
	for range cap(o.lines) {
		l := <-o.lines
		close(l.work)
	}
	o.ended.Wait()
}

// do runs a function out there. It must not touch what belongs to a bubble:
// contexts, timers and channels.
func (o *Outside) do(f func(ctx context.Context)) {
	l := <-o.lines
	l.work <- func() {
		ctx, cancel := context.WithTimeout(context.Background(), callMax)
		defer cancel()
		f(ctx)
	}
	<-l.done
	o.lines <- l
}

// Open opens a bucket, of which a part that nobody else has is used. Its URL must
// not have a prefix. What Close does not do, CloseBucket does.
func (o *Outside) Open(url string) (*Bucket, error) {
	sep := "?"
	if strings.Contains(url, "?") {
		sep = "&"
	}
	b := &Bucket{outside: o}
	var err error
	o.do(func(ctx context.Context) {
		b.bucket, err = blobstore.Open(ctx, url+sep+"prefix=test-"+rand.Text()+"/", blobstore.Options{})
	})
	if err != nil {
		return nil, err
	}
	b.raw = b.bucket.Raw()
	return b, nil
}
