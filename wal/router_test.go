package wal_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// router is what a client of a group stands on: it asks the node that it
// believes to write a log, goes where it is sent, and repeats what was not done.
//
// While batches of a log are unanswered at one node, later ones go there, too,
// and in order.
type router struct {
	g *group

	mu    sync.Mutex
	at    map[fragment.LogID]string // where it was sent last
	next  int
	lanes map[fragment.LogID]*lane // with something in them
}

// lane are the batches of a log at one node that are not answered.
type lane struct {
	m      *member
	queue  []*flying // not handed to the node yet
	flying map[*flying]struct{}
	busy   bool
	broken bool
}

// flying is an append that was not answered.
type flying struct {
	ctx  context.Context
	q    api.AppendRequest
	once sync.Once
	done func(api.Ack, error)
}

func (f *flying) answer(ack api.Ack, err error) { f.once.Do(func() { f.done(ack, err) }) }

// cut breaks the connections to a node: what was not answered never is. It
// returns how much that was.
func (r *router) cut(node string) int {
	r.mu.Lock()
	var all []*flying
	for id, l := range r.lanes {
		if l.m.name != node {
			continue
		}
		l.broken = true
		for f := range l.flying {
			all = append(all, f)
		}
		delete(r.lanes, id)
	}
	r.mu.Unlock()
	for _, f := range all {
		f.answer(api.Ack{}, fmt.Errorf("%w: the connection broke", api.ErrUncertain))
	}
	return len(all)
}

// pick returns a node that is alive: the one that a log was last known to be
// at, or the next one.
func (r *router) pick(id fragment.LogID) *member {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.g.node(r.at[id]); m != nil {
		return m
	}
	all := r.g.alive()
	if len(all) == 0 {
		return nil
	}
	r.next++
	return all[r.next%len(all)]
}

// learn takes in how a call ended; true: it is to be made again at once.
func (r *router) learn(id fragment.LogID, m *member, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == nil {
		r.at = make(map[fragment.LogID]string)
	}
	e, ok := errors.AsType[*api.ElsewhereError](err)
	switch {
	case ok:
		for _, x := range r.g.alive() {
			if identity(x.name) == e.Node {
				r.at[id] = x.name
				return true
			}
		}
		delete(r.at, id)
	case errors.Is(err, api.ErrMoved), errors.Is(err, api.ErrUnavailable), errors.Is(err, api.ErrClosed):
		delete(r.at, id)
	case err == nil:
		r.at[id] = m.name
	}
	return false
}

const (
	routerTries = 100
	routerPause = 10 * time.Millisecond
)

// ask makes a call until it is answered by who can.
func ask[T any](ctx context.Context, r *router, id fragment.LogID, f func(m *member) (T, error)) (T, error) {
	var none T
	var err error
	for range routerTries {
		m := r.pick(id)
		if m == nil {
			return none, fmt.Errorf("%w: no node is there", api.ErrUnavailable)
		}
		var v T
		if v, err = f(m); err == nil {
			r.learn(id, m, nil)
			return v, nil
		}
		again := r.learn(id, m, err) || errors.Is(err, api.ErrMoved) || errors.Is(err, api.ErrUnavailable) || errors.Is(err, api.ErrClosed)
		if !again || ctx.Err() != nil {
			return none, err
		}
		time.Sleep(routerPause)
	}
	return none, fmt.Errorf("%w: %w", api.ErrUnavailable, err)
}

