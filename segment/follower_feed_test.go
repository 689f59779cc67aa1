package segment

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// record returns the frames of a feed that tells of a cut, and of fragments
// before and after it.
func record(t testing.TB) (all [][]byte) {
	t.Helper()
	s, made := newStore(), &commits{}
	w := create(t, s, Options{Commit: made.commit, FlushInterval: time.Hour}) // so that a round is a fragment
	w.sent = time.Now()
	a := newAppender(t, w)
	appendRounds(t, w, a, 10, threeLogs)
	require.NoError(t, w.CutNow(t.Context()))
	appendRounds(t, w, a, 5, threeLogs)
	f, start, err := w.segment.watch()
	require.NoError(t, err)
	require.NoError(t, start.send(testChain, func(frame []byte) error { all = append(all, frame); return nil }))
	appendRounds(t, w, a, 70, threeLogs)
	require.NoError(t, w.CutNow(t.Context()))
	appendRounds(t, w, a, 1, threeLogs)
	for range 2 {
		more, err := w.segment.news(f, true)
		require.NoError(t, err)
		all = append(all, more...)
	}
	require.NoError(t, w.Close(t.Context()))
	return all
}

func takeAll(f *Follower, all [][]byte) error {
	f.Begin(time.Now())
	for _, frame := range all {
		if _, err := f.Take(frame, time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// TestTakeChecks: a feed that is not as it should be is refused, whatever is
// wrong with it, and what was known stays.
func TestTakeChecks(t *testing.T) {
	all := record(t)
	kinds := make([]byte, len(all))
	for i, frame := range all {
		kinds[i] = frame[0]
	}
	first := slices.Index(kinds, feedFragment)
	cut := slices.Index(kinds, feedCut)
	require.Equal(t, []byte{feedOpening, feedPart, feedReady, feedFragment}, kinds[:4])
	require.Equal(t, byte(feedAlive), kinds[len(kinds)-1])
	require.Positive(t, cut)
	other := testChain
	other.Epoch++
	stranger := testChain
	stranger.Cluster[0]++
	change := func(i int, frames ...[]byte) [][]byte { return slices.Concat(all[:i], frames, all[i+1:]) }
	index := fragment.Index{From: 12, To: 13}
	for name, c := range map[string]struct {
		chain Chain
		feed  [][]byte
		want  string
	}{
		"all is well":          {testChain, all, ""},
		"another chain":        {other, all, "of chain 7, want 8"},
		"another cluster":      {stranger, all, "of cluster"},
		"a fragment missing":   {testChain, slices.Delete(slices.Clone(all), first, first+1), "object 17, 16 comes next"},
		"a fragment twice":     {testChain, slices.Insert(slices.Clone(all), first, all[first]), "object 16, 17 comes next"},
		"no opening":           {testChain, all[1:], "not in its place"},
		"opened twice":         {testChain, slices.Concat(all[:1], all), "not in its place"},
		"a part too late":      {testChain, slices.Concat(all, all[1:2]), "not in its place"},
		"news too early":       {testChain, change(2), "not in its place"},
		"an unknown message":   {testChain, change(first, []byte{99, 0, 1}), "message 99: unknown"},
		"unknown flags":        {testChain, change(first, []byte{feedAlive, 2, 1}), "flags 0x02"},
		"an empty frame":       {testChain, change(first, nil), "frame of 0 bytes"},
		"a huge frame":         {testChain, change(first, make([]byte, FeedFrameMax+1)), "frame of 1048577 bytes"},
		"an empty message":     {testChain, change(first, []byte{feedAlive, 0}), "cut off"},
		"a time out of range":  {testChain, change(first, append([]byte{feedAlive, 0}, appendNumbers(nil, 1<<63, 15)...)), "a time of"},
		"a message breaks off": {testChain, change(first, []byte{feedFragment, frameMore, 1}, all[len(all)-1]), "breaks off"},
		"another version":      {testChain, change(0, append([]byte{feedOpening, 0}, appendNumbers(nil, 1, 2, 7, 0)...)), "version 2, want 1"},
		"cuts are cut off":     {testChain, change(0, append([]byte{feedOpening, 0}, appendNumbers(nil, 1, 1, 7, 1<<40)...)), "cut off"},
		"an empty cut":         {testChain, change(0, append([]byte{feedOpening, 0}, appendNumbers(nil, 1, 1, 7, 1, 1, 1, 0, 0, 0, 0)...)), "cut [1, 1)"},
		"bytes behind it":      {testChain, change(2, append(slices.Clone(all[2]), 1)), "1 bytes are left over"},
		"a cut of the future":  {testChain, change(first, all[cut]), "but object 16 comes next"},
		"a part that leaps":    {testChain, change(1, partMessage(1, testChain, &index)[0]), "do not follow"},
		"a fragment as part":   {testChain, change(1, append([]byte{feedPart, 0}, all[first][2:]...)), "object has"},
		"part of it missing":   {testChain, change(1), "objects up to 15 are durable, but those up to 10"},
		"alive, but further":   {testChain, change(first, append([]byte{feedAlive, 0}, appendNumbers(nil, 1, 16)...)), "up to 16 are durable, but those up to 15"},
		"a fragment damaged":   {testChain, change(first, append(slices.Clone(all[first][:len(all[first])-1]), 0)), "footer"},
		"an index as fragment": {testChain, change(first, append([]byte{feedFragment, 0}, all[1][2:]...)), "a index of chain"},
	} {
		f := NewFollower(c.chain, nil, FollowerOptions{})
		err := takeAll(f, c.feed)
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.want, name)
		before := f.Durable()
		_ = takeAll(f, all)
		require.GreaterOrEqual(t, f.Durable(), before, name)
	}
	// It ends at any moment, and begins again.
	for i := range all {
		f := NewFollower(testChain, nil, FollowerOptions{})
		require.NoError(t, takeAll(f, all[:i]))
		require.NoError(t, takeAll(f, all))
		require.EqualValues(t, 86, f.Durable())
		require.Len(t, f.Cuts(), 2)
	}
}

// TestEndlessMessage: a message without an end is given up before it takes much.
func TestEndlessMessage(t *testing.T) {
	f := NewFollower(testChain, nil, FollowerOptions{})
	f.Begin(time.Now())
	frame := make([]byte, FeedFrameMax)
	frame[0], frame[1] = feedOpening, frameMore
	var err error
	for range 20 {
		if _, err = f.Take(frame, time.Now()); err != nil {
			break
		}
	}
	require.ErrorContains(t, err, "has more than")
}

// TestFeedClock: what was held up on its way is as old as it is; clocks that run
// at different rates are followed.
func TestFeedClock(t *testing.T) {
	start := time.Now()
	c, at := feedClock{asked: start}, time.Duration(0)
	took := func(at, way time.Duration, drift float64) (age time.Duration) {
		came := start.Add(at + way)
		told := c.told(came, time.Duration(float64(time.Hour+at)*drift))
		require.False(t, told.After(came))
		return came.Sub(told)
	}
	require.Equal(t, time.Second, took(0, time.Second, 1), "the first may have been held up")
	for _, way := range []time.Duration{time.Millisecond, 20 * time.Second, 10 * time.Second, time.Millisecond} {
		at += 10 * time.Second
		require.Equal(t, way, took(at, way, 1))
	}
	c = feedClock{asked: start.Add(-time.Second)}
	for at := time.Duration(0); at < 48*time.Hour; at += 10 * time.Second {
		want := time.Duration(0)
		if at < 2*feedClockPeriod {
			want = time.Second + 2*time.Millisecond
		}
		require.Equal(t, want, took(at, 2*time.Millisecond, 1))
	}
	for _, drift := range []float64{1 + 50e-6, 1 - 50e-6} {
		c = feedClock{asked: start}
		for at := time.Duration(0); at < 48*time.Hour; at += 10 * time.Second {
			require.Less(t, took(at, 2*time.Millisecond, drift), 50*time.Millisecond)
		}
		require.Greater(t, took(48*time.Hour, 5*time.Second, drift), 4*time.Second)
	}
}

// TestAgeOfAFeed: a follower that gets nothing any more says for how long; a feed
// that was held up on its way does not look fresh.
func TestAgeOfAFeed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := create(t, newStore(), Options{})
		f := newWatcher(testChain, nil)
		f.Begin(time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		held := time.Duration(0)
		frames := make(chan []byte, 100)
		go func() {
			ended <- w.Feed(ctx, func(frame []byte) error { frames <- frame; return nil })
		}()
		took := func(frame []byte) {
			time.Sleep(held)
			_, err := f.Take(frame, time.Now())
			require.NoError(t, err)
		}
		age := func() time.Duration {
			at, _, known := f.Current()
			require.True(t, known)
			return time.Since(at)
		}
		for range 3 {
			took(<-frames)
		}
		require.Zero(t, age())
		time.Sleep(7 * time.Second)
		require.Equal(t, 7*time.Second, age())
		took(<-frames)
		require.Zero(t, age())
		held = 4 * time.Second
		took(<-frames)
		require.Equal(t, 4*time.Second, age())
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.NoError(t, w.Close(t.Context()))
	})
}

