package node_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// The tests of this file go through the public API of package wpd, call by
// call and option by option, with each backend. (Positions and ends of reads
// are in positions_test.go, and what a service with faults makes of a writer is
// in the tests of package wpd.)

func TestLogs(t *testing.T) {
	inScenes(t, func(s *scene) {
		ctx, c := s.Context(), s.p.Client()
		var made []string
		for i := range 25 {
			name := fmt.Sprintf("orders/%02d", i)
			log, err := c.Create(ctx, name, wpd.LogConfig{EntryBytesMax: uint32(1000 + i)})
			require.NoError(s, err)
			require.Equal(s, name, log.Name())
			made = append(made, name)
		}
		list := func(prefix string) (names []string) {
			for info, err := range c.Logs(ctx, prefix) {
				require.NoError(s, err)
				names = append(names, info.Name)
			}
			return names
		}
		require.Equal(s, made, list("orders/"))
		require.Equal(s, made[10:20], list("orders/1"))
		require.Empty(s, list("x"))
		require.Equal(s, append([]string{"log"}, made...), list(""))

		log, err := c.Log(ctx, made[3])
		require.NoError(s, err)
		info, err := log.Info(ctx)
		require.NoError(s, err)
		require.Equal(s, made[3], info.Name)
		require.Equal(s, log.ID(), info.ID)
		require.EqualValues(s, 1003, info.Config.EntryBytesMax)
		require.EqualValues(s, 1, info.First)
		require.EqualValues(s, 1, info.Tail)
		require.Zero(s, info.Bytes)
		require.WithinDuration(s, time.Now(), info.Created, time.Second)
		tail, err := log.Tail(ctx, wpd.Linearizable(), wpd.MaxLag(time.Hour))
		require.NoError(s, err)
		require.EqualValues(s, 1, tail)

		require.NoError(s, log.Configure(ctx, func(c *wpd.LogConfig) { c.EntryBytesMax = 10 }))
		w := writer(s, log)
		_, err = w.Append(ctx, make([]byte, 11))
		requireAs[*wpd.LimitError](s, err)
		lsn, err := w.Append(ctx, make([]byte, 10))
		require.NoError(s, err)
		require.EqualValues(s, 1, lsn)
		require.NoError(s, w.Close())
		tail, err = log.Tail(ctx, wpd.AtLeast(lsn))
		require.NoError(s, err)
		require.EqualValues(s, 2, tail)
		require.NoError(s, log.Trim(ctx, 2))
		info, err = log.Info(ctx)
		require.NoError(s, err)
		require.EqualValues(s, 2, info.First)
		require.EqualValues(s, 2, info.ConfigVersion)
		require.Positive(s, info.Bytes)
		require.Len(s, info.Extents, 1)

		require.NoError(s, c.Delete(ctx, made[3]))
		require.NotContains(s, list("orders/"), made[3])
	})
}

func writer(s *scene, log *wpd.Log, opts ...wpd.WriterOption) *wpd.Writer {
	s.Helper()
	w, err := log.Writer(s.Context(), opts...)
	require.NoError(s, err)
	return w
}

