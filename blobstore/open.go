package blobstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"

	"gocloud.dev/blob/memblob"

	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// ErrURL is wrapped by errors of [Open] for URLs that can't be used.
var ErrURL = errors.New("bad bucket URL")

// Open opens the bucket that a URL names:
//
//	file:///var/lib/wpd/bucket    a directory; made if missing
//	s3://NAME?region=…            also endpoint=, use_path_style=, …
//	gs://NAME
//	azblob://CONTAINER
//	mem://                        in memory, a new one each time, for tests
//
// With ?prefix=a/b/ all keys live under that prefix, which must end in "/". The
// other parameters and the credentials are those of gocloud.dev/blob; unknown
// ones are refused. (rate_limiter_capacity has no effect: it is for retries of the
// SDK, and there are none.) A bucket in a cloud must exist. Open talks to file
// systems, and to clouds only as far as credentials need it: use [Bucket.Probe]
// to find out whether a bucket works.
func Open(ctx context.Context, rawURL string, opts Options) (*Bucket, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// The text of a url.Error repeats the URL, which may hold secrets.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("open bucket: %w: %w", ErrURL, err)
	}
	shown := show(u)
	prefix, err := takePrefix(u)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w: %w", shown, ErrURL, err)
	}
	opts = opts.withDefaults()
	raw, err := openRaw(ctx, u, opts.Logger)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", shown, err)
	}
	if prefix != "" {
		raw = prefixed{raw, prefix}
	}
	b := New(raw, opts)
	b.url = shown
	return b, nil
}

// takePrefix removes the parameter prefix from the URL and returns it.
func takePrefix(u *url.URL) (string, error) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", err
	}
	prefix := q.Get("prefix")
	q.Del("prefix")
	u.RawQuery = q.Encode()
	if prefix == "" {
		return "", nil
	}
	dir, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return "", fmt.Errorf("prefix %q does not end with a slash", prefix)
	}
	return prefix, filebucket.CheckKey(dir)
}

func openRaw(ctx context.Context, u *url.URL, log *slog.Logger) (Raw, error) {
	switch u.Scheme {
	case "file":
		return openFile(u)
	case "mem":
		if u.Host != "" || u.Path != "" || u.RawQuery != "" {
			return nil, fmt.Errorf("%w: mem:// takes no name and no parameter but prefix: each is a bucket of its own", ErrURL)
		}
		return &cloud{bucket: memblob.OpenBucket(&memblob.Options{NoMD5: true})}, nil
	case "s3", "gs", "azblob":
		if u.Host == "" {
			return nil, fmt.Errorf("%w: no bucket name after %s://", ErrURL, u.Scheme)
		}
		if strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("%w: a path %q after the bucket's name: use ?prefix=%s/", ErrURL, u.Path, strings.Trim(u.Path, "/"))
		}
		return openCloud(ctx, u, log)
	case "":
		return nil, fmt.Errorf("%w: no scheme: want file:///path, s3://, gs://, azblob:// or mem://", ErrURL)
	}
	return nil, fmt.Errorf("%w: unknown scheme %q: want file, s3, gs, azblob or mem", ErrURL, u.Scheme)
}

// openFile opens file:///absolute/path, without gocloud in the way, which copies
// every object once more, and opens every file that it lists.
func openFile(u *url.URL) (Raw, error) {
	switch {
	case u.Host != "" && u.Host != "localhost":
		return nil, fmt.Errorf("%w: file:// takes an absolute path: file:///%s%s has three slashes", ErrURL, u.Host, u.Path)
	case u.Opaque != "" || !filepath.IsAbs(filepath.FromSlash(u.Path)):
		return nil, fmt.Errorf("%w: file:// takes an absolute path, like file:///var/lib/wpd", ErrURL)
	case u.RawQuery != "":
		return nil, fmt.Errorf("%w: file:// takes no parameter but prefix, not %q", ErrURL, u.RawQuery)
	}
	return filebucket.Open(filepath.FromSlash(u.Path))
}

// openCloud opens a store with a client of our own: gocloud's openers leave the
// SDKs their own retries, which know nothing of our deadlines, and a create that
// they send twice comes back as somebody else's.
func openCloud(ctx context.Context, u *url.URL, log *slog.Logger) (Raw, error) {
	switch u.Scheme {
	case "s3":
		return openS3(ctx, u, log)
	case "azblob":
		return openAzure(u)
	}
	return openGCS(ctx, u)
}

// show is a URL without what may be secret: user info, and the values of
// parameters that are not known to be harmless.
func show(u *url.URL) string {
	v := *u
	v.User = nil
	q := v.Query()
	for name, values := range q {
		switch name {
		case "prefix", "region", "endpoint", "use_path_style", "s3ForcePathStyle",
			"disable_https", "protocol", "domain", "localemu", "cdn", "anonymous", "grpc", "zonal",
			"accelerate", "dualstack", "fips", "profile", "ssetype", "storage_account", "universe_domain",
			"request_checksum_calculation", "response_checksum_validation":
			for i, s := range values {
				if e, err := url.Parse(s); err == nil && e.User != nil {
					e.User = nil
					values[i] = e.String()
				}
			}
		default:
			q[name] = []string{"…"}
		}
	}
	v.RawQuery = strings.ReplaceAll(q.Encode(), "%2F", "/")
	return v.String()
}
