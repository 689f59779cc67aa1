package blobstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/wpd-io/wpd/blobstore"
)

// forSinks runs a test against a sink of each kind.
func forSinks(t *testing.T, test func(t *testing.T, s *sink)) {
	for _, kind := range sinkKinds {
		t.Run(kind, func(t *testing.T) { test(t, newSink(t, kind)) })
	}
}

// TestClientRequests: every call is one request, also a create of a full
// fragment, and a listing needs no more than keys.
func TestClientRequests(t *testing.T) {
	forSinks(t, func(t *testing.T, s *sink) {
		b := s.open(t, blobstore.Options{})
		create := map[string]string{"s3": "PUT", "azblob": "PUT", "gs": "POST"}[s.kind]
		want := func(calls ...string) {
			t.Helper()
			if got := s.requests(); !slices.Equal(got, calls) {
				t.Errorf("requests %q, want %q", got, calls)
			}
		}
		body := bytes.Repeat([]byte("eight by"), 1<<20)
		if err := b.Create(t.Context(), "a/1", body[:100], body[100:5000], body[5000:]); err != nil {
			t.Fatal(err)
		}
		want(create + " a/1")
		if !bytes.Equal(s.objects["a/1"], body) {
			t.Error("other bytes are stored")
		}
		if err := b.Raw().Create(t.Context(), "a/1", nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("second create = %v, want fs.ErrExist", err)
		}
		want(create + " a/1")
		data, n, err := b.ReadRange(t.Context(), "a/1", 5000, 64)
		if err != nil || n != int64(len(body)) || !bytes.Equal(data, body[5000:5064]) {
			t.Errorf("read %d bytes of %d, %v", len(data), n, err)
		}
		want("GET a/1")
		if data, n, err = b.ReadRange(t.Context(), "a/1", 9<<20, 64); err != nil || n != int64(len(body)) || len(data) != 0 {
			t.Errorf("read past the end: %d bytes of %d, %v", len(data), n, err)
		}
		want("GET a/1")
		for key, err := range b.List(t.Context(), "a/", "") {
			if key != "a/1" || err != nil {
				t.Errorf("listed %q, %v", key, err)
			}
		}
		want("GET ")
		if err := b.Delete(t.Context(), "a/1"); err != nil {
			t.Error(err)
		}
		want("DELETE a/1")
		if _, _, err := b.ReadRange(t.Context(), "a/1", 0, 1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read of nothing = %v", err)
		}
		want("GET a/1")
	})
}

// TestClientAnswers: an SDK repeats nothing by itself, and what a store says is
// understood.
func TestClientAnswers(t *testing.T) {
	codes := func(s3, azblob string) map[string]string { return map[string]string{"s3": s3, "azblob": azblob} }
	for _, c := range []struct {
		status int
		codes  map[string]string
		want   error
		after  time.Duration // of a ThrottledError; -1: it is none
	}{
		{503, codes("SlowDown", "ServerBusy"), nil, 7 * time.Second},
		{503, codes("", ""), nil, 7 * time.Second},
		{429, codes("TooManyRequests", ""), nil, 7 * time.Second},
		{500, codes("InternalError", "InternalError"), nil, -1},
		{403, codes("AccessDenied", "AuthorizationFailure"), fs.ErrPermission, -1},
		{401, codes("", ""), fs.ErrPermission, -1},
		{307, codes("TemporaryRedirect", ""), nil, -1},
		{409, codes("ConditionalRequestConflict", "LeaseIdMissing"), nil, -1},
	} {
		t.Run(fmt.Sprint(c.status, c.codes["s3"]), func(t *testing.T) {
			forSinks(t, func(t *testing.T, s *sink) {
				s.answer = func(w http.ResponseWriter, r *http.Request) bool {
					_, _ = io.Copy(io.Discard, r.Body)
					w.Header().Set("Retry-After", "7")
					s.refuse(w, c.status, c.codes[s.kind])
					return true
				}
				raw := s.open(t, blobstore.Options{}).Raw()
				_, _, rerr := raw.ReadRange(t.Context(), "k", 0, 1)
				var lerr error
				for _, err := range raw.List(t.Context(), "", "") {
					lerr = err
				}
				for verb, err := range map[string]error{
					"create": raw.Create(t.Context(), "k", [][]byte{{1}}), "read": rerr, "list": lerr, "delete": raw.Delete(t.Context(), "k"),
				} {
					if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) || c.want != nil && !errors.Is(err, c.want) {
						t.Errorf("%s = %v, want %v", verb, err, c.want)
					}
					e, ok := errors.AsType[*blobstore.ThrottledError](err)
					if ok != (c.after >= 0) || ok && e.After != c.after {
						t.Errorf("%s = %v; throttled: %v, want to be left alone for %v", verb, err, ok, c.after)
					}
				}
				if got := s.requests(); len(got) != 4 {
					t.Errorf("requests %q, want one per call", got)
				}
			})
		})
	}
}

