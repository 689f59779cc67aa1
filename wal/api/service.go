package api

import (
	"context"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// Service is a log service as a client sees it. All methods may be called at
// the same time; each ends when its ctx does.
type Service interface {
	// Create makes an empty log. Errors: ErrExists, ErrInvalid.
	Create(ctx context.Context, name string, c LogConfig) (LogInfo, error)
	// Lookup finds a log by name. Errors: ErrNotFound.
	Lookup(ctx context.Context, name string) (LogInfo, error)
	// Info tells about a log: all that was done to it before the call, or, where
	// no leader answers soon, what the node knows. Errors: ErrDeleted.
	Info(ctx context.Context, log fragment.LogID) (LogInfo, error)
	// List returns up to limit logs whose names start with prefix and come
	// after the given name, by name. limit 0 means 1,000.
	List(ctx context.Context, prefix, after string, limit int) ([]LogInfo, error)
	// Delete removes a log for ever. Errors: ErrDeleted.
	Delete(ctx context.Context, log fragment.LogID) error
	// Configure replaces the configuration, if it is still at the version
	// that LogInfo gave. Errors: *StaleError, ErrDeleted, ErrInvalid.
	Configure(ctx context.Context, log fragment.LogID, version uint64, c LogConfig) (LogInfo, error)
	// Trim drops what lies before an LSN; it is durable on return. Trimming
	// less than was trimmed already does nothing. Errors: *BeyondTailError,
	// ErrDeleted.
	Trim(ctx context.Context, log fragment.LogID, before fragment.LSN) error
	// Tail returns the durable tail: the LSN after the last durable entry.
	Tail(ctx context.Context, log fragment.LogID, level Level) (fragment.LSN, error)

	// OpenProducer starts (or, by a higher epoch, restarts) a producer and
	// says how far it got; see OpenRequest. The raised epoch is durable on
	// return. Errors: *LimitError, *FencedError, ErrUnknownProducer,
	// ErrDeleted. After ErrUnavailable the epoch may be raised or not: opening
	// again is harmless.
	OpenProducer(ctx context.Context, r OpenRequest) (Opened, error)
	// Producer tells about a named producer. Errors: ErrNotFound.
	Producer(ctx context.Context, log fragment.LogID, name string) (ProducerInfo, error)
	// Producers returns up to limit named producers whose names come after the
	// given one, by name. limit 0 means 1,000. Errors: ErrDeleted.
	Producers(ctx context.Context, log fragment.LogID, after string, limit int) ([]ProducerInfo, error)

	// Append hands a batch over. Its bytes belong to the service from then
	// on. ctx bounds the wait for room only. A non-nil error means that the
	// batch was not taken, and done is never called; otherwise done is called
	// once, and the acknowledgements of one producer come in the order of its
	// appends; an error may come before them. done must not block and must not call back into the service.
	Append(ctx context.Context, r AppendRequest, done func(Ack, error)) error

	// Read opens a stream at a position. Errors: *TrimmedError,
	// *BeyondTailError, ErrDeleted, ErrInvalid.
	Read(ctx context.Context, r ReadRequest) (Stream, error)
}

// LogConfig is what can be set per log.
type LogConfig struct {
	// EntryBytesMax bounds headers and data of one entry, in bytes; 0 means
	// 1 MiB, at most 8 MiB.
	EntryBytesMax uint32
	// Dedicated gives the log a chain of its own: its fragments are never
	// shared, and it waits for no other log's. It costs requests of its own.
	Dedicated bool
	// Zone is where its writer had better be, at most 64 bytes of
	// [A-Za-z0-9._-]; empty: anywhere. It is a hint.
	Zone string
}

// LogInfo tells about a log.
type LogInfo struct {
	Name          string
	ID            fragment.LogID
	Config        LogConfig
	ConfigVersion uint64 // for Configure
	Generation    fragment.Generation
	Created       time.Time
	First         fragment.LSN // the first LSN left; more than Tail never
	Tail          fragment.LSN // durable tail
	Bytes         uint64       // stored bytes of the log's slices, trimmed ones included
	TrimmedBytes  uint64       // of these, trimmed but not yet freed (whole slices)
	Extents       []Extent
	// Writer is the name of the node that writes the log, and Epoch that of the
	// chain that it is attached to; empty and 0 while nobody does.
	Writer string
	Epoch  fragment.Epoch
}

// Extent is the range [From, To) of a log's LSNs that one chain holds.
type Extent struct {
	Chain      fragment.Epoch
	Attachment fragment.Attachment
	From, To   fragment.LSN
}

// Ack says where a batch is: LSNs [From, To), appended at Time.
type Ack struct {
	From, To fragment.LSN
	Time     fragment.Micros
}

// OpenRequest opens a producer. A Name makes a lasting one, found again by
// its name; without it, ID zero makes a new anonymous producer, and another
// ID raises the epoch of that one.
type OpenRequest struct {
	Log  fragment.LogID
	Name string // at most 255 bytes
	ID   fragment.ProducerID
	// Epoch is the epoch to raise the producer to, 0 for one more than the
	// present one. Not above the present one: *FencedError.
	Epoch fragment.ProducerEpoch
	// Exclusive commits a new generation of the log: whoever wrote before is
	// fenced, and whoever has another generation, or none, is refused.
	Exclusive bool
	// Generation is what an exclusive writer holds when it needs another
	// producer, its own having been forgotten: a new anonymous producer of a
	// log that is at this very generation, which stays. 0: none.
	Generation fragment.Generation
}

// Opened says how far the producer got. Everything it speaks of is durable.
type Opened struct {
	ID            fragment.ProducerID
	Epoch         fragment.ProducerEpoch
	Last          uint64 // last stored sequence; sequences count entries, from 1
	LastLSN       fragment.LSN
	Generation    fragment.Generation // the one that Exclusive committed, which batches must carry; 0 without it
	Tail          fragment.LSN
	EntryBytesMax uint32
}

// ProducerInfo tells about a named producer.
type ProducerInfo struct {
	Name    string
	ID      fragment.ProducerID
	Epoch   fragment.ProducerEpoch
	Last    uint64 // last stored sequence
	LastLSN fragment.LSN
	Time    time.Time // append time of its last batch; zero if none
}

// AppendRequest is one batch for one log.
type AppendRequest struct {
	Log   fragment.LogID
	Batch fragment.Batch
	// IfTail, if not 0, refuses the batch with a *TailError unless its first
	// entry gets that LSN.
	IfTail fragment.LSN
	// ReadyBytes is how many bytes of batches, about, whoever appends has ready to
	// append, this one included; 0: it does not say. It is a hint: a fragment is
	// kept open for what is certain to come soon.
	ReadyBytes int
}