// TestWriters appends in every way there is.
func TestWriters(t *testing.T) {
	for _, codec := range []wpd.Codec{wpd.CodecNone, wpd.CodecS2, wpd.CodecZstd} {
		t.Run(codec.String(), func(t *testing.T) {
			inScenes(t, func(s *scene) {
				ctx, log := s.Context(), create(s, s.p, "log")
				w := writer(s, log, wpd.ProducerID("p"), wpd.Compress(codec), wpd.Linger(time.Millisecond), wpd.InFlight(64<<10))
				require.Zero(s, w.Stored())
				lsn, err := w.Append(ctx, []byte("one"))
				require.NoError(s, err)
				require.EqualValues(s, 1, lsn)
				headers := []wpd.Header{{Key: "k", Value: []byte("v")}, {Key: "k"}, {Key: "", Value: []byte{0}}}
				long := strings.Repeat("long ", 2000)
				ack, err := w.AppendBatch(ctx, []wpd.Entry{{Headers: headers, Data: []byte(long)}, {}}, wpd.IfTail(2))
				require.NoError(s, err)
				require.Equal(s, [2]wpd.LSN{2, 4}, [2]wpd.LSN{ack.From, ack.To})
				_, err = w.Append(ctx, []byte("no"), wpd.IfTail(2))
				refused, ok := errors.AsType[*wpd.TailError](err)
				require.True(s, ok, err)
				require.Equal(s, wpd.TailError{Want: 2, Tail: 4}, *refused)
				var pending []*wpd.Pending
				for i := range 100 {
					pending = append(pending, w.AppendAsync(ctx, wpd.Entry{Data: []byte(fmt.Sprint(i, long))}))
				}
				require.NoError(s, w.Flush(ctx))
				for i, p := range pending {
					<-p.Done()
					lsn, err := p.Wait(ctx)
					require.NoError(s, err)
					require.EqualValues(s, 4+i, lsn)
				}
				require.NoError(s, w.Close())

				again := writer(s, log, wpd.ProducerID("p"))
				require.EqualValues(s, 103, again.Stored())
				info, err := log.Producer(ctx, "p")
				require.NoError(s, err)
				require.EqualValues(s, 103, info.Last)
				require.EqualValues(s, 103, info.LastLSN)
				require.WithinDuration(s, time.Now(), info.Time, time.Second)
				var names []string
				for info, err := range log.Producers(ctx) {
					require.NoError(s, err)
					names = append(names, info.Name)
				}
				require.Equal(s, []string{"p"}, names)

				got, err := entriesOf(ctx, log, wpd.Earliest)
				require.NoError(s, err)
				require.Len(s, got, 103)
				require.Equal(s, long, string(got[1].Data))
				require.Equal(s, "k", got[1].Headers[0].Key)
				require.Equal(s, "v", string(got[1].Headers[0].Value))
				require.Equal(s, "k", got[1].Headers[1].Key)
				require.Empty(s, got[1].Headers[1].Value)
				require.Len(s, got[1].Headers, 3)
				require.Equal(s, ack.Time, got[1].Time)
				require.Empty(s, got[2].Data)
				for i, e := range got[3:] {
					require.Equal(s, fmt.Sprint(i, long), string(e.Data))
				}
				require.NoError(s, again.Close())
			})
		})
	}
}

