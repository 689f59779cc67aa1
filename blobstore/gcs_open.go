package blobstore

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/httptransport"
	"cloud.google.com/go/storage"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/gcsblob" // opens gs://
	"google.golang.org/api/option"
	gcs "google.golang.org/api/storage/v1"
)

// gcsParams are the parameters of gocloud's gcsblob. access_id and
// private_key_path are for signed URLs, which nobody asks us for.
const gcsParams = "anonymous access_id private_key_path universe_domain grpc zonal"

// openGCS takes the parameters and the environment of gocloud's gcsblob.
func openGCS(ctx context.Context, u *url.URL) (Raw, error) {
	q := u.Query()
	if err := checkParams(q, gcsParams); err != nil {
		return nil, err
	}
	on := make(map[string]bool)
	for _, name := range []string{"anonymous", "grpc", "zonal"} {
		if !q.Has(name) {
			continue
		}
		var err error
		if on[name], err = strconv.ParseBool(q.Get(name)); err != nil {
			return nil, fmt.Errorf("%w: %s=%q: want true or false", ErrURL, name, q.Get(name))
		}
	}
	if on["grpc"] || on["zonal"] {
		return openGCSOverGRPC(ctx, u)
	}
	s := &gcsStore{transport: newTransport(), bucket: u.Host}
	options, err := s.options(ctx, q.Get("universe_domain"), on["anonymous"] || q.Get("access_id") == "-")
	if err != nil {
		return nil, err
	}
	if s.service, err = gcs.NewService(ctx, options...); err != nil {
		return nil, err
	}
	return s, nil
}

// options makes s.http, and says how to reach the service with it: an emulator
// that the environment names, or Google with its default credentials.
func (s *gcsStore) options(ctx context.Context, universe string, anonymous bool) ([]option.ClientOption, error) {
	s.http = s.transport.client()
	options := []option.ClientOption{option.WithUserAgent(agent)}
	if host := os.Getenv("STORAGE_EMULATOR_HOST"); host != "" {
		if !strings.Contains(host, "://") {
			host = "http://" + host
		}
		return append(options, option.WithHTTPClient(s.http), option.WithEndpoint(strings.TrimSuffix(host, "/")+"/storage/v1/")), nil
	}
	if !anonymous {
		creds, err := credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{gcs.DevstorageReadWriteScope}})
		if err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		if universe == "" {
			if universe, err = creds.UniverseDomain(ctx); err != nil {
				return nil, fmt.Errorf("credentials: %w", err)
			}
		}
		s.http, err = httptransport.NewClient(&httptransport.Options{
			Credentials: creds, UniverseDomain: universe, BaseRoundTripper: s.transport, DisableTelemetry: true,
		})
		if err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		s.http.CheckRedirect = noRedirect // every request gets the token, wherever it goes
	}
	if universe != "" {
		options = append(options, option.WithUniverseDomain(universe))
	}
	return append(options, option.WithHTTPClient(s.http)), nil
}

// openGCSOverGRPC leaves the requests to gocloud, but not their repetition.
func openGCSOverGRPC(ctx context.Context, u *url.URL) (Raw, error) {
	bucket, err := blob.DefaultURLMux().OpenBucketURL(ctx, u)
	if err != nil {
		return nil, err
	}
	var client *storage.Client
	if bucket.As(&client) {
		client.SetRetry(storage.WithPolicy(storage.RetryNever))
	}
	return &cloud{bucket: bucket}, nil
}
