package blobstore_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wpd-io/wpd/blobstore"
)

// TestOpenCloudParameters: what gocloud's openers take is taken, and anything
// else is refused by name.
func TestOpenCloudParameters(t *testing.T) {
	newSink(t, "s3") // sets the environment
	for _, c := range []struct{ url, want string }{
		{"s3://b?region=r&endpoint=http://127.0.0.1:1&use_path_style=true&s3ForcePathStyle=true&disable_https=true", ""},
		{"s3://b?region=r&accelerate=false&dualstack=true&fips=false&anonymous=true&hostname_immutable=true", ""},
		{"s3://b?region=r&ssetype=aws:kms&kmskeyid=k&rate_limiter_capacity=5", ""},
		{"s3://b?region=r&request_checksum_calculation=when_supported&response_checksum_validation=when_required&prefix=a/", ""},
		{"s3://b", "no region"},
		{"s3://b?region=r&ssetype=rot13", "rot13"},
		{"s3://b?region=r&use_path_style=maybe", `use_path_style="maybe"`},
		{"s3://b?region=r&nonsense=1", "nonsense"},
		{"azblob://b?protocol=http&domain=127.0.0.1:1&storage_account=a&cdn=false&localemu=true", ""},
		{"azblob://b?protocol=ftp", "ftp"},
		{"azblob://b?cdn=maybe", `cdn="maybe"`},
		{"azblob://b?nonsense=1", "nonsense"},
		{"azblob://b?domain=a&domain=b", "2 times"},
		{"gs://b?anonymous=true&access_id=-&private_key_path=/nowhere&universe_domain=example.com&grpc=false&zonal=false", ""},
		{"gs://b?anonymous=maybe", `anonymous="maybe"`},
		{"gs://b?zonal=true&grpc=false", "zonal"},
		{"gs://b?nonsense=1", "nonsense"},
	} {
		b, err := blobstore.Open(t.Context(), c.url, blobstore.Options{})
		if err == nil {
			if cerr := b.Close(); cerr != nil {
				t.Errorf("%s: close: %v", c.url, cerr)
			}
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("Open(%s) = %v, want %q in it", c.url, err, c.want)
		}
	}
}

// TestOpenAzureToken: a token of the environment goes nowhere but where the
// environment says, and shows in no error.
func TestOpenAzureToken(t *testing.T) {
	s := newSink(t, "azblob")
	t.Setenv("AZURE_STORAGE_KEY", "")
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=SECRET")
	if _, err := blobstore.Open(t.Context(), s.bucketURL(), blobstore.Options{}); err == nil || !strings.Contains(err.Error(), "SAS_TOKEN") {
		t.Errorf("Open = %v, want a refusal to send the token elsewhere", err)
	}
	t.Setenv("AZURE_STORAGE_DOMAIN", s.Listener.Addr().String())
	t.Setenv("AZURE_STORAGE_PROTOCOL", "http")
	b := s.open(t, blobstore.Options{})
	token := ""
	s.answer = func(_ http.ResponseWriter, r *http.Request) bool { token = r.URL.Query().Get("sig"); return false }
	if err := b.Create(t.Context(), "k", []byte("x")); err != nil || token != "SECRET" {
		t.Errorf("Create = %v with the token %q", err, token)
	}
	s.Server.Close()
	_, _, err := b.Raw().ReadRange(t.Context(), "k", 0, 1)
	if err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("ReadRange without a server = %v, want an error without the token", err)
	}
}

// TestOpenAzureCredentials: a connection string is one too, and without any the
// default chain is asked, when there is something to ask it for.
func TestOpenAzureCredentials(t *testing.T) {
	s := newSink(t, "azblob")
	t.Setenv("AZURE_STORAGE_KEY", "")
	at := s.Server.URL + "/account"
	t.Setenv("AZURE_STORAGE_CONNECTION_STRING", "DefaultEndpointsProtocol=http;AccountName=account;AccountKey=a2V5;BlobEndpoint="+at)
	signed := ""
	s.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		signed = r.Header.Get("Authorization")
		return false
	}
	b, err := blobstore.Open(t.Context(), "azblob://bucket", blobstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Create(t.Context(), "k", []byte("x")), b.Close()); err != nil || !strings.HasPrefix(signed, "SharedKey account:") {
		t.Errorf("Create = %v, signed %q", err, signed)
	}
	t.Setenv("AZURE_STORAGE_CONNECTION_STRING", "")
	s.open(t, blobstore.Options{})
	t.Setenv("AZURE_STORAGE_ACCOUNT", "")
	if _, err := blobstore.Open(t.Context(), "azblob://bucket", blobstore.Options{}); err == nil || !strings.Contains(err.Error(), "no account") {
		t.Errorf("Open without an account = %v", err)
	}
}

// TestS3Quiet: the SDK says nothing of checksums that nobody asked it for, and
// what it says goes to our logger.
func TestS3Quiet(t *testing.T) {
	s := newSink(t, "s3")
	var log bytes.Buffer
	b := s.open(t, blobstore.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	s.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		for name := range r.Header {
			if strings.HasPrefix(name, "X-Amz-Checksum") || strings.HasPrefix(name, "X-Amz-Sdk-Checksum") || name == "X-Amz-Trailer" {
				t.Errorf("%s %s has the header %s", r.Method, r.URL.Path, name)
			}
		}
		return false
	}
	if err := b.Create(t.Context(), "k", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.ReadRange(t.Context(), "k", 0, 1); err != nil {
		t.Fatal(err)
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", &log)
	}
}

// TestS3Signs: what is stored over plain HTTP is signed to the last byte. TLS
// guards its bytes itself.
func TestS3Signs(t *testing.T) {
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprint("tls=", tls), func(t *testing.T) {
			s := newSink(t, "s3")
			if tls {
				s.Server.Close()
				s.Server = httptest.NewTLSServer(s)
				t.Cleanup(s.Server.Close)
			}
			var hash string
			s.answer = func(_ http.ResponseWriter, r *http.Request) bool {
				hash = r.Header.Get("X-Amz-Content-Sha256")
				return false
			}
			b := s.open(t, blobstore.Options{})
			if tls {
				blobstore.TrustForTest(b, s.Server)
			}
			if err := b.Create(t.Context(), "k", []byte("signed ")); err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("%x", sha256.Sum256([]byte("signed ")))
			if tls {
				want = "UNSIGNED-PAYLOAD"
			}
			if hash != want {
				t.Errorf("the body's hash is given as %q, want %q", hash, want)
			}
		})
	}
}
