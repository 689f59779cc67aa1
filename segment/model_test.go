package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// TestRandomWorlds lets several logs be written through a writer on a store
// that delays creates, loses replies and applies creates long after their
// caller gave up; ends it at a random moment, cleanly, by a crash, or by a
// sealer under the living writer; seals the chain with sealers that die and
// race; and reads all of it back. An oracle remembers every intent and outcome.
func TestRandomWorlds(t *testing.T) {
	_, seed := newRand(t)
	worlds := 150
	if testing.Short() {
		worlds = 30
	}
	if *seedFlag != 0 {
		worlds = 1
	}
	for range worlds {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) { newModel(t, seed).run() })
		})
		if !ok {
			t.Fatalf("again with: -run TestRandomWorlds -seed=%d", seed)
		}
		seed++
	}
}

// model is one random world.
type model struct {
	t     *testing.T
	r     *rand.Rand
	s     *store
	chain Chain
	w     *Writer

	mu      sync.Mutex
	sent    map[fragment.LogID][]*intent
	sealing bool       // no cut is committed any more
	cuts    []Cut      // committed
	chance  *rand.Rand // of commits
	lossy   bool       // the store loses fragments that were durable
}

// intent is a batch that was handed to the writer.
type intent struct {
	batch   fragment.Batch
	bytes   []byte
	settled bool
	err     error
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		t: t, r: rand.New(rand.NewPCG(seed, 2)), s: newStore(), chain: testChain,
		sent: make(map[fragment.LogID][]*intent), chance: rand.New(rand.NewPCG(seed, 5)),
	}
	m.chain.Window = 1 + m.r.Uint64N(8)
	m.lossy = m.r.IntN(4) == 0
	return m
}

func (m *model) run() {
	m.faults()
	var err error
	m.w, err = Create(m.t.Context(), m.s, m.chain, Options{
		FragmentBytes: 200 << m.r.IntN(5), CutFragments: 1 + m.r.Uint64N(100), Commit: m.commit, Cache: NewCache(m.r.Int64N(1 << 16)),
		Room: semaphore.NewWeighted(roomBytes),
	})
	require.NoError(m.t, err)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	logs := 1 + m.r.IntN(4)
	for log := range logs {
		r := rand.New(rand.NewPCG(m.r.Uint64(), 3))
		wg.Go(func() { m.append(r, fragment.LogID(log+1), stop) })
	}
	time.Sleep(time.Duration(m.r.Int64N(int64(time.Second))))
	switch m.r.IntN(3) {
	case 0: // a clean end
		close(stop)
		wg.Wait()
		require.NoError(m.t, m.w.Close(m.t.Context()))
		m.seal()
	case 1: // a crash
		ctx, cancel := context.WithCancel(m.t.Context())
		cancel()
		_ = m.w.Close(ctx)
		close(stop)
		wg.Wait()
		m.seal()
	default: // sealed under the living writer
		m.lossy = false
		time.AfterFunc(200*time.Millisecond, func() { close(stop) }) // one that goes on for ever can't be caught
		m.seal()
		wg.Wait()
		_ = m.w.Close(m.t.Context())
	}
	requireRoom(m.t, m.w)
	for _, all := range m.sent {
		for _, x := range all {
			require.True(m.t, x.settled)
		}
	}
	m.s.Clear()
	m.read()
}

// faults puts all kinds of creates' mishaps into force, at random keys.
func (m *model) faults() {
	kinds := []blobtest.Fault{
		{Late: true},
		{After: errors.New("the reply is lost")},
		{Before: errors.New("503"), Count: 2},
		{Delay: time.Duration(m.r.Int64N(int64(300 * time.Millisecond)))},
	}
	for _, f := range kinds {
		odds, r := []int{0, 0, 1, 2, 5, 20}[m.r.IntN(6)], rand.New(rand.NewPCG(m.r.Uint64(), 4))
		var mu sync.Mutex
		hit := make(map[string]bool)
		f.Kind, f.Count = blobtest.Create, 0
		f.Match = func(op blobtest.Op) bool {
			mu.Lock()
			defer mu.Unlock()
			if op.Key == fragment.ChainKey(m.chain.Epoch, 0) || hit[op.Key] || r.IntN(60) >= odds {
				return false
			}
			hit[op.Key] = true // once each, so that all ends
			return true
		}
		if f.Late {
			for range 6 { // several, released at several times
				g := f
				match, share := f.Match, r.IntN(3)
				g.Match = func(op blobtest.Op) bool {
					mu.Lock()
					skip := r.IntN(4) > share
					mu.Unlock()
					return !skip && match(op)
				}
				rule := m.s.Add(g)
				time.AfterFunc(time.Duration(r.Int64N(int64(1500*time.Millisecond))), rule.Release)
			}
			continue
		}
		m.s.Add(f)
	}
	m.s.Add(blobtest.Fault{Kind: blobtest.Create, Delay: time.Duration(1 + m.r.Int64N(int64(20*time.Millisecond)))})
}

func (m *model) commit(_ context.Context, c Cut) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.cuts)
	switch {
	case m.sealing:
		return errors.New("is being sealed")
	case m.chance.IntN(4) == 0:
		return errors.New("no leader")
	case n > 0 && m.cuts[n-1] == c:
		return nil
	}
	if n == 0 {
		require.EqualValues(m.t, 1, c.From)
	} else {
		require.Equal(m.t, m.cuts[n-1].To, c.From)
	}
	m.cuts = append(m.cuts, c)
	if m.chance.IntN(4) == 0 {
		return errors.New("the outcome is unknown")
	}
	return nil
}

