package fsm

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
)

func TestApplyIndexOnlyRises(t *testing.T) {
	s := populated(t, 0)
	_, err := s.Apply(s.AppliedIndex(), NewDeleteLog(1))
	_, ok := errors.AsType[*BreachError](err)
	require.True(t, ok, err)
}

func TestLogsFrom(t *testing.T) {
	s := New()
	mustApply(t, s, NewInitCluster(fragment.ClusterID{15: 7}, 1))
	for _, name := range []string{"b", "a/2", "a", "a/1", "a-", "c"} {
		mustApply(t, s, NewCreateLog(name, LogConfig{EntryBytesMax: 1}, 0))
	}
	list := func(prefix, after string) (names []string) {
		for l := range s.LogsFrom(prefix, after) {
			names = append(names, l.Name)
		}
		return names
	}
	require.Equal(t, []string{"a", "a-", "a/1", "a/2", "b", "c"}, list("", ""))
	require.Equal(t, []string{"a/1", "a/2"}, list("a/", ""))
	require.Equal(t, []string{"a/2"}, list("a/", "a/1"))
	require.Equal(t, []string{"a/1", "a/2"}, list("a/", "a/0"))
	require.Equal(t, []string{"b", "c"}, list("", "a/2"))
	require.Empty(t, list("a/", "b"))
	require.Empty(t, list("d", ""))
}

func TestErrorsMatch(t *testing.T) {
	require.ErrorIs(t, &NotFoundError{}, ErrNotFound)
	require.ErrorIs(t, ErrNotFound, fs.ErrNotExist)
	require.ErrorIs(t, &ExistsError{}, ErrExists)
	require.ErrorIs(t, ErrExists, fs.ErrExist)
	require.ErrorIs(t, &UnknownCommandError{}, ErrStop)
	require.ErrorIs(t, &BreachError{}, ErrStop)
}
