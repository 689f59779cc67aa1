package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/node/process"
)

// embedded is a node in this process, as a benchPlace.
type embedded struct {
	cfg    *benchConfig
	bucket *blobstore.Bucket
	raw    *rawLimit
	node   *node.Node // nil while none is open
}

func openEmbedded(ctx context.Context, c *benchConfig, id string) (*embedded, error) {
	bucket, err := blobstore.Open(ctx, c.bucket, blobstore.Options{})
	if err != nil {
		return nil, err
	}
	if c.delay > 0 {
		bucket = newSlowStore(bucket, c.delay, 0)
	}
	e := &embedded{cfg: c, bucket: bucket}
	e.raw = newRawLimit(bucket, "bench/"+id+"/", c.window(), c.smallBytes(), c.seed)
	if err := e.openNode(ctx); err != nil {
		return nil, errors.Join(err, e.close(ctx))
	}
	return e, nil
}

func (e *embedded) openNode(ctx context.Context) (err error) {
	e.node, err = node.Open(ctx, node.Config{Store: e.bucket, DataDir: e.cfg.dataDir, Log: e.cfg.log})
	return err
}

func (e *embedded) closeNode() error {
	n := e.node
	e.node = nil
	if n == nil {
		return nil
	}
	return n.Close()
}

func (e *embedded) client() *wpd.Client { return e.node.Client() }

func (e *embedded) reopen(ctx context.Context) error {
	if e.cfg.dataDir == "" {
		return nil // in memory: it would be another one
	}
	if err := e.closeNode(); err != nil {
		return err
	}
	return e.openNode(ctx)
}

func (e *embedded) usage(context.Context) (nodeUsage, error) {
	_, rss := process.RSS()
	return nodeUsage{cpu: process.CPU(), creates: e.node.Logs().Creates(), rss: rss}, nil
}

func (e *embedded) resetPeak() { process.ResetPeakRSS() }

func (e *embedded) shared() bool { return true }

func (e *embedded) rawCreates(ctx context.Context, bytes int64, smallFor time.Duration) (*rawPart, error) {
	return e.raw.measure(ctx, bytes, smallFor)
}

// rawReads reads the objects of all chains whole, as many ahead as a reader of
// wpd fetches by default.
func (e *embedded) rawReads(ctx context.Context, smallFor time.Duration) (*rawPart, error) {
	var keys []string
	for key, err := range e.bucket.List(ctx, "chains/", "") {
		if err != nil {
			return nil, err
		}
		if !strings.HasSuffix(key, "/0") {
			keys = append(keys, key)
		}
	}
	p := &rawPart{}
	sizes := make([]int64, len(keys))
	start, cpu := time.Now(), process.CPU()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readAhead)
	for i, key := range keys {
		g.Go(func() error {
			data, _, err := e.bucket.ReadRange(gctx, key, 0, fragment.ObjectBytesMax)
			sizes[i] = int64(len(data))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	p.took, p.cpu = time.Since(start), process.CPU()-cpu
	for _, n := range sizes {
		p.bytes += n
	}
	small, err := e.raw.measureSmall(ctx, smallFor)
	p.small = small
	return p, err
}

// readAhead is how many full fragments the default prefetch of a reader holds.
const readAhead = 4

// discard leaves the logs: a temporary bucket goes with them, and who named a
// bucket may want to read them again.
func (e *embedded) discard(context.Context, []*wpd.Log) error { return nil }

func (e *embedded) close(ctx context.Context) error {
	return errors.Join(e.closeNode(), e.raw.remove(ctx), e.bucket.Close())
}
