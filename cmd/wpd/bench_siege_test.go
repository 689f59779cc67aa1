package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc/siege"
)

// All attacks take place, somebody is served all the time, and nothing is left.
func TestBenchSiege(t *testing.T) {
	w := benchWorld(t, true)
	line := w.ok("bench", "siege", "--duration", "200ms", "--rate", "50", "-o", "json")
	var r siegeResult
	require.NoError(t, json.Unmarshal([]byte(line), &r))
	require.True(t, r.Verified)
	require.Equal(t, 50.0, r.Rate)
	require.Equal(t, w.flags[1], r.Addr)
	require.Positive(t, r.AppendP99)
	require.Positive(t, r.ReadP99)
	require.Positive(t, r.RSSBefore)
	require.Len(t, r.Attacks, len(siege.Attacks()))
	for i, a := range siege.Attacks() {
		x := r.Attacks[i]
		require.Equal(t, a.Name, x.Name)
		require.Positive(t, x.Connections, a.Name)
		require.LessOrEqual(t, x.AppendRatio, r.AppendRatio)
		require.LessOrEqual(t, x.ReadRatio, r.ReadRatio)
		require.LessOrEqual(t, x.RSSGrowth, r.RSSGrowth)
	}
	require.Empty(t, logsLeft(w))

	table := w.ok("bench", "siege", "--duration", "1ms", "--rate", "50", "--attack", "giant frames", "--compare", inputFile(t, line))
	require.Contains(t, table, "verified  yes")
	require.Regexp(t, `(?m)^append_p99_us +\S+ +\S+ +\S+$`, table)
}

// An interrupt ends the attack, too.
func TestBenchSiegeInterrupt(t *testing.T) {
	w := benchWorld(t, true)
	p := w.start("bench", "siege", "--duration", "1m")
	require.Eventually(t, func() bool { return len(logsLeft(w)) == 1 }, 20*time.Second, 10*time.Millisecond)
	p.signal(os.Interrupt)
	code, _ := p.end()
	require.Equal(t, exitInterrupted, code, p.said())
	require.Empty(t, logsLeft(w))
}

func TestBenchSiegeRefuses(t *testing.T) {
	for line, why := range map[string]string{
		"--addr 192.0.2.1:7070":                 "loopback",
		"--addr 127.0.0.1:1 --rate 0":           "--rate",
		"--addr 127.0.0.1:1 --attack kindness":  "kindness",
		"--addr 127.0.0.1:1 --duration 2m":      "--duration",
		"--addr 127.0.0.1:1 --compare /no/file": "--compare",
	} {
		code, _, stderr := runWpd(append([]string{"bench", "siege"}, strings.Fields(line)...)...)
		require.Equal(t, exitUsage, code, line)
		require.Contains(t, stderr, why)
	}
}

// The ratios are those of each attack's p99 to that of all calms together.
func TestSiegeResult(t *testing.T) {
	seen := func(append, read time.Duration) watch {
		w := newWatch()
		for range 100 {
			record(w.appends, int64(append))
			record(w.reads, int64(read))
		}
		return w
	}
	calm := seen(time.Millisecond, time.Millisecond)
	calm.add(seen(2*time.Millisecond, time.Millisecond))
	r := siegeResult{Attacks: make([]siegeAttack, 2)}
	r.finish(calm, []watch{seen(3*time.Millisecond, 4*time.Millisecond), seen(time.Millisecond, 5*time.Millisecond)})
	require.InEpsilon(t, 2000, r.AppendP99, 0.01)
	require.InEpsilon(t, 1000, r.ReadP99, 0.01)
	require.InEpsilon(t, 1.5, r.Attacks[0].AppendRatio, 0.01)
	require.InEpsilon(t, 4, r.Attacks[0].ReadRatio, 0.01)
	require.InEpsilon(t, 0.5, r.Attacks[1].AppendRatio, 0.01)
	require.InEpsilon(t, 1.5, r.AppendRatio, 0.01)
	require.InEpsilon(t, 5, r.ReadRatio, 0.01)
}

// Whoever is not served makes the result say so.
func TestVictimsFail(t *testing.T) {
	w := benchWorld(t, true)
	c, err := wpd.Dial(t.Context(), w.flags[1])
	require.NoError(t, err)
	log, err := c.Create(t.Context(), "log", wpd.LogConfig{})
	require.NoError(t, err)
	v, err := beginVictims(t.Context(), log, 100)
	require.NoError(t, err)
	require.Eventually(t, func() bool { v.mu.Lock(); defer v.mu.Unlock(); return v.now.reads.TotalCount() > 3 }, 10*time.Second, time.Millisecond)
	require.NoError(t, c.Delete(t.Context(), "log"))
	require.Eventually(t, func() bool { _, err := v.watched(); return errors.Is(err, wpd.ErrDeleted) }, 10*time.Second, time.Millisecond)
	require.ErrorIs(t, v.end(t.Context()), wpd.ErrDeleted)
	require.NoError(t, c.Close())
}

// TestVictimsBehind: a rate that nobody can keep does not keep anybody from ending.
func TestVictimsBehind(t *testing.T) {
	w := benchWorld(t, true)
	c, err := wpd.Dial(t.Context(), w.flags[1])
	require.NoError(t, err)
	log, err := c.Create(t.Context(), "log", wpd.LogConfig{})
	require.NoError(t, err)
	v, err := beginVictims(t.Context(), log, 1e6)
	require.NoError(t, err)
	seen := func() (appends, reads int64) {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.now.appends.TotalCount(), v.now.reads.TotalCount()
	}
	require.Eventually(t, func() bool { appends, reads := seen(); return min(appends, reads) > 10 }, 30*time.Second, time.Millisecond)
	ended := make(chan error, 1)
	go func() { ended <- v.end(t.Context()) }()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(victimWait):
		t.Fatal("they go on for ever")
	}
	require.NoError(t, c.Close())
}

// TestSleepUntil: an end is told to whoever is late as well.
func TestSleepUntil(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	for _, at := range []time.Duration{-time.Hour, 0, time.Millisecond} {
		due := sinceStart() + int64(at)
		require.NoError(t, sleepUntil(ctx, due))
		require.GreaterOrEqual(t, sinceStart(), due)
	}
	cancel()
	for _, at := range []time.Duration{-time.Hour, 0, time.Hour} {
		require.ErrorIs(t, sleepUntil(ctx, sinceStart()+int64(at)), context.Canceled)
	}
}

// TestTrickleBehind is TestVictimsBehind for bench drain.
func TestTrickleBehind(t *testing.T) {
	w := benchWorld(t, true)
	c, err := wpd.Dial(t.Context(), w.flags[1])
	require.NoError(t, err)
	load, logs, err := (&benchCluster{client: c}).writers(t.Context(), 2)
	require.NoError(t, err)
	trickle := startTrickle(t.Context(), logs, load, 1e6)
	require.Eventually(t, func() bool { s, err := trickle.next(); return err == nil && len(s.all) > 100 }, 30*time.Second, time.Millisecond)
	ended := make(chan error, 1)
	go func() { ended <- trickle.end() }()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(victimWait):
		t.Fatal("it goes on for ever")
	}
	require.NoError(t, trickle.verify(t.Context()))
	require.NoError(t, c.Close())
}
