package client_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/client"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// town is several fake nodes, at n1:1, n2:1 and so on, which store the batches
// of the same logs, each log's at the node that writes it.
type town struct {
	t     testing.TB
	nodes []*house

	mu       sync.Mutex // guards what follows
	writers  map[uint64]string
	forwards bool // a node that gets what is another one's passes it on; otherwise it says where it belongs
	logs     map[uint64][]stowed
	arrivals []arrival
	dials    []string
}

// house is one node of a town.
type house struct {
	*fake
	town *town
	addr string

	// Guarded by town.mu.
	dead  bool               // nobody answers there
	deaf  bool               // it takes no connection, and refuses none
	claim map[uint64]string  // where it says that logs are written, in place of what is so
	calls map[string]int     // by method
	gate  chan struct{}      // batches wait for it before they are answered; nil: they don't
	conns map[net.Conn]*mute // that were made to it
	hints bool               // it tells where the batches belong that it passes on
}

// stowed is a batch as a log has it.
type stowed struct {
	from, seq uint64
	count     int
	data      []byte
}

// arrival is a batch as it came to a node.
type arrival struct {
	addr     string
	log, seq uint64
	stored   bool // now, or before
}

func newTown(t testing.TB, n int) *town {
	w := &town{t: t, writers: make(map[uint64]string), logs: make(map[uint64][]stowed)}
	for i := range n {
		w.nodes = append(w.nodes, &house{town: w, addr: fmt.Sprintf("n%d:1", i+1)})
	}
	for _, h := range w.nodes {
		h.claim, h.calls, h.conns = make(map[uint64]string), make(map[string]int), make(map[net.Conn]*mute)
		h.start()
	}
	return w
}

// start serves the node, again if it was stopped.
func (h *house) start() {
	f := &fake{self: h.addr, onAppend: h.append, onOpen: h.open, onTail: h.tail, onLog: h.log, onRead: h.read, onWriter: h.getWriter}
	for _, other := range h.town.nodes {
		if other != h {
			f.others = append(f.others, other.addr)
		}
	}
	f.serve(h.town.t)
	h.town.mu.Lock()
	defer h.town.mu.Unlock()
	h.fake, h.dead = f, false
}

// kill ends the node as a crash does.
func (h *house) kill() {
	h.town.mu.Lock()
	h.dead = true
	h.town.mu.Unlock()
	h.stop()
}

// close ends all nodes, for a bubble.
func (w *town) close() {
	for _, h := range w.nodes {
		h.stop()
	}
}

