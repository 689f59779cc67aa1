package node

import (
	"bytes"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
)

// journal is what was logged.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) find(t *testing.T, pattern string) []string {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	found := regexp.MustCompile(pattern).FindStringSubmatch(j.b.String())
	require.NotNil(t, found, "no line like %s in\n%s", pattern, &j.b)
	return found
}

// TestFollowAnAppend: at level debug, the id that the client gave an append
// leads to the object that holds it.
func TestFollowAnAppend(t *testing.T) {
	var here, there journal
	debug := func(j *journal) *slog.Logger {
		return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	n, err := Open(t.Context(), Config{Bucket: "mem://", Listen: "127.0.0.1:0", Logger: debug(&there)})
	require.NoError(t, err)
	c, err := wpd.Dial(t.Context(), n.Addr().String(), wpd.WithLogger(debug(&here)))
	require.NoError(t, err)
	l, err := c.Create(t.Context(), "a", wpd.LogConfig{})
	require.NoError(t, err)
	w, err := l.Writer(t.Context())
	require.NoError(t, err)
	for range 3 {
		_, err = w.Append(t.Context(), []byte("x"))
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
	require.NoError(t, n.Close())

	id := here.find(t, `msg=append request=([0-9a-f]{16}/3) `)[1]
	there.find(t, `msg="batch taken" append=`+id+` log=1 `)
	answer := there.find(t, `msg="batch answered" append=`+id+` log=1 .*from=(\d+) to=(\d+)`)
	require.Equal(t, []string{"3", "4"}, answer[1:])
	there.find(t, fmt.Sprintf(`msg=create object=chains/[0-9a-f]+/\S+ .*err=<nil> holds="log 1 \[%s, %s\)"`, answer[1], answer[2]))
}
