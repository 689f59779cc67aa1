package wpd_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// model is a log service as naive as can be: everything in memory under one
// lock, every rule of docs/guarantees.md written down once. Attempts are
// decided when they come; answers leave in order, by one goroutine, after
// delay. Fault says what goes wrong with an attempt.
type model struct {
	delay    time.Duration
	fault    func(a *attempt) fault // nil: none
	lateness time.Duration          // of late attempts
	cost     bool                   // check nothing, keep nothing: for benchmarks

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at every change
	logs     map[fragment.LogID]*modelLog
	lastID   fragment.LogID
	opens    []api.OpenRequest
	openFail func(api.OpenRequest) (before, after error)
	attempts []*attempt
	ready    []int    // what each said is ready to be appended, in bytes
	broken   []string // what a writer did that it must not do
	lost     map[fragment.LSN]bool

	answers chan func()
	ended   chan struct{}
}

// fault is what happens to one attempt of an append.
type fault int

const (
	fine       fault = iota
	notTaken         // Append itself returns ErrUnavailable
	turnedAway       // ErrUnavailable, nothing done
	dropped          // ErrMoved, nothing done
	replyLost        // done, but ErrMoved
	late             // ErrUncertain at once, tried later
	forget           // the producer is dropped first
	closing          // Append itself returns ErrClosed
)

type attempt struct {
	producer fragment.ProducerID
	epoch    fragment.ProducerEpoch
	seq      uint64
	count    int
	ifTail   fragment.LSN
	err      error
}

type modelLog struct {
	info      api.LogInfo
	deleted   bool
	batches   []fragment.Batch
	tail      fragment.LSN
	producers map[fragment.ProducerID]*modelProducer
	names     map[string]fragment.ProducerID
	lastID    fragment.ProducerID
	clock     fragment.Micros
	sent      map[[3]uint64][]byte // what every number once meant
}

type modelProducer struct {
	epoch    fragment.ProducerEpoch
	last     uint64
	lastLSN  fragment.LSN
	batches  []fragment.Batch // the last ones
	inFlight int
	lowest   uint64
}

func newModel() *model {
	m := &model{
		lateness: 3 * time.Millisecond,
		changed:  make(chan struct{}), logs: map[fragment.LogID]*modelLog{},
		answers: make(chan func(), 4096), ended: make(chan struct{}), lost: map[fragment.LSN]bool{},
	}
	go func() {
		defer close(m.ended)
		for answer := range m.answers {
			answer()
		}
	}()
	return m
}

func (m *model) setFault(f func(*attempt) fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

// setOpenFail lets opens of producers fail before, or after they were done; f
// is called under the model's lock.
func (m *model) setOpenFail(f func(api.OpenRequest) (before, after error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.openFail = f
}

// sent returns how many entries each attempt so far had.
func (m *model) sent() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	var counts []int
	for _, a := range m.attempts {
		counts = append(counts, a.count)
	}
	return counts
}

func (m *model) close() error {
	close(m.answers)
	<-m.ended
	return nil
}

// client returns a client whose Close ends the model too.
func (m *model) client() *wpd.Client { return wpd.NewClient(m, m.close) }

func (m *model) changedLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *model) logLocked(id fragment.LogID) (*modelLog, error) {
	l := m.logs[id]
	if l == nil || l.deleted {
		return nil, fmt.Errorf("log %d: %w", id, api.ErrDeleted)
	}
	return l, nil
}

func (m *model) Create(_ context.Context, name string, c api.LogConfig) (api.LogInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.logs {
		if l.info.Name == name && !l.deleted {
			return api.LogInfo{}, api.ErrExists
		}
	}
	if name == "" {
		return api.LogInfo{}, api.ErrInvalid
	}
	m.lastID++
	l := &modelLog{
		info: api.LogInfo{Name: name, ID: m.lastID, Config: c, ConfigVersion: 1, First: 1, Created: time.Now()},
		tail: 1, producers: map[fragment.ProducerID]*modelProducer{}, names: map[string]fragment.ProducerID{},
		sent: map[[3]uint64][]byte{},
	}
	m.logs[m.lastID] = l
	return l.infoNow(), nil
}

func (l *modelLog) infoNow() api.LogInfo {
	i := l.info
	i.Tail = l.tail
	return i
}

func (m *model) Lookup(_ context.Context, name string) (api.LogInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.logs {
		if l.info.Name == name && !l.deleted {
			return l.infoNow(), nil
		}
	}
	return api.LogInfo{}, api.ErrNotFound
}

func (m *model) Info(_ context.Context, id fragment.LogID) (api.LogInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.logLocked(id)
	if err != nil {
		return api.LogInfo{}, err
	}
	return l.infoNow(), nil
}

