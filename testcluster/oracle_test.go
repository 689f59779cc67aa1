package testcluster

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
)

// story is a small history that is all right, for a case to spoil: producers
// p and q, log a; at LSN 1 p1, 2 q1, 3-5 p2-p4 (one batch), 6 p5 (unknown);
// refused: q2; then p is opened again and told that 5 are stored.
type story struct {
	l      *Ledger
	log    Contents
	expect Expect
}

const run = 7

func newStory(out *bytes.Buffer) *story {
	l := NewLedger(run, nil)
	if out != nil {
		l.out = out
	}
	s := &story{l: l, log: Contents{Log: "a", First: 1, Tail: 1}}
	s.send(1, "p", 1, 1)
	s.send(2, "q", 1, 1)
	s.ack(1, 1)
	s.ack(2, 2)
	s.send(3, "p", 2, 3)
	s.send(4, "q", 2, 1)
	s.ack(3, 3)
	l.Tail("a", l.Now(), 6)
	l.Settle(4, 0, &wpd.TailError{})
	s.send(5, "p", 5, 1)
	l.Settle(5, 0, wpd.ErrUncertain)
	s.put(5, 6)
	l.Resumed("a", "p", 5)
	s.send(6, "p", 6, 1)
	l.Fault("kill", 3)
	s.expect = Expect{AcknowledgedMin: 5, Faults: map[string]int{"kill": 3}}
	return s
}

func (s *story) send(nonce uint64, producer string, seq uint64, count int) {
	s.l.Intend(Append{Nonce: nonce, Log: "a", Producer: producer, Seq: seq, Count: count, Bytes: 150})
}

func (s *story) ack(nonce uint64, lsn wpd.LSN) {
	s.l.Settle(nonce, lsn, nil)
	s.put(nonce, lsn)
}

// put stores an append at an LSN.
func (s *story) put(nonce uint64, lsn wpd.LSN) {
	for i, e := range s.l.appends[nonce].Entries(run) {
		e.LSN = lsn + wpd.LSN(i)
		s.log.Entries = append(s.log.Entries, e)
		s.log.Tail = e.LSN + 1
	}
}

func (s *story) drop(lsn wpd.LSN) {
	s.log.Entries = slices.DeleteFunc(s.log.Entries, func(e wpd.Entry) bool { return e.LSN == lsn })
}

func (s *story) check() Report { return Check(s.l, []Contents{s.log}, s.expect) }

func TestCheckIsContent(t *testing.T) {
	s := newStory(nil)
	r := s.check()
	require.NoError(t, r.Err())
	want := Report{Acknowledged: 5, Refused: 1, Unknown: 2, UnknownThere: 1, Logs: 1, Entries: 6}
	require.Equal(t, want, r)

	// What was trimmed, and what a fault has destroyed, is not missed.
	s.l.Trimmed("a", 3)
	s.log.First, s.log.Entries = 3, s.log.Entries[2:]
	s.drop(4)
	s.log.Lost = []Range{{4, 5}}
	s.expect.Lost = map[string][]Range{"a": {{4, 5}}}
	require.NoError(t, s.check().Err())
}

