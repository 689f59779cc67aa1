package wpd

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/wpd-io/wpd/wal/api"
)

// Client is a program's access to a log service. Safe for concurrent use.
type Client struct {
	service api.Service
	closers []func() error
	room    room         // of all writers together
	handed  atomic.Int64 // of that, what batches take that the service has, or had

	mu      sync.Mutex
	closed  bool
	writers map[*Writer]struct{} // those that are not closed yet

	closeOnce sync.Once
	closeErr  error
}

// NewClient makes a client of a service. Close calls the closers, the last
// one first. Programs get theirs from Dial, or from package node.
func NewClient(s api.Service, closers ...func() error) *Client {
	return &Client{service: s, closers: closers, room: room{limit: clientBytes}, writers: map[*Writer]struct{}{}}
}

// Create makes an empty log and returns its handle. Errors: ErrExists,
// ErrInvalid (name or configuration), ErrClosed.
func (c *Client) Create(ctx context.Context, name string, config LogConfig) (*Log, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	info, err := c.service.Create(ctx, name, config)
	if err != nil {
		return nil, err
	}
	return &Log{client: c, name: info.Name, id: info.ID}, nil
}

// Log returns the handle of a log. It is bound to the log, not to its name.
// Errors: ErrNotFound, ErrClosed.
func (c *Client) Log(ctx context.Context, name string) (*Log, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	info, err := c.service.Lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	return &Log{client: c, name: info.Name, id: info.ID}, nil
}

// Logs lists the logs whose names start with prefix, by name. It ends after
// an error. A log that comes or goes meanwhile may be in the list or not.
func (c *Client) Logs(ctx context.Context, prefix string) iter.Seq2[LogInfo, error] {
	return func(yield func(LogInfo, error) bool) {
		for after := ""; ; {
			err := c.check()
			var page []LogInfo
			if err == nil {
				page, err = c.service.List(ctx, prefix, after, 0)
			}
			if err != nil {
				yield(LogInfo{}, err)
				return
			}
			for _, info := range page {
				if !yield(info, nil) {
					return
				}
			}
			if len(page) == 0 {
				return
			}
			after = page[len(page)-1].Name
		}
	}
}

// Delete removes the log that has the name now, for ever, with all that is
// in it. Handles of it say ErrDeleted from then on. Errors: ErrNotFound,
// ErrClosed.
func (c *Client) Delete(ctx context.Context, name string) error {
	log, err := c.Log(ctx, name)
	if err != nil {
		return err
	}
	return c.service.Delete(ctx, log.id)
}

// Close closes the writers that are still open, as Writer.Close does, and
// then what the client stands on. It returns their errors. Idempotent.
func (c *Client) Close() error {
	c.closeOnce.Do(func() { c.closeErr = c.close() })
	return c.closeErr
}

func (c *Client) close() error {
	c.mu.Lock()
	c.closed = true
	var writers []*Writer
	for w := range c.writers {
		writers = append(writers, w)
	}
	c.mu.Unlock()

	errs := make([]error, len(writers))
	var wg sync.WaitGroup
	for i, w := range writers {
		wg.Go(func() { errs[i] = w.Close() })
	}
	wg.Wait()
	for _, closer := range slices.Backward(c.closers) {
		errs = append(errs, closer())
	}
	return errors.Join(errs...)
}

func (c *Client) check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	return nil
}

// register makes Close wait for w; it fails once the client is closed.
func (c *Client) register(w *Writer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.writers[w] = struct{}{}
	return nil
}

func (c *Client) unregister(w *Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.writers, w)
}
