package node_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

// scene is a bubble with a world in it, for executions that go by a script:
// batches are handed to the service of a node as they would come over a wire,
// so that a test decides what is sent again, and when.
type scene struct {
	*testing.T
	w   *testcluster.World
	mem underStore
	p   *testcluster.Proc
	log fragment.LogID // of "log"

	remote bool // the node was dialled; then a reader is up to two chunks ahead

	held []*blobtest.Faults // that hold something back
}

// backends are the ways to a node that tests take: what they find must be the
// same, whether the node is in the test's own process or was dialled.
var backends = []string{"embedded", "remote"}

// inScenes runs a test in a scene, once with each backend.
func inScenes(t *testing.T, f func(s *scene)) {
	t.Helper()
	for _, backend := range backends {
		if backend == "remote" && outside != nil && testing.Short() {
			continue // the way to a node is nothing to the store below it
		}
		t.Run(backend, func(t *testing.T) { inSceneOf(t, backend, f) })
	}
}

// inScene runs a test in a scene with an embedded node.
func inScene(t *testing.T, f func(s *scene)) {
	t.Helper()
	inSceneOf(t, backends[0], f)
}

func inSceneOf(t *testing.T, backend string, f func(s *scene)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		w, mem := newWorld(t)
		w.Config.Log.CutFragments = 1 << 20
		s := &scene{T: t, w: w, mem: mem, remote: backend == "remote"}
		if s.remote {
			w.Network = &testcluster.Network{}
		}
		s.open()
		info, err := s.service().Create(t.Context(), "log", api.LogConfig{})
		require.NoError(t, err)
		s.log = info.ID
		// What is still on its way is dropped in the end.
		defer func() {
			s.p.Crash()
			for _, r := range s.held {
				_ = r.Close()
			}
		}()
		f(s)
	})
}

func (s *scene) service() api.Service { return s.p.Service() }

// open starts the next life of the node.
func (s *scene) open() {
	s.Helper()
	s.p = start(s, s.w)
}

// reopen crashes the node and starts the next.
func (s *scene) reopen() {
	s.Helper()
	crash(s, s.w, s.p)
	s.open()
}

// hold keeps object n of a chain on its way, until it is released.
func (s *scene) hold(e fragment.Epoch, n uint64) *blobtest.Rule {
	s.held = append(s.held, s.p.Faults)
	return s.p.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Late: true, Match: func(op blobtest.Op) bool {
		return op.Key == fragment.ChainKey(e, n)
	}})
}

// producer opens one.
func (s *scene) producer(r api.OpenRequest) api.Opened {
	s.Helper()
	r.Log = s.log
	o, err := s.service().OpenProducer(s.Context(), r)
	require.NoError(s, err)
	return o
}

// text makes a batch of entries.
func text(o api.Opened, seq uint64, entries ...string) fragment.Batch {
	var b fragment.BatchBuilder
	for _, e := range entries {
		if err := b.Add(nil, []byte(e)); err != nil {
			panic(err)
		}
	}
	return b.Finish(fragment.BatchMeta{
		Producer: o.ID, ProducerEpoch: o.Epoch, FirstSeq: seq, LowestSeq: 1, Generation: o.Generation,
	})
}

// answer is what became of an attempt.
type answer struct {
	ack api.Ack
	err error
}

// attempt is one that was handed to the service.
type attempt struct {
	s  *scene
	ch chan answer
}

// send hands a batch to the service, and gives it time to do something.
func (s *scene) send(b fragment.Batch, ifTail ...fragment.LSN) *attempt {
	s.Helper()
	a := &attempt{s: s, ch: make(chan answer, 1)}
	r := api.AppendRequest{Log: s.log, Batch: b}
	for _, lsn := range ifTail {
		r.IfTail = lsn
	}
	err := s.service().Append(s.Context(), r, func(ack api.Ack, err error) { a.ch <- answer{ack, err} })
	if err != nil {
		a.ch <- answer{err: err}
	}
	s.settle()
	return a
}

// settle lets everything go on that can.
func (s *scene) settle() {
	time.Sleep(100 * time.Millisecond) // of the bubble's time
	synctest.Wait()
}

// waits demands that there is no answer yet.
func (a *attempt) waits() {
	a.s.Helper()
	a.s.settle()
	select {
	case x := <-a.ch:
		a.s.Fatalf("answered %+v, %v too early", x.ack, x.err)
	default:
	}
}

// wait returns the answer.
func (a *attempt) wait() answer {
	a.s.Helper()
	select {
	case x := <-a.ch:
		return x
	case <-time.After(time.Minute):
		a.s.Fatal("no answer within a minute")
		return answer{}
	}
}

// at demands that the batch is acknowledged at an LSN.
func (a *attempt) at(lsn fragment.LSN) {
	a.s.Helper()
	x := a.wait()
	require.NoError(a.s, x.err)
	require.Equal(a.s, lsn, x.ack.From)
}

// fails demands an error of a type, and that the outcome is a refusal.
func fails[E error](a *attempt) E {
	a.s.Helper()
	x := a.wait()
	e, ok := errors.AsType[E](x.err)
	require.Truef(a.s, ok, "got %+v, %v, want a %T", x.ack, x.err, e)
	return e
}

// is demands an error.
func (a *attempt) is(target error) {
	a.s.Helper()
	require.ErrorIs(a.s, a.wait().err, target)
}

func (s *scene) tail() fragment.LSN {
	s.Helper()
	tail, err := s.service().Tail(s.Context(), s.log, api.Level{Linearizable: true})
	require.NoError(s, err)
	return tail
}

// read returns all entries, and "lost [from, to)" for what is.
func (s *scene) read() []string {
	s.Helper()
	log, err := s.p.Client().Log(s.Context(), "log")
	require.NoError(s, err)
	all := []string{}
	for e, err := range log.Read(s.Context(), wpd.Earliest) {
		if loss, ok := errors.AsType[*wpd.DataLossError](err); ok {
			all = append(all, fmt.Sprintf("lost [%d, %d)", loss.From, loss.To))
			continue
		}
		require.NoError(s, err)
		all = append(all, string(e.Data))
	}
	return all
}

// fill appends single entries, each in a fragment of its own, and returns the
// number of the last fragment.
func (s *scene) fill(o api.Opened, seq uint64, entries ...string) {
	s.Helper()
	for i, e := range entries {
		x := s.send(text(o, seq+uint64(i), e)).wait()
		require.NoError(s, x.err)
	}
}

// chain returns the epoch of the newest chain, and how many objects it has.
func (s *scene) chain() (e fragment.Epoch, objects uint64) {
	s.Helper()
	for _, key := range s.mem.Keys(fragment.ChainsPrefix()) {
		epoch, n, err := fragment.ParseChainKey(key)
		require.NoError(s, err)
		if epoch > e {
			e = epoch
		}
		if epoch == e {
			objects = n + 1
		}
	}
	return e, objects
}

// kind returns the kind of a chain object.
func (s *scene) kind(e fragment.Epoch, n uint64) string {
	s.Helper()
	b, ok := s.mem.Object(fragment.ChainKey(e, n))
	if !ok {
		return "none"
	}
	f, err := fragment.Decode(b)
	require.NoError(s, err)
	return f.Head.Kind.String()
}
