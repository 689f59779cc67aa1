package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/rpc/server"
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
	// Name is the node's name; default that of the data directory, and "n1"
	// for a new one.
	Name string

	// UnsafeBucket lets the node work on a bucket that breaks a promise that wpd
	// rests on, and warn at every start. Without it, Open returns an
	// *UnsafeBucketError.
	UnsafeBucket bool

	// Store is used in place of Bucket, for tests; the caller closes it. It is
	// not probed.
	Store *blobstore.Bucket

	// Log tunes writing and reading. Its Store, Meta, Identity, Peers, Admit,
	// Logger and Registerer are filled in by Open.
	Log wal.Config

	// MinFree is how many bytes must be free on the disk of DataDir: with fewer,
	// the node takes no appends and no logs, and leads no more than it must,
	// until there is room. Default 256 MiB, negative: any number will do.
	MinFree int64
	// FreeSpace tells, in tests, how many bytes are free where a directory is.
	// nil: the operating system does.
	FreeSpace func(dir string) (uint64, error)
	// NoSync is for tests that end nodes, but never the machine: the metadata
	// are written without a sync.
	NoSync bool

	// RequestTimeout bounds one request to the object store; default that of
	// package blobstore.
	RequestTimeout time.Duration
	// HedgePercent is how many of a hundred fragments may be sent to the object
	// store a second time when it is slow to answer; default 0.
	HedgePercent int
	// CloseTimeout bounds Close: what is not durable by then has an unknown
	// outcome; default 30 s.
	CloseTimeout time.Duration

	// Listen is the address, HOST:PORT, at which the node serves wpd.Dial and
	// wpd's command line by gRPC; port 0 takes a free one. Empty: nowhere;
	// then only this process uses the node, by Client.
	Listen string
	// Listener is used in place of Listen, for tests; the node closes it.
	Listener net.Listener
	// HTTPListen is the address of metrics, health and profiles. Empty:
	// nowhere.
	HTTPListen string
	// Insecure allows listeners on other addresses than the loopback's,
	// although there is no TLS yet: whoever reaches them can read and write
	// everything. Without it, Open returns an *InsecureError.
	Insecure bool
	// AllowBench lets clients measure the bucket, which costs requests and
	// room, under a scratch prefix.
	AllowBench bool
	// Cluster makes the node one of several.
	Cluster Cluster
	// Reflection lets tools find out what the gRPC listener serves.
	Reflection bool
	// Limits is what the gRPC listener grants its clients.
	Limits server.Limits

	// Version and Commit of the program, and Settings, without secrets, are
	// told to whoever asks for them.
	Version, Commit string
	Settings        []Setting
	// Level is that of Logger, if it can be changed while the node runs; nil:
	// it can't.
	Level *slog.LevelVar

	Logger *slog.Logger // nil: silent
	// Registerer gets the metrics. nil: a node with HTTPListen makes a
	// registry of its own, with Go's and the process's metrics beside ours;
	// any other exports none. With HTTPListen it must be a
	// prometheus.Gatherer too.
	Registerer prometheus.Registerer
}

// Setting is an effective setting, and where it came from: default, file,
// environment or flag.
type Setting struct {
	Key, Value, Source string
}

func (c *Config) validate() error {
	if c.CloseTimeout == 0 {
		c.CloseTimeout = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registerer == nil && c.HTTPListen != "" {
		r := prometheus.NewRegistry()
		r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		c.Registerer = r
	}
	switch {
	case c.Bucket == "" && c.Store == nil:
		return errors.New("no bucket: give its URL, for example file:///var/lib/wpd/objects")
	case c.DataDir == "" && c.Store == nil && !strings.HasPrefix(c.Bucket, "mem:"):
		return errors.New("no data directory: a node keeps its own state there; only mem:// needs none")
	case c.CloseTimeout < 0 || c.RequestTimeout < 0:
		return errors.New("a timeout is negative")
	case c.HedgePercent < 0 || c.HedgePercent > 100:
		return fmt.Errorf("HedgePercent is %d, want 0 to 100", c.HedgePercent)
	}
	if _, ok := c.Registerer.(prometheus.Gatherer); !ok && c.HTTPListen != "" {
		return fmt.Errorf("metrics can't be served: the registerer is a %T, and no prometheus.Gatherer", c.Registerer)
	}
	return c.validateCluster()
}

func (c *Config) openStore(ctx context.Context) (*blobstore.Bucket, func() error, error) {
	if c.Store != nil {
		return c.Store, func() error { return nil }, nil
	}
	b, err := blobstore.Open(ctx, c.Bucket, blobstore.Options{
		RequestTimeout: c.RequestTimeout, HedgePercent: c.HedgePercent, Logger: c.Logger, Registerer: c.Registerer,
	})
	if err != nil {
		return nil, nil, err
	}
	// A bucket that is not there, or not ours to read, must not look like one
	// that is slow: whoever creates something there waits until it works.
	if err := readable(ctx, b); err != nil {
		return nil, nil, errors.Join(&BucketError{URL: b.URL(), Err: err}, b.Close())
	}
	return b, b.Close, nil
}

// BucketError: the bucket does not answer, or refuses. Nothing was done.
type BucketError struct {
	URL string // without secrets
	Err error
}

func (e *BucketError) Error() string { return fmt.Sprintf("bucket %s can't be used: %v", e.URL, e.Err) }
func (e *BucketError) Unwrap() error { return e.Err }

// clusterKey is an object that every bucket in use has.
const clusterKey = "cluster.json"

// readable finds out whether the bucket answers. Of a new one, that it has
// nothing is an answer.
func readable(ctx context.Context, b *blobstore.Bucket) error {
	_, _, err := b.ReadRange(ctx, clusterKey, 0, 1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