// TestCheckCatches plants one violation of each kind.
func TestCheckCatches(t *testing.T) {
	cases := []struct {
		name  string
		rule  Rule
		spoil func(s *story)
	}{
		{"acknowledged and gone", RuleLost, func(s *story) { s.drop(6); s.drop(5); s.drop(4); s.drop(3); s.log.Tail = 3 }},
		{"acknowledged, at another LSN", RuleLost, func(s *story) { s.l.appends[1].LSN = 2 }},
		{"acknowledged, log not read", RuleLost, func(s *story) { s.log.Log = "b" }},
		{"two acknowledged at one LSN", RuleLost, func(s *story) { s.send(9, "r", 1, 1); s.l.Settle(9, 2, nil) }},
		{"stored and gone", RuleLost, func(s *story) { s.send(9, "r", 1, 1); s.l.Settle(9, 0, wpd.ErrStored) }},
		{"other bytes", RuleForeign, func(s *story) { s.log.Entries[0].Data[130] ^= 1 }},
		{"bytes of another run", RuleForeign, func(s *story) {
			s.log.Entries[0].Data = s.l.appends[1].Entry(run+1, 0).Data()
		}},
		{"an entry of another log", RuleForeign, func(s *story) {
			s.l.Intend(Append{Nonce: 9, Log: "b", Producer: "p", Seq: 1, Count: 1})
			s.put(9, 7)
		}},
		{"an entry nobody knows", RuleForeign, func(s *story) {
			s.log.Entries[1].Data = Entry{Run: run, Log: "a", Producer: "x", Seq: 1, Nonce: 99}.Data()
		}},
		{"refused and there", RuleRefused, func(s *story) { s.put(4, 7) }},
		{"unknown and there twice", RuleTwice, func(s *story) { s.put(5, 7) }},
		{"acknowledged and there twice", RuleTwice, func(s *story) { s.put(2, 7) }},
		{"a sequence under two nonces", RuleTwice, func(s *story) { s.send(9, "q", 1, 1); s.put(9, 7) }},
		{"producer's order", RuleOrder, func(s *story) {
			s.send(9, "r", 1, 1)
			s.send(10, "r", 2, 1)
			s.put(10, 7)
			s.put(9, 8)
		}},
		{"hole", RuleHole, func(s *story) {
			for i := range uint64(3) {
				s.send(9+i, "r", 1+i, 1)
			}
			s.put(9, 7)
			s.put(11, 8)
		}},
		{"real time", RuleRealTime, func(s *story) {
			s.send(9, "r", 1, 1)
			s.send(10, "x", 1, 1)
			s.ack(10, 8)
			s.send(11, "y", 1, 1)
			s.log.Entries, s.log.Tail = s.log.Entries[:6], 7
			s.put(11, 7)
			s.put(10, 8)
		}},
		{"gap in the LSNs", RuleDense, func(s *story) { s.drop(2) }},
		{"an LSN twice", RuleDense, func(s *story) { s.log.Entries = append(s.log.Entries, s.log.Entries[5]) }},
		{"entries end before the tail", RuleDense, func(s *story) { s.log.Tail++ }},
		{"part of a batch", RuleAtomic, func(s *story) {
			s.send(9, "r", 1, 2)
			s.put(9, 7)
			s.drop(8)
			s.log.Tail = 8
		}},
		{"a batch torn apart", RuleAtomic, func(s *story) {
			s.send(9, "r", 1, 2)
			s.send(10, "x", 1, 1)
			s.put(9, 7)
			s.drop(8)
			s.put(10, 8)
			s.put(9, 8)
			s.log.Entries = slices.Delete(s.log.Entries, 8, 9)
		}},
		{"read something else before", RuleChanged, func(s *story) {
			require.NoError(t, s.l.Saw("a", wpd.Entry{LSN: 2, Data: []byte("other")}))
		}},
		{"read beyond the tail", RuleChanged, func(s *story) {
			require.NoError(t, s.l.Saw("a", wpd.Entry{LSN: 9, Data: []byte("gone")}))
		}},
		{"told too little", RuleResume, func(s *story) { s.l.Resumed("a", "p", 3) }},
		{"told too much", RuleResume, func(s *story) { s.l.Resumed("a", "p", 9); s.send(9, "p", 9, 1) }},
		{"told of what is not there", RuleResume, func(s *story) { s.l.Resumed("a", "p", 6) }},
		{"came after it was told missing", RuleResume, func(s *story) {
			s.send(9, "r", 1, 1)
			s.l.Resumed("a", "r", 0)
			s.put(9, 7)
		}},
		{"tail went back", RuleTail, func(s *story) { s.l.Tail("a", s.l.Now(), 8) }},
		{"tail hides", RuleTail, func(s *story) { s.l.Tail("a", s.l.Now(), 4) }},
		{"trimmed by itself", RuleTrimmed, func(s *story) { s.log.First, s.log.Entries = 2, s.log.Entries[1:] }},
		{"data loss", RuleDataLoss, func(s *story) { s.drop(2); s.log.Lost = []Range{{2, 3}} }},
		{"too few acknowledged", RuleVacuous, func(s *story) { s.expect.AcknowledgedMin = 6 }},
		{"a fault that did not strike", RuleVacuous, func(s *story) { s.expect.Faults["kill"] = 4 }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(nil)
			c.spoil(s)
			r := s.check()
			require.Error(t, r.Err())
			if !slices.ContainsFunc(r.Violations, func(v Violation) bool { return v.Rule == c.rule }) {
				t.Errorf("got %v, want one that says %q", r.Err(), c.rule)
			}
		})
	}
}

// TestLedgerSurvives: a ledger made from another's lines, cut off anywhere,
// says the same as far as they go.
func TestLedgerSurvives(t *testing.T) {
	var lines bytes.Buffer
	s := newStory(&lines)
	s.l.Trimmed("a", 1)
	require.NoError(t, s.l.Saw("a", s.log.Entries[0]))
	require.NoError(t, s.l.Err())
	again := NewLedger(run, nil)
	require.NoError(t, again.Replay(t.Context(), bytes.NewReader(lines.Bytes())))
	require.Equal(t, s.l.Now(), again.Now())
	s.l = again
	require.NoError(t, s.check().Err())
	require.Equal(t, 5, s.check().Acknowledged)

	for cut := range lines.Len() {
		half := NewLedger(run, nil)
		require.NoError(t, half.Replay(t.Context(), bytes.NewReader(lines.Bytes()[:cut])))
		require.Equal(t, bytes.Count(lines.Bytes()[:cut], []byte("\n")), half.Now())
	}
	require.Error(t, again.Replay(t.Context(), bytes.NewReader([]byte("i zzz\n"))))

	again.Die()
	now := again.Now()
	again.Settle(6, 7, nil)
	require.Equal(t, now, again.Now(), "a dead ledger hears nothing")
}

func TestEntryRoundTrip(t *testing.T) {
	for size := range 300 {
		want := Entry{Run: 1, Log: "a/b", Producer: "p.1", Seq: 3, Nonce: 4, Index: 5, Bytes: size}
		data := want.Data()
		require.GreaterOrEqual(t, len(data), size)
		got, err := ParseEntry(data)
		require.NoError(t, err)
		require.Equal(t, want, got)
		for i := range data {
			data[i] ^= 4
			if _, err := ParseEntry(data); err == nil {
				t.Fatalf("byte %d of %q was changed, and nobody noticed", i, data)
			}
			data[i] ^= 4
		}
	}
	_, err := ParseEntry(nil)
	require.Error(t, err)
}

func TestOutcomeOf(t *testing.T) {
	for err, want := range map[error]Outcome{
		nil:                                   Acknowledged,
		fmt.Errorf("x: %w", wpd.ErrStored):    Stored,
		fmt.Errorf("x: %w", wpd.ErrUncertain): Unknown,
		errors.New("anything else"):           Refused,
	} {
		require.Equal(t, want, OutcomeOf(err), "%v", err)
	}
}
