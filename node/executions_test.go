package node_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/wal/api"
)

// The executions that were found on paper, end to end on a node. The ones of a
// chain alone are in room segment as well.

// TestTailBehindFragmentInFlight: later fragments are there while an earlier
// one is on its way. Nothing of them is acknowledged, seen by a tail or read;
// and if the node dies, they count only if the earlier one landed.
func TestTailBehindFragmentInFlight(t *testing.T) {
	for _, lands := range []bool{false, true} {
		name := "dropped"
		if lands {
			name = "lands"
		}
		t.Run(name, func(t *testing.T) {
			inScenes(t, func(s *scene) {
				o := s.producer(api.OpenRequest{Name: "p"})
				s.fill(o, 1, "a")
				e, n := s.chain()
				held := s.hold(e, n)
				b := s.send(text(o, 2, "b"))
				c := s.send(text(o, 3, "c"))
				d := s.send(text(o, 4, "d"))
				require.Equal(s, "fragment", s.kind(e, n+2), "the later ones are there")
				require.Equal(s, "none", s.kind(e, n))
				b.waits()
				c.waits()
				d.waits()
				require.EqualValues(s, 2, s.tail())
				require.Equal(s, []string{"a"}, s.read())
				crash(s, s.w, s.p)
				for _, x := range []*attempt{b, c, d} {
					x.is(api.ErrUncertain)
				}
				want := []string{"a"}
				if lands {
					held.Release()
					want = []string{"a", "b", "c", "d"}
				}
				s.open()
				require.Equal(s, want, s.read())
				// A retry is answered, or stored now.
				s.send(text(o, 2, "b")).at(2)
				s.send(text(o, 3, "c")).at(3)
				s.send(text(o, 4, "d")).at(4)
				held.Release()
				s.reopen()
				require.Equal(s, []string{"a", "b", "c", "d"}, s.read())
			})
		})
	}
}

// TestRetryOfWhatIsNotDurable: whatever an answer rests on must be durable
// first, be it an acknowledgement, a refusal, or what a producer is told.
func TestRetryOfWhatIsNotDurable(t *testing.T) {
	inScenes(t, func(s *scene) {
		o := s.producer(api.OpenRequest{Name: "p"})
		other := s.producer(api.OpenRequest{})
		s.fill(o, 1, "a")
		e, n := s.chain()
		held := s.hold(e, n)
		first := s.send(text(o, 2, "b"))
		waiting := []*attempt{
			s.send(text(o, 2, "b")),        // the retry
			s.send(text(o, 5, "x")),        // leaves a gap, if b is there
			s.send(text(o, 2, "y")),        // other bytes than b has
			s.send(text(other, 1, "z"), 2), // if the tail is where it was before b
		}
		told := make(chan api.ProducerInfo, 1)
		go func() {
			info, err := s.service().Producer(context.Background(), s.log, "p")
			if err == nil {
				told <- info
			}
			close(told)
		}()
		for _, a := range append(waiting, first) {
			a.waits()
		}
		select {
		case info := <-told:
			s.Fatalf("Producer says %+v too early", info)
		default:
		}
		require.EqualValues(s, 2, s.tail())
		held.Release()
		first.at(2)
		waiting[0].at(2)
		require.False(s, fails[*api.SequenceError](waiting[1]).Conflict)
		require.True(s, fails[*api.SequenceError](waiting[2]).Conflict)
		require.EqualValues(s, 3, fails[*api.TailError](waiting[3]).Tail)
		require.EqualValues(s, 2, (<-told).Last)
		require.Equal(s, []string{"a", "b"}, s.read())
	})
	t.Run("the node dies", func(t *testing.T) {
		inScenes(t, func(s *scene) {
			o := s.producer(api.OpenRequest{Name: "p"})
			other := s.producer(api.OpenRequest{})
			e, n := s.chain()
			s.hold(e, n)
			first := s.send(text(o, 1, "b"))
			retry := s.send(text(o, 1, "b"))
			tail := s.send(text(other, 1, "z"), 1)
			crash(s, s.w, s.p) // and b never lands
			first.is(api.ErrUncertain)
			retry.is(api.ErrUncertain)
			tail.is(api.ErrUncertain) // not a TailError: the tail never was 2
			s.open()
			s.send(text(other, 1, "z"), 1).at(1)
			require.Equal(s, []string{"z"}, s.read())
		})
	})
}