func entriesOf(ctx context.Context, log *wpd.Log, p wpd.Position, opts ...wpd.ReadOption) (all []wpd.Entry, err error) {
	for e, err := range log.Read(ctx, p, opts...) {
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
	return all, nil
}

// TestLargest: the largest entry, and the largest batch, go through whole; what
// is larger is refused, and says by how much.
func TestLargest(t *testing.T) {
	inScenes(t, func(s *scene) {
		ctx := s.Context()
		log, err := s.p.Client().Create(ctx, "large", wpd.LogConfig{EntryBytesMax: 8 << 20})
		require.NoError(s, err)
		w := writer(s, log)
		data := make([]byte, 8<<20)
		for i := range data {
			data[i] = byte(i * i >> 8)
		}
		lsn, err := w.Append(ctx, data)
		require.NoError(s, err)
		require.EqualValues(s, 1, lsn)
		_, err = w.Append(ctx, append(data, 0))
		limit, ok := errors.AsType[*wpd.LimitError](err)
		require.True(s, ok, err)
		require.EqualValues(s, 8<<20, limit.Limit)
		require.EqualValues(s, 8<<20+1, limit.Value)
		many := make([]wpd.Entry, 1000)
		for i := range many {
			many[i].Data = data[:8000]
		}
		ack, err := w.AppendBatch(ctx, many)
		require.NoError(s, err)
		require.Equal(s, [2]wpd.LSN{2, 1002}, [2]wpd.LSN{ack.From, ack.To})
		_, err = w.AppendBatch(ctx, append(many, wpd.Entry{}))
		requireAs[*wpd.LimitError](s, err)
		_, err = w.AppendBatch(ctx, nil)
		require.ErrorIs(s, err, wpd.ErrInvalid)
		require.NoError(s, w.Close())
		got, err := entriesOf(ctx, log, wpd.Earliest)
		require.NoError(s, err)
		require.Len(s, got, 1001)
		require.True(s, slices.Equal(data, got[0].Data))
	})
}

// TestReaders: what a Reader tells beside entries.
func TestReaders(t *testing.T) {
	inScenes(t, func(s *scene) {
		ctx, log := s.Context(), create(s, s.p, "log")
		w := writer(s, log)
		for i := range 10 {
			_, err := w.AppendBatch(ctx, []wpd.Entry{{Data: fmt.Append(nil, 3*i)}, {Data: fmt.Append(nil, 3*i+1)}, {Data: fmt.Append(nil, 3*i+2)}})
			require.NoError(s, err)
		}
		r, err := log.Reader(ctx, wpd.From(2), wpd.Limit(12), wpd.Linearizable(), wpd.AtLeast(30), wpd.MaxLag(time.Minute))
		require.NoError(s, err)
		require.EqualValues(s, 2, r.Position())
		batch, err := r.NextBatch(ctx)
		require.NoError(s, err)
		require.Len(s, batch, 2, "a batch from its middle")
		e, err := r.Next(ctx)
		require.NoError(s, err)
		require.Equal(s, "3", string(e.Data))
		require.EqualValues(s, 4, e.LSN)
		tail, age := r.Tail()
		require.EqualValues(s, 31, tail)
		require.Less(s, age, time.Minute)
		n := 3
		for {
			if _, err = r.Next(ctx); err != nil {
				break
			}
			n++
		}
		require.ErrorIs(s, err, io.EOF)
		require.Equal(s, 12, n)
		require.EqualValues(s, 14, r.Position())
		require.NoError(s, r.Close())
		_, err = r.Next(ctx)
		require.ErrorIs(s, err, wpd.ErrClosed)

		// A follower waits, ends with its ctx, goes on, and is woken.
		f, err := log.Reader(ctx, wpd.Tail, wpd.Follow())
		require.NoError(s, err)
		for range 3 {
			short, cancel := context.WithTimeout(ctx, time.Second)
			_, err = f.Next(short)
			cancel()
			require.ErrorIs(s, err, context.DeadlineExceeded)
		}
		got := make(chan wpd.Entry, 1)
		go func() {
			if e, err := f.Next(context.Background()); err == nil {
				got <- e
			}
			close(got)
		}()
		synctest.Wait()
		before := time.Now()
		_, err = w.Append(ctx, []byte("new"))
		require.NoError(s, err)
		require.Equal(s, "new", string((<-got).Data))
		require.Less(s, time.Since(before), 10*time.Millisecond)
		require.NoError(s, f.Close())
		require.NoError(s, w.Close())
	})
}

// TestErrors meets every error that package wpd exports, with each backend.
func TestErrors(t *testing.T) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "../errors.go", nil, 0)
	require.NoError(t, err)
	var exported []string
	ast.Inspect(file, func(n ast.Node) bool {
		var names []*ast.Ident
		switch d := n.(type) {
		case *ast.FuncDecl:
			return false
		case *ast.ValueSpec:
			names = d.Names
		case *ast.TypeSpec:
			names = []*ast.Ident{d.Name}
		}
		for _, name := range names {
			if name.IsExported() {
				exported = append(exported, name.Name)
			}
		}
		return true
	})
	require.Greater(t, len(exported), 15)
	inScenes(t, func(s *scene) {
		met := metErrors(s)
		for _, name := range exported {
			// TestAnotherCluster and package rpc/server have these: no call of a
			// program meets them in its own process.
			if name != "WrongClusterError" && name != "BusyError" {
				require.True(s, met[name], "%s was not met", name)
			}
		}
	})
}