func (w *town) dialer(ctx context.Context, addr string) (net.Conn, error) {
	w.mu.Lock()
	w.dials = append(w.dials, addr)
	i := slices.IndexFunc(w.nodes, func(h *house) bool { return h.addr == addr })
	if i < 0 || w.nodes[i].dead {
		w.mu.Unlock()
		return nil, syscall.ECONNREFUSED
	}
	h := w.nodes[i]
	knock, deaf := h.fake.dial, h.deaf
	w.mu.Unlock()
	if deaf {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c, err := knock(ctx)
	if err != nil {
		return nil, err
	}
	m := &mute{Conn: c, gone: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	h.conns[m] = m
	return m, nil
}

// freeze swallows all that its clients say, on the connections that they have.
// New ones are not made.
func (h *house) freeze() {
	h.town.mu.Lock()
	defer h.town.mu.Unlock()
	h.deaf = true
	for _, c := range h.conns {
		c.muted.Store(true)
	}
}

func (w *town) config(addrs ...string) client.Config {
	return client.Config{Addrs: addrs, Dialer: w.dialer}
}

// client dials some of the nodes; it is closed with the test.
func (w *town) client(addrs ...string) *client.Service { return dial(w.t, w.config(addrs...)) }

// dialled counts the connections that were tried to a node.
func (w *town) dialled(addr string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.dials {
		if a == addr {
			n++
		}
	}
	return n
}

// move makes a node the writer of logs.
func (w *town) move(addr string, logs ...uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, log := range logs {
		w.writers[log] = addr
	}
}

// called counts a call, and returns how many there were.
func (h *house) called(method string) int {
	h.town.mu.Lock()
	defer h.town.mu.Unlock()
	h.calls[method]++
	return h.calls[method]
}

func (h *house) count(method string) int {
	h.town.mu.Lock()
	defer h.town.mu.Unlock()
	return h.calls[method]
}

// writerLocked is where the node says that a log is written.
func (h *house) writerLocked(log uint64) string {
	if addr, ok := h.claim[log]; ok {
		return addr
	}
	return h.town.writers[log]
}

func (h *house) writer(log uint64) string {
	h.town.mu.Lock()
	defer h.town.mu.Unlock()
	return h.writerLocked(log)
}

// mine says whether the node does what needs a log's writer; otherwise it says
// where that is.
func (h *house) mine(log uint64) error {
	h.town.mu.Lock()
	defer h.town.mu.Unlock()
	return h.mineLocked(log)
}

func (h *house) mineLocked(log uint64) error {
	addr := h.writerLocked(log)
	if _, claimed := h.claim[log]; !h.town.forwards && (claimed || addr != h.addr) {
		return &api.ElsewhereError{Node: "writer", Addr: addr}
	}
	return nil
}

func (h *house) open(_ context.Context, r *logv1.OpenProducerRequest) (*logv1.OpenProducerResponse, error) {
	h.called("open")
	if err := h.mine(r.LogId); err != nil {
		return nil, rpc.Status(err)
	}
	return &logv1.OpenProducerResponse{ProducerId: 1, Epoch: 1, TailLsn: 1, WriterAddr: h.writer(r.LogId)}, nil
}

func (h *house) log(_ context.Context, r *logv1.GetLogRequest) (*logv1.GetLogResponse, error) {
	h.called("log")
	return &logv1.GetLogResponse{Log: &logv1.Log{Id: 7, Name: "log", FirstLsn: 1, TailLsn: 1, WriterAddr: h.writer(7)}}, nil
}

func (h *house) getWriter(_ context.Context, r *logv1.GetWriterRequest) (*logv1.GetWriterResponse, error) {
	h.called("writer")
	return &logv1.GetWriterResponse{Addr: h.writer(r.LogId)}, nil
}

func (h *house) tail(context.Context, *logv1.GetTailRequest) (*logv1.GetTailResponse, error) {
	h.called("tail")
	return &logv1.GetTailResponse{TailLsn: 5}, nil
}

// read gives one chunk of one entry at a time, and then breaks off.
func (h *house) read(r *logv1.ReadRequest, s readStream) error {
	h.called("read")
	at := max(r.Value, 1)
	err := sendAll(s, append([]*rpc.ReadFrame{start(at)}, whole(h.town.t, 10, int(at), 1)...)...)
	if err != nil {
		return err
	}
	<-s.Context().Done()
	return s.Context().Err()
}

func (h *house) append(s appendStream) error {
	h.called("append")
	return receiveBatches(s, nil, func(b received) error {
		h.town.mu.Lock()
		gate := h.gate
		h.town.mu.Unlock()
		if gate != nil {
			select {
			case <-gate:
			case <-s.Context().Done():
				return s.Context().Err()
			}
		}
		result, hint := h.take(b)
		m := &logv1.AppendResponse{Results: []*logv1.AppendResult{result}}
		if hint != "" {
			m.Hints = []*logv1.AppendHint{{LogId: uint64(b.Log), WriterAddr: hint}}
		}
		return s.Send(m)
	})
}

// take stores a batch, as a node does: once, and in its producer's order.
func (h *house) take(b received) (r *logv1.AppendResult, hint string) {
	r = &logv1.AppendResult{Request: b.Request}
	x, err := fragment.OpenBatch(b.data, fragment.Limits{EntryBytesMax: 8 << 20})
	if err != nil {
		r.Error = rpc.ToError(err)
		return r, ""
	}
	w := h.town
	w.mu.Lock()
	defer w.mu.Unlock()
	log, seq := uint64(b.Log), x.FirstSeq()
	a := arrival{h.addr, log, seq, false}
	if err = h.mineLocked(log); err == nil {
		r.FromLsn, err = w.stowLocked(log, x)
	}
	if err != nil {
		w.arrivals = append(w.arrivals, a)
		r.Error = rpc.ToError(err)
		return r, ""
	}
	a.stored = true
	w.arrivals = append(w.arrivals, a)
	r.ToLsn, r.TimeMicros = r.FromLsn+uint64(x.Count()), 1
	if addr := h.writerLocked(log); h.hints && addr != h.addr {
		hint = addr
	}
	return r, hint
}

func (w *town) stowLocked(log uint64, x fragment.Batch) (from uint64, err error) {
	next, seq := uint64(1), uint64(1)
	for _, y := range w.logs[log] {
		if y.seq == x.FirstSeq() {
			if !bytes.Equal(y.data, x.Bytes()) {
				return 0, &api.SequenceError{Have: x.FirstSeq(), Last: y.seq, Conflict: true}
			}
			return y.from, nil
		}
		next, seq = y.from+uint64(y.count), y.seq+uint64(y.count)
	}
	if x.FirstSeq() != seq {
		return 0, &api.SequenceError{Have: x.FirstSeq(), Last: seq - 1}
	}
	w.logs[log] = append(w.logs[log], stowed{next, seq, x.Count(), slices.Clone(x.Bytes())})
	return next, nil
}

// arrived returns the sequences of a log's batches as they came to a node.
func (w *town) arrived(addr string, log uint64) (seqs []uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.arrivals {
		if a.addr == addr && a.log == log {
			seqs = append(seqs, a.seq)
		}
	}
	return seqs
}

// hold lets no batch of a node be answered before open is called.
func (h *house) hold() (open func()) {
	gate := make(chan struct{})
	h.town.mu.Lock()
	defer h.town.mu.Unlock()
	h.gate = gate
	return func() {
		h.town.mu.Lock()
		h.gate = nil
		h.town.mu.Unlock()
		close(gate)
	}
}

// stores appends a batch, and waits for it to be acknowledged.
func (w *town) stores(s api.Service, log fragment.LogID, seq uint64) {
	w.t.Helper()
	o := newOutcomes()
	require.NoError(w.t, o.append(w.t.Context(), s, log, batch(w.t, seq, 1, 10)))
	o.wait(w.t, 1)
	require.NoError(w.t, o.of(w.t, seq).err)
}
