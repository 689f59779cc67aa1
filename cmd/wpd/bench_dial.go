package main

import (
	"context"

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
