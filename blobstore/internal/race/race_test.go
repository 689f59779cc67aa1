package race_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wpd-io/wpd/blobstore/internal/race"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestJudge(t *testing.T) {
	const w, l, u = race.Won, race.Lost, race.Unknown
	for _, c := range []struct {
		name     string
		outcomes []race.Outcome // of a, b, c
		there    string
		want     string // part of what is wrong; "": nothing
		decided  bool
	}{
		{"one wins", []race.Outcome{w, l, l}, "a", "", true},
		{"two win", []race.Outcome{w, l, w}, "a", "2 of 3 creates of one key succeeded: a, c", true},
		{"the winner's bytes are not there", []race.Outcome{w, l}, "b", "what can be read is that of b", true},
		{"the winner's bytes were replaced by lost ones", []race.Outcome{u, w}, "a", "what can be read is that of a", false},
		{"nothing is there", []race.Outcome{w, l}, "", "nothing can be read", false},
		{"all lost to nobody", []race.Outcome{l, l}, "", "nothing can be read", false},
		{"lost to one whose reply was lost", []race.Outcome{u, l, l}, "a", "", true},
		{"all told that they lost", []race.Outcome{l, l}, "b", "", true},
		{"nothing is known", []race.Outcome{u, u}, "", "", false},
		{"one was not answered, and may have been stored", []race.Outcome{u, l}, "", "", false},
		{"bytes of a stranger", []race.Outcome{l, u}, "x", "nobody sent", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var claims []race.Claim
			for i, o := range c.outcomes {
				claims = append(claims, race.Claim{Who: string(rune('a' + i)), Outcome: o})
			}
			got := race.Judge(claims, c.there)
			require.Equal(t, c.want == "", got == "", got)
			require.Contains(t, got, c.want)
			if c.want == "" || c.decided {
				require.Equal(t, c.decided, race.Decided(claims, c.there))
			}
		})
	}
}

// TestRun: all creates begin before any is answered, each with bytes of its own.
func TestRun(t *testing.T) {
	const n = 5
	var mu sync.Mutex
	var all sync.WaitGroup
	all.Add(n)
	bodies := map[string]int{}
	claims := race.Run(t.Context(), func(_ context.Context, key string, parts [][]byte) error {
		all.Done()
		all.Wait()
		mu.Lock()
		defer mu.Unlock()
		size := 0
		for _, p := range parts {
			size += len(p)
		}
		bodies[race.Owner(parts[0])] = size
		switch len(bodies) {
		case 1:
			return nil
		case 2:
			return errors.New("no answer")
		}
		return fs.ErrExist
	}, "k", "p", n, 1000)
	count := map[race.Outcome]int{}
	for _, c := range claims {
		require.True(t, strings.HasPrefix(c.Who, "p."))
		require.Equal(t, 1000, bodies[c.Who])
		require.Equal(t, c.Outcome == race.Unknown, c.Err != "")
		count[c.Outcome]++
	}
	require.Len(t, bodies, n)
	require.Equal(t, map[race.Outcome]int{race.Won: 1, race.Unknown: 1, race.Lost: 3}, count)
}
