package segment

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// appendRounds makes n fragments of some logs each, the i-th of those that
// pick says.
func appendRounds(t testing.TB, w *Writer, a *appender, n int, pick func(i int) []fragment.LogID) {
	t.Helper()
	for i := range n {
		for _, log := range pick(i) {
			a.add(log, 50)
		}
		require.NoError(t, w.Flush(t.Context()))
	}
}

func threeLogs(i int) []fragment.LogID {
	return [][]fragment.LogID{{1}, {1, 2}, {3}, {2}, {1, 2, 3}}[i%5]
}

// Each directory repeats the ends of its predecessor, and every 64th sums up
// what the 64 say one by one.
func TestDirectoriesTellOfEachOther(t *testing.T) {
	bubble.Test(t, func(t *testing.T) { // so that batches of a round are in one fragment
		s := newStore()
		w := create(t, s, Options{})
		a := newAppender(t, w)
		var rounds int
		for rounds = range 200 {
			for _, log := range threeLogs(rounds) {
				a.add(log, 50)
			}
			if rounds%7 == 0 {
				_, err := w.Note(nil, fragment.LogState{Log: 9, Attachment: 9, End: 5,
					Producers: []fragment.ProducerState{{ID: 3, Name: "p", Epoch: fragment.ProducerEpoch(rounds)}}})
				require.NoError(t, err)
			}
			require.NoError(t, w.Flush(t.Context()))
			time.Sleep(time.Second)
		}
		require.NoError(t, w.Close(t.Context()))
		var ends []fragment.End
		block := newTally(1)
		for n := uint64(1); n <= w.Durable(); n++ {
			d := whole(t, s, n).Directory
			require.Equal(t, ends, d.PrevEnds, "fragment %d", n)
			ends = nil
			for _, st := range d.States {
				ends = append(ends, fragment.End{Log: st.Log, Attachment: st.Attachment, LSN: st.End})
			}
			sum := d.Index
			block.add(n, d)
			if n%fragment.SumEvery != 0 {
				require.Nil(t, sum)
				continue
			}
			require.NotNil(t, sum)
			requireSame(t, block.index(), sum, "sum of fragment", n)
			block = newTally(n + 1)
		}
		require.Greater(t, w.Durable(), uint64(192))
	})
}

// What is noted goes into the next fragment: a log's attachment, and producers
// with what they stored before, together with what this fragment adds.
func TestNotes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{})
		old := makeBatch(1, 5, 1, 1, 3, 10)
		var p fragment.ProducerState
		p.ID, p.Name = 5, "five"
		p.Remember(old)
		n, err := w.Note(&fragment.Attached{Log: 1, Attachment: 1, Name: "one", First: 4, Trim: 2}, fragment.LogState{
			Log: 1, Attachment: 1, End: 4, Dropped: 2, Producers: []fragment.ProducerState{p},
		})
		require.NoError(t, err)
		b := makeBatch(1, 5, 4, 4, 2, 10)
		require.NoError(t, w.Reserve(t.Context(), b.Len()))
		m, err := w.Append(1, b, 0, newAck(t))
		require.NoError(t, err)
		require.Equal(t, n, m)
		require.NoError(t, w.Flush(t.Context()))
		d := whole(t, s, n).Directory
		require.Equal(t, []fragment.Attached{{Log: 1, Attachment: 1, Name: "one", First: 4, Trim: 2}}, d.Attached)
		require.Len(t, d.States, 1)
		st := d.States[0]
		require.EqualValues(t, 6, st.End)
		require.EqualValues(t, 2, st.Dropped)
		want := p
		want.Remember(b)
		require.Equal(t, []fragment.ProducerState{want}, st.Producers)
		require.EqualValues(t, 5, st.Producers[0].Last)

		// A producer opened behind its batch, in the same fragment.
		c := makeBatch(1, 5, 6, 6, 1, 10)
		require.NoError(t, w.Reserve(t.Context(), c.Len()))
		hold := newAck(t)
		w.mu.Lock()
		w.flying++ // keep it open
		w.mu.Unlock()
		n, err = w.Append(1, c, 0, hold)
		require.NoError(t, err)
		m, err = w.Note(nil, fragment.LogState{Log: 1, Attachment: 1, End: 7,
			Producers: []fragment.ProducerState{{ID: 5, Name: "five", Epoch: 2, Last: 6, Time: 1 << 60}}})
		require.NoError(t, err)
		require.Equal(t, n, m)
		w.mu.Lock()
		w.flying--
		w.mu.Unlock()
		require.NoError(t, w.Flush(t.Context()))
		got := whole(t, s, n).Directory.States[0].Producers[0]
		require.EqualValues(t, 2, got.Epoch)
		require.EqualValues(t, 6, got.Last)
		require.Len(t, got.Batches, 1)
		require.EqualValues(t, 1<<60, got.Time)
		require.NoError(t, w.Close(t.Context()))
	})
}

// A fragment holds one slice of a log: a log that comes back under another
// attachment begins a new fragment.
func TestAttachmentsDoNotShareFragments(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{})
		n, err := w.Note(nil, fragment.LogState{Log: 1, Attachment: 1, End: 4})
		require.NoError(t, err)
		m, err := w.Note(&fragment.Attached{Log: 1, Attachment: 2, Name: "one", First: 4}, fragment.LogState{Log: 1, Attachment: 2, End: 4})
		require.NoError(t, err)
		require.Equal(t, n+1, m)
		b := makeBatch(1, 5, 4, 4, 2, 10)
		b.Stamp(fragment.Stamp{Log: 1, Attachment: 3, Epoch: testChain.Epoch, From: 4})
		require.NoError(t, w.Reserve(t.Context(), b.Len()))
		m, err = w.Append(1, b, 0, newAck(t))
		require.NoError(t, err)
		require.Equal(t, n+2, m)
		require.NoError(t, w.Close(t.Context()))
		require.EqualValues(t, 3, whole(t, s, m).Directory.Slices[0].Attachment)
	})
}

// Where very many logs are written at once, a sum would not fit beside a full
// fragment: it is left out, and every object stays within its limit.
func TestSumThatIsTooLarge(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{FlushInterval: time.Hour})
		a := newAppender(t, w)
		appendRounds(t, w, a, 64, func(i int) []fragment.LogID {
			logs := make([]fragment.LogID, 800)
			for j := range logs {
				logs[j] = fragment.LogID(i*800 + j + 1)
			}
			return logs
		})
		require.NoError(t, w.Close(t.Context()))
		n := w.Durable()
		require.GreaterOrEqual(t, n, uint64(64))
		require.True(t, whole(t, s, 64).Directory.Index == nil)
		x, err := Seal(t.Context(), s, SealRequest{Chain: testChain, Sealer: testSealer})
		require.NoError(t, err)
		require.Equal(t, n+1, x.At)
		require.Len(t, x.Content.States, 64*800)
	})
}
