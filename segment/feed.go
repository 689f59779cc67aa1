package segment

import (
	"context"
	"errors"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// ErrSlow: a feed ended because its reader fell too far behind. It may be
// begun again.
var ErrSlow = errors.New("the reader of the feed is too slow")

// ErrFeeds: the chain has as many feeds as it may have.
var ErrFeeds = errors.New("too many feeds of one chain")

const (
	// feedEvery is how often a feed without news says that there are none.
	feedEvery = 10 * time.Second
	// feedFramesMax and feedBytesMax bound what waits for a slow reader: it
	// lasts for seconds at the highest rates.
	feedFramesMax = 4096
	feedBytesMax  = 16 << 20
	// feedsMax bounds the feeds of one chain: every other node has one, and
	// for a while one that it does not know to be broken.
	feedsMax = 256
)

// feed is what waits to be sent to one follower. Guarded by openSegment.mu.
type feed struct {
	frames [][]byte
	bytes  int
	slow   bool          // it overflowed, and gets nothing any more
	news   chan struct{} // holds one while something waits
}

// Feed tells a Follower of this chain, by messages for Follower.Take: first
// what is in no committed cut, then every fragment once it, and all before it,
// are durable, in order, and before it is acknowledged; then it tells the cuts.
// Without news it says every 10 seconds how far the chain is durable. A frame
// has at most FeedFrameMax bytes, and is shared: it must not be changed.
//
// It ends with the error of send, or of ctx; with ErrSlow if send is too slow;
// with ErrFeeds; or with that of Append, once the chain is over.
func (w *Writer) Feed(ctx context.Context, send func(frame []byte) error) error {
	if err := w.Err(); err != nil {
		return err
	}
	f, start, err := w.segment.watch()
	if err != nil {
		return err
	}
	w.opts.Metrics.feeds.Inc()
	defer w.opts.Metrics.feeds.Dec()
	defer w.segment.unwatch(f)
	if err := start.send(w.chain, send); err != nil {
		return err
	}
	timer := time.NewTimer(feedEvery)
	defer timer.Stop()
	for {
		over, quiet := false, false
		select {
		case <-f.news:
		case <-timer.C:
			quiet = true
		case <-w.live.Done():
			over = true
		case <-ctx.Done():
			return ctx.Err()
		}
		frames, err := w.segment.news(f, quiet)
		if err != nil {
			w.opts.Metrics.slowFeeds.Inc()
			return err
		}
		for _, frame := range frames {
			if err := send(frame); err != nil {
				return err
			}
		}
		if over {
			return w.Err()
		}
		timer.Reset(feedEvery)
	}
}

// feedStart is where a feed begins.
type feedStart struct {
	at      uint64
	cuts    []Cut
	indexes []*fragment.Index // of what is being cut, if anything is, and of the rest
	durable uint64
}

func (s *feedStart) send(c Chain, send func([]byte) error) error {
	all := func(frames [][]byte) error {
		for _, frame := range frames {
			if err := send(frame); err != nil {
				return err
			}
		}
		return nil
	}
	if err := all(openingMessage(s.at, c.Epoch, s.cuts)); err != nil {
		return err
	}
	for _, x := range s.indexes {
		for part := range parts(x) {
			if err := all(partMessage(s.at, c, part)); err != nil {
				return err
			}
		}
	}
	return all(frames(feedReady, appendNumbers(nil, s.at, s.durable)))
}

// watch begins a feed: it gets all that happens after what start holds.
func (s *openSegment) watch() (*feed, *feedStart, error) {
	f := &feed{news: make(chan struct{}, 1)}
	s.mu.Lock()
	if len(s.feeds) >= feedsMax {
		s.mu.Unlock()
		return nil, nil, ErrFeeds
	}
	s.feeds[f] = struct{}{}
	start := &feedStart{at: s.now(), cuts: s.cuts, durable: s.fresh.to - 1}
	cutting, fresh := s.cutting, s.fresh.clone()
	s.mu.Unlock() // the indexes take long, and every acknowledgement needs the lock
	if cutting != nil {
		start.indexes = append(start.indexes, cutting.index())
	}
	start.indexes = append(start.indexes, fresh.index())
	return f, start, nil
}

func (s *openSegment) unwatch(f *feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.feeds, f)
}

// now is the time of a message: all that was acknowledged before it was told
// before. It goes by a clock that nobody sets.
func (s *openSegment) now() uint64 { return uint64(time.Since(s.opened).Microseconds()) }

// tellLocked hands a message to all feeds; make is called only if there are any.
func (s *openSegment) tellLocked(make func(at uint64) [][]byte) {
	if len(s.feeds) == 0 {
		return
	}
	frames := make(s.now())
	for f := range s.feeds {
		f.put(frames)
	}
}

func (f *feed) put(frames [][]byte) {
	if f.slow {
		return
	}
	for _, frame := range frames {
		f.bytes += len(frame)
	}
	f.frames = append(f.frames, frames...)
	if len(f.frames) > feedFramesMax || f.bytes > feedBytesMax {
		f.slow, f.frames = true, nil
	}
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// news takes what waits; after a quiet time, that nothing does is the news.
func (s *openSegment) news(f *feed, quiet bool) ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.slow {
		return nil, ErrSlow
	}
	all := f.frames
	if len(all) == 0 && quiet {
		all = frames(feedAlive, appendNumbers(nil, s.now(), s.fresh.to-1))
	}
	f.frames, f.bytes = nil, 0
	return all, nil
}
