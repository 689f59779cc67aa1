package doctor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/blobstore/doctor"
	"github.com/wpd-io/wpd/testcluster/tamper/fakes3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// short is an examination of few requests.
func short() doctor.Options {
	return doctor.Options{Rounds: 8, Keys: 40, Large: 1, SpeedTime: -1}
}

// crew makes n members that race on a bucket, in this process, by way of pipes.
func crew(t *testing.T, b *blobstore.Bucket, n int) (members []*doctor.Crew) {
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	for range n {
		in, tell := io.Pipe()
		hear, out := io.Pipe()
		wg.Go(func() {
			if err := doctor.Serve(t.Context(), b, in, out); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(func() { _ = tell.Close() })
		members = append(members, doctor.NewCrew(tell, hear))
	}
	return members
}

// requireVerdicts checks that all promises are kept, but for some.
func requireVerdicts(t *testing.T, r *doctor.Report, but map[string]doctor.Verdict) {
	t.Helper()
	got := map[string]doctor.Verdict{}
	for _, f := range r.Findings {
		require.NotEmpty(t, f.Seen, f.Promise)
		if f.Verdict != doctor.Kept {
			got[f.Promise] = f.Verdict
			t.Logf("%s: %s: %s", f.Promise, f.Verdict, f.Seen)
		}
	}
	require.Len(t, r.Findings, 11)
	require.Equal(t, but, got)
	require.Equal(t, r.Verdict(), r.Result)
}

var none = map[string]doctor.Verdict{}

// TestGood: a store that keeps its promises is found to, by one process and by
// several, and nothing is left.
func TestGood(t *testing.T) {
	for name, url := range map[string]string{"mem": "mem://", "file": "file://" + t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			b, err := blobstore.Open(t.Context(), url, blobstore.Options{})
			require.NoError(t, err)
			defer b.Close()
			o := short()
			o.SpeedTime = time.Millisecond
			if name == "mem" {
				o = doctor.SmallLarge(o)
			}
			o.Crew = crew(t, b, 2)
			said := map[string]bool{}
			o.Progress = func(what string, _, _ int) { said[what] = true }
			r, err := doctor.Examine(t.Context(), b, o)
			require.NoError(t, err)
			requireVerdicts(t, r, none)
			require.Equal(t, doctor.Kept, r.Result)
			require.Contains(t, r.Findings[0].Seen, "8 races of 6 creates from 3 processes")
			require.NotEmpty(t, r.Conflict)
			require.Nil(t, r.Clock, "a store that does not tell the time")
			require.Greater(t, len(said), 10)
			require.Empty(t, r.Left)
			for key, err := range b.List(t.Context(), "", "") {
				t.Errorf("left %s, %v", key, err)
			}
			require.Len(t, r.Speeds, 8)
			for _, s := range r.Speeds {
				sum := 0
				for _, x := range s.Histogram {
					sum += x.Count
				}
				require.Equal(t, s.Requests, sum)
				require.GreaterOrEqual(t, s.Requests, 2*s.Concurrency)
				require.Positive(t, s.MBPerS)
				require.LessOrEqual(t, s.P50, s.P90)
				require.LessOrEqual(t, s.P99, s.Max)
				require.GreaterOrEqual(t, float64(s.Histogram[len(s.Histogram)-1].UpTo.Microseconds()), s.Max-1)
			}
		})
	}
}

// TestUnsafeServers: the servers that get conditions wrong are found out, by
// nothing else than that.
func TestUnsafeServers(t *testing.T) {
	fakes3.Setenv(t)
	for flaw, want := range map[fakes3.Flaw]map[string]doctor.Verdict{
		fakes3.Ignores: {"one-winner": doctor.Broken, "one-winner-8mib": doctor.Broken, "refuses": doctor.Broken, "keeps": doctor.Broken},
		fakes3.Races:   {"one-winner": doctor.Broken, "one-winner-8mib": doctor.Broken},
	} {
		t.Run(string(flaw), func(t *testing.T) {
			u := fakes3.NewUnsafe(flaw)
			u.Window = 10 * time.Millisecond // of which each create that comes alone takes one
			h := httptest.NewServer(u)
			defer h.Close()
			b, err := blobstore.Open(t.Context(), fakes3.URL(h.Listener.Addr().String(), "bucket"), blobstore.Options{})
			require.NoError(t, err)
			defer b.Close()
			o := doctor.SmallLarge(short())
			o.Large = 4
			r, err := doctor.Examine(t.Context(), b, o)
			require.NoError(t, err)
			requireVerdicts(t, r, want)
			require.Equal(t, doctor.Broken, r.Result)
			require.Contains(t, r.Findings[0].Seen, "creates of one key succeeded")
			require.Positive(t, u.Broken())
			require.NotNil(t, r.Clock)
			require.Empty(t, r.Speeds)
		})
	}
}

