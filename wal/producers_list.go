package wal

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// Producer implements api.Service.
func (s *Service) Producer(ctx context.Context, id fragment.LogID, name string) (api.ProducerInfo, error) {
	all, err := s.named(ctx, id, func(known map[string]fragment.ProducerID) []string {
		if known[name] == 0 {
			return nil
		}
		return []string{name}
	})
	switch {
	case err != nil:
		return api.ProducerInfo{}, err
	case len(all) == 0:
		return api.ProducerInfo{}, fmt.Errorf("producer %q of log %d: %w", name, id, api.ErrNotFound)
	}
	return all[0], nil
}

// Producers implements api.Service.
func (s *Service) Producers(ctx context.Context, id fragment.LogID, after string, limit int) ([]api.ProducerInfo, error) {
	if limit <= 0 {
		limit = 1000
	}
	return s.named(ctx, id, func(known map[string]fragment.ProducerID) []string {
		names := slices.DeleteFunc(slices.Collect(maps.Keys(known)), func(name string) bool { return name <= after })
		slices.Sort(names)
		return names[:min(limit, len(names))]
	})
}

// named tells about the producers that are picked of those with a name. It is as
// new as the call, and all of it is durable.
func (s *Service) named(ctx context.Context, id fragment.LogID, pick func(known map[string]fragment.ProducerID) []string) ([]api.ProducerInfo, error) {
	l, err := s.log(ctx, id)
	if err != nil {
		return nil, err
	}
	err = s.current(ctx, l)
	switch {
	case typed[*api.ElsewhereError](err): // but what is durable of it, this node finds out
		p, err := s.producersThere(ctx, l)
		if err != nil {
			return nil, err
		}
		return p.named(pick), nil
	case err != nil:
		return nil, err
	}
	l.mu.Lock()
	all, c, n := l.producers.named(pick), l.chain, l.last
	l.mu.Unlock()
	if unsure := s.settledAt(ctx, c, n); unsure != nil {
		return nil, fmt.Errorf("%w: the answer is not durable yet: %w", api.ErrUnavailable, unsure)
	}
	return all, nil
}

// producersThere returns where the producers of a log stand that another node
// writes.
func (s *Service) producersThere(ctx context.Context, l *log) (*producers, error) {
	m, err := s.meta(l.id)
	if err != nil {
		return nil, err
	}
	state, _, err := s.stateOf(ctx, m)
	if err != nil {
		return nil, err
	}
	p := newProducers(state, s.cfg.AnonymousProducersMax)
	return &p, nil
}

func (p *producers) named(pick func(known map[string]fragment.ProducerID) []string) []api.ProducerInfo {
	var all []api.ProducerInfo
	for _, name := range pick(p.byName) {
		all = append(all, infoOfProducer(p.byID[p.byName[name]]))
	}
	return all
}
