package doctor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/internal/race"
)

// heat is what each process is to do: one race for each key, all at the same
// time. One line of JSON, as its answer, which has the claims of each key.
type heat struct {
	Name    string        `json:"name"` // of the process
	Keys    []string      `json:"keys"`
	Each    int           `json:"each"`  // creates of a key
	Bytes   int           `json:"bytes"` // of an object
	Timeout time.Duration `json:"timeout_ns"`
}

// run takes part in the races.
func (h heat) run(ctx context.Context, raw blobstore.Raw) [][]race.Claim {
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	claims := make([][]race.Claim, len(h.Keys))
	var wg sync.WaitGroup
	for i, key := range h.Keys {
		wg.Go(func() { claims[i] = race.Run(ctx, raw.Create, key, h.Name, h.Each, h.Bytes) })
	}
	wg.Wait()
	return claims
}

// Crew is another process that races, in which [Serve] runs.
type Crew struct {
	in  io.Writer
	out *bufio.Reader
}

// NewCrew makes one of what another process reads and writes.
func NewCrew(in io.Writer, out io.Reader) *Crew { return &Crew{in, bufio.NewReader(out)} }

// race lets the process take part. Whoever starts processes ends them, and their
// output with them, when a context ends: nothing here does.
func (c *Crew) race(h heat) ([][]race.Claim, error) {
	if err := json.NewEncoder(c.in).Encode(h); err != nil {
		return nil, fmt.Errorf("another process of the race: %w", err)
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("another process of the race has ended: %w", err)
	}
	var claims [][]race.Claim
	if err := json.Unmarshal(line, &claims); err != nil {
		return nil, fmt.Errorf("another process of the race says %.200q: %w", line, err)
	}
	if len(claims) != len(h.Keys) {
		return nil, fmt.Errorf("another process of the race tells of %d races, not of %d", len(claims), len(h.Keys))
	}
	return claims, nil
}

// Serve is what runs in a process of a crew: it takes part in the races that are
// asked for by in, and answers on out, until in ends. That is no error, nor is
// the end of ctx: it ends a race, and Serve returns with the next line of in, or
// its end.
func Serve(ctx context.Context, bucket *blobstore.Bucket, in io.Reader, out io.Writer) error {
	lines := json.NewDecoder(in)
	answers := json.NewEncoder(out)
	for {
		var h heat
		switch err := lines.Decode(&h); {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("what to race for: %w", err)
		}
		if err := answers.Encode(h.run(ctx, bucket.Raw())); err != nil {
			return fmt.Errorf("tell of a race: %w", err)
		}
	}
}