func (r *router) Append(ctx context.Context, q api.AppendRequest, done func(api.Ack, error)) error {
	f := &flying{ctx: ctx, q: q, done: done}
	m := r.pick(q.Log)
	if m == nil {
		time.Sleep(routerPause)
		return fmt.Errorf("%w: no node is there", api.ErrUnavailable)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lanes == nil {
		r.lanes = make(map[fragment.LogID]*lane)
	}
	l := r.lanes[q.Log]
	if l == nil {
		l = &lane{m: m, flying: make(map[*flying]struct{})}
		r.lanes[q.Log] = l
	}
	l.flying[f] = struct{}{}
	l.queue = append(l.queue, f)
	if !l.busy {
		l.busy = true
		go r.drive(l)
	}
	return nil
}

// drive hands what is in a lane to its node.
func (r *router) drive(l *lane) {
	for {
		r.mu.Lock()
		if len(l.queue) == 0 || l.broken {
			l.busy = false
			r.mu.Unlock()
			return
		}
		f := l.queue[0]
		l.queue = l.queue[1:]
		r.mu.Unlock()
		err := l.m.Append(f.ctx, f.q, func(ack api.Ack, err error) { r.answered(l, f, ack, err) })
		if err != nil {
			r.answered(l, f, api.Ack{}, err)
		}
	}
}

func (r *router) answered(l *lane, f *flying, ack api.Ack, err error) {
	if errors.Is(err, api.ErrClosed) {
		err = fmt.Errorf("%w: the node is gone: %w", api.ErrUncertain, err)
	}
	f.answer(ack, err)
	r.learn(f.q.Log, l.m, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(l.flying, f)
	if len(l.flying) == 0 && r.lanes[f.q.Log] == l {
		delete(r.lanes, f.q.Log)
	}
}

func (r *router) Create(ctx context.Context, name string, c api.LogConfig) (api.LogInfo, error) {
	return ask(ctx, r, 0, func(m *member) (api.LogInfo, error) { return m.Create(ctx, name, c) })
}

func (r *router) Lookup(ctx context.Context, name string) (api.LogInfo, error) {
	at := fragment.LogID(1 << 40) // lookups go by names, and are sent where the log is
	return ask(ctx, r, at, func(m *member) (api.LogInfo, error) { return m.Lookup(ctx, name) })
}

func (r *router) Info(ctx context.Context, log fragment.LogID) (api.LogInfo, error) {
	return ask(ctx, r, log, func(m *member) (api.LogInfo, error) { return m.Info(ctx, log) })
}

func (r *router) List(ctx context.Context, prefix, after string, limit int) ([]api.LogInfo, error) {
	return ask(ctx, r, 0, func(m *member) ([]api.LogInfo, error) { return m.List(ctx, prefix, after, limit) })
}

func (r *router) Delete(ctx context.Context, log fragment.LogID) error {
	_, err := ask(ctx, r, log, func(m *member) (int, error) { return 0, m.Delete(ctx, log) })
	return err
}

func (r *router) Configure(ctx context.Context, log fragment.LogID, version uint64, c api.LogConfig) (api.LogInfo, error) {
	return ask(ctx, r, log, func(m *member) (api.LogInfo, error) { return m.Configure(ctx, log, version, c) })
}

func (r *router) Trim(ctx context.Context, log fragment.LogID, before fragment.LSN) error {
	_, err := ask(ctx, r, log, func(m *member) (int, error) { return 0, m.Trim(ctx, log, before) })
	return err
}

func (r *router) Tail(ctx context.Context, log fragment.LogID, level api.Level) (fragment.LSN, error) {
	return ask(ctx, r, log, func(m *member) (fragment.LSN, error) { return m.Tail(ctx, log, level) })
}

func (r *router) OpenProducer(ctx context.Context, q api.OpenRequest) (api.Opened, error) {
	return ask(ctx, r, q.Log, func(m *member) (api.Opened, error) { return m.OpenProducer(ctx, q) })
}

func (r *router) Producer(ctx context.Context, log fragment.LogID, name string) (api.ProducerInfo, error) {
	return ask(ctx, r, log, func(m *member) (api.ProducerInfo, error) { return m.Producer(ctx, log, name) })
}

func (r *router) Producers(ctx context.Context, log fragment.LogID, after string, limit int) ([]api.ProducerInfo, error) {
	return ask(ctx, r, log, func(m *member) ([]api.ProducerInfo, error) { return m.Producers(ctx, log, after, limit) })
}

func (r *router) Read(ctx context.Context, q api.ReadRequest) (api.Stream, error) {
	return ask(ctx, r, q.Log, func(m *member) (api.Stream, error) { return m.Read(ctx, q) })
}
