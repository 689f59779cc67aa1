package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fsm"
)

const childEnv = "WPD_CLUSTER_TEST_CHILD"

// dirBucket is a bucket that two processes see; its creates are atomic, and
// that is all that this test asks of it.
type dirBucket struct{ dir string }

func (b dirBucket) path(key string) string {
	return filepath.Join(b.dir, strings.ReplaceAll(key, "/", "%"))
}

func (b dirBucket) Create(_ context.Context, key string, parts ...[]byte) error {
	f, err := os.OpenFile(b.path(key), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		there, err := os.ReadFile(b.path(key))
		if err == nil && string(there) != string(parts[0]) {
			err = fs.ErrExist
		}
		return err
	}
	if err != nil {
		return err
	}
	_, err = f.Write(parts[0])
	return errors.Join(err, f.Close())
}

func (b dirBucket) ReadRange(_ context.Context, key string, _, _ int64) ([]byte, int64, error) {
	data, err := os.ReadFile(b.path(key))
	return data, int64(len(data)), err
}

func (b dirBucket) List(context.Context, string, string) iter.Seq2[string, error] {
	return func(func(string, error) bool) {}
}

// TestKilled runs a member in a child process that proposes without end and
// says what was acknowledged, and kills it. While it lives it is named as the
// one who has the directory; afterwards everything acknowledged is there.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(childEnv); dir != "" {
		childMain(t, dir)
		return
	}
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "objects"), 0o700))
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		var acked []string
		lines := bufio.NewScanner(out)
		for len(acked) < 50 && lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "acked "); ok {
				acked = append(acked, name)
			}
		}
		e := refuse[*LockedError](t, childConfig(dir))
		require.Equal(t, cmd.Process.Pid, e.PID)
		require.NoError(t, cmd.Process.Kill())
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "acked "); ok {
				acked = append(acked, name)
			}
		}
		_, _ = io.Copy(io.Discard, out)
		require.Error(t, cmd.Wait(), "killed")

		m, err := Open(t.Context(), childConfig(dir))
		require.NoError(t, err)
		require.Equal(t, uint64(2*round+2), m.Boot())
		require.Subset(t, logNames(m), acked)
		require.NoError(t, m.Close())
	}
}

func childConfig(dir string) Config {
	return Config{Dir: filepath.Join(dir, "data"), Bucket: dirBucket{dir: filepath.Join(dir, "objects")}}
}

func childMain(t *testing.T, dir string) {
	m, err := Open(t.Context(), childConfig(dir))
	require.NoError(t, err)
	for i := 0; ; i++ {
		name := fmt.Sprintf("boot-%d/%d", m.Boot(), i)
		_, err := m.Propose(t.Context(), fsm.NewCreateLog(name, fsm.LogConfig{EntryBytesMax: 1}, 0))
		require.NoError(t, err)
		fmt.Println("acked", name)
	}
}
