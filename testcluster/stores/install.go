package stores

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Dir is where the servers are installed: that which WPD_TEST_STORES_DIR names, or
// else wpd-stores in the user's cache directory.
func Dir() (string, error) {
	if dir := os.Getenv("WPD_TEST_STORES_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a directory for the object stores: %w", err)
	}
	return filepath.Join(cache, "wpd-stores"), nil
}

// Install installs the servers of some kinds that are not installed yet, and says
// on out what it does. It asks the Go module proxy and the npm registry of the
// environment.
func Install(ctx context.Context, out io.Writer, kinds ...Kind) error {
	root, err := Dir()
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range kinds {
		p := programs[k]
		switch _, err := os.Stat(p.path(root)); {
		case err == nil:
			fmt.Fprintf(out, "%s %s is in %s\n", p.name, p.version, p.dir(root))
		case errors.Is(err, fs.ErrNotExist):
			errs = append(errs, p.install(ctx, out, root))
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// install makes a program in a directory beside its own, which then takes its
// name: one that was interrupted is not there.
func (p program) install(ctx context.Context, out io.Writer, root string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(root, p.name+"-*.tmp")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // gone, or of no use to anybody
	cmd := exec.CommandContext(ctx, "go", "install", p.module+"@"+p.version)
	cmd.Env = append(os.Environ(), "GOBIN="+tmp, "CGO_ENABLED=0")
	if p.module == "" {
		cmd = exec.CommandContext(ctx, "npm", "install", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund",
			"--prefix", tmp, p.name+"@"+p.version)
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = tmp, out, out
	fmt.Fprintf(out, "%s %s: %v\n", p.name, p.version, cmd.Args)
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("install %s %s: %w", p.name, p.version, err)
	}
	if _, err := os.Stat(filepath.Join(tmp, filepath.FromSlash(p.file))); err != nil {
		return fmt.Errorf("install %s %s: %w", p.name, p.version, err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	// Where it exists by now, somebody else was faster.
	if err := os.Rename(tmp, p.dir(root)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	fmt.Fprintf(out, "%s %s is in %s, after %v\n", p.name, p.version, p.dir(root), time.Since(began).Round(time.Second))
	return nil
}