// TestClientReset: a create whose connection breaks is not sent again below us,
// also where it was one that had served before, which net/http takes for idle.
func TestClientReset(t *testing.T) {
	forSinks(t, func(t *testing.T, s *sink) {
		raw := s.open(t, blobstore.Options{}).Raw()
		if err := raw.Create(t.Context(), "before", nil); err != nil {
			t.Fatal(err)
		}
		s.requests()
		s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return true
			}
			_ = conn.Close() // that is the fault
			return true
		}
		err := raw.Create(t.Context(), "k", [][]byte{make([]byte, 1<<20)})
		if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Create = %v, want an error that says nothing", err)
		}
		if got := s.requests(); len(got) != 1 {
			t.Errorf("requests %q, want one", got)
		}
	})
}

// TestClientNotFound: an object is missing only if the store says so of it. A
// missing bucket, or a page that some box on the way has put there, says nothing.
func TestClientNotFound(t *testing.T) {
	for name, codes := range map[string]map[string]string{
		"no bucket": {"s3": "NoSuchBucket", "azblob": "ContainerNotFound", "gs": "The specified bucket does not exist."},
		"no word":   {"s3": "", "azblob": ""},
	} {
		t.Run(name, func(t *testing.T) {
			forSinks(t, func(t *testing.T, s *sink) {
				code, ok := codes[s.kind]
				if !ok {
					t.Skip("GCS has no word for a missing object")
				}
				s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
					s.refuse(w, http.StatusNotFound, code)
					return true
				}
				raw := s.open(t, blobstore.Options{}).Raw()
				if _, _, err := raw.ReadRange(t.Context(), "k", 0, 1); err == nil || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("ReadRange = %v, want an error that is not fs.ErrNotExist", err)
				}
			})
		})
	}
}

// TestClientLetsGo: the store answers before it has read the body, and reads on
// later. What the caller does to its bytes once it has the answer, the store never
// sees, and net/http never reads: mostly only the race detector can tell.
func TestClientLetsGo(t *testing.T) {
	const ours, later = 1, 2
	forSinks(t, func(t *testing.T, s *sink) {
		changed, read := make(chan struct{}), make(chan []byte, 1)
		s.answer = func(w http.ResponseWriter, r *http.Request) bool {
			conn, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return true
			}
			defer conn.Close()
			if r.Header.Get("Expect") != "" {
				_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
			}
			// The body has begun.
			first, err := buf.ReadByte()
			if err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\n\r\nbusy")
			select {
			case <-changed:
			case <-t.Context().Done():
			}
			rest, _ := io.ReadAll(io.LimitReader(buf, r.ContentLength-1)) // until the client has given up
			read <- append(rest, first)
			return true
		}
		raw := s.open(t, blobstore.Options{}).Raw()
		body := bytes.Repeat([]byte{ours}, 15<<20)
		err := raw.Create(t.Context(), "k", [][]byte{body})
		for i := range body {
			body[i] = later
		}
		close(changed)
		if _, ok := errors.AsType[*blobstore.ThrottledError](err); !ok {
			t.Fatalf("Create = %v, want a ThrottledError", err)
		}
		got := <-read
		if len(got) == len(body) {
			t.Error("the whole body was sent before the answer: it is too small to test anything")
		}
		if i := bytes.IndexByte(got, later); i >= 0 {
			t.Errorf("of %d bytes read, that at %d is of another time", len(got), i)
		}
	})
}

// createBytes is what one create of 8 MiB allocates, in bytes, in this process:
// with the server.
func createBytes(t testing.TB, b *blobstore.Bucket, rounds int) uint64 {
	body := make([]byte, 8<<20)
	create := func(i int) {
		if err := b.Create(t.Context(), fmt.Sprint("k", i), body[:100], body[100:]); err != nil {
			t.Fatal(err)
		}
	}
	create(0) // opens the connection
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range rounds {
		create(i + 1)
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / uint64(rounds)
}

// TestClientCopiesNothing: a fragment goes to the store from where it lies.
func TestClientCopiesNothing(t *testing.T) {
	forSinks(t, func(t *testing.T, s *sink) {
		s.forget = true
		n := createBytes(t, s.open(t, blobstore.Options{}), 8)
		t.Logf("%d bytes allocated for a create of 8 MiB", n)
		if n > 1<<20 {
			t.Errorf("%d bytes allocated for a create of 8 MiB, want at most 1 MiB", n)
		}
	})
}

// BenchmarkClientCreate is what a full fragment costs on this side of the wire,
// and what the sink adds.
func BenchmarkClientCreate(b *testing.B) {
	for _, kind := range sinkKinds {
		b.Run(kind, func(b *testing.B) {
			s := newSink(b, kind)
			s.forget = true
			bucket := s.open(b, blobstore.Options{})
			body := make([]byte, 8<<20)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := bucket.Create(b.Context(), "k", body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