// flawed is a store in memory with one promise broken.
type flawed struct {
	*blobtest.Mem
	how string
	// looked has a read that began since it was emptied.
	looked chan struct{}
}

func newFlawed(how string) *flawed {
	return &flawed{Mem: blobtest.NewMem(), how: how, looked: make(chan struct{}, 1)}
}

func (f *flawed) is(how, key, part string) bool { return f.how == how && strings.Contains(key, part) }

func (f *flawed) Create(ctx context.Context, key string, parts [][]byte) error {
	body := slices.Concat(parts...)
	_, there := f.Object(key)
	switch {
	case f.is("replaces what it refuses", key, "/refused/") && there:
		f.Put(key, body)
		return fs.ErrExist
	case f.is("shows parts", key, "/whole/"):
		for n := range 8 {
			f.Put(key, body[:len(body)*n/8])
			select {
			case <-f.looked: // at what was there before
			default:
			}
			select {
			case <-f.looked:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		f.Put(key, body)
		return nil
	case f.is("lets all win", key, "/race/"):
		f.Put(key, body)
		return nil
	case f.is("refuses and keeps nothing", key, "/race/"):
		return fs.ErrExist
	}
	return f.Mem.Create(ctx, key, parts)
}

func (f *flawed) ReadRange(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	select {
	case f.looked <- struct{}{}:
	default:
	}
	data, size, err := f.Mem.ReadRange(ctx, key, offset, length)
	switch {
	case f.is("remembers that there was nothing", key, "/read/") && err == nil:
		return nil, 0, fs.ErrNotExist
	case f.is("reads other ranges", key, "/ranges") && offset > 0 && len(data) > 0:
		data = bytes.Repeat([]byte{1}, len(data))
	}
	return data, size, err
}

func (f *flawed) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		var keys []string
		for key, err := range f.Mem.List(ctx, prefix, after) {
			if err != nil {
				yield("", err)
				return
			}
			keys = append(keys, key)
		}
		switch {
		case f.is("lists late", prefix, "/listed/"):
			keys = keys[:max(len(keys)-1, 0)]
		case f.is("lists by case", prefix, "/list/"):
			slices.SortFunc(keys, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
		case f.is("cuts listings", prefix, "/list/"):
			keys = keys[:min(len(keys), 10)]
		}
		for _, key := range keys {
			if !yield(key, nil) {
				return
			}
		}
	}
}

func (f *flawed) Delete(ctx context.Context, key string) error {
	switch {
	case f.is("deletes nothing", key, "/deleted/"):
		return nil
	case strings.HasPrefix(f.how, "lets others win later"):
		for _, k := range f.Keys("") {
			if strings.Contains(k, "/race/") {
				f.Put(k, []byte("process7.7\n"))
			}
		}
	}
	return f.Mem.Delete(ctx, key)
}

// TestFlaws: each promise that is broken is found, and no other is blamed.
func TestFlaws(t *testing.T) {
	for how, promise := range map[string]string{
		"refuses and keeps nothing":        "one-winner",
		"replaces what it refuses":         "keeps",
		"shows parts":                      "whole",
		"remembers that there was nothing": "read-after-create",
		"reads other ranges":               "ranges",
		"lists late":                       "list-after-create",
		"lists by case":                    "list-order",
		"cuts listings":                    "list-order",
		"deletes nothing":                  "delete",
		"lets others win later":            "stays",
	} {
		t.Run(how, func(t *testing.T) {
			r, err := doctor.Examine(t.Context(), blobstore.New(newFlawed(how), blobstore.Options{}), doctor.SmallLarge(short()))
			require.NoError(t, err)
			requireVerdicts(t, r, map[string]doctor.Verdict{promise: doctor.Broken})
			require.Equal(t, doctor.Broken, r.Result)
		})
	}
}

// TestUnclear: requests that fail, processes that die and a time that is over are
// no broken promises, and no kept ones either.
func TestUnclear(t *testing.T) {
	faulty := func(faults ...blobtest.Fault) (*blobtest.Faults, *blobstore.Bucket) {
		f := blobtest.NewFaults(blobtest.NewMem())
		for _, x := range faults {
			f.Add(x)
		}
		return f, blobstore.New(f, blobstore.Options{BackoffMin: time.Millisecond, MaxAttempts: 2})
	}
	o := doctor.SmallLarge(short())
	t.Run("no create of a race is answered", func(t *testing.T) {
		_, b := faulty(blobtest.Fault{
			Kind: blobtest.Create, Before: blobtest.ErrFault,
			Match: func(op blobtest.Op) bool { return strings.Contains(op.Key, "/race/") },
		})
		r, err := doctor.Examine(t.Context(), b, o)
		require.NoError(t, err)
		requireVerdicts(t, r, map[string]doctor.Verdict{"one-winner": doctor.Unclear})
		require.Contains(t, r.Findings[0].Seen, "only 0 of 8 races were decided: 32 creates were not answered")
	})
	t.Run("replies are lost", func(t *testing.T) {
		f, b := faulty(blobtest.Fault{Kind: blobtest.Create, After: blobtest.ErrFault, Match: func(op blobtest.Op) bool {
			return op.N%4 == 0 || strings.HasSuffix(op.Key, "/race/000003") // whoever wins that
		}})
		r, err := doctor.Examine(t.Context(), b, o)
		require.NoError(t, err)
		requireVerdicts(t, r, none)
		require.Greater(t, f.Count(blobtest.Create), 100)
		require.Contains(t, r.Findings[0].Seen, "not answered")
	})
	t.Run("nobody may delete", func(t *testing.T) {
		_, b := faulty(blobtest.Fault{Kind: blobtest.Delete, Before: fs.ErrPermission})
		r, err := doctor.Examine(t.Context(), b, o)
		require.NoError(t, err)
		requireVerdicts(t, r, map[string]doctor.Verdict{"delete": doctor.Unclear})
		require.Contains(t, r.Left, "scratch/doctor-")
	})
	t.Run("a process of the race dies", func(t *testing.T) {
		_, b := faulty()
		o := o
		o.Crew = []*doctor.Crew{doctor.NewCrew(io.Discard, strings.NewReader(""))}
		r, err := doctor.Examine(t.Context(), b, o)
		require.NoError(t, err)
		requireVerdicts(t, r, map[string]doctor.Verdict{"one-winner": doctor.Unclear, "one-winner-8mib": doctor.Unclear})
		require.Contains(t, r.Findings[0].Seen, "has ended")
	})
	t.Run("a process of the race says too little", func(t *testing.T) {
		_, b := faulty()
		o := o
		o.Crew = []*doctor.Crew{doctor.NewCrew(io.Discard, strings.NewReader("[[]]\nnonsense\n"))}
		r, err := doctor.Examine(t.Context(), b, o)
		require.NoError(t, err)
		requireVerdicts(t, r, map[string]doctor.Verdict{"one-winner": doctor.Unclear, "one-winner-8mib": doctor.Unclear})
		require.Contains(t, r.Findings[0].Seen, "of 1 races, not of 4")
		require.Contains(t, r.Findings[1].Seen, `"nonsense`)
		require.NotContains(t, r.Findings[0].Seen+r.Findings[1].Seen, "%!")
	})
	t.Run("the time is over", func(t *testing.T) {
		f, b := faulty()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		o := o
		o.Progress = func(what string, _, _ int) {
			if strings.Contains(what, "deleted") {
				cancel()
			}
		}
		r, err := doctor.Examine(ctx, b, o)
		require.NoError(t, err)
		requireVerdicts(t, r, map[string]doctor.Verdict{"delete": doctor.Unclear, "stays": doctor.Unclear})
		require.Empty(t, r.Left, "it cleans up all the same")
		require.Empty(t, f.Below().(*blobtest.Mem).Keys(""))
	})
	t.Run("nobody may create", func(t *testing.T) {
		f, b := faulty(blobtest.Fault{Kind: blobtest.Create, Before: fs.ErrPermission})
		r, err := doctor.Examine(t.Context(), b, o)
		require.Nil(t, r)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.Equal(t, 4, f.Count(blobtest.Create))
	})
}

// TestRefusesAndHangsUp: a store may refuse a large create before it has read the
// bytes, and what it says is lost with the connection. That is no reason to doubt
// it, if the object is as it was; to refuse a small one so is.
func TestRefusesAndHangsUp(t *testing.T) {
	reset := &net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.ECONNRESET)}
	for what, c := range map[string]struct {
		fault  blobtest.Fault
		suffix string
		want   map[string]doctor.Verdict
	}{
		"large":           {blobtest.Fault{Before: reset}, "/refused/4096", none},
		"large, not said": {blobtest.Fault{Before: blobtest.ErrFault}, "/refused/4096", map[string]doctor.Verdict{"refuses": doctor.Unclear}},
		"small":           {blobtest.Fault{Before: reset}, "/refused/1344", map[string]doctor.Verdict{"refuses": doctor.Unclear, "keeps": doctor.Unclear}},
	} {
		t.Run(what, func(t *testing.T) {
			f := blobtest.NewFaults(blobtest.NewMem())
			fault := c.fault
			fault.Kind, fault.Skip = blobtest.Create, 1
			fault.Match = func(op blobtest.Op) bool { return strings.HasSuffix(op.Key, c.suffix) }
			rule := f.Add(fault)
			r, err := doctor.Examine(t.Context(), blobstore.New(f, blobstore.Options{}), doctor.SmallLarge(short()))
			require.NoError(t, err)
			requireVerdicts(t, r, c.want)
			require.Equal(t, 4, rule.Hits())
			if c.want["refuses"] == "" {
				require.Contains(t, r.Findings[2].Seen, "hung up in 4 attempts, after which the object was as before")
			}
		})
	}
}

