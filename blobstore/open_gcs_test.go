package blobstore_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wpd-io/wpd/blobstore"
)

// TestOpenGCSCredentials: without credentials it says so at once, unless none are
// wanted; those of a file are found where Google's libraries look for them.
func TestOpenGCSCredentials(t *testing.T) {
	dir := t.TempDir()
	for name, value := range map[string]string{
		"STORAGE_EMULATOR_HOST": "", "HOME": dir, "GOOGLE_APPLICATION_CREDENTIALS": dir + "/none", "GCE_METADATA_HOST": "127.0.0.1:1",
	} {
		t.Setenv(name, value)
	}
	open := func(url, want string) {
		t.Helper()
		b, err := blobstore.Open(t.Context(), url, blobstore.Options{})
		if err == nil {
			err = b.Close()
		}
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("Open(%s) = %v, want %q in it", url, err, want)
		}
	}
	open("gs://b", "credentials")
	open("gs://b?anonymous=true", "")
	open("gs://b?access_id=-&universe_domain=example.com", "")
	file := filepath.Join(dir, "key.json")
	if err := os.WriteFile(file, []byte(`{"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "t"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	open("gs://b", "")
}

// TestGCSRedirect: a store that says that an object is elsewhere does not get the
// token sent there.
func TestGCSRedirect(t *testing.T) {
	var mu sync.Mutex
	var asked []string // method, host and credentials of each request
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, strings.Join([]string{r.Method, r.Host, r.Header.Get("Authorization")}, " "))
		http.Redirect(w, r, "https://elsewhere.example"+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	serviceAccount(t, "TOKEN")
	b, err := blobstore.Open(t.Context(), "gs://bucket", blobstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	blobstore.GoogleForTest(b, s)
	raw := b.Raw()
	_, _, rerr := raw.ReadRange(t.Context(), "k", 0, 1)
	var lerr error
	for _, err := range raw.List(t.Context(), "", "") {
		lerr = err
	}
	for verb, err := range map[string]error{
		"create": raw.Create(t.Context(), "k", [][]byte{{1}}), "read": rerr, "list": lerr, "delete": raw.Delete(t.Context(), "k"),
	} {
		if status, _, _ := blobstore.Told(err); status != http.StatusTemporaryRedirect {
			t.Errorf("%s = %v, want the redirect as an error", verb, err)
		}
	}
	slices.Sort(asked)
	var want []string
	for _, method := range []string{"DELETE", "GET", "GET", "POST"} {
		want = append(want, method+" storage.googleapis.com Bearer TOKEN")
	}
	if !slices.Equal(asked, want) {
		t.Errorf("requests %q, want %q", asked, want)
	}
}

// serviceAccount sets the environment to one of Google's, whose token is this.
func serviceAccount(t *testing.T, token string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": %q, "token_type": "Bearer", "expires_in": 3600}`, token)
	}))
	t.Cleanup(s.Close)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "a@example.com", "private_key_id": "1", "token_uri": s.URL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, account, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("STORAGE_EMULATOR_HOST", "")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
}
