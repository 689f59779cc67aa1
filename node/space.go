package node

import (
	"time"

	"github.com/wpd-io/wpd/wal/api"
)

// spaceRetry is when a batch that a node has no room for is sent again.
const spaceRetry = time.Second

// admit refuses batches while the disk of the data directory is nearly full.
func (n *Node) admit() error {
	if err := n.member.Space(); err != nil {
		return &api.BusyError{What: "node " + n.member.Name() + " takes no writes: " + err.Error(), RetryAfter: spaceRetry}
	}
	return nil
}
