package main

import (
	"os"
	"runtime/debug"

	"github.com/wpd-io/wpd/wal"
)

// memoryMore is what a node at full speed needs beyond its buffer and its
// cache: clients' batches in flight, what readers have fetched ahead, raft, and
// the garbage that waits for its collector. With the default limits it keeps
// the process, the program's own text included, below 400 MiB.
const memoryMore = 152 << 20

// limitMemory tells Go's runtime how much memory the process should stay
// below, unless GOMEMLIMIT says so: without it, garbage would be as large as
// what is in use.
func limitMemory(c wal.Config) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(c))
	}
}

// memoryLimit derives the limit from those of buffer and cache.
func memoryLimit(c wal.Config) int64 {
	c = c.WithDefaults()
	return c.BufferBytes + max(c.CacheBytes, 0) + memoryMore
}
