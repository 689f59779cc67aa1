package node_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster"
)

var killsFlag = flag.Int("kills", 100, "how often TestKill kills its node")

// The environment of a child of TestKill.
const (
	childEnv     = "WPD_TEST_CHILD" // its directory
	childRunEnv  = "WPD_TEST_RUN"
	childLifeEnv = "WPD_TEST_LIFE"
)

func killConfig(dir string) node.Config {
	return node.Config{Bucket: killBucket(dir), DataDir: filepath.Join(dir, "node"), Log: small()}
}

func killLoad(l *testcluster.Ledger, life int) testcluster.Load {
	return testcluster.Load{
		Ledger: l, Logs: []string{"a", "b", "c"}, Trim: life%3 == 0, Anonymous: 1, Named: 2, Exclusive: true, Conditional: true,
		InFlight: 16, BytesMax: 2000, Life: life, Seed: l.Run,
	}
}

// child is what a process that is to be killed does: a node, and a load on it
// for as long as it lives. Its ledger goes to the pipe at descriptor 3; the
// first line there says that the node is open.
func child() int {
	run, err1 := strconv.ParseUint(os.Getenv(childRunEnv), 10, 64)
	life, err2 := strconv.Atoi(os.Getenv(childLifeEnv))
	if err := errors.Join(err1, err2); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx := context.Background()
	n, err := node.Open(ctx, killConfig(os.Getenv(childEnv)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	l := testcluster.NewLedger(run, os.NewFile(3, "ledger"))
	l.Fault("opened", 1)
	if err := switchChain(ctx, n.Client(), "c", life%2 == 1); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := killLoad(l, life).Run(ctx, n.Client()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stderr, "the load came to an end by itself")
	return 1
}

// switchChain gives a log a chain of its own, or takes it back.
func switchChain(ctx context.Context, client *wpd.Client, name string, dedicated bool) error {
	log, err := testcluster.OpenLog(ctx, client, name)
	if err != nil {
		return err
	}
	return log.Configure(ctx, func(c *wpd.LogConfig) { c.Dedicated = dedicated })
}

// TestKill kills a process with a node under load, at random moments, most of
// them while appends are in flight and some while it opens, deletes all of
// its data directory but Raft's files, and lets the next process go on. Now
// and then, and in the end, all is read back and held against the ledger,
// which the processes wrote to a pipe as they went.
func TestKill(t *testing.T) {
	s := seed(t)
	kills, floor := *killsFlag, 100**killsFlag
	if testing.Short() {
		kills = min(kills, 10)
		floor = 20 * kills
	}
	rnd := rand.New(rand.NewPCG(s, 0))
	dir := t.TempDir()
	l := testcluster.NewLedger(s, nil)
	inFlight := 0
	// A slow machine acknowledges less between two kills: it gets more of them.
	enough := func(life int) bool {
		return life > kills && l.Entries(testcluster.Acknowledged) >= floor || life > 4*kills
	}
	for life := 1; !enough(life); life++ {
		if life > 1 {
			require.NoError(t, testcluster.KeepRaftOnly(filepath.Join(dir, "node")))
		}
		inFlight += killOne(t, dir, l, life, rnd)
		if life%10 == 0 {
			checkAfterKills(t, dir, l, testcluster.Expect{})
		}
	}
	r := checkAfterKills(t, dir, l, testcluster.Expect{
		AcknowledgedMin: floor,
		Faults:          map[string]int{"killed": kills, "killed-in-flight": kills / 2, "opened": kills / 2},
	})
	t.Logf("%d kills, %d appends were in flight; %d entries acknowledged, %d refused, of %d unknown %d are there",
		kills, inFlight, r.Acknowledged, r.Refused, r.Unknown, r.UnknownThere)
}

// killOne runs a child and kills it. It returns how many appends were in
// flight.
func killOne(t *testing.T, dir string, l *testcluster.Ledger, life int, rnd *rand.Rand) int {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close() //nolint:errcheck // it was only read
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+dir, fmt.Sprintf("%s=%d", childRunEnv, l.Run), fmt.Sprintf("%s=%d", childLifeEnv, life))
	cmd.ExtraFiles = []*os.File{w}
	var stderr lockedBuffer
	cmd.Stderr = &stderr
	before := l.Count(testcluster.Open)
	require.NoError(t, cmd.Start())
	require.NoError(t, w.Close())

	opened := make(chan struct{})
	lines := &firstRead{r: r, first: opened}
	var replayed error
	var wg sync.WaitGroup
	wg.Go(func() { replayed = l.Replay(context.Background(), lines) })

	patience := time.NewTimer(30 * time.Second)
	defer patience.Stop()
	if life == 1 || rnd.IntN(8) > 0 {
		select {
		case <-opened:
		case <-patience.C:
			t.Errorf("life %d: not open after 30 s", life)
		}
	}
	moment := time.NewTimer(time.Duration(rnd.Int64N(int64(killWithin()))))
	<-moment.C
	require.NoError(t, cmd.Process.Kill())
	err = cmd.Wait()
	wg.Wait()
	require.NoError(t, replayed)
	exit, ok := errors.AsType[*exec.ExitError](err)
	require.True(t, ok, "life %d: %v\n%s", life, err, stderr.String())
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(t, ok && status.Signaled() && status.Signal() == syscall.SIGKILL, "life %d ended by itself: %v\n%s", life, err, stderr.String())
	flying := l.Count(testcluster.Open) - before
	l.Fault("killed", 1)
	if flying > 0 {
		l.Fault("killed-in-flight", 1)
	}
	return flying
}

// checkAfterKills reads all back through a node in this process.
func checkAfterKills(t *testing.T, dir string, l *testcluster.Ledger, expect testcluster.Expect) testcluster.Report {
	t.Helper()
	require.NoError(t, testcluster.KeepRaftOnly(filepath.Join(dir, "node")))
	n, err := node.Open(t.Context(), killConfig(dir))
	require.NoError(t, err)
	var all []testcluster.Contents
	var names []string
	for info, err := range n.Client().Logs(t.Context(), "") {
		require.NoError(t, err)
		log, err := n.Client().Log(t.Context(), info.Name)
		require.NoError(t, err)
		c, err := testcluster.ReadBack(t.Context(), log, info.Name, l)
		require.NoError(t, err)
		all = append(all, c)
		names = append(names, info.Name)
	}
	require.NoError(t, n.Close())
	r := testcluster.Check(l, all, expect)
	require.NoError(t, r.Err())

	b, err := blobstore.Open(t.Context(), killConfig(dir).Bucket, blobstore.Options{})
	require.NoError(t, err)
	all, err = testcluster.ReadBucket(t.Context(), b, names, l)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.NoError(t, testcluster.Check(l, all, expect).Err(), "from the bucket alone")
	return r
}

// firstRead closes first when something comes.
type firstRead struct {
	r     *os.File
	first chan struct{}
	once  sync.Once
}

func (f *firstRead) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if n > 0 {
		f.once.Do(func() { close(f.first) })
	}
	return n, err
}

// lockedBuffer takes what a process prints.
type lockedBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b = append(b.b, p...)
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.b)
}