func (m *model) List(_ context.Context, prefix, after string, limit int) ([]api.LogInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []api.LogInfo
	for _, l := range m.logs {
		if !l.deleted && strings.HasPrefix(l.info.Name, prefix) && l.info.Name > after {
			all = append(all, l.infoNow())
		}
	}
	slices.SortFunc(all, func(a, b api.LogInfo) int { return strings.Compare(a.Name, b.Name) })
	return all[:min(len(all), 3)], nil // pages of 3, whatever was asked
}

func (m *model) Delete(_ context.Context, id fragment.LogID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.logLocked(id)
	if err == nil {
		l.deleted = true
		m.changedLocked()
	}
	return err
}

func (m *model) Configure(_ context.Context, id fragment.LogID, version uint64, c api.LogConfig) (api.LogInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.logLocked(id)
	if err != nil {
		return api.LogInfo{}, err
	}
	if version != l.info.ConfigVersion {
		return api.LogInfo{}, &api.StaleError{What: "configuration", Have: version, Want: l.info.ConfigVersion}
	}
	l.info.Config, l.info.ConfigVersion = c, version+1
	return l.infoNow(), nil
}

func (m *model) Trim(_ context.Context, id fragment.LogID, before fragment.LSN) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.logLocked(id)
	if err != nil {
		return err
	}
	if before > l.tail {
		return &api.BeyondTailError{LSN: before, Tail: l.tail}
	}
	l.info.First = max(l.info.First, before)
	return nil
}

func (m *model) Tail(_ context.Context, id fragment.LogID, _ api.Level) (fragment.LSN, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.logLocked(id)
	if err != nil {
		return 0, err
	}
	return l.tail, nil
}

func (m *model) OpenProducer(_ context.Context, r api.OpenRequest) (api.Opened, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opens = append(m.opens, r)
	var after error
	if m.openFail != nil {
		var before error
		if before, after = m.openFail(r); before != nil {
			return api.Opened{}, before
		}
	}
	o, err := m.openLocked(r)
	if after != nil {
		return api.Opened{}, after
	}
	return o, err
}

func (m *model) openLocked(r api.OpenRequest) (api.Opened, error) {
	l, err := m.logLocked(r.Log)
	if err != nil {
		return api.Opened{}, err
	}
	if r.Name != "" && r.ID != 0 {
		return api.Opened{}, api.ErrInvalid
	}
	if g := l.info.Generation; g != 0 && !r.Exclusive && r.ID == 0 && r.Generation != g {
		return api.Opened{}, &api.FencedError{What: "generation", Have: uint64(r.Generation), Want: uint64(g)}
	}
	id := r.ID
	if r.Name != "" {
		id = l.names[r.Name]
	}
	p := l.producers[id]
	if p == nil {
		if r.Name == "" && id != 0 {
			return api.Opened{}, api.ErrUnknownProducer
		}
		l.lastID++
		id, p = l.lastID, &modelProducer{}
		l.producers[id] = p
		if r.Name != "" {
			l.names[r.Name] = id
		}
	}
	epoch := r.Epoch
	if epoch == 0 {
		epoch = p.epoch + 1
	}
	if epoch <= p.epoch {
		return api.Opened{}, &api.FencedError{What: "producer epoch", Have: uint64(epoch), Want: uint64(p.epoch)}
	}
	p.epoch, p.lowest = epoch, 0
	if r.Exclusive {
		l.info.Generation++
	}
	return api.Opened{
		ID: id, Epoch: epoch, Last: p.last, LastLSN: p.lastLSN, Generation: l.info.Generation,
		Tail: l.tail, EntryBytesMax: l.info.Config.EntryBytesMax,
	}, nil
}

func (m *model) Producer(_ context.Context, id fragment.LogID, name string) (api.ProducerInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.logLocked(id)
	if err != nil {
		return api.ProducerInfo{}, err
	}
	p := l.producers[l.names[name]]
	if p == nil {
		return api.ProducerInfo{}, api.ErrNotFound
	}
	return api.ProducerInfo{Name: name, ID: l.names[name], Epoch: p.epoch, Last: p.last, LastLSN: p.lastLSN}, nil
}

func (m *model) Producers(ctx context.Context, id fragment.LogID, after string, limit int) ([]api.ProducerInfo, error) {
	m.mu.Lock()
	l, err := m.logLocked(id)
	var names []string
	if err == nil {
		names = slices.Sorted(maps.Keys(l.names))
	}
	m.mu.Unlock()
	if limit == 0 {
		limit = 2 // pages must be asked for
	}
	var all []api.ProducerInfo
	for _, name := range names {
		if name > after && len(all) < limit {
			info, err := m.Producer(ctx, id, name)
			if err != nil {
				return nil, err
			}
			all = append(all, info)
		}
	}
	return all, err
}

