package node_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/stores"
)

// bucketEnv is the URL of a bucket that the tests of this package are to stand
// on: nodes in bubbles, and those that are killed. Without it they have theirs in
// memory and on disk. By hand, for any store:
//
//	WPD_TEST_BUCKET='s3://NAME?region=…' go test ./node
const bucketEnv = "WPD_TEST_BUCKET"

// outside is the way to that bucket; nil: there is none.
var outside *stores.Outside

// onStore runs tests, with outside open if there is to be one.
type onStore struct{ *testing.M }

func (m onStore) Run() int {
	url := os.Getenv(bucketEnv)
	if url == "" {
		return m.M.Run()
	}
	outside = stores.NewOutside(64)
	defer outside.Close()
	code := m.M.Run()
	if code == 0 {
		if err := used(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// used returns an error if the tests have left nothing in the bucket: they were on
// another store, then, and prove nothing.
func used(url string) error {
	b, err := blobstore.Open(context.Background(), url, blobstore.Options{})
	if err != nil {
		return err
	}
	defer b.Close() //nolint:errcheck // it was only read
	for key, err := range b.List(context.Background(), "", "") {
		if err != nil || strings.Contains(key, "/"+fragment.ChainsPrefix()) {
			return err
		}
	}
	return fmt.Errorf("no node has written to %s", b.URL())
}

// killWithin is how long after its start a node is killed, at most: on a store
// that takes its time, it is to have acknowledged something by then.
func killWithin() time.Duration {
	if outside == nil {
		return 120 * time.Millisecond
	}
	return time.Second
}

// killBucket is the URL of the bucket of a node that is killed.
func killBucket(dir string) string {
	url := os.Getenv(bucketEnv)
	if url == "" {
		return "file://" + filepath.Join(dir, "bucket")
	}
	sep := "?"
	if strings.Contains(url, sep) {
		sep = "&"
	}
	return url + sep + "prefix=" + strings.TrimPrefix(filepath.ToSlash(dir), "/") + "/"
}

// onStores are the tests that CI has time for; -exhaustive runs the others, too,
// which take thousands of requests.
var onStores = []string{
	"Logs", "Writers", "Largest", "Readers", "Errors",
	"Follow", "Trim", "RecreatedLog", "CloseUnderReaders", "Exclusive", "NamedProducersMax", "ForgedProducer",
	"BackPressure", "Cuts", "AnotherCluster", "TwoOpensOfOneDirectory", "TwoNodesOnOneBucket", "RestoredDataDirectory",
	"TailBehindFragmentInFlight", "RetryOfWhatIsNotDurable", "RefusedWhileFirstAttemptLands",
	"RenumberedWhileOldIsOnItsWay", "RefusedBeforeFencing",
	"EveryCreate", "Kill", "CreateAfterSeal", "SealLosesItsReply", "SealedBySomebodyElse", "ForeignObject",
	"LostFragment", "LateFragmentIsNotLost", "LostNote", "TimeBeforeLoss", "UnavailableIsNotLoss",
	"RestoreLogs", "RecoveryRefuses", "VerifyAndMeasure", "ReadObject",
}

// TestStores runs the tests of this package once more, in a process of its own
// for each kind of store: a choice of them, embedded. With -exhaustive it runs all,
// in full.
func TestStores(t *testing.T) {
	if os.Getenv(bucketEnv) != "" {
		t.Skip("the tests are on a store already")
	}
	t.Run("file", func(t *testing.T) { runOn(t, "file://"+t.TempDir()) })
	stores.Each(t, func(t *testing.T, s *stores.Server) { runOn(t, s.URL(t)) })
}

// runOn runs the tests on a bucket, which must have been used then.
func runOn(t *testing.T, url string) {
	t.Helper()
	args := []string{
		"-test.run=^Test(" + strings.Join(onStores, "|") + ")$", "-test.short", "-test.v", "-test.timeout=10m",
		"-cuts=20", "-kills=3", "-every=60",
	}
	if *exhaustive {
		args = []string{"-test.skip=^(TestStores|TestPowerLoss|TestOutage.*)$", "-test.v", "-test.timeout=1h"}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), bucketEnv+"="+url)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	passed := bytes.Count(out, []byte("\n--- PASS: "))
	require.GreaterOrEqual(t, passed, len(onStores), "%s", out)
	t.Logf("%d tests passed", passed)
}
