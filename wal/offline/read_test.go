package offline_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
	"github.com/wpd-io/wpd/wal/offline"
)

func (w *world) useMem() { w.store = blobstore.New(w.mem, blobstore.Options{}) }

// read reads a log: its entries by LSN, and the lost ranges. What it gives must
// be in order, without a gap.
func (w *world) read(ref string, o offline.ReadOptions) (entries map[fragment.LSN]string, losses []string) {
	w.t.Helper()
	b, err := offline.Open(w.t.Context(), w.store, offline.Options{})
	require.NoError(w.t, err)
	l, err := b.Find(ref)
	require.NoError(w.t, err)
	entries = make(map[fragment.LSN]string)
	var next fragment.LSN
	for e, err := range b.Read(w.t.Context(), l, o) {
		if loss, ok := errors.AsType[*api.DataLossError](err); ok {
			require.True(w.t, next == 0 || loss.From == next, "%v, %d comes next", loss, next)
			next = loss.To
			losses = append(losses, fmt.Sprintf("[%d, %d)", loss.From, loss.To))
			continue
		}
		require.NoError(w.t, err)
		require.True(w.t, next == 0 || e.LSN == next, "LSN %d, %d comes next", e.LSN, next)
		next = e.LSN + 1
		require.Equal(w.t, []fragment.Header{{Key: "k", Value: []byte("v")}}, e.Headers)
		entries[e.LSN] = string(e.Data)
	}
	return entries, losses
}

// readsAround checks, after Verify said which ranges are lost, that reading
// loses just these, and gives the right bytes all around.
func (w *world) readsAround(problems []string) {
	w.t.Helper()
	b, err := offline.Open(w.t.Context(), w.store, offline.Options{})
	require.NoError(w.t, err)
	for id, m := range w.logs {
		if _, err := b.Find(fmt.Sprintf("@%d", id)); err != nil {
			require.Empty(w.t, w.mem.Keys(fragment.ChainPrefix(2)), "log %d: %v", id, err)
			continue // with the only chain that knew it
		}
		got, losses := w.read(fmt.Sprintf("@%d", id), offline.ReadOptions{})
		want := make(map[string]bool)
		lost := make(map[fragment.LSN]bool)
		for _, p := range problems {
			if _, rest, ok := strings.Cut(p, fmt.Sprintf(" log %d ", id)); ok {
				want[rest] = true
				var from, to fragment.LSN
				_, err := fmt.Sscanf(rest, "[%d, %d)", &from, &to)
				require.NoError(w.t, err)
				for lsn := from; lsn < to; lsn++ {
					lost[lsn] = true
				}
			}
		}
		for _, loss := range losses {
			var from, to fragment.LSN
			_, err := fmt.Sscanf(loss, "[%d, %d)", &from, &to)
			require.NoError(w.t, err)
			if from > fragment.LSN(len(m.entries)) && to == from+1<<32 {
				continue // an object at the end of the last chain, and nobody can tell
			}
			require.True(w.t, want[loss], "log %d: lost %s, verify says %v", id, loss, want)
		}
		for i, text := range m.entries {
			lsn := fragment.LSN(i + 1)
			if have, ok := got[lsn]; lost[lsn] && ok || !lost[lsn] && have != text {
				if have == "" && i >= 45 && len(w.mem.Keys(fragment.ChainPrefix(2))) == 0 {
					continue // with the last chain that knew of them
				}
				w.t.Fatalf("log %d, LSN %d: read %q, want %q (lost: %v)", id, lsn, have, text, lost[lsn])
			}
		}
	}
}

