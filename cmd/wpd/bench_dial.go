package main

import (
	"context"
	"errors"

	"github.com/wpd-io/wpd/rpc/client"
)

// openBench connects a benchmark to a server.
func (t target) openBench(ctx context.Context, c *benchConfig) (benchPlace, error) {
	admin, err := t.dialAdmin(ctx)
	if err != nil {
		return nil, err
	}
	place, err := openRemote(ctx, c, t.dial, dialledAdmin{admin})
	if err != nil {
		return nil, err
	}
	if addrs := t.list(); len(addrs) > 1 { // each may be another node, and does its part
		for _, addr := range addrs {
			node, err := target{addrs: addr}.dialAdmin(ctx)
			if err != nil {
				return nil, errors.Join(err, place.close(ctx))
			}
			place.nodes = append(place.nodes, dialledAdmin{node})
		}
	}
	return place, nil
}

// dialledAdmin is the admin side of a server, as a benchAdmin.
type dialledAdmin struct{ *client.Admin }

// MeasureRaw implements benchAdmin.
func (a dialledAdmin) MeasureRaw(ctx context.Context) (measuring, error) {
	m, err := a.Admin.MeasureRaw(ctx)
	if err != nil {
		return nil, err
	}
	return m, nil
}
