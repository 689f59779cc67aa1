package node_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// What a reader of the code found before anybody was hurt by it.

// TestLostNote: the fragment that says under which name a producer was opened
// is lost. The next one repeats it, so that the name goes on where it was.
func TestLostNote(t *testing.T) {
	inScenes(t, func(s *scene) {
		o := s.producer(api.OpenRequest{Name: "p"})
		s.fill(o, 1, "a", "b")
		e, n := s.chain()
		require.EqualValues(s, 4, n, "a note, and a fragment for each entry")
		crash(s, s.w, s.p)
		require.True(s, s.mem.Lose(fragment.ChainKey(e, 1)))
		s.open()
		again := s.producer(api.OpenRequest{Name: "p"})
		require.Equal(s, o.ID, again.ID)
		require.Equal(s, o.Epoch+1, again.Epoch)
		require.EqualValues(s, 2, again.Last)
		require.Equal(s, []string{"a", "b"}, s.read())
	})
}

// TestTimeBeforeLoss: a time before everything is found before a loss too.
func TestTimeBeforeLoss(t *testing.T) {
	inScenes(t, func(s *scene) {
		o := s.producer(api.OpenRequest{Name: "p"})
		s.fill(o, 1, "a", "b", "c", "d", "e", "f")
		e, n := s.chain()
		crash(s, s.w, s.p)
		require.True(s, s.mem.Lose(fragment.ChainKey(e, n-3))) // d
		s.open()
		at := func(t fragment.Micros) fragment.LSN {
			stream, err := s.service().Read(s.Context(), api.ReadRequest{Log: s.log, From: api.FromTime, Time: t})
			require.NoError(s, err)
			defer stream.Close()
			return stream.Position()
		}
		require.EqualValues(s, 1, at(1))
		require.EqualValues(s, 7, at(1<<60))
	})
}

// TestRefusedBeforeFencing: an exclusive open that is refused fences nobody.
func TestRefusedBeforeFencing(t *testing.T) {
	inScenes(t, func(s *scene) {
		o := s.producer(api.OpenRequest{Name: "p"})
		s.send(text(o, 1, "a")).at(1)
		_, err := s.service().OpenProducer(s.Context(), api.OpenRequest{Log: s.log, Name: "p", Epoch: 1, Exclusive: true})
		var fenced *api.FencedError
		require.ErrorAs(s, err, &fenced)
		s.send(text(o, 2, "b")).at(2)
	})
}

// TestForgedProducer: an id that was never given out is not taken, and does
// not shut out those that will be.
func TestForgedProducer(t *testing.T) {
	inScenes(t, func(s *scene) {
		o := s.producer(api.OpenRequest{})
		forged := o
		forged.ID = 1<<64 - 1
		s.send(text(forged, 1, "x")).is(api.ErrUnknownProducer)
		s.send(text(o, 1, "a")).at(1)
		_, err := s.service().OpenProducer(s.Context(), api.OpenRequest{Log: s.log, ID: 1<<64 - 1})
		require.ErrorIs(s, err, api.ErrUnknownProducer)
		for _, b := range []fragment.Batch{{}, text(api.Opened{ID: o.ID}, 2, "no epoch"), text(api.Opened{Epoch: 1}, 2, "no id"), text(o, 0, "no sequence")} {
			s.send(b).is(api.ErrInvalid)
		}
	})
}