func TestReadRanges(t *testing.T) {
	w := twoChains(t)
	n := fragment.LSN(len(w.logs[1].entries))
	for _, c := range []struct {
		o        offline.ReadOptions
		from, to fragment.LSN
	}{
		{offline.ReadOptions{}, 1, n + 1},
		{offline.ReadOptions{From: 7}, 7, n + 1},
		{offline.ReadOptions{From: 300, To: 302}, 300, 302},
		{offline.ReadOptions{From: 490, To: 500}, 490, 500},
		{offline.ReadOptions{From: n + 1}, n + 1, n + 1},
		{offline.ReadOptions{From: 5, To: 5}, 5, 5},
		{offline.ReadOptions{From: 5, To: 2}, 5, 5},
		{offline.ReadOptions{From: 5, To: n + 100}, 5, n + 1},
		{offline.ReadOptions{Last: 4}, n - 3, n + 1},
		{offline.ReadOptions{Last: 1 << 40}, 1, n + 1},
		{offline.ReadOptions{From: 400, Limit: 150}, 400, 550},
		{offline.ReadOptions{Limit: 1}, 1, 2},
	} {
		got, losses := w.read("a", c.o)
		require.Empty(t, losses)
		require.Len(t, got, int(c.to-c.from), "%+v", c.o)
		for lsn := c.from; lsn < c.to; lsn++ {
			require.Equal(t, fmt.Sprintf("a/%d", lsn), got[lsn])
		}
	}
}

// TestReadStops: a consumer that has enough leaves nothing behind (goleak).
func TestReadStops(t *testing.T) {
	w := twoChains(t)
	b, err := offline.Open(t.Context(), w.store, offline.Options{})
	require.NoError(t, err)
	l, err := b.Find("a")
	require.NoError(t, err)
	for e, err := range b.Read(t.Context(), l, offline.ReadOptions{}) {
		require.NoError(t, err)
		if e.LSN == 20 {
			break
		}
	}
}

func TestReadErrors(t *testing.T) {
	w := newWorld(t)
	c := w.chain(1)
	old := w.attach(c, 1, "a")
	w.fragment(c, 2, old)
	m := w.attach(c, 2, "a") // made anew under the old name
	w.fragment(c, 5, m)
	b, err := offline.Open(t.Context(), w.store, offline.Options{})
	require.NoError(t, err)

	_, err = b.Find("nope")
	require.ErrorIs(t, err, api.ErrNotFound)
	require.ErrorContains(t, err, "the bucket has a")
	_, err = b.Find("a@x")
	require.ErrorIs(t, err, api.ErrInvalid)
	_, err = b.Find("b@1")
	require.ErrorIs(t, err, api.ErrNotFound)
	l, err := b.Find("a")
	require.NoError(t, err)
	require.Equal(t, fragment.LogID(2), l.ID)
	l1, err := b.Find("a@1")
	require.NoError(t, err)
	require.Equal(t, fragment.LSN(3), l1.End)

	for _, err := range b.Read(t.Context(), l, offline.ReadOptions{From: 7}) {
		_, ok := errors.AsType[*api.BeyondTailError](err)
		require.True(t, ok, "%v", err)
	}
	empty := newWorld(t)
	b, err = offline.Open(t.Context(), empty.store, offline.Options{})
	require.NoError(t, err)
	_, err = b.Find("a")
	require.ErrorIs(t, err, api.ErrNotFound)
	require.Empty(t, empty.verify())
}

// TestReadTrim: what was trimmed before the log was attached last is not read.
func TestReadTrim(t *testing.T) {
	w := newWorld(t)
	c := w.chain(1)
	m := w.attach(c, 1, "a")
	w.fragment(c, 10, m)
	w.seal(c)
	c = w.chain(2)
	w.attachments++
	m.attachment = w.attachments
	_, err := c.Note(&fragment.Attached{Log: 1, Attachment: m.attachment, Name: "a", First: 11, Trim: 6},
		fragment.LogState{Log: 1, Attachment: m.attachment, End: 11, Time: m.time})
	require.NoError(t, err)
	w.fragment(c, 2, m)
	got, losses := w.read("a", offline.ReadOptions{})
	require.Empty(t, losses)
	require.Len(t, got, 7)
	b, err := offline.Open(t.Context(), w.store, offline.Options{})
	require.NoError(t, err)
	l, _ := b.Find("a")
	for _, err := range b.Read(t.Context(), l, offline.ReadOptions{From: 5}) {
		trimmed, ok := errors.AsType[*api.TrimmedError](err)
		require.True(t, ok)
		require.Equal(t, fragment.LSN(6), trimmed.First)
	}
	require.Empty(t, w.verify())
}