func (m *model) Append(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.cost {
		ack := api.Ack{From: fragment.LSN(r.Batch.FirstSeq()), To: fragment.LSN(r.Batch.LastSeq() + 1)}
		at := time.Now().Add(m.delay)
		m.answers <- func() {
			time.Sleep(time.Until(at))
			done(ack, nil)
		}
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.logs[r.Log]; l != nil {
		m.watchLocked(l, r)
	}
	a := &attempt{
		producer: r.Batch.Producer(), epoch: r.Batch.ProducerEpoch(),
		seq: r.Batch.FirstSeq(), count: r.Batch.Count(), ifTail: r.IfTail,
	}
	m.attempts = append(m.attempts, a)
	m.ready = append(m.ready, r.ReadyBytes)
	what := fine
	if m.fault != nil {
		what = m.fault(a)
	}
	var ack api.Ack
	switch what {
	case notTaken:
		a.err = api.ErrUnavailable
		return a.err
	case closing:
		return api.ErrClosed
	case turnedAway:
		a.err = api.ErrUnavailable
	case dropped:
		a.err = api.ErrMoved
	case replyLost:
		_, _ = m.applyLocked(r)
		a.err = api.ErrMoved
	case late:
		r.Batch = r.Batch.Unstamped()
		time.AfterFunc(m.lateness, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			_, _ = m.applyLocked(r)
		})
		a.err = fmt.Errorf("connection lost")
	case forget:
		if l := m.logs[r.Log]; l != nil {
			delete(l.producers, a.producer)
		}
		fallthrough
	case fine:
		ack, a.err = m.applyLocked(r)
	}
	p := &modelProducer{}
	if l := m.logs[r.Log]; l != nil && l.producers[a.producer] != nil {
		p = l.producers[a.producer]
	}
	if p.inFlight++; p.inFlight > fragment.InFlightMax {
		m.broken = append(m.broken, fmt.Sprintf("%d batches in flight", p.inFlight))
	}
	err, at := a.err, time.Now().Add(m.delay)
	m.answers <- func() {
		time.Sleep(time.Until(at))
		m.mu.Lock()
		p.inFlight--
		m.mu.Unlock()
		done(ack, err)
	}
	return nil
}

// watchLocked checks what a writer owes the service.
func (m *model) watchLocked(l *modelLog, r api.AppendRequest) {
	b := r.Batch
	if _, err := fragment.OpenBatch(b.Bytes(), fragment.Limits{EntryBytesMax: int(l.info.Config.EntryBytesMax)}); err != nil {
		m.broken = append(m.broken, err.Error())
	}
	number := [3]uint64{uint64(b.Producer()), uint64(b.ProducerEpoch()), b.FirstSeq()}
	if was, ok := l.sent[number]; !ok {
		l.sent[number] = bytes.Clone(b.Bytes())
	} else if !bytes.Equal(was, b.Bytes()) {
		m.broken = append(m.broken, fmt.Sprintf("sequence %v now means other bytes", number))
	}
	if p := l.producers[b.Producer()]; p != nil && b.ProducerEpoch() == p.epoch {
		if b.LastSeq() < p.lowest {
			m.broken = append(m.broken, fmt.Sprintf("sequence %v is below %d, the lowest waited for", number, p.lowest))
		}
		p.lowest = max(p.lowest, b.LowestSeq())
	}
}

// applyLocked is the log's owner.
func (m *model) applyLocked(r api.AppendRequest) (api.Ack, error) {
	l, err := m.logLocked(r.Log)
	if err != nil {
		return api.Ack{}, err
	}
	b := r.Batch
	p := l.producers[b.Producer()]
	if p == nil {
		return api.Ack{}, api.ErrUnknownProducer
	}
	for _, was := range p.batches {
		if was.FirstSeq() == b.FirstSeq() && was.PayloadChecksum() == b.PayloadChecksum() {
			return api.Ack{From: was.From(), To: was.To(), Time: was.Time()}, nil
		}
	}
	switch {
	case b.ProducerEpoch() != p.epoch:
		return api.Ack{}, &api.FencedError{What: "producer epoch", Have: uint64(b.ProducerEpoch()), Want: uint64(p.epoch)}
	case b.Generation() != l.info.Generation:
		return api.Ack{}, &api.FencedError{What: "generation", Have: uint64(b.Generation()), Want: uint64(l.info.Generation)}
	case b.FirstSeq() != p.last+1:
		return api.Ack{}, &api.SequenceError{Have: b.FirstSeq(), Last: p.last, Conflict: b.FirstSeq() <= p.last}
	case r.IfTail != 0 && r.IfTail != l.tail:
		return api.Ack{}, &api.TailError{Want: r.IfTail, Tail: l.tail}
	}
	l.clock = max(l.clock, fragment.Micros(time.Now().UnixMicro()))
	b.Stamp(fragment.Stamp{Log: r.Log, Attachment: 1, Epoch: 1, From: l.tail, Time: l.clock})
	l.batches = append(l.batches, b)
	l.tail = b.To()
	p.last, p.lastLSN = b.LastSeq(), b.To()-1
	p.batches = append(p.batches, b)
	if n := len(p.batches) - fragment.InFlightMax; n > 0 {
		p.batches = p.batches[n:]
	}
	m.changedLocked()
	return api.Ack{From: b.From(), To: b.To(), Time: b.Time()}, nil
}

