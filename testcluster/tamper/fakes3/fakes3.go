// Package fakes3 is an S3 in memory that takes no more than 200 lines: objects
// of one request, conditional creates, ranged reads, listings, deletes. It is
// for tests that need a store behind HTTP where no real one is installed. It
// checks no signatures, and any bucket that is named exists.
package fakes3

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is an [http.Handler] for path-style requests. Use [New].
type Server struct {
	mu      sync.Mutex
	objects map[string]object // by "bucket/key"; contents are never changed in place
}

type object struct {
	body []byte
	at   time.Time
}

// New makes a server without objects.
func New() *Server { return &Server{objects: make(map[string]object)} }

// URL is what blobstore.Open takes for a bucket of a server at HOST:PORT; with it
// go any AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment. See
// [Setenv].
func URL(addr, bucket string) string {
	return fmt.Sprintf("s3://%s?endpoint=http://%s&region=us-east-1&use_path_style=true", bucket, addr)
}

// Setenv gives the clients in this process credentials, until the test ends, and
// keeps them from asking elsewhere.
func Setenv(t testing.TB) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_SESSION_TOKEN": "",
		"AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}

// Object returns a copy of an object, and whether there is one.
func (s *Server) Object(bucket, key string) ([]byte, bool) {
	o, ok := s.get(bucket + "/" + key)
	return bytes.Clone(o.body), ok
}

func (s *Server) get(name string) (object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[name]
	return o, ok
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	_, key, _ := strings.Cut(name, "/")
	switch {
	case key == "" && r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2":
		s.list(w, r, strings.TrimSuffix(name, "/"))
	case key == "":
		fail(w, http.StatusNotImplemented, "NotImplemented")
	case r.Method == http.MethodPut:
		s.put(w, r, name)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		o, ok := s.get(name)
		if !ok {
			fail(w, http.StatusNotFound, "NoSuchKey")
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", o.at, bytes.NewReader(o.body))
	case r.Method == http.MethodDelete:
		s.mu.Lock()
		delete(s.objects, name)
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	default:
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
	}
}

// put stores an object whose bytes have all come.
func (s *Server) put(w http.ResponseWriter, r *http.Request, name string) {
	body, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		fail(w, http.StatusBadRequest, "IncompleteBody")
		return
	case strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked"), r.Header.Get("X-Amz-Copy-Source") != "", r.URL.Query().Has("uploadId"):
		fail(w, http.StatusNotImplemented, "NotImplemented")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[name]; ok && r.Header.Get("If-None-Match") == "*" {
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	s.objects[name] = object{body, time.Now().UTC()}
	w.WriteHeader(http.StatusOK)
}

// listing is the answer of ListObjectsV2.
type listing struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []listed
}

type listed struct {
	Key, LastModified string
	Size              int
}

// keysMax is how many keys one answer has at most.
const keysMax = 1000

func (s *Server) list(w http.ResponseWriter, r *http.Request, bucket string) {
	q := r.URL.Query()
	limit := keysMax
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil && n > 0 {
		limit = min(n, keysMax)
	}
	after := cmp.Or(q.Get("continuation-token"), q.Get("start-after"))
	var l listing
	s.mu.Lock()
	for name, o := range s.objects {
		key, ok := strings.CutPrefix(name, bucket+"/")
		if ok && strings.HasPrefix(key, q.Get("prefix")) && key > after {
			l.Contents = append(l.Contents, listed{key, o.at.Format(time.RFC3339), len(o.body)})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(l.Contents, func(a, b listed) int { return strings.Compare(a.Key, b.Key) })
	if len(l.Contents) > limit {
		l.Contents, l.IsTruncated = l.Contents[:limit], true
		l.NextContinuationToken = l.Contents[limit-1].Key
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(l) // a client that is gone won't miss it
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, http.StatusText(status))
}
