package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/wpd-io/wpd/blobstore/rawlimit"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal"
)

// benchConfig is what one benchmark is to do.
type benchConfig struct {
	kind string // append, read or tail
	name string // of the case, in the result

	bucket, dataDir string // of an embedded node; both empty: a temporary directory
	// open opens a server to run on, at addr; nil: a node is embedded.
	open func(ctx context.Context, c *benchConfig) (benchPlace, error)
	addr string
	keep bool // leave the logs on the server

	size      byteSize      // of an entry
	bytes     byteSize      // of all measured parts; 0: no bound
	entries   int64         // likewise
	duration  time.Duration // likewise
	logs      int
	producers int
	inFlight  byteSize
	rate      float64 // entries/s of all producers; 0: as fast as it goes
	sync      bool
	warmup    time.Duration
	rounds    int
	delay     time.Duration
	reuse     string
	seed      uint64
	profile   string // files for profiles of one measured part start with this; "": none
	compare   string // file with earlier results; "": none

	log wal.Config
}

// key is what the result may be compared with.
func (c *benchConfig) key() benchKey {
	return benchKey{
		Case: c.name, Size: int64(c.size), Logs: c.logs, Producers: c.producers, Rate: c.rate, Sync: c.sync,
		DelayMs: c.delay.Seconds() * 1e3,
	}
}

// window is how many large creates the raw limit has in flight.
func (c *benchConfig) window() int { return int(max(c.log.Window, 1)) }

// smallBytes is the size of a small create of the raw limit: where one entry
// at a time counts, that of a fragment of one.
func (c *benchConfig) smallBytes() int {
	if c.sync || c.kind == "tail" {
		return min(smallBytes-1024+int(c.size), rawlimit.ObjectBytesMax)
	}
	return smallBytes
}

// addStoreFlags adds the flags of an embedded node.
func (c *benchConfig) addStoreFlags(f *pflag.FlagSet) {
	f.StringVar(&c.bucket, "bucket", "", "URL of the object store; default: a temporary directory")
	f.StringVar(&c.dataDir, "data-dir", "", "the node's own state; default: a temporary directory")
	f.DurationVar(&c.delay, "delay", 0, "add a delay to every create in the store, the raw ones included")
	f.Uint32Var(&c.log.Window, "window", 8, "fragments in flight, and raw creates at once")
	f.DurationVar(&c.log.FlushInterval, "flush-interval", 0, "flush at most this often, to save requests")
	f.Var((*byteSize)(&c.log.CacheBytes), "cache", "bytes of the node's cache; 0: its default")
	f.Uint64Var(&c.log.CutFragments, "cut-fragments", 0, "cut a segment at so many fragments; 0: its default")
	f.Uint64Var(&c.seed, "seed", 1, "of the payloads' bytes")
}

// nodeFlags are those of addStoreFlags that a server has of its own.
var nodeFlags = []string{"bucket", "data-dir", "delay", "flush-interval", "cache", "cut-fragments"}

// addPlaceFlags adds the flags that say where a benchmark runs.
func (c *benchConfig) addPlaceFlags(f *pflag.FlagSet) {
	c.addStoreFlags(f)
	addCompareFlag(f, &c.compare)
	f.Bool("embedded", true, "run a node in this process; with --embedded=false, use a server")
	f.StringSlice("addr", nil, "use the server at HOST:PORT (with --embedded=false, default $"+addrEnv+", or else "+addrDefault+")")
	f.BoolVar(&c.keep, "keep", false, "leave the logs on the server, in place of deleting them at the end")
}

func (c *benchConfig) addLoadFlags(f *pflag.FlagSet) {
	c.inFlight = 64 << 20
	f.Var(&c.size, "size", "bytes of an entry, at least 32")
	f.StringVar(&c.profile, "profile", "", "write the middle round's CPU profile to `FILE`.cpu, and a heap profile to FILE.heap")
	f.Var(&c.bytes, "bytes", "bytes of entries in all rounds together")
	f.Int64Var(&c.entries, "entries", 0, "entries in all rounds together; no round has fewer than one per log")
	f.DurationVar(&c.duration, "duration", 0, "time of the measured parts of all rounds together")
	f.IntVar(&c.logs, "logs", 1, "logs, taken in turn")
	f.IntVar(&c.rounds, "rounds", 5, "rounds, each of the measured part and the raw one; results are medians")
	f.DurationVar(&c.warmup, "warmup", 500*time.Millisecond, "time of either part before the first round")
}

// validate fills defaults and refuses what makes no sense.
func (c *benchConfig) validate() error {
	const sizeMax = fragment.EntryBytesMax
	switch {
	case c.size < payloadHeaderBytes || c.size > sizeMax:
		return fmt.Errorf("--size is %d; want %d to %d bytes", c.size, payloadHeaderBytes, sizeMax)
	case c.logs < 1 || c.logs > 100_000:
		return fmt.Errorf("--logs is %d; want 1 to 100,000", c.logs)
	case c.producers < 1 || c.producers > 10_000:
		return fmt.Errorf("--producers is %d; want 1 to 10,000", c.producers)
	case c.rounds < 1 || c.rounds > 1000:
		return fmt.Errorf("--rounds is %d; want 1 to 1,000", c.rounds)
	case c.entries < 0 || c.duration < 0 || c.warmup < 0 || c.delay < 0:
		return errors.New("a number or a time is negative")
	case c.rate < 0 || c.rate > 10e6:
		return fmt.Errorf("--rate is %v; want 0 to 10,000,000", c.rate)
	case c.rate > 0 && c.sync:
		return errors.New("--rate and --sync exclude each other")
	case c.kind == "tail" && (c.rate == 0 || c.logs != 1):
		return errors.New("tail wants a --rate, and one log")
	case c.kind == "read" && c.duration > 0:
		return errors.New("read takes --bytes or --entries, not --duration")
	case c.open != nil && c.log.Window > 64:
		return fmt.Errorf("--window is %d; a server makes 1 to 64 raw creates at once", c.log.Window)
	case c.inFlight < c.size:
		return fmt.Errorf("--in-flight is %v, less than one entry", &c.inFlight)
	case (c.bucket == "") != (c.dataDir == "") && !strings.HasPrefix(c.bucket, "mem:"):
		return errors.New("--bucket and --data-dir go together")
	}
	if c.bytes == 0 && c.entries == 0 && c.duration == 0 {
		switch {
		case c.kind == "tail" || c.sync || c.rate > 0:
			c.duration = 5 * time.Second
		default:
			c.bytes = 256 << 20
		}
	}
	return nil
}

// quota is when a measured part ends: at the first of these that is not 0.
type quota struct {
	entries  int64
	duration time.Duration
}

// quotas returns what each round is to do.
func (c *benchConfig) quotas() []quota {
	total := c.entries
	if c.bytes > 0 {
		n := max(1, int64(c.bytes/c.size))
		if total == 0 || n < total {
			total = n
		}
	}
	rounds := int64(c.rounds)
	if total > 0 {
		rounds = max(1, min(rounds, total/int64(c.logs)))
	}
	quotas := make([]quota, rounds)
	for i := range quotas {
		quotas[i] = quota{entries: total / rounds, duration: c.duration / time.Duration(rounds)}
		if int64(i) < total%rounds {
			quotas[i].entries++
		}
	}
	return quotas
}
