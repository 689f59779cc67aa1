package blobstore

import (
	"net/http"
	"sync"
	"time"
)

// Told is what a store said in an error: the status of HTTP, and the store's own
// word for it, "" if it has none. ok is false where no store said anything: the
// request was not answered, or the bucket is no cloud's.
func Told(err error) (status int, code string, ok bool) {
	a, ok := answerOf(err)
	return a.status, a.code, ok
}

// ClockOffset is how far the store's clock is ahead of this machine's (negative:
// behind), as far as its answers so far tell: within [least, most], which are a
// second or two apart, as answers tell the time in seconds. ok is false where the
// store has not told the time. Nothing rests on it but signatures, which S3
// refuses when the clocks are a quarter of an hour apart.
func (b *Bucket) ClockOffset() (least, most time.Duration, ok bool) {
	raw := b.raw
	if p, is := raw.(prefixed); is {
		raw = p.Raw
	}
	c, ok := raw.(interface{ clock() *storeClock })
	if !ok {
		return 0, 0, false
	}
	return c.clock().offset()
}

// storeClock gathers what answers say of the time.
type storeClock struct {
	mu          sync.Mutex
	known       bool
	least, most time.Duration
}

// dateSlack is how late the date of an answer may be: it is cut to a second, and
// some servers make a new one only once a second.
const dateSlack = 2 * time.Second

// saw takes in an answer to a request that was sent and answered at these times.
func (c *storeClock) saw(h http.Header, sent, answered time.Time) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	least, most := date.Sub(answered), date.Add(dateSlack).Sub(sent)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known && least <= c.most && most >= c.least {
		least, most = max(least, c.least), min(most, c.most)
	} // else one of the clocks was set: begin again
	c.known, c.least, c.most = true, least, most
}

func (c *storeClock) offset() (least, most time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.least, c.most, c.known
}
