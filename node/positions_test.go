package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

// entries returns the data that a read gives, and what ends it.
func entries(ctx context.Context, log *wpd.Log, p wpd.Position, opts ...wpd.ReadOption) (all []string, err error) {
	for e, err := range log.Read(ctx, p, opts...) {
		if err != nil {
			return all, err
		}
		all = append(all, fmt.Sprintf("%s@%d", e.Data, e.LSN))
	}
	return all, nil
}

// want is the entries [from, to) of the log that TestPositions makes.
func want(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("e%d@%d", i, i))
	}
	return all
}

// TestPositions reads a log of 30 entries, one a second, that lies in three
// chains and several segments, from everywhere to everywhere.
func TestPositions(t *testing.T) {
	for _, cold := range []bool{false, true} {
		t.Run(fmt.Sprintf("cold %v", cold), func(t *testing.T) {
			inScenes(t, func(s *scene) {
				times := []time.Time{{}} // by LSN
				s.w.Config.Log.CutFragments = 4
				s.reopen()
				o := s.producer(api.OpenRequest{Name: "p"})
				for i := 1; i <= 30; i++ {
					time.Sleep(time.Second)
					x := s.send(text(o, uint64(i), fmt.Sprint("e", i))).wait()
					require.NoError(s, x.err)
					times = append(times, time.UnixMicro(int64(x.ack.Time)))
					if i%10 == 0 && i < 30 {
						s.reopen()
					}
				}
				if cold {
					s.reopen()
				}
				log := create(s, s.p, "log")
				info, err := log.Info(s.Context())
				require.NoError(s, err)
				require.Len(s, info.Extents, 3)
				require.EqualValues(s, 31, info.Tail)
				check := func(name string, want []string, p wpd.Position, opts ...wpd.ReadOption) {
					s.Helper()
					got, err := entries(s.Context(), log, p, opts...)
					require.NoError(s, err, name)
					require.Equal(s, want, got, name)
				}
				for i := 1; i <= 31; i++ {
					lsn := wpd.LSN(i)
					check("From", want(i, 31), wpd.From(lsn))
					check("To", want(1, i), wpd.Earliest, wpd.To(lsn))
					check("Last", want(31-i+1, 31), wpd.Last(uint64(i-1)))
					check("Limit", want(5, min(5+i, 31)), wpd.From(5), wpd.Limit(uint64(i)))
					check("From, To", want(i, min(i+3, 31)), wpd.From(lsn), wpd.To(lsn+3))
					if i < 31 {
						check("At", want(i, 31), wpd.At(times[i]))
						check("At, between", want(i+1, 31), wpd.At(times[i].Add(time.Microsecond)))
						check("Until", want(1, i), wpd.Earliest, wpd.Until(times[i]))
						check("At, Until", want(i, min(i+7, 31)), wpd.At(times[i]), wpd.Until(times[i].Add(7*time.Second)))
					}
				}
				check("Tail", nil, wpd.Tail)
				check("Last, more than there are", want(1, 31), wpd.Last(1000))
				check("At, before all", want(1, 31), wpd.At(times[1].Add(-time.Hour)))
				check("At, after all", nil, wpd.At(times[30].Add(time.Hour)))
				check("Linearizable", want(29, 31), wpd.From(29), wpd.Linearizable())
				check("AtLeast", want(29, 31), wpd.From(29), wpd.AtLeast(30))
				check("To behind From", nil, wpd.From(20), wpd.To(10))
				_, err = entries(s.Context(), log, wpd.From(32))
				beyond, ok := errors.AsType[*wpd.BeyondTailError](err)
				require.True(s, ok, err)
				require.Equal(s, wpd.BeyondTailError{LSN: 32, Tail: 31}, *beyond)
				_, err = entries(s.Context(), log, wpd.From(0))
				require.ErrorIs(s, err, wpd.ErrInvalid)
				short, cancel := context.WithTimeout(s.Context(), time.Second)
				defer cancel()
				_, err = entries(short, log, wpd.Earliest, wpd.AtLeast(31))
				if s.remote { // ctx is over before the answer is there
					require.ErrorIs(s, err, context.DeadlineExceeded)
				} else {
					requireAs[*wpd.BeyondTailError](s, err)
				}
			})
		})
	}
}