func metErrors(s *scene) map[string]bool {
	ctx, c := s.Context(), s.p.Client()
	met := make(map[string]bool)
	is := func(name string, err, target error) {
		s.Helper()
		require.ErrorIs(s, err, target)
		met[name] = true
	}
	_, err := c.Log(ctx, "none")
	is("ErrNotFound", err, wpd.ErrNotFound)
	is("ErrNotFound", err, fs.ErrNotExist)
	log := create(s, s.p, "log")
	_, err = log.Producer(ctx, "none")
	is("ErrNotFound", err, wpd.ErrNotFound)
	_, err = c.Create(ctx, "log", wpd.LogConfig{})
	is("ErrExists", err, wpd.ErrExists)
	is("ErrExists", err, fs.ErrExist)
	for _, name := range []string{"", "/", "a b", strings.Repeat("a", 256)} {
		_, err = c.Create(ctx, name, wpd.LogConfig{})
		is("ErrInvalid", err, wpd.ErrInvalid)
	}
	_, err = c.Create(ctx, "a", wpd.LogConfig{EntryBytesMax: 9 << 20})
	asType[*wpd.LimitError](s, err)
	_, err = log.Writer(ctx, wpd.ProducerID(strings.Repeat("a", 256)))
	met["LimitError"] = asType[*wpd.LimitError](s, err).Limit == 255

	o := s.producer(api.OpenRequest{Name: "p"})
	for i := range uint64(70) {
		s.send(text(o, i+1, "x")).at(fragment.LSN(i + 1))
	}
	later := s.producer(api.OpenRequest{Name: "q"})
	b := fragment.BatchBuilder{}
	require.NoError(s, b.Add(nil, []byte("x")))
	s.send(b.Finish(fragment.BatchMeta{Producer: later.ID, ProducerEpoch: later.Epoch, FirstSeq: 1, LowestSeq: 1})).at(71)
	stored := s.send(text(o, 1, "x")).wait() // of 70, the last 64 are remembered
	is("ErrStored", stored.err, wpd.ErrStored)
	met["SequenceError"] = fails[*wpd.SequenceError](s.send(text(o, 99, "x"))).Last == 70
	_, err = s.service().OpenProducer(ctx, api.OpenRequest{Log: s.log, ID: 1 << 60})
	is("ErrUnknownProducer", err, wpd.ErrUnknownProducer)
	_, err = s.service().Configure(ctx, s.log, 99, api.LogConfig{})
	met["StaleError"] = asType[*wpd.StaleError](s, err).Have == 99

	w := writer(s, log)
	_, err = w.Append(ctx, nil, wpd.IfTail(5))
	met["TailError"] = asType[*wpd.TailError](s, err).Tail == 72
	exclusive := writer(s, log, wpd.Exclusive())
	_, err = w.Append(ctx, nil)
	met["FencedError"] = asType[*wpd.FencedError](s, err).Want == 1
	_, err = log.Writer(ctx)
	asType[*wpd.FencedError](s, err)
	require.NoError(s, w.Close())
	_, err = w.Append(ctx, nil)
	asType[*wpd.FencedError](s, err)
	require.NoError(s, log.Trim(ctx, 3))
	_, err = log.Reader(ctx, wpd.From(2))
	met["TrimmedError"] = asType[*wpd.TrimmedError](s, err).First == 3
	_, err = log.Reader(ctx, wpd.From(73))
	met["BeyondTailError"] = asType[*wpd.BeyondTailError](s, err).Tail == 72
	asType[*wpd.BeyondTailError](s, log.Trim(ctx, 73))

	// A create that does not come back, and a caller that can't wait.
	e, n := s.chain()
	held := s.hold(e, n)
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = exclusive.Append(short, []byte("y"))
	is("ErrUncertain", err, wpd.ErrUncertain)
	is("ErrUncertain", err, context.DeadlineExceeded)
	held.Release()
	require.NoError(s, exclusive.Flush(ctx))
	require.NoError(s, exclusive.Close())
	_, err = exclusive.Append(ctx, nil)
	is("ErrClosed", err, wpd.ErrClosed)

	other := create(s, s.p, "other")
	require.NoError(s, c.Delete(ctx, "other"))
	_, err = other.Info(ctx)
	is("ErrDeleted", err, wpd.ErrDeleted)
	is("ErrDeleted", err, wpd.ErrNotFound)

	// A store that does not answer, and one that has lost something.
	s.reopen()
	log = create(s, s.p, "log")
	silent := s.p.Faults.Add(blobtest.Fault{Kind: blobtest.Read, Prefix: "chains/", Before: blobtest.ErrFault})
	_, err = entriesOf(ctx, log, wpd.Earliest)
	is("ErrUnavailable", err, wpd.ErrUnavailable)
	silent.Remove()
	crash(s, s.w, s.p)
	require.True(s, s.mem.Lose(fragment.ChainKey(e, n-5)))
	s.open()
	log = create(s, s.p, "log")
	_, err = entriesOf(ctx, log, wpd.Earliest)
	lost := asType[*wpd.DataLossError](s, err)
	require.Less(s, lost.From, lost.To)
	require.Equal(s, log.ID(), lost.Log)
	require.NotEmpty(s, lost.Object)
	met["DataLossError"] = true

	c = s.p.Client()
	require.NoError(s, c.Close())
	for _, call := range []func() error{
		func() error { _, err := c.Create(ctx, "x", wpd.LogConfig{}); return err },
		func() error { _, err := c.Log(ctx, "log"); return err },
		func() error { _, err := log.Info(ctx); return err },
		func() error { _, err := log.Tail(ctx); return err },
		func() error { _, err := log.Writer(ctx); return err },
		func() error { _, err := log.Reader(ctx, wpd.Earliest); return err },
		func() error { _, err := log.Producer(ctx, "p"); return err },
		func() error { return log.Trim(ctx, 1) },
		func() error { return c.Delete(ctx, "log") },
	} {
		is("ErrClosed", call(), wpd.ErrClosed)
	}
	return met
}

func asType[E error](t testing.TB, err error) E {
	t.Helper()
	e, ok := errors.AsType[E](err)
	require.True(t, ok, "%v is no %T", err, e)
	return e
}
