package node

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/wal"
)

// Config says what a node works on. Only Bucket is required (and DataDir,
// unless the bucket is mem://).
type Config struct {
	// Bucket is the URL of the object store: file:///abs/path, s3://…,
	// gs://…, azblob://…, or mem:// for trying things.
	Bucket string
	// DataDir holds the node's own state: a few MB, no entries. It is made
	// if it is not there, belongs to one node, and must not be copied. Empty
	// only with mem://: then all is lost at Close.
	DataDir string
	// Name is the node's name; default "n1".
	Name string

	// Store is used in place of Bucket, for tests; the caller closes it.
	Store *blobstore.Bucket

	// Log tunes writing and reading. Its Store, Meta, Identity, Logger and
	// Registerer are filled in by Open.
	Log wal.Config

	// RequestTimeout bounds one request to the object store; default that of
	// package blobstore.
	RequestTimeout time.Duration
	// CloseTimeout bounds Close: what is not durable by then has an unknown
	// outcome; default 30 s.
	CloseTimeout time.Duration

	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: metrics are not exported
}

func (c *Config) validate() error {
	if c.CloseTimeout == 0 {
		c.CloseTimeout = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Bucket == "" && c.Store == nil:
		return errors.New("no bucket: give its URL, for example file:///var/lib/wpd/objects")
	case c.DataDir == "" && c.Store == nil && !strings.HasPrefix(c.Bucket, "mem:"):
		return errors.New("no data directory: a node keeps its own state there; only mem:// needs none")
	case c.CloseTimeout < 0 || c.RequestTimeout < 0:
		return errors.New("a timeout is negative")
	}
	return nil
}

func (c *Config) openStore(ctx context.Context) (*blobstore.Bucket, func() error, error) {
	if c.Store != nil {
		return c.Store, func() error { return nil }, nil
	}
	b, err := blobstore.Open(ctx, c.Bucket, blobstore.Options{
		RequestTimeout: c.RequestTimeout, Logger: c.Logger, Registerer: c.Registerer,
	})
	if err != nil {
		return nil, nil, err
	}
	return b, b.Close, nil
}
