package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestProposeRefused(t *testing.T) {
	m := open(t, "", newBucket())
	propose(t, m, "a")
	r, err := m.Propose(t.Context(), fsm.NewCreateLog("a", fsm.LogConfig{EntryBytesMax: 1}, 0))
	require.ErrorIs(t, err, fs.ErrExist)
	require.Zero(t, r)
	e, ok := errors.AsType[*fsm.ExistsError](err)
	require.True(t, ok)
	require.EqualValues(t, 1, e.ID)

	// What this version does not know is not even proposed.
	last := m.raft.LastIndex()
	_, err = m.Propose(t.Context(), &fsmpb.Command{})
	_, ok = errors.AsType[*fsm.InvalidError](err)
	require.True(t, ok, err)
	_, err = m.Propose(t.Context(), fsm.NewSetFeature(1, 2))
	_, ok = errors.AsType[*fsm.InvalidError](err)
	require.True(t, ok, err)
	require.Equal(t, last, m.raft.LastIndex())
	require.NoError(t, m.Err())
}

func TestProposeAfterClose(t *testing.T) {
	m := open(t, "", newBucket())
	require.NoError(t, m.Close())
	_, err := m.Propose(t.Context(), fsm.NewDeleteLog(1))
	require.ErrorIs(t, err, ErrClosed)
	require.NotErrorIs(t, err, ErrUncertain)
	require.ErrorIs(t, m.Confirm(t.Context()), ErrClosed)
	require.Empty(t, logNames(m), "the state can still be read")
}

func TestProposeContextOver(t *testing.T) {
	m := open(t, "", newBucket())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := m.Propose(ctx, fsm.NewDeleteLog(1))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrUncertain, "nothing was done")
}

// A caller that gives up while its command is under way does not know the
// outcome; a confirmation and a look tell.
func TestProposeUncertain(t *testing.T) {
	m := open(t, "", newBucket())
	before := m.raft.CommitIndex()
	ctx, cancel := context.WithCancel(t.Context())
	m.machine.mu.RLock() // holds the apply up
	errs := make(chan error, 1)
	go func() {
		_, err := m.Propose(ctx, fsm.NewCreateLog("a", fsm.LogConfig{EntryBytesMax: 1}, 0))
		errs <- err
	}()
	require.Eventually(t, func() bool { return m.raft.CommitIndex() > before }, 10*time.Second, time.Millisecond)
	cancel()
	err := <-errs
	m.machine.mu.RUnlock()
	require.ErrorIs(t, err, ErrUncertain)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, m.Confirm(t.Context()))
	require.Equal(t, []string{"a"}, logNames(m))
}

func TestProposeWhileClosing(t *testing.T) {
	m := open(t, t.TempDir(), newBucket())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := 0; ; j++ {
				_, err := m.Propose(t.Context(), fsm.NewCreateLog(fmt.Sprintf("%d/%d", i, j), fsm.LogConfig{EntryBytesMax: 1}, 0))
				if err == nil {
					continue
				}
				if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrUncertain) && !errors.Is(err, ErrNotLeader) {
					t.Error(err)
				}
				return
			}
		})
	}
	propose(t, m, "a")
	require.NoError(t, m.Close())
	wg.Wait()
}

// Confirm writes once per term, and sees what others have committed.
func TestConfirm(t *testing.T) {
	m := open(t, t.TempDir(), newBucket())
	last := m.raft.LastIndex()
	for range 100 {
		require.NoError(t, m.Confirm(t.Context()))
	}
	require.Equal(t, last, m.raft.LastIndex())

	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 50 {
				name := fmt.Sprintf("%d/%d", i, j)
				_, err := m.Propose(t.Context(), fsm.NewCreateLog(name, fsm.LogConfig{EntryBytesMax: 1}, 0))
				if err == nil {
					err = m.Confirm(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
				m.View(func(s *fsm.State) {
					if _, ok := s.LogByName(name); !ok {
						t.Errorf("%s is not there after a confirmation", name)
					}
				})
			}
		})
	}
	wg.Wait()

	// A member that has lost a term confirms the next one by a barrier.
	m.barrierTerm.Store(0)
	require.NoError(t, m.Confirm(t.Context()))
	require.NoError(t, m.Confirm(t.Context()))
	require.Equal(t, last+200+1, m.raft.LastIndex())
}
