package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/rpc/client"
)

func newClusterSnapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "snapshot",
		Short:   "Save a cluster's metadata, and bring them back",
		Example: "  wpd cluster snapshot save wpd-metadata.snap\n  wpd cluster snapshot restore wpd-metadata.snap --bucket s3://our-wal --data-dir /var/lib/wpd/node",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSnapshotSaveCommand(), newSnapshotRestoreCommand())
	return cmd
}

func newSnapshotSaveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "save FILE",
		Short: "Save a cluster's metadata to a file",
		Long: `Save the metadata of a cluster, as it is at this moment, to a file: which logs and
chains there are, and how they hang together. The entries are in the bucket. An
existing file is not overwritten.`,
		Example: "  wpd cluster snapshot save wpd-metadata.snap",
		Args:    cobra.ExactArgs(1),
	}
	return clusterCommand(cmd, func(ctx context.Context, a *client.Admin, args []string) error {
		size, err := saveSnapshot(ctx, a, args[0])
		if err != nil {
			return err
		}
		return tellResult(cmd, struct {
			File  string `json:"file"`
			Bytes int64  `json:"bytes"`
		}{args[0], size}, "saved %s to %s", sizeText(size), args[0])
	})
}

// saveSnapshot writes the metadata to a new file, which appears when it is whole
// and durable.
func saveSnapshot(ctx context.Context, a *client.Admin, path string) (size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-")
	if err != nil {
		return 0, err
	}
	defer func() {
		if closing := f.Close(); err == nil && !errors.Is(closing, fs.ErrClosed) {
			err = closing
		}
		if gone := os.Remove(f.Name()); err == nil {
			err = gone
		}
	}()
	if err := a.SaveSnapshot(ctx, f); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if err := publish(f, path); err != nil {
		return 0, fmt.Errorf("save the metadata: %w", err)
	}
	return info.Size(), nil
}

// publish gives a file its name once its bytes are durable, and makes the name
// durable as well. An existing file is not overwritten.
func publish(f *os.File, path string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