// TestFeedEndsWithItsSend: an error of send ends a feed, wherever it is.
func TestFeedEndsWithItsSend(t *testing.T) {
	w := create(t, newStore(), Options{})
	broken := errors.New("broken")
	for i := range 3 {
		n := 0
		require.ErrorIs(t, w.Feed(t.Context(), func([]byte) error {
			if n++; n > i {
				return broken
			}
			return nil
		}), broken)
	}
	require.Empty(t, w.segment.feeds)
	require.NoError(t, w.Close(t.Context()))
	require.ErrorIs(t, w.Feed(t.Context(), func([]byte) error { return nil }), ErrClosed)
}

// FuzzTake: no bytes make a follower panic, hang, or go back.
func FuzzTake(f *testing.F) {
	all := record(f)
	pack := func(all [][]byte) []byte {
		var b []byte
		for _, frame := range all {
			b = append(appendNumbers(b, uint64(len(frame))), frame...)
		}
		return b
	}
	f.Add(pack(all))
	f.Add(pack(all[:4]))
	f.Add(pack(slices.Concat(all[:3], all[len(all)-2:])))
	f.Add(pack([][]byte{{feedOpening, frameMore, 1}, {feedOpening, 0, 1, 7, 0}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		x := NewFollower(testChain, nil, FollowerOptions{})
		x.Begin(time.Now())
		b := &feedBody{b: data}
		for len(b.b) > 0 {
			n := b.number()
			if n > uint64(len(b.b)) || b.err != nil {
				return
			}
			before := x.Durable()
			_, err := x.Take(b.b[:n], time.Now())
			if x.Durable() < before {
				t.Fatal("went back")
			}
			if err != nil {
				return
			}
			b.b = b.b[n:]
		}
	})
}
