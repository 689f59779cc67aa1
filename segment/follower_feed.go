package segment

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// feedState is how far a Follower is with one feed.
type feedState struct {
	clock feedClock

	kind byte   // of the message whose frames come
	body []byte // of it, so far

	next  *followed // what the feed told; nil before its opening
	bytes int       // of its parts
	ready bool      // all parts came
	at    uint64    // number of the fragment that it tells next, once ready
	cut   uint64    // where the last cut that it told ends
	shown bool      // next has become Follower.have, and is guarded by Follower.mu
}

// partsBytesMax bounds what a feed begins with, in bytes as sent: more than a
// chain gathers in hours without a cut.
const partsBytesMax = 256 << 20

// Begin says that a new feed was asked for, and when; Take will get its frames.
// What is known stays until the feed has caught up with it.
func (f *Follower) Begin(asked time.Time) { f.feed = feedState{clock: feedClock{asked: asked}} }

// Take takes in a frame of the feed, in its order, when it came. It keeps
// nothing of it. complete says that the feed has told all that is durable: the
// Follower shows it from then on. An error says what is wrong with the feed: it
// can't go on, and what was known stays.
func (f *Follower) Take(frame []byte, came time.Time) (complete bool, err error) {
	if err := f.take(frame, came); err != nil {
		return false, fmt.Errorf("feed: %w", err)
	}
	return f.feed.shown, nil
}

func (f *Follower) take(frame []byte, came time.Time) error {
	s := &f.feed
	switch {
	case len(frame) < frameHead || len(frame) > FeedFrameMax:
		return fmt.Errorf("a frame of %d bytes", len(frame))
	case frame[1]&^frameMore != 0:
		return fmt.Errorf("flags %#02x", frame[1])
	case len(s.body) > 0 && frame[0] != s.kind:
		return fmt.Errorf("message %d breaks off, and %d follows", s.kind, frame[0])
	case len(s.body)+len(frame) > fragment.ObjectBytesMax+FeedFrameMax:
		return fmt.Errorf("message %d has more than %d bytes", s.kind, fragment.ObjectBytesMax+FeedFrameMax)
	}
	s.kind = frame[0]
	body := frame[frameHead:]
	if more := frame[1]&frameMore != 0; more || len(s.body) > 0 {
		s.body = append(s.body, body...)
		if body = s.body; more {
			return nil
		}
	}
	s.body = nil
	if err := f.message(s.kind, &feedBody{b: body}, came); err != nil {
		return fmt.Errorf("message %d: %w", s.kind, err)
	}
	return nil
}

// message takes in a whole message.
func (f *Follower) message(kind byte, b *feedBody, came time.Time) error {
	s := &f.feed
	at := b.number()
	if b.err != nil {
		return b.err
	}
	if at > uint64(math.MaxInt64/time.Microsecond) {
		return fmt.Errorf("a time of %d µs", at)
	}
	told := s.clock.told(came, time.Duration(at)*time.Microsecond)
	switch {
	case s.next == nil && kind == feedOpening:
		return f.opening(b)
	case s.next == nil:
	case !s.ready && kind == feedPart:
		return f.part(b)
	case !s.ready && kind == feedReady:
		return f.ready(b, told)
	case !s.ready:
	case kind == feedFragment:
		return f.fragment(b, told)
	case kind == feedCut:
		return f.cut(b, told)
	case kind == feedAlive:
		return f.alive(b, told)
	}
	return errors.New("unknown, or not in its place")
}

func (f *Follower) opening(b *feedBody) error {
	if v := b.number(); v != feedVersion {
		b.fail("version %d, want %d", v, feedVersion)
	}
	if e := fragment.Epoch(b.number()); e != f.chain.Epoch {
		b.fail("of chain %d, want %d", uint64(e), uint64(f.chain.Epoch))
	}
	n := b.number()
	var cuts []Cut
	for from := uint64(1); n > 0 && b.err == nil; n-- {
		c := b.cut(f.chain.Epoch, from)
		cuts, from = append(cuts, c), c.To
	}
	if err := b.end(); err != nil {
		return err
	}
	f.feed.next, f.feed.cut = newFollowed(f.chain.Epoch, cuts), cutsEnd(cuts)
	return nil
}

func (f *Follower) part(b *feedBody) error {
	s := &f.feed
	if s.bytes += len(b.b); s.bytes > partsBytesMax {
		return fmt.Errorf("more than %d bytes are in no cut", partsBytesMax)
	}
	o, err := fragment.Decode(b.b)
	if err != nil {
		return err
	}
	if o.Head.Kind != fragment.KindIndex || o.Head.Epoch != f.chain.Epoch || o.Head.Cluster != f.chain.Cluster {
		return fmt.Errorf("a %s of chain %d of cluster %s", o.Head.Kind, uint64(o.Head.Epoch), o.Head.Cluster)
	}
	return s.next.add(o.Directory.Index)
}