// TestLostFragment: the store has lost a fragment that was acknowledged. The
// loss is reported for exactly its entries, what lies around it is there, and
// its LSNs are not used again.
func TestLostFragment(t *testing.T) {
	entries := []string{"a", "b", "c", "d", "e", "f"}
	t.Run("of an open chain", func(t *testing.T) {
		inScenes(t, func(s *scene) {
			o := s.producer(api.OpenRequest{Name: "p"})
			s.fill(o, 1, entries...)
			e, n := s.chain()
			crash(s, s.w, s.p)
			require.True(s, s.mem.Lose(fragment.ChainKey(e, n-4))) // c
			s.open()
			want := []string{"a", "b", "lost [3, 4)", "d", "e", "f"}
			require.Equal(s, want, s.read())
			require.Equal(s, "gap", s.kind(e, n-4))
			s.send(text(o, 6, "f")).at(6)
			s.send(text(o, 7, "g")).at(7)
			s.reopen()
			require.Equal(s, append(want, "g"), s.read())
		})
	})
	t.Run("two, of an open chain", func(t *testing.T) {
		inScenes(t, func(s *scene) {
			o := s.producer(api.OpenRequest{Name: "p"})
			s.fill(o, 1, entries...)
			e, n := s.chain()
			crash(s, s.w, s.p)
			require.True(s, s.mem.Lose(fragment.ChainKey(e, n-4)))
			require.True(s, s.mem.Lose(fragment.ChainKey(e, n-3)))
			s.open()
			require.Equal(s, []string{"a", "b", "lost [3, 5)", "e", "f"}, merged(s.read()))
			require.EqualValues(s, 7, s.tail())
		})
	})
	t.Run("of a sealed chain", func(t *testing.T) {
		inScenes(t, func(s *scene) {
			o := s.producer(api.OpenRequest{Name: "p"})
			s.fill(o, 1, entries...)
			e, n := s.chain()
			s.reopen()
			require.Equal(s, entries, s.read())
			crash(s, s.w, s.p)
			require.True(s, s.mem.Lose(fragment.ChainKey(e, n-4)))
			s.open()
			require.Equal(s, []string{"a", "b", "lost [3, 4)", "d", "e", "f"}, s.read())
			s.send(text(o, 7, "g")).at(7)
		})
	})
	t.Run("an index", func(t *testing.T) {
		inScenes(t, func(s *scene) {
			o := s.producer(api.OpenRequest{Name: "p"})
			s.fill(o, 1, entries...)
			s.reopen()
			crash(s, s.w, s.p)
			for _, key := range s.mem.Keys("index/") {
				require.True(s, s.mem.Lose(key))
			}
			s.open()
			require.Equal(s, entries, s.read(), "an index can be made again")
			s.send(text(o, 6, "f")).at(6)
		})
	})
}

// merged joins reports of losses that touch.
func merged(all []string) []string {
	var out []string
	for i := 0; i < len(all); i++ {
		if i+1 < len(all) && all[i] == "lost [3, 4)" && all[i+1] == "lost [4, 5)" {
			out = append(out, "lost [3, 5)")
			i++
			continue
		}
		out = append(out, all[i])
	}
	return out
}

// TestLateFragmentIsNotLost: a fragment can't be seen when the chain is
// sealed, though a later one calls it durable; it comes to light when the
// sealer tries to put a gap there.
func TestLateFragmentIsNotLost(t *testing.T) {
	inScenes(t, func(s *scene) {
		o := s.producer(api.OpenRequest{Name: "p"})
		s.fill(o, 1, "a", "b", "c", "d", "e")
		e, n := s.chain()
		crash(s, s.w, s.p)
		key := fragment.ChainKey(e, n-3)
		body, _ := s.mem.Object(key)
		require.True(s, s.mem.Lose(key))
		s.p = s.w.Proc()
		met := 0
		s.p.Faults.Hook(func(_ context.Context, op blobtest.Op) error {
			if op.Kind == blobtest.Create && op.Key == key {
				met++
				s.mem.Put(key, body)
			}
			return nil
		})
		require.NoError(s, s.p.Open(s.Context()))
		require.Equal(s, 1, met, "a gap was tried")
		require.Equal(s, []string{"a", "b", "c", "d", "e"}, s.read())
		require.Equal(s, "fragment", s.kind(e, n-3))
		require.Equal(s, "seal", s.kind(e, n))
	})
}

