package testcluster

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal"
)

// A year of 1,000 active logs on three nodes is 365 days in which each node cuts a
// segment every ten minutes and is restarted once a week, now in good order, now
// by a kill; in which 50 logs a day are handed over, and what is older than a week
// is trimmed. What the metadata then hold is chains (one for each start), what is
// left of their cuts, and extents; divided by the logs.
//
// Here are a fortieth of the logs, and a fortieth of all that the logs share: a
// fortieth of the chains, each with the cuts of a whole week; and of each log as
// many moves and trims a day as there. So every ratio is that of the year, and so
// are the bytes a log. What passes between two cuts is shorter than ten minutes:
// nothing in the metadata depends on it.
const (
	yearScale    = 40
	yearLogs     = 1000 / yearScale
	yearDays     = 365/yearScale + 1
	yearSlots    = 24 * 6 // a day: cuts of each node
	yearMoves    = 50/yearScale + 1
	yearRetain   = 7 // days
	yearRestarts = 7 // days between those of a node
	// yearTurns is how many slots pass until every log has an entry more.
	yearTurns = 5
)

// year is a cluster that lives through it.
type year struct {
	*testing.T
	*Cluster
	logs    []*wpd.Log
	writers []*wpd.Writer
	tails   []wpd.LSN
	days    [][]wpd.LSN // the tails at the end of each day
	moves   int
}

// TestYear: the metadata of a year take less than 4 KiB a log, because cuts are
// merged; and every entry that is left is where it was, through every node and
// through one that has just come.
func TestYear(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		y := &year{T: t, Cluster: New(t, 3, WithConfig(func(_ int, c *node.Config) {
			c.Log = wal.Config{CutFragments: 1, FlushInterval: 50 * time.Millisecond}
		}))}
		for i := range yearLogs {
			log, err := y.Client().Create(t.Context(), fmt.Sprintf("tenant-%03d/orders/%05d", i%100, i), wpd.LogConfig{})
			require.NoError(t, err)
			w, err := log.Writer(t.Context(), wpd.ProducerID("orders"))
			require.NoError(t, err)
			y.logs, y.writers, y.tails = append(y.logs, log), append(y.writers, w), append(y.tails, 1)
		}
		for day := range yearDays {
			y.day(day)
		}
		s, size := y.metadata()
		require.NoError(t, s.Check())
		made, left, chains, extents := 0, 0, 0, 0
		for c := range s.Chains() {
			chains++
			left += len(c.Cuts)
			for _, x := range c.Cuts {
				made += int(x.To - x.From) // each fragment was cut off by itself
			}
		}
		for l := range s.Logs("") {
			extents += len(l.Extents)
		}
		t.Logf("%d commands, %d cuts made, %d left, %d chains, %d moves, %d extents: %d bytes a log",
			s.AppliedIndex(), made, left, chains, y.moves, extents, size/yearLogs)
		require.GreaterOrEqual(t, made, 3*yearDays*yearSlots*9/10, "a year has as many")
		require.GreaterOrEqual(t, chains, 3+3*(yearDays/yearRestarts), "one for each start")
		require.Less(t, left, made/20)
		require.Less(t, size, 4096*yearLogs)

		for _, w := range y.writers {
			require.NoError(t, w.Close())
		}
		y.read(y.Node(0).Client(), y.logs)
		y.read(y.Node(1).Client(), y.logs[:yearLogs/5])
		added := y.Add()
		y.AwaitReady()
		y.read(y.Node(added).Client(), y.logs[:yearLogs/5])
	})
}

func (y *year) day(day int) {
	for slot := range yearSlots {
		y.slot(slot)
		if slot%(yearSlots/yearMoves) == 0 {
			y.move((day*yearMoves+slot)*7%yearLogs, (day+slot)%3)
		}
	}
	y.days = append(y.days, append([]wpd.LSN(nil), y.tails...))
	if day%yearRestarts == yearRestarts-1 {
		for i := range 3 {
			if (day/yearRestarts+i)%2 == 0 {
				y.Stop(i)
			} else {
				y.Kill(i)
			}
			y.slot(0)
			y.Start(i)
			y.AwaitReady()
		}
	}
	if day >= yearRetain {
		for i, log := range y.logs {
			require.NoError(y, log.Trim(y.T.Context(), y.days[day-yearRetain][i]))
		}
	}
}

// slot is ten minutes: some logs get an entry.
func (y *year) slot(slot int) {
	ctx, cancel := context.WithTimeout(y.T.Context(), time.Minute)
	defer cancel()
	pending := make(map[int]*wpd.Pending)
	for i := slot % yearTurns; i < yearLogs; i += yearTurns {
		pending[i] = y.writers[i].AppendAsync(ctx, wpd.Entry{Data: yearEntry(y.logs[i].Name(), y.tails[i])})
	}
	for i, p := range pending {
		at, err := p.Wait(ctx)
		require.NoError(y, err)
		require.Equal(y, y.tails[i], at)
		y.tails[i]++
	}
}

func yearEntry(log string, at wpd.LSN) []byte { return fmt.Appendf(nil, "%s at %d", log, at) }

// move hands a log over.
func (y *year) move(log, to int) {
	a := y.admin()
	_, err := a.MoveLog(y.T.Context(), y.logs[log].Name(), y.Node(to).Name)
	require.NoError(y, err)
	require.NoError(y, a.Close())
	y.moves++
}

func (y *year) admin() *client.Admin {
	var addrs []string
	for _, i := range y.Up() {
		addrs = append(addrs, y.Node(i).Addr())
	}
	a, err := client.DialAdmin(y.T.Context(), client.Config{Addrs: addrs, Dialer: y.Net.Host(ClientHost).Dial})
	require.NoError(y, err)
	return a
}

// metadata is what they are, and how many bytes a snapshot has.
func (y *year) metadata() (s *fsm.State, size int) {
	a := y.admin()
	var b bytes.Buffer
	require.NoError(y, a.SaveSnapshot(y.T.Context(), &b))
	require.NoError(y, a.Close())
	size = b.Len()
	s, err := fsm.Restore(&b)
	require.NoError(y, err)
	return s, size
}

// read reads logs back: what was trimmed is gone, and all else is where it was.
func (y *year) read(c *wpd.Client, logs []*wpd.Log) {
	for i := range logs {
		log, err := c.Log(y.T.Context(), y.logs[i].Name())
		require.NoError(y, err)
		next := y.days[yearDays-1-yearRetain][i]
		for _, err := range log.Read(y.T.Context(), wpd.From(next-1)) {
			var trimmed *wpd.TrimmedError
			require.ErrorAs(y, err, &trimmed)
			require.Equal(y, next, trimmed.First)
		}
		for e, err := range log.Read(y.T.Context(), wpd.Earliest, wpd.Linearizable()) {
			require.NoError(y, err)
			require.Equal(y, next, e.LSN)
			require.Equal(y, string(yearEntry(log.Name(), next)), string(e.Data))
			next++
		}
		require.Equal(y, y.tails[i], next)
	}
}
