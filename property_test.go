package wpd_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

var seed = flag.Uint64("seed", 0, "run TestHistories with this seed only; 0: with several, by the clock")

// TestHistories lets several writers append through a service that fails in
// every way that it may, embedded, dialled, and dialled through connections
// that are cut at random bytes, and holds what they were told against what the
// log has in the end (G2, G4, G5, G6).
func TestHistories(t *testing.T) {
	seeds := []uint64{*seed}
	if *seed == 0 {
		seeds = nil
		runs := 150
		if testing.Short() {
			runs = 20
		}
		for range runs {
			seeds = append(seeds, rand.Uint64())
		}
	}
	for _, backend := range append(backends, "cut") {
		t.Run(backend, func(t *testing.T) { runHistories(t, backend, seeds) })
	}
}

func runHistories(t *testing.T, backend string, seeds []uint64) {
	outcomes, cuts := map[outcome]int{}, 0
	for _, s := range seeds {
		t.Run(fmt.Sprint("seed=", s), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) { cuts += runHistory(t, backend, s, outcomes) })
		})
		if t.Failed() {
			t.Fatalf("reproduce with: go test -run TestHistories/%s -seed %d", backend, s)
		}
	}
	t.Logf("acknowledged %d, stored %d, refused %d, unknown %d; %d connections cut",
		outcomes[acknowledged], outcomes[stored], outcomes[refused], outcomes[uncertain], cuts)
	if backend == "cut" && cuts < len(seeds) {
		t.Errorf("only %d connections were cut", cuts)
	}
}

// outcome is what a caller was told of an append.
type outcome int

const (
	pendingStill outcome = iota
	acknowledged
	stored
	refused
	uncertain
)

func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return acknowledged
	case errors.Is(err, wpd.ErrStored):
		return stored
	case errors.Is(err, wpd.ErrUncertain):
		return uncertain
	}
	return refused
}

// call is one append: entries that stand together, or none of them.
type call struct {
	data    []string
	outcome outcome
	lsn     wpd.LSN // if acknowledged
	err     error
	pending *wpd.Pending
}

// runHistory returns how many connections were cut.
func runHistory(t *testing.T, backend string, seed uint64, outcomes map[outcome]int) int {
	r := rand.New(rand.NewPCG(seed, 0))
	m := newModel()
	m.delay = time.Duration(r.IntN(10)) * time.Millisecond
	m.lateness = time.Duration(r.IntN(30)) * time.Millisecond
	network := &testcluster.Network{}
	var client *wpd.Client
	var done func()
	if backend == "cut" {
		client, done = m.dial(t, network)
	} else {
		client, done = m.open(t, backend)
	}
	log, err := client.Create(t.Context(), "log", wpd.LogConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if backend == "cut" { // every connection from now on is cut somewhere
		cuts := rand.New(rand.NewPCG(seed, 100))
		network.Plan(func() testcluster.Cut { return testcluster.RandomCut(cuts) })
		network.Break()
	}
	faults := rand.New(rand.NewPCG(seed, 1)) // under the model's lock
	rate := r.IntN(40)
	m.setFault(func(a *attempt) fault {
		if faults.IntN(100) >= rate {
			return fine
		}
		f := fault(1 + faults.IntN(int(forget)))
		if _, named := m.names(log.ID(), a.producer); f == forget && (named || faults.IntN(3) != 0) {
			return late
		}
		return f
	})
	m.setOpenFail(func(api.OpenRequest) (before, after error) {
		switch n := faults.IntN(200); {
		case n < rate/2:
			return api.ErrUnavailable, nil
		case n < rate:
			return nil, api.ErrUnavailable
		}
		return nil, nil
	})

	histories := make([][]*call, 1+r.IntN(4))
	ended := make(chan int)
	for i := range histories {
		h := &history{t: t, log: log, name: i, r: rand.New(rand.NewPCG(seed, uint64(2+i)))}
		if i == 0 && r.IntN(4) == 0 {
			h.exclusive = true
		}
		go func() {
			histories[i] = h.run()
			ended <- i
		}()
	}
	for range histories {
		<-ended
	}
	time.Sleep(time.Second) // for what is late
	m.setFault(nil)
	m.setOpenFail(nil)
	network.Plan(nil)
	network.Break()
	var contents []string
	for e, err := range log.Read(t.Context(), wpd.Earliest) {
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, string(e.Data))
	}
	for _, calls := range histories {
		checkCalls(t, contents, calls)
		for _, c := range calls {
			outcomes[c.outcome]++
		}
	}
	done()
	for _, what := range m.broken {
		t.Errorf("the service saw: %s", what)
	}
	return network.Cuts().All()
}

// names finds the name of a producer; called under the lock.
func (m *model) names(log wpd.LogID, id fragment.ProducerID) (string, bool) {
	for name, known := range m.logs[log].names {
		if known == id {
			return name, true
		}
	}
	return "", false
}

// history is one goroutine's life with a log: writers one after the other.
type history struct {
	t         *testing.T
	log       *wpd.Log
	name      int
	exclusive bool
	r         *rand.Rand
	calls     []*call
	n         int // entries so far
}