// TestCreateAfterSeal: creates of a dead node land when its chain is sealed:
// one in the place of the seal, which it loses, and one beyond, which is
// never seen.
func TestCreateAfterSeal(t *testing.T) {
	inScenes(t, func(s *scene) {
		o := s.producer(api.OpenRequest{Name: "p"})
		s.fill(o, 1, "a")
		e, n := s.chain()
		inSeal, beyond := s.hold(e, n), s.hold(e, n+1)
		b, c := s.send(text(o, 2, "b")), s.send(text(o, 3, "c"))
		faults := s.p.Faults
		crash(s, s.w, s.p)
		b.is(api.ErrUncertain)
		c.is(api.ErrUncertain)
		s.open()
		require.Equal(s, "seal", s.kind(e, n))
		inSeal.Release()
		beyond.Release()
		require.Equal(s, 1, faults.Landed())
		require.Equal(s, "seal", s.kind(e, n))
		require.Equal(s, "fragment", s.kind(e, n+1), "it landed beyond the seal")
		require.Equal(s, []string{"a"}, s.read())
		s.send(text(o, 2, "x")).at(2) // b is not there, so 2 is free
		s.reopen()
		require.Equal(s, []string{"a", "x"}, s.read())
	})
}

// TestSealLosesItsReply: the create of a seal is applied, and its reply is
// lost; the sealer recognises its own. If it dies instead, the next one takes
// the seal that it finds.
func TestSealLosesItsReply(t *testing.T) {
	for _, dies := range []bool{false, true} {
		name := "goes on"
		if dies {
			name = "dies"
		}
		t.Run(name, func(t *testing.T) {
			inScenes(t, func(s *scene) {
				o := s.producer(api.OpenRequest{Name: "p"})
				s.fill(o, 1, "a", "b")
				e, n := s.chain()
				crash(s, s.w, s.p)
				s.p = s.w.Proc()
				r := s.p.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Count: 1, After: blobtest.ErrFault, Match: func(op blobtest.Op) bool {
					return op.Key == fragment.ChainKey(e, n)
				}})
				if dies {
					s.p.Faults.Hook(func(_ context.Context, op blobtest.Op) error {
						if r.Hits() > 0 {
							s.p.Cut()
						}
						return nil
					})
					require.ErrorIs(s, s.p.Open(s.Context()), testcluster.ErrCut)
					crash(s, s.w, s.p)
					s.open()
				} else {
					require.NoError(s, s.p.Open(s.Context()))
				}
				require.Equal(s, 1, r.Hits())
				require.Equal(s, "seal", s.kind(e, n))
				require.Equal(s, "none", s.kind(e, n+1))
				require.Equal(s, []string{"a", "b"}, s.read())
				s.send(text(o, 2, "b")).at(2)
				s.send(text(o, 3, "c")).at(3)
			})
		})
	}
}

// TestRefusedWhileFirstAttemptLands: the first attempt of a batch is still on
// its way from a dead node when the second is refused. A refusal is for ever.
// If the first landed in time, there is no refusal.
func TestRefusedWhileFirstAttemptLands(t *testing.T) {
	t.Run("lands too late", func(t *testing.T) {
		inScenes(t, func(s *scene) {
			o, other := s.producer(api.OpenRequest{Name: "p"}), s.producer(api.OpenRequest{Name: "q"})
			e, n := s.chain()
			held := s.hold(e, n)
			s.send(text(o, 1, "a"), 1).waits()
			crash(s, s.w, s.p)
			s.open()
			s.fill(other, 1, "x")
			require.EqualValues(s, 2, fails[*api.TailError](s.send(text(o, 1, "a"), 1)).Tail)
			held.Release()
			require.Equal(s, []string{"x"}, s.read())
			s.reopen()
			require.Equal(s, []string{"x"}, s.read())
		})
	})
	t.Run("lands in time", func(t *testing.T) {
		inScenes(t, func(s *scene) {
			o, other := s.producer(api.OpenRequest{Name: "p"}), s.producer(api.OpenRequest{Name: "q"})
			e, n := s.chain()
			held := s.hold(e, n)
			s.send(text(o, 1, "a"), 1).waits()
			crash(s, s.w, s.p)
			held.Release()
			s.open()
			s.fill(other, 1, "x")
			s.send(text(o, 1, "a"), 1).at(1) // stored comes before IfTail
			require.Equal(s, []string{"a", "x"}, s.read())
		})
	})
}

// TestRenumberedWhileOldIsOnItsWay: a batch was refused, the producer has
// raised its epoch and given its number to another; then the old one comes
// again, before and after restarts.
func TestRenumberedWhileOldIsOnItsWay(t *testing.T) {
	inScenes(t, func(s *scene) {
		for _, name := range []string{"", "p"} {
			base := s.tail()
			o := s.producer(api.OpenRequest{Name: name})
			old := func() *attempt { return s.send(text(o, 1, "old"+name)) }
			fails[*api.TailError](s.send(text(o, 1, "old"+name), base+77))
			raised := s.producer(api.OpenRequest{ID: o.ID, Epoch: o.Epoch + 1})
			require.EqualValues(s, 0, raised.Last)
			fails[*api.FencedError](old())
			s.send(text(raised, 1, "new"+name)).at(base)
			fails[*api.FencedError](old())
			s.reopen()
			fails[*api.FencedError](old())
			s.send(text(raised, 1, "new"+name)).at(base)
			s.send(text(raised, 2, "more"+name)).at(base + 1)
			fails[*api.FencedError](old())
		}
		require.Equal(s, []string{"new", "more", "newp", "morep"}, s.read())
	})
}

