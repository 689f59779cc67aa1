package wpd_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// world is a model with one log, in a bubble of its own time.
type world struct {
	*model
	t      *testing.T
	client *wpd.Client
	log    *wpd.Log
}

// inWorld runs a test in a world, once with each backend, and checks in the
// end that every writer kept its side of the contract.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) { inWorldOf(t, backend, test) })
	}
}

func inWorldOf(t *testing.T, backend string, test func(t *testing.T, w *world)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		m := newModel()
		m.delay = 10 * time.Millisecond
		w := &world{model: m, t: t}
		var done func()
		w.client, done = m.open(t, backend)
		var err error
		if w.log, err = w.client.Create(t.Context(), "log", wpd.LogConfig{}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			w.setFault(nil)
			done()
			for _, what := range w.broken {
				t.Errorf("the service saw: %s", what)
			}
		}()
		test(t, w)
	})
}

func (w *world) writer(opts ...wpd.WriterOption) *wpd.Writer {
	w.t.Helper()
	writer, err := w.log.Writer(w.t.Context(), opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	return writer
}

// contents returns the data of all entries of the log.
func (w *world) contents() []string {
	w.t.Helper()
	var all []string
	for e, err := range w.log.Read(w.t.Context(), wpd.Earliest) {
		if err != nil {
			w.t.Fatal(err)
		}
		if want := wpd.LSN(len(all) + 1); e.LSN != want {
			w.t.Fatalf("LSN %d, want %d", e.LSN, want)
		}
		all = append(all, string(e.Data))
	}
	return all
}

func (w *world) wantContents(want ...string) {
	w.t.Helper()
	if got := w.contents(); !slices.Equal(got, want) {
		w.t.Errorf("the log has %q, want %q", got, want)
	}
}

// first lets the first attempts go wrong, one fault each.
func (w *world) first(faults ...fault) {
	w.setFault(func(*attempt) fault {
		if len(faults) == 0 {
			return fine
		}
		f := faults[0]
		faults = faults[1:]
		return f
	})
}

func (w *world) wantLSN(p *wpd.Pending, want wpd.LSN) {
	w.t.Helper()
	if lsn, err := p.Wait(w.t.Context()); lsn != want || err != nil {
		w.t.Errorf("Wait: %d, %v; want %d", lsn, err, want)
	}
}

func (w *world) wantErr(p *wpd.Pending, target error) {
	w.t.Helper()
	if lsn, err := p.Wait(w.t.Context()); lsn != 0 || !errors.Is(err, target) {
		w.t.Errorf("Wait: %d, %v; want %v", lsn, err, target)
	}
}

// async appends data, and lets the writer send what it wants to send.
func (w *world) async(writer *wpd.Writer, data string) *wpd.Pending {
	p := writer.AppendAsync(w.t.Context(), wpd.Entry{Data: []byte(data)})
	synctest.Wait()
	return p
}
