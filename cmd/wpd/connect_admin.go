package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/rpc/client"
)

// connectAdmin is connect, to the side of a server that is for who runs it. A
// node in this process is asked through a listener on the loopback.
func connectAdmin(cmd *cobra.Command) (ctx context.Context, a *client.Admin, done func() error, err error) {
	t, err := targetOf(cmd)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := t.context(cmd.Context())
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	closeNode := func() error { return nil }
	if t.bucket != "" {
		n, err := t.open(ctx, node.Config{Listen: "127.0.0.1:0"})
		if err != nil {
			return nil, nil, nil, err
		}
		t.addrs, closeNode = n.Addr().String(), n.Close
	}
	if a, err = t.dialAdmin(ctx); err != nil {
		return nil, nil, nil, errors.Join(err, closeNode())
	}
	return ctx, a, func() error {
		defer cancel()
		return errors.Join(a.Close(), closeNode())
	}, nil
}

// dialAdmin connects to the admin side of a server.
func (t target) dialAdmin(ctx context.Context) (*client.Admin, error) {
	dialing, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	a, err := client.DialAdmin(dialing, client.Config{Addrs: t.list()})
	return a, t.unreachable(err)
}

// list is the addresses, one by one.
func (t target) list() (addrs []string) {
	for addr := range strings.SplitSeq(t.addrs, ",") {
		if addr = strings.TrimSpace(addr); addr != "" {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}
