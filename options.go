package wpd

import (
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

const (
	// lingerMin and lingerMax bound how long entries wait for company while
	// others are in flight, if nothing was set. With nothing in flight an
	// entry is sent at once.
	lingerMin = time.Millisecond
	lingerMax = 100 * time.Millisecond
	// lingerShareMin is the share of the usual time to an acknowledgement for
	// which they do, and lingerShareMax what it becomes as all writers of the
	// client together come to have crowdBytes in flight.
	lingerShareMin = 1.0 / 8
	lingerShareMax = 1.0 / 2
	crowdBytes     = 32 << 20
	// lingerAdaptive is the option when nothing was set.
	lingerAdaptive = -time.Second
	// inFlightBytesDefault is as much as the batches that may be in flight
	// hold at their target size; 1.5 GB/s at 40 ms an answer needs that much.
	inFlightBytesDefault = fragment.InFlightMax * fragment.BatchBytesTarget
	// clientBytes bounds what all writers of a client have in flight, however
	// many they are: two of them at full speed. It is more than a node takes
	// in before it is durable (96 MiB), so it holds back only what would wait
	// anyway.
	clientBytes = 2 * inFlightBytesDefault
)

// A WriterOption changes how a Writer works.
type WriterOption func(*writerOptions)

type writerOptions struct {
	exclusive bool
	name      string
	linger    time.Duration
	inFlight  int
	codec     Codec
}

// Exclusive makes the writer the only one of its log: whoever wrote before is
// fenced and gets a *FencedError, as does this one once somebody opens the
// next exclusive writer.
func Exclusive() WriterOption { return func(o *writerOptions) { o.exclusive = true } }

// ProducerID names the producer, with at most 255 bytes. A name lasts: the
// log remembers how far the producer got (Writer.Stored), so that a program
// can go on exactly there after a restart. Opening a name again fences the
// writer that had it. The empty name means none.
func ProducerID(name string) WriterOption { return func(o *writerOptions) { o.name = name } }

// Linger bounds how long an entry waits for others to share its batch while
// earlier batches are in flight. By default that is an eighth of the usual
// time to an acknowledgement, up to a half where all writers of the client have
// 32 MiB in flight; 1 to 100 ms. With nothing in flight an entry is sent at
// once. 0 means never to wait.
func Linger(d time.Duration) WriterOption { return func(o *writerOptions) { o.linger = max(0, d) } }

// InFlight bounds the bytes of entries that were handed to the writer and are
// not settled yet (an entry counts as at least 64); appends wait for room
// beyond it. A single append over it is let through alone. 64 MiB by default
// and for 0. All writers of a client together are held to 128 MiB.
func InFlight(bytes int) WriterOption { return func(o *writerOptions) { o.inFlight = bytes } }

// Compress compresses the batches where that makes them smaller. CodecNone by
// default.
func Compress(c Codec) WriterOption { return func(o *writerOptions) { o.codec = c } }

// An AppendOption changes how one append works.
type AppendOption func(*appendOptions)

type appendOptions struct {
	conditional bool
	ifTail      LSN
}

// IfTail stores the entries only if the first of them gets this LSN, and
// refuses them with a *TailError otherwise. 1 asks for an empty log; 0 is
// ErrInvalid.
func IfTail(lsn LSN) AppendOption {
	return func(o *appendOptions) { o.conditional, o.ifTail = true, lsn }
}

// A ReadOption changes what a read returns.
type ReadOption func(*readOptions)

type readOptions struct {
	request api.ReadRequest
}

// To ends the read before this LSN. 0 means no end. Any read ends at the
// durable tail, too, unless it follows.
func To(lsn LSN) ReadOption { return func(o *readOptions) { o.request.To = lsn } }

// Until ends the read before the first entry that was appended at t or later.
// The zero time means no end.
func Until(t time.Time) ReadOption {
	return func(o *readOptions) {
		o.request.Until = 0
		if !t.IsZero() {
			o.request.Until = microsOf(t)
		}
	}
}

// Limit ends the read after n entries. 0 means no end.
func Limit(n uint64) ReadOption { return func(o *readOptions) { o.request.Limit = n } }

// Follow waits at the durable tail, and goes on as entries become durable.
func Follow() ReadOption { return func(o *readOptions) { o.request.Follow = true } }

// AtLeast waits until the entry at this LSN is durable and can be seen: with
// the LSN of an append, one reads one's own writes. 0 means not to wait.
func AtLeast(lsn LSN) ReadOption { return func(o *readOptions) { o.request.Level.AtLeast = lsn } }

// Linearizable sees all that was acknowledged to anybody before the call.
func Linearizable() ReadOption {
	return func(o *readOptions) { o.request.Level.Linearizable = true }
}

// MaxLag refuses answers that may be older than d, with ErrUnavailable. 0
// means any age.
func MaxLag(d time.Duration) ReadOption { return func(o *readOptions) { o.request.Level.MaxLag = d } }

func makeOptions[O any, F ~func(*O)](opts []F) O {
	var o O
	if w, ok := any(&o).(*writerOptions); ok {
		*w = writerOptions{linger: lingerAdaptive}
	}
	for _, set := range opts {
		set(&o)
	}
	return o
}
