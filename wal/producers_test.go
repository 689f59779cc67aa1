package wal

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// batchOf makes a batch of count entries; other bytes for another word.
func batchOf(id fragment.ProducerID, epoch fragment.ProducerEpoch, first uint64, count int, word string, lowest uint64) fragment.Batch {
	var b fragment.BatchBuilder
	for i := range count {
		_ = b.Add(nil, fmt.Append(nil, word, i))
	}
	return b.Finish(fragment.BatchMeta{Producer: id, ProducerEpoch: epoch, FirstSeq: first, LowestSeq: lowest})
}

// TestJudge: what becomes of a batch by its producer alone. Producer 10 is at
// epoch 3, and has stored sequences 1-2, 3 and 4-6 at LSNs 11, 13 and 14, of
// which the first is forgotten; 5 was the highest that was dropped.
func TestJudge(t *testing.T) {
	newTable := func() producers {
		p := newProducers(fragment.LogState{Dropped: 5}, 10)
		store := func(b fragment.Batch, from fragment.LSN) {
			b.Stamp(fragment.Stamp{Log: 1, Attachment: 1, Epoch: 1, From: from, Time: 7})
			p.remember(b)
		}
		store(batchOf(10, 3, 1, 2, "a", 1), 11)
		store(batchOf(10, 3, 3, 1, "b", 3), 13)
		store(batchOf(10, 3, 4, 3, "c", 3), 14)
		return p
	}
	cases := map[string]struct {
		b    fragment.Batch
		want verdict
		from fragment.LSN
		err  error
	}{
		"the next":                      {batchOf(10, 3, 7, 1, "d", 3), verdictNew, 0, nil},
		"the next, of a higher epoch":   {batchOf(10, 4, 7, 1, "d", 3), verdictNew, 0, nil},
		"the next, of a lower epoch":    {batchOf(10, 2, 7, 1, "d", 3), verdictNo, 0, &api.FencedError{What: "producer epoch", Have: 2, Want: 3}},
		"stored":                        {batchOf(10, 3, 3, 1, "b", 3), verdictStored, 13, nil},
		"stored, three entries":         {batchOf(10, 3, 4, 3, "c", 3), verdictStored, 14, nil},
		"stored, other bytes":           {batchOf(10, 3, 3, 1, "x", 3), verdictNo, 0, &api.SequenceError{Have: 3, Last: 6, Conflict: true}},
		"stored, of another epoch":      {batchOf(10, 2, 3, 1, "b", 3), verdictNo, 0, &api.FencedError{What: "producer epoch", Have: 2, Want: 3}},
		"stored, another count":         {batchOf(10, 3, 4, 2, "c", 3), verdictNo, 0, &api.SequenceError{Have: 4, Last: 6, Conflict: true}},
		"reaches beyond what is stored": {batchOf(10, 3, 6, 2, "c", 3), verdictNo, 0, &api.SequenceError{Have: 6, Last: 6, Conflict: true}},
		"a gap":                         {batchOf(10, 3, 8, 1, "d", 3), verdictNo, 0, &api.SequenceError{Have: 8, Last: 6}},
		"stored, LSN forgotten":         {batchOf(10, 3, 1, 2, "a", 1), verdictNo, 0, api.ErrStored},
		"a new one":                     {batchOf(11, 1, 1, 1, "n", 1), verdictNew, 0, nil},
		"a new one, not from the start": {batchOf(11, 1, 2, 1, "n", 2), verdictNo, 0, api.ErrUnknownProducer},
		"a dropped one":                 {batchOf(5, 1, 1, 1, "n", 1), verdictNo, 0, api.ErrUnknownProducer},
		"one below the highest dropped": {batchOf(4, 9, 1, 1, "n", 1), verdictNo, 0, api.ErrUnknownProducer},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := newTable()
			v, ack, err := p.judge(c.b)
			require.Equal(t, c.want, v, "%v", err)
			require.Equal(t, c.from, ack.From)
			require.Equal(t, c.err, err)
			if v == verdictStored {
				require.Equal(t, c.from+fragment.LSN(c.b.Count()), ack.To)
				require.EqualValues(t, 7, ack.Time)
			}
		})
	}
}

// TestExpire: idle anonymous producers make room, and are never taken for new
// again; named ones stay.
func TestExpire(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := newProducers(fragment.LogState{}, 2)
		now := func() fragment.Micros { return fragment.Micros(time.Now().UnixMicro()) }
		p.put(&fragment.ProducerState{ID: 1, Name: "p", Time: now()})
		p.put(&fragment.ProducerState{ID: 2, Time: now()})
		time.Sleep(6 * time.Minute)
		p.put(&fragment.ProducerState{ID: 3, Time: now()})
		require.NoError(t, p.room(3))
		limit := &api.LimitError{}
		require.ErrorAs(t, p.room(4), &limit)
		time.Sleep(5 * time.Minute)
		require.NoError(t, p.room(4))
		require.Equal(t, fragment.ProducerID(2), p.dropped)
		_, _, err := p.judge(batchOf(2, 1, 1, 1, "x", 1))
		require.ErrorIs(t, err, api.ErrUnknownProducer)
		require.Len(t, p.byID, 2)
		ids := map[fragment.ProducerID]bool{}
		for a := range fragment.Attachment(3) {
			p.given = 0
			for range 3 {
				id := p.nextID(a + 1)
				require.False(t, ids[id])
				ids[id] = true
			}
		}
	})
}

// TestGate: who waits for the gate stops when its context ends.
func TestGate(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := make(gate, 1)
		require.NoError(t, g.lock(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := g.lock(ctx)
		require.ErrorIs(t, err, api.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		g.unlock()
		require.NoError(t, g.lock(t.Context()))
	})
}
