package main

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/testcluster/stores"
)

const (
	// reportsPath has a doctor's report of each server, between marks.
	reportsPath = "../../docs/stores.md"
	// reportsEnv is the variable that makes TestDoctorReports write them anew,
	// of thorough examinations:
	//
	//	WPD_TEST_UPDATE=1 go test -run TestDoctorReports ./cmd/wpd
	reportsEnv = "WPD_TEST_UPDATE"
)

// TestDoctorReports: on the servers of the tests the doctor finds what docs/stores.md
// says, and leaves nothing. TestDoctor and TestDoctorUnsafe see to the other reports
// there.
func TestDoctorReports(t *testing.T) {
	stores.Each(t, func(t *testing.T, s *stores.Server) {
		bucket := s.URL(t)
		if writesReports() {
			writeReport(t, string(s.Kind()), bucket)
			return
		}
		code, stdout, stderr := runWpd("doctor", "--bucket", bucket, "--quick", "--rounds", "12", "--speed=false")
		require.Zero(t, code, "%s%s", stdout, stderr)
		requireReported(t, string(s.Kind()), stdout)
		b, err := blobstore.Open(t.Context(), bucket, blobstore.Options{})
		require.NoError(t, err)
		defer b.Close() //nolint:errcheck // it was only read
		for key, err := range b.List(t.Context(), "", "") {
			t.Errorf("left %s, %v", key, err)
		}
	})
	if !writesReports() {
		return
	}
	t.Run("file", func(t *testing.T) { writeReport(t, "file", fileURL(t.TempDir())) })
	for name, flaw := range flaws {
		t.Run(name, func(t *testing.T) {
			url, _ := unsafeBucket(t, flaw)
			writeReport(t, name, url, "--speed=false")
		})
	}
}

func writesReports() bool { return os.Getenv(reportsEnv) != "" }

// reports guards the file, and lets one examination run at a time that is for it.
var reports sync.Mutex

// cutReport cuts docs/stores.md before and behind a report.
func cutReport(t *testing.T, name string) (before, report, after string) {
	t.Helper()
	page, err := os.ReadFile(reportsPath)
	require.NoError(t, err)
	begin, end := fmt.Sprintf("<!-- doctor: %s -->\n", name), "<!-- end -->"
	before, rest, ok := strings.Cut(string(page), begin)
	require.True(t, ok, "%s has no %s", reportsPath, begin)
	report, after, ok = strings.Cut(rest, end)
	require.True(t, ok, "%s has no %s after %s", reportsPath, end, begin)
	return before + begin, report, end + after
}

func writeReport(t *testing.T, name, bucket string, more ...string) {
	reports.Lock()
	defer reports.Unlock()
	code, stdout, stderr := runWpd(append([]string{"doctor", "--bucket", bucket}, more...)...)
	told := ""
	if code != 0 {
		told = fmt.Sprintf("\n%sexit code %d\n", stderr, code)
	}
	line := strings.Join(append([]string{"wpd doctor --bucket '" + bucket + "'"}, more...), " ")
	before, _, after := cutReport(t, name)
	report := asShown(bucket, fmt.Sprintf("```\n$ %s\n%s%s```\n", line, stdout, told))
	require.NoError(t, os.WriteFile(reportsPath, []byte(before+report+after), 0o644))
}

// requireReported checks that a report has the same promises and verdicts as what
// the doctor has printed, and the same words of the store for a conflict.
func requireReported(t *testing.T, name, printed string) {
	t.Helper()
	_, report, _ := cutReport(t, name)
	verdicts := regexp.MustCompile(`(?m)^(kept|broken|unclear) .*$|the store says \d+ .*$`)
	want, got := verdicts.FindAllString(report, -1), verdicts.FindAllString(printed, -1)
	require.GreaterOrEqual(t, len(got), 11)
	require.Equal(t, want, got, "%s is not what was found; see %s", reportsPath, reportsEnv)
}

var scratchName = regexp.MustCompile(`doctor-[a-z0-9]{26}`)

// asShown leaves out of a report what is another each time.
func asShown(bucket, text string) string {
	u, err := url.Parse(bucket)
	if err != nil {
		return text
	}
	for _, name := range []string{u.Host, u.Path} {
		if name != "" {
			text = strings.ReplaceAll(text, name, map[bool]string{true: "/wpd", false: "wpd"}[name == u.Path])
		}
	}
	text = regexp.MustCompile(`(127\.0\.0\.1(:|%3A))\d+`).ReplaceAllString(text, "${1}9000")
	return scratchName.ReplaceAllString(text, "doctor-…")
}
