package node

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/wal"
)

// Node is one running node. Safe for concurrent use.
type Node struct {
	cfg    Config
	member *cluster.Member
	logs   *wal.Service
	client *wpd.Client

	closers []func() error // in the order of opening
	closing chan struct{}
	wg      sync.WaitGroup
	once    sync.Once
	err     error
}

// Open starts a node: the bucket, the metadata, then the logs. It returns when
// appends and reads can begin; after a crash, what the last boot left behind
// is sealed first. ctx bounds the opening only.
//
// Errors say what is wrong with the bucket (package blobstore), with the data
// directory or its belonging to the bucket (package cluster), or with what the
// bucket holds (package segment).
func Open(ctx context.Context, c Config) (_ *Node, err error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("open node: %w", err)
	}
	n := &Node{cfg: c, closing: make(chan struct{})}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open node: %w", errors.Join(err, n.closeAll()))
		}
	}()
	store, closeStore, err := c.openStore(ctx)
	if err != nil {
		return nil, err
	}
	n.closers = append(n.closers, closeStore)
	n.member, err = cluster.Open(ctx, cluster.Config{
		Dir: c.DataDir, Name: c.Name, Bucket: store, BucketURL: store.URL(), Logger: c.Logger, Registerer: c.Registerer,
	})
	if err != nil {
		return nil, err
	}
	n.closers = append(n.closers, n.member.Close)
	logs := c.Log
	logs.Store, logs.Meta, logs.Logger, logs.Registerer = store, n.member, c.Logger, c.Registerer
	logs.Identity = wal.Identity{
		Cluster: n.member.ClusterID(), Incarnation: n.member.Incarnation(),
		Node: n.member.Identity(), Boot: n.member.Boot(), Nonce: n.member.Nonce(),
	}
	if n.logs, err = wal.Open(ctx, logs); err != nil {
		return nil, err
	}
	n.closers = append(n.closers, n.closeLogs)
	n.wg.Go(n.watch)
	n.client = wpd.NewClient(n.logs)
	n.closers = append(n.closers, n.client.Close)
	return n, nil
}

// watch stops writing when the metadata has failed.
func (n *Node) watch() {
	select {
	case <-n.member.Failed():
		n.logs.Fail(n.member.Err())
	case <-n.closing:
	}
}

// Client returns the client of this node. It is closed with the node.
func (n *Node) Client() *wpd.Client { return n.client }

// Logs returns the service behind the client.
func (n *Node) Logs() *wal.Service { return n.logs }

// Failed is closed when the node can't write any more: something foreign
// stands in its chain, or its metadata can't be trusted. Err says why. Close
// it then.
func (n *Node) Failed() <-chan struct{} { return n.logs.Failed() }

// Err says why Failed is closed.
func (n *Node) Err() error { return n.logs.Err() }

// Close flushes what was appended, seals the node's chain, and stops, within
// CloseTimeout. An error means that something was not flushed, or not sealed;
// then the next Open does it. Idempotent.
func (n *Node) Close() error {
	n.once.Do(func() { n.err = n.closeAll() })
	return n.err
}

func (n *Node) closeAll() error {
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i]())
	}
	n.closers = nil
	return errors.Join(errs...)
}

func (n *Node) closeLogs() error {
	close(n.closing)
	n.wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.CloseTimeout)
	defer cancel()
	return n.logs.Close(ctx)
}