// TestFollow: a follower comes over the ends of chains, is woken by what
// becomes durable, and ends where it is told to.
func TestFollow(t *testing.T) {
	inScenes(t, func(s *scene) {
		o := s.producer(api.OpenRequest{Name: "p"})
		s.fill(o, 1, "e1", "e2")
		s.reopen()
		log := create(s, s.p, "log")
		r, err := log.Reader(s.Context(), wpd.Earliest, wpd.Follow(), wpd.To(5))
		require.NoError(s, err)
		got := make(chan string, 10)
		var end error
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				e, err := r.Next(s.Context())
				if err != nil {
					end = err
					return
				}
				got <- fmt.Sprintf("%s@%d", e.Data, e.LSN)
			}
		}()
		s.settle()
		require.Equal(s, "e1@1", <-got)
		require.Equal(s, "e2@2", <-got)
		require.Empty(s, got)
		e, n := s.chain()
		held := s.hold(e, n)
		s.send(text(o, 3, "e3"))
		s.settle()
		require.Empty(s, got, "what is not durable is not seen")
		before := time.Now()
		held.Release()
		synctest.Wait()
		require.Equal(s, "e3@3", <-got)
		require.Less(s, time.Since(before), 10*time.Millisecond, "it is woken")
		s.fill(o, 4, "e4", "e5")
		<-done
		require.ErrorIs(s, end, io.EOF)
		require.Equal(s, "e4@4", <-got)
		require.Empty(s, got)
		require.NoError(s, r.Close())

		// Those who wait end with their context, with the log, and with the node.
		wait := func(ctx context.Context, log *wpd.Log) chan error {
			ch := make(chan error, 1)
			go func() {
				_, err := entries(ctx, log, wpd.Tail, wpd.Follow())
				ch <- err
			}()
			s.settle()
			return ch
		}
		ctx, cancel := context.WithCancel(s.Context())
		canceled := wait(ctx, log)
		cancel()
		require.ErrorIs(s, <-canceled, context.Canceled)
		other := create(s, s.p, "other")
		deleted, closed := wait(s.Context(), other), wait(s.Context(), log)
		require.NoError(s, s.p.Client().Delete(s.Context(), "other"))
		require.ErrorIs(s, <-deleted, wpd.ErrDeleted)
		s.p.Kill()
		require.ErrorIs(s, <-closed, wpd.ErrClosed)
	})
}

// TestTrim: what is trimmed says so, with the first LSN left, in every chain,
// after a restart too; the rest is untouched.
func TestTrim(t *testing.T) {
	inScenes(t, func(s *scene) {
		o := s.producer(api.OpenRequest{Name: "p"})
		for i := 1; i <= 20; i++ {
			s.fill(o, uint64(i), fmt.Sprint("e", i))
			if i == 10 {
				s.reopen()
			}
		}
		log := create(s, s.p, "log")
		err := log.Trim(s.Context(), 22)
		requireAs[*wpd.BeyondTailError](s, err)
		for _, before := range []int{1, 5, 3, 11, 15, 21} {
			follower, err := log.Reader(s.Context(), wpd.Earliest, wpd.Follow())
			require.NoError(s, err)
			first := wpd.LSN(before)
			require.NoError(s, log.Trim(s.Context(), first))
			if before == 3 {
				first = 5 // it was trimmed more already
			}
			if follower.Position() < first && !s.remote {
				_, err = follower.Next(s.Context())
				trimmed, ok := errors.AsType[*wpd.TrimmedError](err)
				require.True(s, ok, err)
				require.Equal(s, first, trimmed.First)
			}
			require.NoError(s, follower.Close())
			for range 2 {
				got, err := entries(s.Context(), log, wpd.Earliest)
				require.NoError(s, err)
				require.Equal(s, want(int(first), 21), got)
				if first > 1 {
					_, err = entries(s.Context(), log, wpd.From(first-1))
					trimmed, ok := errors.AsType[*wpd.TrimmedError](err)
					require.True(s, ok, err)
					require.Equal(s, wpd.TrimmedError{LSN: first - 1, First: first}, *trimmed)
				}
				info, err := log.Info(s.Context())
				require.NoError(s, err)
				require.Equal(s, first, info.First)
				require.EqualValues(s, 21, info.Tail)
				require.LessOrEqual(s, info.TrimmedBytes, info.Bytes)
				if before == 5 {
					require.EqualValues(s, info.Bytes/20*4, info.TrimmedBytes, "4 of 20 slices of about the same size")
				}
				s.reopen()
				log = create(s, s.p, "log")
			}
		}
		s.send(text(o, 21, "e21")).at(21)
		got, err := entries(s.Context(), log, wpd.Earliest)
		require.NoError(s, err)
		require.Equal(s, want(21, 22), got)
	})
}

