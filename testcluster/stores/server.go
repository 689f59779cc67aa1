package stores

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// wantEnv says what becomes of tests whose server is missing.
const wantEnv = "WPD_TEST_STORES"

// startMax is how long a server may take until it answers.
const startMax = 30 * time.Second

// Server is an object store in a process of its own. Its methods may be called at
// any time by several goroutines, but for those that stop and start it.
type Server struct {
	kind Kind
	path string // of what is run
	port string
	dir  string // what it keeps is here, and what it says

	life *life // nil: it does not run
}

// life is one process of a server.
type life struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it is
}

// Start starts the server of a kind, waits until it answers, and stops it at the
// end of the test. It skips the test where the server is not installed, or where
// WPD_TEST_STORES=off is in the environment; with WPD_TEST_STORES=required it fails
// the test instead. A server that several tests share is started by their parent.
func Start(t testing.TB, k Kind) *Server {
	t.Helper()
	path, err := find(k)
	switch {
	case err != nil && os.Getenv(wantEnv) == "required":
		t.Fatal(err)
	case err != nil:
		t.Skip(err)
	}
	s := &Server{kind: k, path: path, dir: t.TempDir()}
	t.Cleanup(s.Stop)
	for range 3 { // a port that was free may be taken by now
		if s.port, err = freePort(); err == nil {
			err = s.start()
		}
		if err == nil {
			return s
		}
	}
	t.Fatal(err)
	return nil
}

// Each runs a test once for each kind of server, one beside the other, with the
// environment set for all of them. t must not be parallel itself.
func Each(t *testing.T, test func(t *testing.T, s *Server)) {
	t.Helper()
	for _, k := range Kinds {
		var s *Server
		if _, err := find(k); err == nil {
			s = Start(t, k)
			s.Setenv(t)
		}
		t.Run(string(k), func(t *testing.T) {
			if s == nil {
				Start(t, k) // says what is missing
			}
			t.Parallel()
			test(t, s)
		})
	}
}

// find returns the path of what is run for a kind, or an error that says why it is
// not to be run: what is missing and how to get it.
func find(k Kind) (string, error) {
	p, ok := programs[k]
	switch {
	case !ok:
		return "", fmt.Errorf("stores: no kind %q: want one of %v", k, Kinds)
	case os.Getenv(wantEnv) == "off":
		return "", errors.New(wantEnv + "=off")
	}
	root, err := Dir()
	if err != nil {
		return "", err
	}
	const get = "get it by go run github.com/wpd-io/wpd/testcluster/stores/install, or make test-stores"
	if _, err := os.Stat(p.path(root)); err != nil {
		return "", fmt.Errorf("%s %s, the %s:// server of the tests, is not installed (%w); %s", p.name, p.version, k, err, get)
	}
	if p.node {
		if _, err := exec.LookPath("node"); err != nil {
			return "", fmt.Errorf("%s, the %s:// server of the tests, needs Node.js: %w", p.name, k, err)
		}
	}
	return p.path(root), nil
}

// freePort picks a port below those that Linux gives to outgoing connections, so
// that it is still free for a second life of the server.
func freePort() (string, error) {
	var errs []error
	for range 100 {
		port := strconv.Itoa(15000 + rand.IntN(15000))
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			return port, l.Close()
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("find a free port: %w", errors.Join(errs...))
}

// start starts a process, and waits until it answers.
func (s *Server) start() error {
	args, env := s.kind.command(s.port, filepath.Join(s.dir, "data"))
	cmd := exec.Command(s.path, args...)
	if programs[s.kind].node {
		cmd = exec.Command("node", append([]string{s.path}, args...)...)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "data"), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(s.dir, "said"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // the process has its own
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, append(os.Environ(), env...), out, out
	x := &life{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go x.run(started)
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", s.path, err)
	}
	s.life = x
	if err := s.answers(); err != nil {
		s.Stop()
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("start %s on %s: %w\n%s", s.path, s.Addr(), err, said)
	}
	return nil
}

// run starts a process and waits for its end, on a thread that lives as long:
// where the system kills children with their parent, that is the thread.
func (x *life) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dieWithParent(x.cmd)
	err := x.cmd.Start()
	started <- err
	if err == nil {
		_ = x.cmd.Wait() // it was killed
	}
	close(x.ended)
}

// answers waits until the server answers, whatever it says.
func (s *Server) answers() error {
	transport := &http.Transport{DisableKeepAlives: true}
	client := http.Client{Transport: transport, Timeout: time.Second}
	late := time.NewTimer(startMax)
	defer late.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := client.Get("http://" + s.Addr())
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-tick.C:
		case <-s.life.ended:
			return errors.New("it ended by itself")
		case <-late.C:
			return fmt.Errorf("no answer after %v: %w", startMax, err)
		}
	}
}

// Addr is host:port of the server, in this life and in later ones.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// Kind is that of the server.
func (s *Server) Kind() Kind { return s.kind }

// Stop kills the process. It may be called again. Azurite and fake-gcs-server lose
// all buckets and objects; versitygw keeps them.
func (s *Server) Stop() {
	if s.life == nil {
		return
	}
	_ = s.life.cmd.Process.Kill() // it may be gone
	<-s.life.ended
	s.life = nil
}

// Restart starts a server that was stopped, or that is to be, at the same
// address.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}