// TestBrokenBeforeUnclear: that a promise was seen to be broken is no less so if
// the test of it could not be brought to its end.
func TestBrokenBeforeUnclear(t *testing.T) {
	o := doctor.SmallLarge(short())
	t.Run("one-winner", func(t *testing.T) {
		o := o
		// A process that takes part in the first heat, and dies then.
		o.Crew = []*doctor.Crew{doctor.NewCrew(io.Discard, strings.NewReader("[[],[],[],[]]\n"))}
		r, err := doctor.Examine(t.Context(), blobstore.New(newFlawed("lets all win"), blobstore.Options{}), o)
		require.NoError(t, err)
		requireVerdicts(t, r, map[string]doctor.Verdict{"one-winner": doctor.Broken, "one-winner-8mib": doctor.Unclear})
		require.Contains(t, r.Findings[0].Seen, "wrong in 4 of 4 races")
		require.Contains(t, r.Findings[1].Seen, "has ended")
	})
	t.Run("stays", func(t *testing.T) {
		// Those that were replaced can't be read any more, but for one, which is
		// read when all others have failed.
		f := blobtest.NewFaults(newFlawed("lets others win later"))
		b := blobstore.New(f, blobstore.Options{BackoffMin: time.Millisecond, MaxAttempts: 2})
		ctx, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		var fails *blobtest.Rule
		o := o
		o.Progress = func(what string, _, _ int) {
			if what != "what was created is the same at the end" {
				return
			}
			last := func(op blobtest.Op) bool { return strings.HasSuffix(op.Key, "/race/000007") }
			waits := f.Add(blobtest.Fault{Kind: blobtest.Read, Match: last, Hang: true})
			fails = f.Add(blobtest.Fault{Kind: blobtest.Read, Before: blobtest.ErrFault})
			waiting.Go(func() {
				_ = fails.Wait(ctx, 2*(o.Rounds+o.Large-1)) // ctx is over if not so many are tried
				waits.Release()
			})
		}
		r, err := doctor.Examine(t.Context(), b, o)
		cancel()
		waiting.Wait()
		require.NoError(t, err)
		requireVerdicts(t, r, map[string]doctor.Verdict{"stays": doctor.Broken})
		require.Equal(t, 2*(o.Rounds+o.Large-1), fails.Hits())
	})
}

