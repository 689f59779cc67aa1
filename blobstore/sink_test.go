package blobstore_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wpd-io/wpd/blobstore"
)

// sink is a server in this process that speaks as much of a store's language as
// we do, so that a test can look at every request, and answer what it likes.
type sink struct {
	*httptest.Server
	kind string
	// answer, if set, may answer a request instead: it returns true then.
	answer func(w http.ResponseWriter, r *http.Request) bool
	// forget drops what is created.
	forget bool

	mu      sync.Mutex
	objects map[string][]byte
	seen    []string // "METHOD key", of each request
}

var sinkKinds = []string{"s3", "azblob", "gs"}

// newSink starts a server of a kind, and sets the environment for its clients.
func newSink(t testing.TB, kind string) *sink {
	s := &sink{kind: kind, objects: make(map[string][]byte)}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Server.Close)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
		"AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_KEY": "a2V5", "AZURE_STORAGE_SAS_TOKEN": "",
		"STORAGE_EMULATOR_HOST": s.Listener.Addr().String(),
	} {
		t.Setenv(name, value)
	}
	return s
}

// URL is that of the bucket there.
func (s *sink) bucketURL() string {
	switch s.kind {
	case "s3":
		return "s3://bucket?region=here&use_path_style=true&endpoint=" + s.Server.URL
	case "azblob":
		return "azblob://bucket?protocol=http&domain=" + s.Listener.Addr().String()
	}
	return "gs://bucket"
}

func (s *sink) open(t testing.TB, opts blobstore.Options) *blobstore.Bucket {
	t.Helper()
	b, err := blobstore.Open(t.Context(), s.bucketURL(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// requests are those since the last call.
func (s *sink) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

// key finds the object that a request means; "" is the bucket.
func (s *sink) key(r *http.Request) string {
	switch s.kind {
	case "s3":
		return strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/bucket"), "/")
	case "azblob":
		return strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/account/bucket"), "/")
	}
	if r.Method == http.MethodPost {
		return r.URL.Query().Get("name")
	}
	return strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/storage/v1/b/bucket/o"), "/")
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := s.key(r)
	s.mu.Lock()
	s.seen = append(s.seen, r.Method+" "+key)
	body, ok := s.objects[key]
	s.mu.Unlock()
	switch {
	case s.answer != nil && s.answer(w, r):
	case r.Method == http.MethodPut || r.Method == http.MethodPost:
		s.create(w, r, key)
	case key == "":
		s.list(w)
	case !ok:
		s.refuse(w, http.StatusNotFound, map[string]string{"s3": "NoSuchKey", "azblob": "BlobNotFound"}[s.kind])
	case r.Method == http.MethodDelete:
		s.mu.Lock()
		delete(s.objects, key)
		s.mu.Unlock()
		w.WriteHeader(map[string]int{"s3": 204, "azblob": 202, "gs": 204}[s.kind])
	default:
		if v := r.Header.Get("X-Ms-Range"); v != "" {
			r.Header.Set("Range", v)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

// create demands the condition, in the store's own words.
func (s *sink) create(w http.ResponseWriter, r *http.Request, key string) {
	if r.Header.Get("If-None-Match") != "*" && r.URL.Query().Get("ifGenerationMatch") != "0" {
		s.refuse(w, http.StatusBadRequest, "NoCondition")
		return
	}
	if s.forget {
		_, _ = io.Copy(io.Discard, r.Body)
		s.created(w)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	s.mu.Lock()
	_, there := s.objects[key]
	if !there {
		s.objects[key] = body
	}
	s.mu.Unlock()
	switch {
	case !there:
		s.created(w)
	case s.kind == "azblob":
		s.refuse(w, http.StatusConflict, "BlobAlreadyExists")
	default:
		s.refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
	}
}

func (s *sink) created(w http.ResponseWriter) {
	switch s.kind {
	case "azblob":
		w.WriteHeader(http.StatusCreated)
	case "gs":
		_, _ = io.WriteString(w, `{"generation": "1"}`)
	}
}

// refuse answers as the store does.
func (s *sink) refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Ms-Error-Code", code)
	w.WriteHeader(status)
	if s.kind == "gs" {
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "message": code}})
		return
	}
	fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
}

// list tells nothing but keys: not when they were changed, which made gocloud
// panic.
func (s *sink) list(w http.ResponseWriter) {
	s.mu.Lock()
	keys := slices.Sorted(maps.Keys(s.objects))
	s.mu.Unlock()
	var items []map[string]string
	w.Header().Set("Content-Type", "application/xml")
	open, item, end := "<ListBucketResult><IsTruncated>false</IsTruncated>", "<Contents><Key>%s</Key></Contents>", "</ListBucketResult>"
	switch s.kind {
	case "azblob":
		open, item, end = "<EnumerationResults><Blobs>", "<Blob><Name>%s</Name></Blob>", "</Blobs></EnumerationResults>"
	case "gs":
		for _, k := range keys {
			items = append(items, map[string]string{"name": k})
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"items": items})
		return
	}
	_, _ = io.WriteString(w, open)
	for _, k := range keys {
		fmt.Fprintf(w, item, k)
	}
	_, _ = io.WriteString(w, end)
}
