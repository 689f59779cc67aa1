//go:build unix

package stores_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/testcluster/stores"
)

// tool is a go and an npm that install nothing but a file of the right name. They
// fail where the environment says so.
const tool = `#!/bin/sh
test -z "$BROKEN" || exit 1
case "$0 $*" in
*/go*versitygw@v*) : >"$GOBIN/versitygw" ;;
*/go*fake-gcs-server@v*) : >"$GOBIN/fake-gcs-server" ;;
*/npm*azurite@*) mkdir -p node_modules/azurite/dist/src/blob && : >node_modules/azurite/dist/src/blob/main.js ;;
esac
`

// TestInstall: what fails leaves nothing behind, what is there is not made again.
func TestInstall(t *testing.T) {
	bin, dir := t.TempDir(), filepath.Join(t.TempDir(), "new")
	for _, name := range []string{"go", "npm"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(tool), 0o755))
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("WPD_TEST_STORES_DIR", dir)
	install := func() (string, error) {
		var out bytes.Buffer
		err := stores.Install(t.Context(), &out, stores.Kinds...)
		return out.String(), err
	}
	count := func() int {
		there, err := os.ReadDir(dir)
		require.NoError(t, err)
		return len(there)
	}

	t.Setenv("BROKEN", "yes")
	_, err := install()
	require.ErrorContains(t, err, "install versitygw v")
	require.ErrorContains(t, err, "install azurite 3")
	require.Zero(t, count())

	t.Setenv("BROKEN", "")
	out, err := install()
	require.NoError(t, err, out)
	require.Contains(t, out, "npm install --ignore-scripts --omit=dev")
	require.Equal(t, len(stores.Kinds), count())

	t.Setenv("BROKEN", "yes") // there is nothing left to do
	out, err = install()
	require.NoError(t, err, out)
	require.NotContains(t, out, "install --")
}
