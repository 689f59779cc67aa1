package rpc

import (
	"context"
	"fmt"
	"io"
	"net"
)

// PeerPreamble is what a node says first on a connection to another one, before
// HTTP/2 begins. It lets the connection into the room that a server keeps for
// nodes, and proves nothing.
const PeerPreamble = "wpd-peer/1\n"

// BeginPeer says it, as long as ctx allows. After an error, the connection is of
// no use.
func BeginPeer(ctx context.Context, c net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	_, err := io.WriteString(c, PeerPreamble)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("begin a connection to a node: %w", err)
	}
	return nil
}
