package wpd

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/wpd-io/wpd/wal/api"
)

// Log is the handle of one log, bound to its id: once the log is deleted,
// every call says ErrDeleted, also if a new log has the name. It holds
// nothing open. Safe for concurrent use. After Client.Close, calls say
// ErrClosed.
type Log struct {
	client *Client
	name   string
	id     LogID
}

// Name is the log's name.
func (l *Log) Name() string { return l.name }

// ID is the log's id, which no other log will ever have.
func (l *Log) ID() LogID { return l.id }

// Info tells about the log as it is now. Errors: ErrDeleted.
func (l *Log) Info(ctx context.Context) (LogInfo, error) {
	if err := l.client.check(); err != nil {
		return LogInfo{}, err
	}
	return l.client.service.Info(ctx, l.id)
}

// Configure changes the configuration: change gets what is set now and
// edits it, again if somebody else was faster. A writer keeps the limits that
// it was opened with. Errors: ErrInvalid, ErrDeleted.
func (l *Log) Configure(ctx context.Context, change func(*LogConfig)) error {
	for {
		info, err := l.Info(ctx)
		if err != nil {
			return err
		}
		change(&info.Config)
		_, err = l.client.service.Configure(ctx, l.id, info.ConfigVersion, info.Config)
		if _, stale := errors.AsType[*StaleError](err); !stale {
			return err
		}
	}
}

// Tail returns the durable tail: the LSN after the last durable entry, 1 for
// a log that never had one. Of the options, those that say how fresh the
// answer must be apply: AtLeast, Linearizable, MaxLag. Errors: ErrInvalid
// (another option), ErrUnavailable (older than MaxLag), ErrDeleted.
func (l *Log) Tail(ctx context.Context, opts ...ReadOption) (LSN, error) {
	if err := l.client.check(); err != nil {
		return 0, err
	}
	o := makeOptions(opts)
	level := o.request.Level
	if o.request != (api.ReadRequest{Level: level}) {
		return 0, fmt.Errorf("%w: Tail takes only AtLeast, Linearizable and MaxLag", ErrInvalid)
	}
	return l.client.service.Tail(ctx, l.id, level)
}

// Trim drops all entries before an LSN; it is durable on return. Trimming
// less than is trimmed already does nothing. Errors: *BeyondTailError,
// ErrDeleted.
func (l *Log) Trim(ctx context.Context, before LSN) error {
	if err := l.client.check(); err != nil {
		return err
	}
	return l.client.service.Trim(ctx, l.id, before)
}

// Producer tells how far a named producer got; what it says is durable.
// Errors: ErrNotFound, ErrDeleted.
func (l *Log) Producer(ctx context.Context, name string) (ProducerInfo, error) {
	if err := l.client.check(); err != nil {
		return ProducerInfo{}, err
	}
	return l.client.service.Producer(ctx, l.id, name)
}

// Producers lists the log's named producers, by name, each as Producer tells
// about it. It ends after an error. Errors: those of Producer.
func (l *Log) Producers(ctx context.Context) iter.Seq2[ProducerInfo, error] {
	return func(yield func(ProducerInfo, error) bool) {
		for after := ""; ; {
			err := l.client.check()
			var page []ProducerInfo
			if err == nil {
				page, err = l.client.service.Producers(ctx, l.id, after, 0)
			}
			if err != nil {
				yield(ProducerInfo{}, err)
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

// Writer opens a writer; Close it when done. Without ProducerID it is a
// producer of its own, which is forgotten when it closes. Errors:
// *LimitError (too many named producers), *FencedError (the log has an
// exclusive writer, and this would be none), ErrInvalid (an option),
// ErrDeleted, ErrUnavailable.
func (l *Log) Writer(ctx context.Context, opts ...WriterOption) (*Writer, error) {
	if err := l.client.check(); err != nil {
		return nil, err
	}
	return openWriter(ctx, l, makeOptions(opts))
}

// Reader opens a reader at a position; Close it when done. Without Follow it
// ends at the durable tail. Errors: *TrimmedError,
// *BeyondTailError, ErrInvalid (position or option), ErrUnavailable (older
// than MaxLag), ErrDeleted.
func (l *Log) Reader(ctx context.Context, p Position, opts ...ReadOption) (*Reader, error) {
	if err := l.client.check(); err != nil {
		return nil, err
	}
	return openReader(ctx, l, p, makeOptions(opts))
}

// Read returns the entries from a position on, as Reader does. It opens the
// reader when the loop starts, and closes it when the loop ends. An error is
// the last thing it gives, but for a *DataLossError, after which it goes on
// behind what is lost.
func (l *Log) Read(ctx context.Context, p Position, opts ...ReadOption) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r, err := l.Reader(ctx, p, opts...)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer r.Close()
		r.each(ctx, yield)
	}
}
