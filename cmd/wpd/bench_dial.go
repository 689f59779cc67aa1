package main

import "context"

// openBench connects a benchmark to a server.
func (t target) openBench(ctx context.Context, c *benchConfig) (benchPlace, error) {
	admin, err := t.dialAdmin(ctx)
	if err != nil {
		return nil, err
	}
	place, err := openRemote(ctx, c, t.dial, admin)
	if err != nil {
		return nil, err
	}
	return place, nil
}