func (f *Follower) ready(b *feedBody, told time.Time) error {
	s := &f.feed
	durable := b.number()
	if err := b.end(); err != nil {
		return err
	}
	if s.next.next() != durable+1 {
		return fmt.Errorf("objects up to %d are durable, but those up to %d were told", durable, s.next.next()-1)
	}
	s.ready, s.at = true, durable+1
	f.mu.Lock()
	defer f.mu.Unlock()
	f.toldLocked(told)
	return nil
}

// toldLocked takes in that all was told that was durable at some time. What the
// feed told takes the place of what was known once it is no less.
func (f *Follower) toldLocked(at time.Time) {
	s := &f.feed
	if !s.shown {
		if s.next.next() < f.have.next() {
			return
		}
		f.have, s.shown = s.next, true
		f.opts.Reset()
	}
	f.known = true
	if at.After(f.told) {
		f.told = at
	}
}

func (f *Follower) fragment(b *feedBody, told time.Time) error {
	s := &f.feed
	l, err := f.decodeFragment(b.b)
	if err != nil {
		return err
	}
	if l.n != s.at {
		return fmt.Errorf("object %d, %d comes next", l.n, s.at)
	}
	s.at++
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.n == s.next.next() { // or a walk was faster
		for _, x := range l.directory.Slices {
			if err := s.next.found.tally.follows(stay{x.Log, x.Attachment}, l.n, x.First); err != nil {
				return err
			}
		}
		ends := s.next.take(l)
		if s.shown {
			f.opts.Durable(ends)
		}
	}
	f.toldLocked(told)
	return nil
}

// decodeFragment decodes header, directory and footer of a fragment.
func (f *Follower) decodeFragment(b []byte) (link, error) {
	head, err := fragment.DecodeHead(b)
	if err != nil {
		return link{}, err
	}
	if head.Kind != fragment.KindFragment || head.Epoch != f.chain.Epoch || head.Cluster != f.chain.Cluster {
		return link{}, fmt.Errorf("a %s of chain %d of cluster %s", head.Kind, uint64(head.Epoch), head.Cluster)
	}
	d, err := fragment.DecodeDirectory(head, b, b[fragment.HeadLen:])
	if err != nil {
		return link{}, err
	}
	d.Index = nil // its sum is of what was told one by one
	return link{n: head.N, head: head, directory: d}, nil
}

func (f *Follower) cut(b *feedBody, told time.Time) error {
	s := &f.feed
	c := b.cut(f.chain.Epoch, s.cut)
	if err := b.end(); err != nil {
		return err
	}
	if c.To > s.at {
		return fmt.Errorf("cut [%d, %d), but object %d comes next", c.From, c.To, s.at)
	}
	s.cut = c.To
	f.mu.Lock()
	defer f.mu.Unlock()
	if h := s.next; cutsEnd(h.cuts) == c.From { // or the metadata was faster
		h.cover(append(h.cuts[:len(h.cuts):len(h.cuts)], c))
	}
	f.toldLocked(told)
	return nil
}

func (f *Follower) alive(b *feedBody, told time.Time) error {
	durable := b.number()
	if err := b.end(); err != nil {
		return err
	}
	if durable+1 != f.feed.at {
		return fmt.Errorf("objects up to %d are durable, but those up to %d were told", durable, f.feed.at-1)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.toldLocked(told)
	return nil
}

// feedClock finds out when a message was told, by when it came and by how long
// its writer had been there then: the quickest message of the last minutes says
// when the writer began. So what was held up on its way does not look young. The
// first messages may all have been: as long as there are no others, the feed was
// told from when it was asked for.
type feedClock struct {
	asked time.Time
	began [2]time.Time // of the writer, by what came in this period, and in the one before
	since time.Time    // of this period
}

// feedClockPeriod has several messages in any case, and is so short that clocks
// which run at different rates differ by less than what a message takes.
const feedClockPeriod = time.Minute

func (c *feedClock) told(came time.Time, at time.Duration) time.Time {
	began := came.Add(-at)
	switch {
	case c.since.IsZero():
		began = c.asked.Add(-at)
		c.began, c.since = [2]time.Time{began, began}, came
	case came.Sub(c.since) >= feedClockPeriod:
		c.began, c.since = [2]time.Time{began, c.began[0]}, came
	case began.Before(c.began[0]):
		c.began[0] = began
	}
	if c.began[1].Before(c.began[0]) {
		began = c.began[1]
	} else {
		began = c.began[0]
	}
	return began.Add(at)
}