// TestProducerOfAnOlderChain: the last batches of a producer lie in a chain
// before the present one; a retry gets its LSNs all the same, after several
// restarts without a write, and after the log was trimmed to its tail.
func TestProducerOfAnOlderChain(t *testing.T) {
	for _, name := range []string{"", "p"} {
		t.Run("name "+name, func(t *testing.T) {
			inScenes(t, func(s *scene) {
				o := s.producer(api.OpenRequest{Name: name})
				other := s.producer(api.OpenRequest{})
				s.fill(o, 1, "a", "b")
				s.reopen()
				s.send(text(o, 2, "b")).at(2)
				s.reopen()
				s.reopen()
				s.reopen()
				s.send(text(o, 1, "a")).at(1)
				s.send(text(o, 2, "b")).at(2)
				fails[*api.SequenceError](s.send(text(o, 4, "d")))
				s.reopen()
				s.send(text(o, 3, "c")).at(3)
				s.fill(other, 1, "x") // at 4
				s.reopen()
				s.fill(other, 2, "y") // a chain in which the producer is silent
				s.reopen()
				s.send(text(o, 3, "c")).at(3)
				require.NoError(s, s.service().Trim(s.Context(), s.log, s.tail()))
				s.send(text(o, 3, "c")).at(3)
				s.reopen()
				s.send(text(o, 3, "c")).at(3)
				s.reopen()
				s.reopen()
				if name != "" {
					info, err := s.service().Producer(s.Context(), s.log, name)
					require.NoError(s, err)
					require.EqualValues(s, 3, info.Last)
					require.EqualValues(s, 3, info.LastLSN)
				}
				s.send(text(o, 3, "c")).at(3)
				s.send(text(o, 4, "d")).at(6)
				require.Equal(s, []string{"d"}, s.read())
				if name != "" {
					again := s.producer(api.OpenRequest{Name: name})
					require.EqualValues(s, 4, again.Last)
					require.EqualValues(s, 6, again.LastLSN)
					fails[*api.FencedError](s.send(text(o, 5, "zombie")))
				}
			})
		})
	}
}

// TestRestoredDataDirectory: a data directory as it was an hour ago, after
// the node has gone on, is refused: by its boot, or, if it was copied from a
// running node that was not started again since, by its metadata.
func TestRestoredDataDirectory(t *testing.T) {
	t.Run("another boot since", func(t *testing.T) {
		inScenes(t, func(s *scene) {
			stop(s, s.p)
			copied := copyDir(s, s.w.Dir)
			s.open()
			s.fill(s.producer(api.OpenRequest{Name: "p"}), 1, "a")
			stop(s, s.p)
			before := s.mem.Clone()
			now := s.w.Dir
			s.w.Dir = copied
			_, err := s.w.Start(s.Context())
			requireAs[*cluster.CopiedError](s, err)
			require.ErrorContains(s, err, "restored from an older copy")
			_, err = s.w.Start(s.Context()) // and again
			requireAs[*cluster.CopiedError](s, err)
			require.Equal(s, before.Keys("chains/"), s.mem.Keys("chains/"), "nothing was written")
			s.w.Dir = now
			s.open()
			require.Equal(s, []string{"a"}, s.read())
		})
	})
	t.Run("the same boot, a new chain since", func(t *testing.T) {
		inScenes(t, func(s *scene) {
			copied := copyDir(s, s.w.Dir)
			_, err := s.service().Create(s.Context(), "more", api.LogConfig{})
			require.NoError(s, err)
			s.fill(s.producer(api.OpenRequest{Name: "p"}), 1, "a", "b")
			s.p.Crash()
			now := s.w.Dir
			s.w.Dir = copied
			p, err := s.w.Start(s.Context())
			if err == nil {
				p.Crash()
			}
			requireAs[*cluster.RolledBackError](s, err)
			require.ErrorContains(s, err, "rolled back")
			// It took a boot number, so that the newer directory is a copy now:
			// which of the two is right, only people can say.
			s.w.Dir = now
			p, err = s.w.Start(s.Context())
			if err == nil {
				p.Crash()
			}
			requireAs[*cluster.CopiedError](s, err)
		})
	})
}

func requireAs[E error](t testing.TB, err error) {
	t.Helper()
	var e E
	require.ErrorAs(t, err, &e)
}

func copyDir(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}
