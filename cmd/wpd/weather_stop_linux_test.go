package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/wal/api"
)

// stopFor is how long a node's process is stopped.
const stopFor = 3 * skyTTL

// TestWeatherStops stops the process of a writer for three leases (SIGSTOP), and
// lets it go on. Logs do not move by themselves: what is taken over stays there.
func TestWeatherStops(t *testing.T) {
	t.Parallel()
	s := newSky(t, 3, func(s *sky) { s.more = []string{"--moves-per-second", "0"} })
	s.weather(t, "stop the writer", map[string]int{"stop": 1}, func(w *storm) {
		log := w.log("a")
		writer := w.writer(log)
		w.load(log, testcluster.Load{Anonymous: 2}, w.dial(writer)) // they know that node only
		z := w.zombie(log, writer)
		require.NoError(w, z.send().err)
		w.pause(writer)
		start := time.Now()
		var sent []<-chan answered
		for range 5 {
			sent = append(sent, z.begin()) // they wait in its sockets
		}
		w.awaitOther(log, writer)
		w.ackedTo(log, stormSome)
		w.await("three leases to lapse", func() bool { return time.Since(start) >= stopFor })
		w.resume(writer)
		w.fault("stop", 1)
		for _, a := range sent {
			require.Error(w, (<-a).err, "what was sent to the old writer")
		}
		z.isToldWhereToGo()
		w.ackedTo(log, stormSome)
		w.whole()
	})
	s.weather(t, "a log is made again under a zombie", map[string]int{"stop": 1}, func(w *storm) { w.remade() })
}

// zombie is a client of a node that will be one. It sends to that node only, and
// nothing that it sends is passed on.
type zombie struct {
	w    *storm
	c    *client.Service
	node int
	name string
	log  fragment.LogID
	o    api.Opened
	seq  uint64
}

// answered is what became of a batch.
type answered struct {
	ack api.Ack
	err error
}

func (w *storm) zombie(log string, node int) *zombie {
	w.Helper()
	c, err := client.Dial(w.Context(), client.Config{Addrs: w.addrs(node), Forwarded: true})
	require.NoError(w, err)
	w.Cleanup(func() { _ = c.Close() }) // what it has sent is answered by then
	info, err := c.Lookup(w.Context(), log)
	require.NoError(w, err)
	o, err := c.OpenProducer(w.Context(), api.OpenRequest{Log: info.ID})
	require.NoError(w, err)
	return &zombie{w: w, c: c, node: node, name: log, log: info.ID, o: o}
}

// begin sends a batch of one entry. The ledger learns of it as of any other: one
// that is not acknowledged, and whose outcome is not called unknown, must never
// be there.
func (z *zombie) begin() <-chan answered {
	z.seq++
	l := z.w.ledgers[z.name]
	a := l.Intend(testcluster.Append{Nonce: z.seq, Log: z.name, Producer: "zombie", Seq: z.seq, Count: 1})
	var b fragment.BatchBuilder
	require.NoError(z.w, b.Add(nil, a.Entry(l.Run, 0).Data()))
	batch := b.Finish(fragment.BatchMeta{Producer: z.o.ID, ProducerEpoch: z.o.Epoch, FirstSeq: z.seq, LowestSeq: 1})
	ch := make(chan answered, 1)
	done := func(ack api.Ack, err error) {
		l.Settle(a.Nonce, wpd.LSN(ack.From), err)
		ch <- answered{ack, err}
	}
	if err := z.c.Append(z.w.ctx, api.AppendRequest{Log: z.log, Batch: batch}, done); err != nil {
		done(api.Ack{}, err)
	}
	return ch
}

func (z *zombie) send() answered { return <-z.begin() }

// isToldWhereToGo sends until the answer is where the log is written now.
func (z *zombie) isToldWhereToGo() {
	z.w.Helper()
	z.w.await("the old writer to say who writes the log", func() bool {
		a := z.send()
		require.Error(z.w, a.err, "the old writer acknowledges [%d, %d)", a.ack.From, a.ack.To)
		e, ok := errors.AsType[*api.ElsewhereError](a.err)
		return ok && e.Addr == z.w.nodes[z.w.writer(z.name)].grpc && e.Addr != z.w.nodes[z.node].grpc
	})
}

// remade deletes a log whose writer is stopped, and makes one of that name. What
// clients of the old one still send to the old writer is never acknowledged.
func (w *storm) remade() {
	name := w.log("remade")
	old := testcluster.NewLedger(*weatherSeed+1, nil)
	ctx, ended := context.WithCancel(w.ctx)
	defer ended()
	first := make(chan error, 1)
	go func() {
		first <- testcluster.Load{Ledger: old, Logs: []string{name}, Anonymous: 1, Named: 1, Seed: *weatherSeed, Pause: stormPause}.Run(ctx, w.client)
	}()
	w.await("entries of the old log", func() bool { return old.Entries(testcluster.Acknowledged) >= stormSome })
	writer := w.writer(name)
	w.ledgers[name] = testcluster.NewLedger(*weatherSeed, nil)
	z := w.zombie(name, writer)
	handle, err := w.client.Log(w.ctx, name)
	require.NoError(w, err)
	w.pause(writer)
	start := time.Now()
	sent := z.begin()
	w.await("the log to be deleted", func() bool {
		ctx, cancel := context.WithTimeout(ctx, skyTTL)
		defer cancel()
		err := w.client.Delete(ctx, name) // its outcome may be unknown
		return err == nil || errors.Is(err, wpd.ErrNotFound)
	})
	ended()
	<-first // what it complains of is that the log is gone
	var next *wpd.Log
	w.await("the next log of that name", func() bool {
		ctx, cancel := context.WithTimeout(w.ctx, skyTTL)
		defer cancel()
		log, err := w.client.Create(ctx, name, wpd.LogConfig{})
		if err != nil { // its outcome may be unknown, or the node has not heard of the deletion
			log, err = w.client.Log(ctx, name)
		}
		next = log
		return err == nil && log.ID() > handle.ID()
	})
	w.await("the client's node to know it", func() bool {
		log, err := w.client.Log(w.ctx, name)
		return err == nil && log.ID() == next.ID()
	})
	w.load(name, testcluster.Load{Anonymous: 1, Named: 1, Follow: true}, w.client)
	w.ackedTo(name, stormSome)
	w.await("three leases to lapse", func() bool { return time.Since(start) >= stopFor })
	w.resume(writer)
	w.fault("stop", 1)
	require.Error(w, (<-sent).err, "what was sent to the old log's writer")
	require.Error(w, z.send().err, "what is sent to the old log")
	w.await("the old log to be gone", func() bool { return errors.Is(z.send().err, api.ErrDeleted) })
	w.ackedTo(name, stormSome)
	w.whole()
}