func (h *history) run() []*call {
	for range 1 + h.r.IntN(3) {
		w := h.open()
		if w == nil {
			break
		}
		for range h.r.IntN(60) {
			h.step(w)
		}
		_ = w.Close()
		h.settle()
	}
	return h.calls
}

func (h *history) open() *wpd.Writer {
	opts := []wpd.WriterOption{wpd.Linger(time.Duration(h.r.IntN(3)) * time.Millisecond)}
	if h.r.IntN(2) == 0 {
		opts = append(opts, wpd.ProducerID(fmt.Sprint("p", h.r.IntN(2)))) // now and then, a rival has it
	}
	if h.r.IntN(3) == 0 {
		opts = append(opts, wpd.Compress(wpd.CodecS2))
	}
	if h.r.IntN(3) == 0 {
		opts = append(opts, wpd.InFlight(1000))
	}
	if h.exclusive && h.r.IntN(2) == 0 {
		opts = append(opts, wpd.Exclusive())
	}
	for range 20 {
		w, err := h.log.Writer(h.t.Context(), opts...)
		if err == nil {
			return w
		}
		var fenced *wpd.FencedError
		if !errors.As(err, &fenced) && !errors.Is(err, wpd.ErrUnavailable) {
			h.t.Errorf("Writer: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
	return nil // the log has an exclusive writer
}

// step is one call of a writer.
func (h *history) step(w *wpd.Writer) {
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Duration(1+h.r.IntN(100))*time.Millisecond)
	defer cancel()
	c := &call{data: []string{fmt.Sprint(h.name, "-", h.n)}}
	var opts []wpd.AppendOption
	if h.r.IntN(4) == 0 {
		tail, _ := h.log.Tail(ctx)
		opts = append(opts, wpd.IfTail(tail+wpd.LSN(h.r.IntN(3))))
	}
	switch h.r.IntN(12) {
	case 0:
		if err := w.Flush(ctx); err == nil {
			h.settle()
		}
		return
	case 1:
		time.Sleep(time.Duration(h.r.IntN(20)) * time.Millisecond)
		return
	case 2, 3, 4:
		c.lsn, c.err = w.Append(ctx, []byte(c.data[0]), opts...)
		c.outcome = outcomeOf(c.err)
	case 5, 6:
		for i := range h.r.IntN(5) {
			c.data = append(c.data, fmt.Sprint(h.name, "-", h.n+i+1))
		}
		var entries []wpd.Entry
		for _, d := range c.data {
			entries = append(entries, wpd.Entry{Data: []byte(d)})
		}
		var ack wpd.Ack
		ack, c.err = w.AppendBatch(ctx, entries, opts...)
		c.lsn, c.outcome = ack.From, outcomeOf(c.err)
		if c.err == nil && int(ack.To-ack.From) != len(c.data) {
			h.t.Errorf("AppendBatch of %d entries: %v", len(c.data), ack)
		}
	default:
		c.pending = w.AppendAsync(ctx, wpd.Entry{Data: []byte(c.data[0])})
	}
	h.n += len(c.data)
	h.calls = append(h.calls, c)
}

// settle asks for the outcome of what is pending, which must be known.
func (h *history) settle() {
	for _, c := range h.calls {
		if c.pending == nil {
			continue
		}
		select {
		case <-c.pending.Done():
		default:
			h.t.Errorf("%s is pending after Flush or Close", c.data[0])
			continue
		}
		c.lsn, c.err = c.pending.Wait(h.t.Context())
		c.outcome, c.pending = outcomeOf(c.err), nil
	}
}

// checkCalls holds the outcomes of one goroutine's calls against the log.
func checkCalls(t *testing.T, contents []string, calls []*call) {
	t.Helper()
	before := 0 // where its last entry stands, from 1
	for _, c := range calls {
		var sequence *wpd.SequenceError
		if errors.As(c.err, &sequence) {
			t.Errorf("%v was refused for what another call did: %v", c.data, c.err)
		}
		at := slices.Index(contents, c.data[0]) + 1
		for i, d := range c.data {
			found := 0
			for _, have := range contents {
				if have == d {
					found++
				}
			}
			switch want := at > 0; {
			case found > 1:
				t.Errorf("%s is there %d times", d, found)
			case found == 1 != want:
				t.Errorf("of the batch %v only a part is there", c.data)
			case want && contents[at+i-1] != d:
				t.Errorf("the batch %v does not stand together", c.data)
			}
		}
		switch {
		case c.outcome == acknowledged && at != int(c.lsn):
			t.Errorf("%v was acknowledged at LSN %d, is at %d", c.data, c.lsn, at)
		case c.outcome == stored && at == 0:
			t.Errorf("%v was called stored, is not there", c.data)
		case c.outcome == refused && at != 0:
			t.Errorf("%v was refused (%v), is at %d", c.data, c.err, at)
		case at != 0 && at <= before:
			t.Errorf("%v is at %d, behind a later call's entry at %d", c.data, at, before)
		}
		if at != 0 {
			before = at + len(c.data) - 1
		}
	}
}
