package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/wal/offline"
)

func newVerifyCommand() *cobra.Command {
	var bucket string
	var keep int
	cmd := &cobra.Command{
		Use:   "verify [--bucket URL | --addr HOST:PORT]",
		Short: "Check every byte of a bucket",
		Long: `Read a whole bucket and hold all that it says against itself: every object
decodes, down to the entries, and stands under its own key; every chain is whole
up to its seal or end, and is what its sums and indexes say; every LSN of every
log is there once, in order. It writes nothing, and may run while nodes write.

With --bucket, this program reads the bucket: it needs no node and no data
directory. Otherwise a server reads its own.

One line says what is wrong, where, and which entries are lost with it. Notes
are about what is worth knowing and no damage. The exit code is 7 if anything is
lost or damaged.`,
		Example: `  wpd verify --bucket file:///var/lib/wpd/objects
  wpd verify --addr 127.0.0.1:7070
  wpd verify --bucket s3://wpd -o json | jq '.problems[].object'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runVerify(cmd, bucket, keep) },
	}
	addServerFlags(cmd)
	cmd.Flags().StringVar(&bucket, "bucket", "", "URL of the bucket: file:///path, s3://, gs://, azblob://")
	cmd.Flags().IntVar(&keep, "keep", 1000, "how many problems, and notes, to print; all are counted")
	return cmd
}

func runVerify(cmd *cobra.Command, bucket string, keep int) error {
	switch {
	case keep <= 0:
		return usagef(cmd, "--keep is %d; want at least 1", keep)
	case bucket != "" && cmd.Flags().Changed("addr"):
		return usagef(cmd, "--addr and --bucket exclude each other: a server has its own bucket")
	}
	start := time.Now()
	verify, where, again := verifyServer, "the server's bucket", "wpd inspect KEY --addr HOST:PORT"
	if bucket != "" {
		where, again = bucket, "wpd inspect KEY --bucket URL"
		verify = func(cmd *cobra.Command, keep int, say *progress) (*offline.Report, error) {
			return verifyBucket(cmd.Context(), bucket, keep, say)
		}
	}
	say := newProgress(cmd)
	r, err := verify(cmd, keep, say)
	say.clear()
	if err != nil {
		return err
	}
	if r.Cluster == "" && r.Chains == 0 {
		return advise(&exitError{exitNotFound, fmt.Errorf("%s holds no wpd cluster: no cluster.json, and no chain", where)},
			"check the URL, and the prefix in it: an empty bucket must not pass for a whole one")
	}
	took := time.Since(start)
	object, err := r.JSON(took)
	if err != nil {
		return err
	}
	err = printResult(cmd, json.RawMessage(object), func(w io.Writer, ink ink) error { return printReport(w, ink, r, took) })
	switch {
	case err != nil:
		return err
	case r.Damaged():
		return advise(&exitError{exitDataLoss, fmt.Errorf("%s in the bucket", plural(int(r.ProblemsTotal), "problem"))},
			again+" shows what is left of an object; restore it from a copy")
	case !r.OK():
		return advise(fmt.Errorf("%s of a newer format, which could not be checked", plural(int(r.ProblemsTotal), "object")), "use a newer wpd")
	}
	return nil
}

// verifyBucket reads a bucket in this process.
func verifyBucket(ctx context.Context, url string, keep int, say *progress) (_ *offline.Report, err error) {
	store, err := openForReading(ctx, url)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return offline.Verify(ctx, store, offline.VerifyOptions{Keep: keep, Options: offline.Options{Progress: func(p offline.Progress) {
		say.say("verifying: %s of %s objects, %s", countText(p.Objects), countText(p.Of), sizeText(int64(p.Bytes)))
	}}})
}

// verifyServer lets a server read its bucket, and takes its report.
func verifyServer(cmd *cobra.Command, keep int, say *progress) (*offline.Report, error) {
	ctx, a, done, err := connectAdmin(cmd)
	if err != nil {
		return nil, err
	}
	defer done() //nolint:errcheck // nothing is under way
	raw, err := a.Verify(ctx, func(objects, bytes uint64) {
		say.say("the server verifies: %s objects, %s", countText(objects), sizeText(int64(bytes)))
	})
	if err != nil {
		return nil, err
	}
	var r offline.Report
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("report of the server: %w", err)
	}
	r.Problems = r.Problems[:min(len(r.Problems), keep)]
	r.Notes = r.Notes[:min(len(r.Notes), keep)]
	return &r, nil
}

func printReport(w io.Writer, ink ink, r *offline.Report, took time.Duration) error {
	for _, p := range r.Problems {
		fmt.Fprintln(w, ink.red(string(p.Kind))+p.String()[len(p.Kind):])
	}
	if left := int(r.ProblemsTotal) - len(r.Problems); left > 0 {
		fmt.Fprintf(w, "… and %s\n", plural(left, "more problem"))
	}
	for _, p := range r.Notes {
		fmt.Fprintln(w, ink.dim("note: "+p.String()))
	}
	if left := int(r.NotesTotal) - len(r.Notes); left > 0 {
		fmt.Fprintln(w, ink.dim("… and "+plural(left, "more note")))
	}
	if len(r.Problems)+len(r.Notes) > 0 {
		fmt.Fprintln(w)
	}
	verdict := ink.green("whole")
	switch {
	case r.Damaged():
		verdict = ink.red("damaged: " + plural(int(r.ProblemsTotal), "problem"))
		if r.Lost > 0 {
			verdict += ", " + entriesText(r.Lost) + " lost"
		}
	case !r.OK():
		verdict = "not all of it could be checked"
	}
	rate := ""
	if s := took.Seconds(); s > 0 {
		rate = ", " + sizeText(int64(float64(r.Bytes)/s)) + "/s"
	}
	_, err := fmt.Fprintf(w, "%s  %s\n%s  %s, %s\n%s  %s, %d of them sealed\n%s  %s, %s in %s\n%s  %s%s\n",
		ink.dim("bucket "), verdict,
		ink.dim("objects"), countText(r.Objects), sizeText(int64(r.Bytes)),
		ink.dim("chains "), countText(r.Chains), r.Sealed,
		ink.dim("logs   "), countText(r.Logs), entriesText(r.Entries), batchesText(r.Batches),
		ink.dim("took   "), timeText(took), rate)
	return err
}

func entriesText(n uint64) string {
	if n == 1 {
		return "1 entry"
	}
	return countText(n) + " entries"
}

func batchesText(n uint64) string {
	if n == 1 {
		return "1 batch"
	}
	return countText(n) + " batches"
}
