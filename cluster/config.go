package cluster

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wpd-io/wpd/fsm"
)

// Objects is what a member needs of the bucket.
type Objects interface {
	// Create makes an object of the parts, unless there is one. Nil means
	// that exactly these bytes are there, durably, whoever wrote them; an
	// fs.ErrExist that something else is there. After any other error it may
	// be there or not.
	Create(ctx context.Context, key string, parts ...[]byte) error
	// ReadRange reads up to length bytes from offset on, and tells the
	// object's size. An fs.ErrNotExist means that there is no such object.
	ReadRange(ctx context.Context, key string, offset, length int64) (data []byte, size int64, err error)
	// List yields the keys with the prefix that lie above after, in order.
	List(ctx context.Context, prefix, after string) iter.Seq2[string, error]
}

// Config says who a member is and what it lives on.
type Config struct {
	// Dir is the data directory, made if it is not there. Empty: everything
	// in memory.
	Dir string
	// Name is this node's name: 1 to 200 bytes of [A-Za-z0-9._-]. A data
	// directory keeps the name that it was made with, and another one is
	// refused. Empty: that name, and "n1" for a new directory.
	Name string
	// Bucket holds the cluster's objects. Required.
	Bucket Objects
	// BucketURL is only told in messages, and remembered for them.
	BucketURL string
	// Logger may be nil. Raft's own messages come at a level lower than raft
	// gives them.
	Logger *slog.Logger
	// Registerer may be nil. What is registered is taken back by Close.
	Registerer prometheus.Registerer

	// wrap, in tests, puts faults under raft.
	wrap func(*stores)
}

const (
	nameDefault  = "n1"
	nameBytesMax = 200 // leaves room for the random part of the identity
)

// validate returns the configuration with defaults filled in.
func (c Config) validate() (Config, error) {
	if c.Bucket == nil {
		return c, errors.New("config: no bucket")
	}
	if c.Name != "" {
		if err := fsm.CheckNodeName("config: name", c.Name); err != nil {
			return c, err
		}
	}
	if len(c.Name) > nameBytesMax {
		return c, &fsm.InvalidError{Field: "config: name", Reason: fmt.Sprintf("has %d bytes, the limit is %d", len(c.Name), nameBytesMax)}
	}
	if c.BucketURL == "" {
		c.BucketURL = "the bucket"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