func (m *model) Read(_ context.Context, r api.ReadRequest) (api.Stream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.logLocked(r.Log)
	if err != nil {
		return nil, err
	}
	s := &modelStream{m: m, r: r, left: r.Limit}
	switch r.From {
	case api.FromEarliest:
		s.pos = l.info.First
	case api.FromTail:
		s.pos = l.tail
	case api.FromLSN:
		s.pos = fragment.LSN(r.Value)
	case api.FromLast:
		s.pos = l.tail - min(l.tail-l.info.First, fragment.LSN(r.Value))
	case api.FromTime:
		s.pos = l.tail
		for _, b := range slices.Backward(l.batches) {
			if b.Time() >= r.Time {
				s.pos = b.From()
			}
		}
	}
	switch {
	case s.pos < l.info.First:
		return nil, &api.TrimmedError{LSN: s.pos, First: l.info.First}
	case s.pos > l.tail:
		return nil, &api.BeyondTailError{LSN: s.pos, Tail: l.tail}
	}
	return s, nil
}

type modelStream struct {
	m      *model
	r      api.ReadRequest
	pos    fragment.LSN
	left   uint64
	closed bool
}

func (s *modelStream) Position() fragment.LSN { return s.pos }
func (s *modelStream) Close() error           { s.closed = true; return nil }

// Next returns up to two batches that lie around what is asked for.
func (s *modelStream) Next(ctx context.Context) (api.Chunk, error) {
	for {
		s.m.mu.Lock()
		c, err := s.nextLocked()
		changed := s.m.changed
		s.m.mu.Unlock()
		if err != nil || len(c.Batches) > 0 {
			return c, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return api.Chunk{}, ctx.Err()
		}
	}
}

func (s *modelStream) nextLocked() (api.Chunk, error) {
	l, err := s.m.logLocked(s.r.Log)
	switch {
	case s.closed:
		return api.Chunk{}, api.ErrClosed
	case err != nil:
		return api.Chunk{}, err
	case s.r.To != 0 && s.pos >= s.r.To, s.r.Limit != 0 && s.left == 0, !s.r.Follow && s.pos >= l.tail:
		return api.Chunk{}, io.EOF
	case s.pos < l.info.First:
		return api.Chunk{}, &api.TrimmedError{LSN: s.pos, First: l.info.First}
	}
	i, _ := slices.BinarySearchFunc(l.batches, s.pos, func(b fragment.Batch, pos fragment.LSN) int {
		if b.To() <= pos {
			return -1
		}
		return 1
	})
	if i == len(l.batches) {
		return api.Chunk{}, nil
	}
	if b := l.batches[i]; s.m.lost[b.From()] {
		from := s.pos
		s.pos = b.To()
		return api.Chunk{}, &api.DataLossError{Log: s.r.Log, From: from, To: b.To(), Object: "x", Err: io.ErrUnexpectedEOF}
	}
	c := api.Chunk{Batches: l.batches[i : i+1], From: s.pos, To: l.batches[i].To(), Tail: l.tail}
	if i+1 < len(l.batches) && !s.m.lost[l.batches[i+1].From()] {
		c.Batches, c.To = l.batches[i:i+2], l.batches[i+1].To()
	}
	for _, b := range c.Batches {
		if s.r.Until != 0 && b.Time() >= s.r.Until {
			c.To = min(c.To, b.From())
		}
	}
	if s.r.To != 0 {
		c.To = min(c.To, s.r.To)
	}
	if s.r.Limit != 0 {
		c.To = min(c.To, c.From+fragment.LSN(s.left))
		s.left -= uint64(c.To - c.From)
	}
	if c.To <= c.From {
		return api.Chunk{}, io.EOF
	}
	s.pos = c.To
	return c, nil
}
