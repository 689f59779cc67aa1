package blobstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/testcluster/stores"
	"github.com/wpd-io/wpd/testcluster/tamper"
	"github.com/wpd-io/wpd/testcluster/tamper/fakes3"
)

// broken is a store with one promise broken.
type broken struct {
	*blobtest.Mem
	how   string
	alone bool // only to those that don't race

	mu     sync.Mutex
	looked map[string]int // how many creates of a key have seen that nothing is there
}

func (b *broken) Create(ctx context.Context, key string, parts [][]byte) error {
	body := slices.Concat(parts...)
	if b.alone && isRacer(body) {
		return b.Mem.Create(ctx, key, parts)
	}
	switch b.how {
	case "lost":
		return nil
	case "looks first": // what nobody can see who comes alone
		b.mu.Lock()
		defer b.mu.Unlock()
		b.looked[key]++
		if _, there := b.Object(key); there && (b.looked[key] > 2 || !isRacer(body)) {
			return fs.ErrExist
		}
		b.Put(key, body)
		return nil
	}
	err := b.Mem.Create(ctx, key, parts)
	if err == nil {
		return nil
	}
	switch b.how {
	case "overwrites":
		b.Put(key, body)
		return nil
	case "overwrites and says so":
		b.Put(key, body)
	case "ignores":
		return nil
	}
	return err
}

// isRacer says whether a probe's create races.
func isRacer(body []byte) bool { return bytes.HasPrefix(body, []byte("racer")) }

func (b *broken) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	if b.how == "unlisted" {
		return func(func(string, error) bool) {}
	}
	return b.Mem.List(ctx, prefix, after)
}

func (b *broken) Delete(ctx context.Context, key string) error {
	if b.how == "undead" {
		return nil
	}
	return b.Mem.Delete(ctx, key)
}

// TestProbe: a broken promise is found, and is the one that is named. Of several
// it is that of the race, so the others are broken to those, too, that come alone.
func TestProbe(t *testing.T) {
	for _, c := range []struct {
		how     string
		alone   bool
		promise string // part of it; "": none is broken
	}{
		{"", false, ""},
		{"lost", false, "one succeeds"},
		{"lost", true, "can be read as soon as it was created"},
		{"overwrites", false, "one succeeds"},
		{"overwrites", true, "fails if the object exists"},
		{"ignores", false, "one succeeds"},
		{"ignores", true, "fails if the object exists"},
		{"overwrites and says so", false, "one succeeds"},
		{"overwrites and says so", true, "leaves the object as it was"},
		{"looks first", false, "one succeeds"},
		{"unlisted", false, "is listed"},
		{"undead", false, "is gone"},
	} {
		t.Run(fmt.Sprintf("%s, alone %v", c.how, c.alone), func(t *testing.T) {
			mem := blobtest.NewMem()
			store := &broken{Mem: mem, how: c.how, alone: c.alone, looked: map[string]int{}}
			err := blobstore.New(store, blobstore.Options{}).Probe(t.Context())
			if c.promise == "" {
				require.NoError(t, err)
			} else {
				e, ok := errors.AsType[*blobstore.ProbeError](err)
				require.True(t, ok, "%v", err)
				require.Contains(t, e.Promise, c.promise)
			}
			if c.how != "undead" {
				require.Empty(t, mem.Keys(""))
			}
		})
	}
}

// TestProbeFaults: replies that are lost are no broken promises, a store that
// can't be used is an error and no wait, and one that lets nobody delete is told
// of.
func TestProbeFaults(t *testing.T) {
	var log bytes.Buffer
	opts := blobstore.Options{BackoffMin: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	for _, c := range []struct {
		name  string
		fault blobtest.Fault
		fails bool
		logs  string
	}{
		{"every reply of a create is lost, once", blobtest.Fault{Kind: blobtest.Create, After: blobtest.ErrFault, Count: 3}, false, ""},
		{"creates fail at first", blobtest.Fault{Kind: blobtest.Create, Before: blobtest.ErrFault, Count: 3}, false, ""},
		{"no create is let in", blobtest.Fault{Kind: blobtest.Create, Before: fs.ErrPermission}, true, ""},
		{"no read is let in", blobtest.Fault{Kind: blobtest.Read, Before: fs.ErrPermission}, true, ""},
		{"no delete is let in", blobtest.Fault{Kind: blobtest.Delete, Before: fs.ErrPermission}, false, "could not be removed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log.Reset()
			faults := blobtest.NewFaults(blobtest.NewMem())
			rule := faults.Add(c.fault)
			err := blobstore.New(faults, opts).Probe(t.Context())
			_, broken := errors.AsType[*blobstore.ProbeError](err)
			require.Equal(t, c.fails, err != nil, "%v", err)
			require.False(t, broken, "%v", err)
			require.Positive(t, rule.Hits())
			require.Contains(t, log.String(), c.logs)
		})
	}
}

// TestProbeServers: a probe finds the servers that get conditions wrong, always
// or only under a race, and is content with those that don't.
func TestProbeServers(t *testing.T) {
	for _, flaw := range []fakes3.Flaw{fakes3.Ignores, fakes3.Races} {
		t.Run(string(flaw), func(t *testing.T) {
			u := fakes3.NewUnsafe(flaw)
			h := httptest.NewServer(u)
			defer h.Close()
			b := (server{url: fakes3.URL(h.Listener.Addr().String(), "bucket"), env: fakeServer(t).env}).open(t, "", blobstore.Options{})
			err := b.Probe(t.Context())
			_, broken := errors.AsType[*blobstore.ProbeError](err)
			require.True(t, broken, "%v", err)
			require.Positive(t, u.Broken())
		})
	}
	t.Run("file", func(t *testing.T) {
		b, err := blobstore.Open(t.Context(), "file://"+t.TempDir(), blobstore.Options{})
		require.NoError(t, err)
		defer b.Close()
		require.NoError(t, b.Probe(t.Context()))
	})
	onServers(t, func(t *testing.T, s server) {
		b := s.open(t, s.addr, blobstore.Options{})
		require.NoError(t, b.Probe(t.Context()))
		for key, err := range b.List(t.Context(), "", "") {
			t.Errorf("left %s, %v", key, err)
		}
	})
}

// TestProbeLine: a probe is sure of a store whose requests take their time, a third of
// which fail.
func TestProbeLine(t *testing.T) {
	s := realServer(t, stores.S3)
	p := s.proxy(t)
	rule := p.Add(tamper.Fault{Do: tamper.Refuse, Status: 500, Chance: 0.3})
	p.SetLine(tamper.Line{Latency: 5 * time.Millisecond, Jitter: 5 * time.Millisecond})
	b := s.open(t, p.Addr(), blobstore.Options{MaxAttempts: 20, BackoffMin: time.Millisecond})
	for range 5 {
		require.NoError(t, b.Probe(t.Context()))
	}
	require.Positive(t, rule.Count().Hits)
}
