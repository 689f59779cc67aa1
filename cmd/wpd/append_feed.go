package main

import (
	"errors"
	"io"
	"sync"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
)

// chunkBytes bounds the entries of a chunk, so that any chunk of more than one
// entry is within the limits of a batch.
const chunkBytes = 256 << 10

// chunk is a run of entries of the input. It owns their bytes.
type chunk struct {
	entries []wpd.Entry
	numbers []uint64 // of the entries, as the decoder counts
	size    int      // as limits count it
	buf     []byte
}

// fits says whether an entry can be added.
func (c *chunk) fits(size int) bool {
	return len(c.entries) == 0 || len(c.entries) < fragment.BatchEntriesMax && c.size+size <= chunkBytes
}

// add adds an entry, copying its data.
func (c *chunk) add(e wpd.Entry, number uint64, size int) {
	start := len(c.buf)
	c.buf = append(c.buf, e.Data...) // if it moves, earlier entries keep the old array
	e.Data = c.buf[start:len(c.buf):len(c.buf)]
	c.entries, c.numbers = append(c.entries, e), append(c.numbers, number)
	c.size += size
}

func (c *chunk) reset() {
	clear(c.entries)
	c.entries, c.numbers, c.size, c.buf = c.entries[:0], c.numbers[:0], 0, c.buf[:0]
}

// feeder decodes an input in a goroutine of its own, a chunk ahead of whoever
// takes the chunks. What is decoded is handed over before more is waited for,
// so that nothing is held back by an input that pauses.
type feeder struct {
	headers []wpd.Header // for every entry, behind its own
	in      decoder
	chunks  chan *chunk   // closed at the end; then err and number are set
	free    chan *chunk   // given back, to be used again
	stop    chan struct{} // closed: nobody takes chunks any more
	over    chan struct{} // closed when the goroutine has returned
	once    sync.Once

	current *chunk
	err     error  // other than the input's end
	number  uint64 // of the entry that err is about
}

// feed starts to decode r. The caller takes chunks until the channel is
// closed, gives each back by done, and at the end calls close.
func feed(r io.Reader, format string, limit int, headers []wpd.Header) *feeder {
	f := &feeder{
		headers: headers, chunks: make(chan *chunk), free: make(chan *chunk, 2),
		stop: make(chan struct{}), over: make(chan struct{}), current: &chunk{},
	}
	f.in = newDecoder(&announcedReader{r: r, before: f.handOver}, format, limit)
	go f.run()
	return f
}

// close stops decoding. A read that waits for input can't be stopped: over is
// closed once it has returned.
func (f *feeder) close() { f.once.Do(func() { close(f.stop) }) }

// done gives a chunk back.
func (f *feeder) done(c *chunk) {
	c.reset()
	select {
	case f.free <- c:
	default:
	}
}

func (f *feeder) run() {
	defer close(f.over)
	defer close(f.chunks)
	for !f.stopped() {
		e, number, err := f.in.next()
		if err != nil {
			f.handOver()
			if !errors.Is(err, io.EOF) {
				f.err, f.number = err, number
			}
			return
		}
		f.add(e, number)
	}
}

func (f *feeder) add(e wpd.Entry, number uint64) {
	switch {
	case len(e.Headers) == 0:
		e.Headers = f.headers
	case len(f.headers) > 0:
		e.Headers = append(e.Headers[:len(e.Headers):len(e.Headers)], f.headers...)
	}
	size := len(e.Data) + headerBytes(e.Headers)
	if !f.current.fits(size) {
		f.handOver()
	}
	f.current.add(e, number, size)
}

func (f *feeder) stopped() bool {
	select {
	case <-f.stop:
		return true
	default:
		return false
	}
}

// handOver gives the current chunk to whoever takes it, and begins another.
func (f *feeder) handOver() {
	if len(f.current.entries) == 0 {
		return
	}
	select {
	case f.chunks <- f.current:
	case <-f.stop:
		f.current.reset()
		return
	}
	select {
	case f.current = <-f.free:
	default:
		f.current = &chunk{}
	}
}

// announcedReader calls before whenever it is about to read, since that may
// take any time.
type announcedReader struct {
	r      io.Reader
	before func()
}

func (a *announcedReader) Read(p []byte) (int, error) {
	a.before()
	return a.r.Read(p)
}
