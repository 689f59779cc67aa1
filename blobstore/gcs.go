package blobstore

import (
	"context"
	"io"
	"iter"
	"net/http"
	"net/url"

	"google.golang.org/api/googleapi"
	gcs "google.golang.org/api/storage/v1"
)

// gcsStore is a bucket of Google Cloud Storage, over its JSON API.
type gcsStore struct {
	*transport
	http    *http.Client // with credentials
	service *gcs.Service
	bucket  string
}

// Create is one simple upload, under the condition that there is no generation
// of the object. The SDKs' uploads pass the body through a pipe, and buffers, to
// put metadata before it that we don't have.
func (s *gcsStore) Create(ctx context.Context, key string, parts [][]byte) error {
	ctx, sending := withBodies(ctx)
	defer sending.wait()
	at := googleapi.ResolveRelative(s.service.BasePath, "/upload/storage/v1/b/"+url.PathEscape(s.bucket)+"/o")
	q := url.Values{"uploadType": {"media"}, "ifGenerationMatch": {"0"}, "name": {key}, "fields": {"generation"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"?"+q.Encode(), newPartsReader(parts))
	if err != nil {
		return err
	}
	if req.ContentLength = size(parts); req.ContentLength == 0 {
		req.Body = http.NoBody // any other body of 0 bytes counts as of unknown length
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", agent)
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer googleapi.CloseBody(res)
	if err := googleapi.CheckResponse(res); err != nil {
		return meaning(err)
	}
	_, err = io.Copy(io.Discard, res.Body) // frees the connection for the next
	return err
}

func (s *gcsStore) ReadRange(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	r, err := httpRange(offset, length)
	if err != nil {
		return nil, 0, err
	}
	call := s.service.Objects.Get(s.bucket, key).Context(ctx)
	call.Header().Set("Range", r)
	res, err := call.Download()
	if err != nil {
		return pastEnd(err, offset, func() (int64, error) {
			o, err := s.service.Objects.Get(s.bucket, key).Context(ctx).Fields("size").Do()
			if err != nil {
				return 0, err
			}
			return int64(o.Size), nil
		})
	}
	return readBody(res.Body, res.Header.Get("Content-Range"), res.ContentLength, offset, length)
}

func (s *gcsStore) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		call := s.service.Objects.List(s.bucket).Context(ctx).Prefix(prefix).Fields("nextPageToken", "items/name")
		if after != "" {
			call.StartOffset(after)
		}
		for {
			page, err := call.Do()
			if err != nil {
				yield("", meaning(err))
				return
			}
			for _, o := range page.Items {
				if o.Name > after && !yield(o.Name, nil) {
					return
				}
			}
			if page.NextPageToken == "" {
				return
			}
			call.PageToken(page.NextPageToken)
		}
	}
}

func (s *gcsStore) Delete(ctx context.Context, key string) error {
	return meaning(s.service.Objects.Delete(s.bucket, key).Context(ctx).Do())
}

// Close ends the connections.
func (s *gcsStore) Close() error {
	s.close()
	return nil
}