// TestServe: a process of a crew ends with its input, and refuses what is no race.
func TestServe(t *testing.T) {
	b := blobstore.New(blobtest.NewMem(), blobstore.Options{})
	var out bytes.Buffer
	require.NoError(t, doctor.Serve(t.Context(), b, strings.NewReader(""), &out))
	require.Error(t, doctor.Serve(t.Context(), b, strings.NewReader("nonsense"), &out))
	require.Empty(t, out.String())
	h := `{"name":"x","keys":["a","b"],"each":2,"bytes":64,"timeout_ns":1000000000}`
	require.NoError(t, doctor.Serve(t.Context(), b, strings.NewReader(h), &out))
	require.Equal(t, 2, strings.Count(out.String(), `"outcome":"won"`), out.String())
	require.Equal(t, 2, strings.Count(out.String(), `"outcome":"lost"`), out.String())
	require.Error(t, doctor.Serve(t.Context(), b, strings.NewReader(h), failing{}))
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("nobody reads") }

func ExampleExamine() {
	ctx := context.Background()
	bucket, err := blobstore.Open(ctx, "mem://", blobstore.Options{})
	if err != nil {
		panic(err)
	}
	defer bucket.Close() //nolint:errcheck // of an example
	report, err := doctor.Examine(ctx, bucket, doctor.Options{Rounds: 20, Keys: 100, SpeedTime: -1})
	if err != nil {
		panic(err)
	}
	fmt.Println(report.Verdict(), report.Findings[0].Seen) // kept 20 races of 4 creates from one process
}