// append writes one log, from several producers, until the end.
func (m *model) append(r *rand.Rand, log fragment.LogID, stop chan struct{}) {
	next := fragment.LSN(1)
	seqs := make(map[fragment.ProducerID]uint64)
	for {
		select {
		case <-stop:
			return
		default:
		}
		p := fragment.ProducerID(1 + r.IntN(3))
		b := makeBatch(log, p, seqs[p]+1, next, 1+r.IntN(4), r.IntN(300))
		if err := m.w.Reserve(context.Background(), b.Len()); err != nil {
			return
		}
		x := &intent{batch: b, bytes: bytes.Clone(b.Bytes())}
		if _, err := m.w.Append(log, b, 0, m.waiter(x)); err != nil {
			m.w.Unreserve(b.Len())
			return
		}
		m.mu.Lock()
		m.sent[log] = append(m.sent[log], x)
		m.mu.Unlock()
		next, seqs[p] = b.To(), b.LastSeq()
		if r.IntN(5) == 0 {
			time.Sleep(time.Duration(r.Int64N(int64(20 * time.Millisecond))))
		}
		if r.IntN(10) == 0 {
			time.Sleep(time.Millisecond) // so that fake time moves
		}
	}
}

type settle func(error)

func (s settle) Settled(err error) { s(err) }

func (m *model) waiter(x *intent) Waiter {
	return settle(func(err error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if x.settled {
			m.t.Error("settled twice")
		}
		x.settled, x.err = true, err
	})
}

// seal ends the chain: sealers die and race until one, and then another, has
// come to an end.
func (m *model) seal() {
	m.mu.Lock()
	m.sealing = true
	request := SealRequest{Chain: m.chain, Sealer: testSealer, Cuts: m.cuts}
	m.mu.Unlock()
	if m.lossy || m.r.IntN(2) == 0 {
		request.Durable = m.w.Durable()
	}
	for log := range fragment.LogID(5) {
		request.Attached = append(request.Attached, Stay{Log: log + 1, Attachment: fragment.Attachment(log + 1), First: 1})
	}
	if m.lossy {
		for range 1 + m.r.IntN(4) {
			if d := request.Durable; d > 0 {
				m.s.mem.Lose(fragment.ChainKey(m.chain.Epoch, 1+m.r.Uint64N(d)))
			}
		}
	}
	for range m.r.IntN(4) { // these die
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Duration(m.r.Int64N(int64(50*time.Millisecond))))
		_, _ = Seal(ctx, m.s, request)
		cancel()
	}
	var wg sync.WaitGroup
	all := make([]Sealed, 1+m.r.IntN(3))
	for i := range all {
		r := request
		r.Sealer.Nonce[3] = byte(i)
		wg.Go(func() {
			var err error
			if all[i], err = Seal(m.t.Context(), m.s, r); err != nil {
				m.t.Error(err)
			}
		})
	}
	wg.Wait()
	time.Sleep(2 * time.Second) // everything late has landed
	again, err := Seal(m.t.Context(), m.s, request)
	require.NoError(m.t, err)
	for _, x := range all {
		require.Equal(m.t, again.Index, x.Index)
		require.Equal(m.t, again.At, x.At)
	}
	if !m.lossy {
		require.Empty(m.t, again.Lost)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cuts = append(m.cuts[:len(m.cuts):len(m.cuts)], Cut{From: again.Content.From, To: again.At, Index: again.Index})
}

// read holds what a reader finds against the intents: LSNs are dense; what
// stands at them is what was sent for them; what was acknowledged is there, or
// is reported as lost by a store that loses things.
func (m *model) read() {
	t := m.t
	last := len(m.cuts) - 1
	v := View{Chain: m.chain, Cuts: m.cuts[:last], Sealed: &m.cuts[last]}
	r := NewReader(m.s, NewCache(1<<20))
	defer r.Close()
	acked := 0
	for log, sent := range m.sent {
		got, damage := readAll(t, r, v, stayOf(log), 1)
		if !m.lossy {
			require.Empty(t, damage)
		}
		next, i := fragment.LSN(1), 0
		skip := func(to fragment.LSN) {
			for ; i < len(sent) && sent[i].batch.From() < to; i++ {
				require.True(t, sent[i].batch.To() <= to, "a part of a batch is lost")
			}
			next = to
		}
		for len(got)+len(damage) > 0 {
			if len(damage) > 0 && damage[0].From == next {
				skip(damage[0].To)
				damage = damage[1:]
				continue
			}
			require.NotEmpty(t, got, "log %d: nothing at %d", log, next)
			require.Equal(t, next, got[0].From(), "log %d", log)
			require.Less(t, i, len(sent))
			require.True(t, bytes.Equal(sent[i].bytes, got[0].Bytes()), "log %d LSN %d: other bytes", log, next)
			next, got = got[0].To(), got[1:]
			i++
		}
		for ; i < len(sent); i++ {
			require.True(t, sent[i].settled && sent[i].err != nil, "log %d: LSN %d was acknowledged, and lies beyond the seal", log, sent[i].batch.From())
		}
		for _, x := range sent {
			if x.err == nil {
				acked++
			}
		}
	}
	t.Logf("W %d, %d cuts, seal at %d, %d acknowledged, lossy %v", m.chain.Window, last, m.cuts[last].To, acked, m.lossy)
}
