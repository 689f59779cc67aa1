package wal

import (
	"context"
	"fmt"
	"slices"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// Producers implements api.Service. What it says rests on what Producer's
// answer rests on.
func (s *Service) Producers(ctx context.Context, id fragment.LogID, after string, limit int) ([]api.ProducerInfo, error) {
	l, err := s.log(id)
	if err != nil {
		return nil, err
	}
	if err := s.load(ctx, l); err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = 1000
	}
	all, c, n := l.named(after, limit)
	if unsure := s.settledAt(ctx, c, n); unsure != nil {
		return nil, fmt.Errorf("%w: the answer is not durable yet: %w", api.ErrUnavailable, unsure)
	}
	return all, nil
}

// named tells about named producers, by name, and what the answer rests on.
func (l *log) named(after string, limit int) (all []api.ProducerInfo, c *chain, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for name := range l.producers.byName {
		if name > after {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names[:min(limit, len(names))] {
		all = append(all, infoOfProducer(l.producers.byID[l.producers.byName[name]]))
	}
	return all, l.chain, l.last
}