// TestRecreatedLog: a log that is made again under its name is another one,
// and whoever held the old one is told that it is gone.
func TestRecreatedLog(t *testing.T) {
	inScenes(t, func(s *scene) {
		old := create(s, s.p, "log")
		w, err := old.Writer(s.Context())
		require.NoError(s, err)
		_, err = w.Append(s.Context(), []byte("old"))
		require.NoError(s, err)
		r, err := old.Reader(s.Context(), wpd.Earliest)
		require.NoError(s, err)
		e, n := s.chain()
		held := s.hold(e, n)
		pending := w.AppendAsync(s.Context(), wpd.Entry{Data: []byte("in flight")})
		s.settle()
		_, err = s.p.Client().Create(s.Context(), "log", wpd.LogConfig{})
		require.ErrorIs(s, err, wpd.ErrExists)
		require.NoError(s, s.p.Client().Delete(s.Context(), "log"))
		require.ErrorIs(s, s.p.Client().Delete(s.Context(), "log"), wpd.ErrNotFound)
		_, err = s.p.Client().Log(s.Context(), "log")
		require.ErrorIs(s, err, wpd.ErrNotFound)
		again, err := s.p.Client().Create(s.Context(), "log", wpd.LogConfig{})
		require.NoError(s, err)
		require.NotEqual(s, old.ID(), again.ID())
		held.Release()
		if _, err := pending.Wait(s.Context()); err != nil { // acknowledged, or gone with its log
			require.ErrorIs(s, err, wpd.ErrDeleted)
		}
		check := func() {
			s.Helper()
			_, err := old.Info(s.Context())
			require.ErrorIs(s, err, wpd.ErrDeleted)
			_, err = old.Tail(s.Context())
			require.ErrorIs(s, err, wpd.ErrDeleted)
			_, err = entries(s.Context(), old, wpd.Earliest)
			require.ErrorIs(s, err, wpd.ErrDeleted)
			require.ErrorIs(s, old.Trim(s.Context(), 1), wpd.ErrDeleted)
			_, err = old.Writer(s.Context())
			require.ErrorIs(s, err, wpd.ErrDeleted)
			_, err = old.Producer(s.Context(), "p")
			require.ErrorIs(s, err, wpd.ErrDeleted)
			require.ErrorIs(s, old.Configure(s.Context(), func(*wpd.LogConfig) {}), wpd.ErrDeleted)
		}
		check()
		_, err = w.Append(s.Context(), []byte("late"))
		require.ErrorIs(s, err, wpd.ErrDeleted)
		if !s.remote {
			_, err = r.Next(s.Context())
			require.ErrorIs(s, err, wpd.ErrDeleted)
		}
		require.ErrorIs(s, w.Close(), nil)
		require.NoError(s, r.Close())
		w, err = again.Writer(s.Context())
		require.NoError(s, err)
		lsn, err := w.Append(s.Context(), []byte("new"))
		require.NoError(s, err)
		require.EqualValues(s, 1, lsn)
		require.NoError(s, w.Close())
		require.Equal(s, []string{"new"}, s.read())
		s.reopen()
		require.Equal(s, []string{"new"}, s.read())
	})
}

// TestUnavailableIsNotLoss: reads that the store does not answer are an error
// that passes, never data loss; also where several logs share a fragment, so
// that it is read whole.
func TestUnavailableIsNotLoss(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w, _ := newWorld(t)
		p := start(t, w)
		names := []string{"a", "b", "c"}
		p.Faults.Hook(func(ctx context.Context, op blobtest.Op) error {
			sleep(ctx, 5*time.Millisecond) // so that fragments are shared
			return nil
		})
		var wg sync.WaitGroup
		for _, name := range names {
			wr, err := create(t, p, name).Writer(t.Context())
			require.NoError(t, err)
			wg.Go(func() {
				for i := range 100 {
					wr.AppendAsync(t.Context(), wpd.Entry{Data: fmt.Append(nil, i)})
					time.Sleep(time.Millisecond)
				}
				_ = wr.Close()
			})
		}
		wg.Wait()
		crash(t, w, p)
		p = start(t, w)
		rule := p.Faults.Add(blobtest.Fault{Kind: blobtest.Read, Prefix: "chains/", Delay: 5 * time.Millisecond, Before: blobtest.ErrFault})
		for round := range 3 {
			for _, name := range names {
				log := create(t, p, name)
				wg.Go(func() {
					all, err := entries(t.Context(), log, wpd.Earliest)
					if round < 2 && (!errors.Is(err, wpd.ErrUnavailable) || len(all) > 0) || round == 2 && (err != nil || len(all) != 100) {
						t.Errorf("round %d: %d entries, %v", round, len(all), err)
					}
				})
			}
			wg.Wait()
			if round == 1 {
				require.Positive(t, rule.Hits())
				rule.Remove()
			}
		}
		stop(t, p)
	})
}

// TestCloseUnderReaders: a node is closed while readers read, with nothing in
// its cache: they end, with what they read and an error, and nothing else.
func TestCloseUnderReaders(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w, _ := newWorld(t)
		w.Config.Log.CacheBytes = -1
		p := start(t, w)
		wr, err := create(t, p, "a").Writer(t.Context())
		require.NoError(t, err)
		for i := range 200 {
			_, err := wr.Append(t.Context(), fmt.Append(nil, i))
			require.NoError(t, err)
		}
		require.NoError(t, wr.Close())
		for ms := range 10 {
			crash(t, w, p)
			p = start(t, w)
			p.Faults.Hook(func(ctx context.Context, op blobtest.Op) error {
				sleep(ctx, time.Duration(op.N%3)*time.Millisecond)
				return nil
			})
			log := create(t, p, "a")
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					all, err := entries(t.Context(), log, wpd.Earliest, wpd.Follow())
					if !errors.Is(err, wpd.ErrClosed) && !errors.Is(err, wpd.ErrUnavailable) {
						t.Errorf("closed after %d entries: %v", len(all), err)
					}
				})
			}
			time.Sleep(time.Duration(ms*7) * time.Millisecond)
			stop(t, p)
			wg.Wait()
		}
	})
}
