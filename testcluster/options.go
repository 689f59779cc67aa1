package testcluster

import (
	"log/slog"
	"time"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/node"
)

type options struct {
	seed          uint64
	store         blobstore.Raw
	config        func(i int, c *node.Config)
	logger        *slog.Logger
	peers, bucket Link
}

// An Option changes how New makes a cluster.
type Option func(*options)

// WithSeed sets what chance in the network starts from. Default 1.
func WithSeed(seed uint64) Option { return func(o *options) { o.seed = seed } }

// WithStore puts the nodes on a store, which the caller closes. Default: one in
// memory.
func WithStore(raw blobstore.Raw) Option { return func(o *options) { o.store = raw } }

// WithConfig changes the configuration of each life of each node before it is
// opened: node i's, from 0. What the harness fills in is in it.
func WithConfig(change func(i int, c *node.Config)) Option {
	return func(o *options) { o.config = change }
}

// WithLogger also logs there what the nodes log. The last of it, from Info on,
// is told anyway if the test fails.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.logger = l } }

// WithLinks sets how the network is while nothing is wrong: between nodes and
// clients, and between nodes and the store. Default: 0.2 to 0.5 ms, and 0.5
// to 2.5 ms. In a testing/synctest bubble neither may be without a delay: as long as
// somebody has something to do there, its clock stands still.
func WithLinks(peers, store Link) Option {
	return func(o *options) { o.peers, o.bucket = peers, store }
}

func makeOptions(opts []Option) options {
	o := options{
		seed:   1,
		peers:  Link{Delay: 200 * time.Microsecond, Jitter: 300 * time.Microsecond},
		bucket: Link{Delay: 500 * time.Microsecond, Jitter: 2 * time.Millisecond},
	}
	for _, set := range opts {
		set(&o)
	}
	if o.store == nil {
		o.store = blobtest.NewMem()
	}
	return o
}
