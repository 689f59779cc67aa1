package stores

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// URL makes a bucket and returns its URL, for blobstore.Open. What opens it needs
// the environment that [Server.Setenv] or [Server.Env] gives.
func (s *Server) URL(t testing.TB) string {
	t.Helper()
	return s.URLVia(t, s.Addr())
}

// URLVia is URL for a client that is to go by way of a proxy at addr, host:port.
// Its environment is that of SetenvVia or EnvVia.
func (s *Server) URLVia(t testing.TB, addr string) string {
	t.Helper()
	name := "wpd-" + strings.ToLower(rand.Text())
	if err := s.makeBucket(t.Context(), name); err != nil {
		t.Fatalf("make bucket %s on %s: %v", name, s.Addr(), err)
	}
	return s.kind.url(name, addr)
}

// Setenv sets what a client in this process needs in its environment, for as long
// as the test runs. Tests that run in parallel cannot do that, but their parent
// can.
func (s *Server) Setenv(t testing.TB) {
	t.Helper()
	s.SetenvVia(t, s.Addr())
}

// SetenvVia is Setenv for clients that go by way of a proxy at addr.
func (s *Server) SetenvVia(t testing.TB, addr string) {
	t.Helper()
	for _, kv := range s.EnvVia(addr) {
		key, value, _ := strings.Cut(kv, "=")
		t.Setenv(key, value)
	}
}

// Env is what a client in another process needs in its environment, as
// "key=value".
func (s *Server) Env() []string { return s.EnvVia(s.Addr()) }

// EnvVia is Env for a client that goes by way of a proxy at addr: on GCS it is the
// environment that says where the server is, not the URL.
func (s *Server) EnvVia(addr string) []string { return s.kind.env(addr) }

func (s *Server) makeBucket(ctx context.Context, name string) error {
	switch s.kind {
	case S3:
		client := s3.New(s3.Options{
			Region: "us-east-1", BaseEndpoint: aws.String("http://" + s.Addr()), UsePathStyle: true,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: account, SecretAccessKey: secret}, nil
			}),
			HTTPClient: oneShot,
		})
		_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name})
		return err
	case Azure:
		key, err := container.NewSharedKeyCredential(azureAccount, azureKey)
		if err != nil {
			return err
		}
		options := &container.ClientOptions{}
		options.Transport = oneShot
		client, err := container.NewClientWithSharedKeyCredential("http://"+s.Addr()+"/"+azureAccount+"/"+name, key, options)
		if err != nil {
			return err
		}
		_, err = client.Create(ctx, nil)
		return err
	default:
		return post(ctx, "http://"+s.Addr()+"/storage/v1/b?project=wpd", fmt.Sprintf(`{"name":%q}`, name))
	}
}

// oneShot keeps no connection, and so no goroutine.
var oneShot = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func post(ctx context.Context, url, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewBufferString(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := oneShot.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return err
}
