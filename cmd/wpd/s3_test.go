package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// s3 is as much of an S3 as a node needs, for tests in which a process must
// meet a store that hangs, or refuses.
type s3 struct {
	*httptest.Server
	refuse atomic.Bool // everything

	mu      sync.Mutex
	objects map[string][]byte
	prefix  string        // creates below it hang
	held    chan struct{} // until this is closed; nil: none do
	hanging int
}

func newS3(t *testing.T) *s3 {
	s := &s3{objects: make(map[string][]byte)}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.release()
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *s3) url() string {
	return "s3://wpd?region=x&use_path_style=true&endpoint=" + s.URL
}

func (*s3) env() []string {
	return []string{"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=hunter2", "AWS_EC2_METADATA_DISABLED=true"}
}

// hang makes creates below a prefix hang until release is called.
func (s *s3) hang(prefix string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prefix, s.held = prefix, make(chan struct{})
	return s.release
}

func (s *s3) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		close(s.held)
		s.held = nil
	}
}

// waitHanging waits until n creates hang.
func (s *s3) waitHanging(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.hanging >= n
	}, serveWait, time.Millisecond)
}

// ServeHTTP implements http.Handler.
func (s *s3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/wpd"), "/")
	switch {
	case err != nil:
	case s.refuse.Load():
		fail(w, http.StatusForbidden, "AccessDenied")
	case r.Method == http.MethodPut:
		s.put(w, r, key, body)
	case r.Method == http.MethodDelete:
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case key == "":
		s.list(w, r)
	default:
		s.get(w, r, key)
	}
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, code)
}

func (s *s3) put(w http.ResponseWriter, r *http.Request, key string, body []byte) {
	s.mu.Lock()
	if held := s.held; held != nil && strings.HasPrefix(key, s.prefix) {
		s.hanging++
		s.mu.Unlock()
		select {
		case <-held:
		case <-r.Context().Done():
		}
		s.mu.Lock()
		s.hanging--
	}
	defer s.mu.Unlock()
	if _, there := s.objects[key]; there && r.Header.Get("If-None-Match") == "*" {
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	s.objects[key] = unchunk(r, body)
}

// unchunk takes the chunks apart in which a body with a trailing checksum
// comes.
func unchunk(r *http.Request, body []byte) []byte {
	if !strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked") {
		return body
	}
	var out []byte
	for {
		line, rest, _ := strings.Cut(string(body), "\r\n")
		digits, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseInt(digits, 16, 32)
		if err != nil || n == 0 || int(n) > len(rest) {
			return out
		}
		out = append(out, rest[:n]...)
		body = []byte(strings.TrimPrefix(rest[n:], "\r\n"))
	}
}

func (s *s3) get(w http.ResponseWriter, r *http.Request, key string) {
	s.mu.Lock()
	body, there := s.objects[key]
	s.mu.Unlock()
	if !there {
		fail(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	w.Header().Set("ETag", `"x"`)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(body)))
}

func (s *s3) list(w http.ResponseWriter, r *http.Request) {
	type content struct {
		Key          string
		Size         int
		ETag         string
		LastModified time.Time
	}
	result := struct {
		XMLName  xml.Name `xml:"ListBucketResult"`
		Contents []content
	}{}
	q := r.URL.Query()
	s.mu.Lock()
	for key, body := range s.objects {
		if strings.HasPrefix(key, q.Get("prefix")) && key > q.Get("start-after") {
			result.Contents = append(result.Contents, content{key, len(body), `"x"`, time.Unix(1, 0).UTC()})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(result.Contents, func(a, b content) int { return strings.Compare(a.Key, b.Key) })
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(result) // a caller that has left
}
