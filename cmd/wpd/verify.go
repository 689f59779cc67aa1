package main

import (
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
		Use:   "verify --bucket URL",
		Short: "Check every byte of a bucket",
		Long: `Read a whole bucket and hold all that it says against itself: every object
decodes, down to the entries, and stands under its own key; every chain is whole
up to its seal or end, and is what its sums and indexes say; every LSN of every
log is there once, in order. It needs no node and no data directory, writes
nothing, and may run while nodes write.

One line says what is wrong, where, and which entries are lost with it. Notes
are about what is worth knowing and no damage. The exit code is 7 if anything is
lost or damaged.`,
		Example: `  wpd verify --bucket file:///var/lib/wpd/objects
  wpd verify --bucket s3://wpd -o json | jq '.problems[].object'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runVerify(cmd, bucket, keep) },
	}
	cmd.Flags().StringVar(&bucket, "bucket", "", "URL of the bucket: file:///path, s3://, gs://, azblob://")
	cmd.Flags().IntVar(&keep, "keep", 1000, "how many problems, and notes, to print; all are counted")
	_ = cmd.MarkFlagRequired("bucket")
	return cmd
}

func runVerify(cmd *cobra.Command, url string, keep int) (err error) {
	if keep <= 0 {
		return usagef(cmd, "--keep is %d; want at least 1", keep)
	}
	store, err := openForReading(cmd.Context(), url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	say := newProgress(cmd)
	defer say.clear()
	start := time.Now()
	r, err := offline.Verify(cmd.Context(), store, offline.VerifyOptions{Keep: keep, Options: offline.Options{Progress: func(p offline.Progress) {
		say.say("verifying: %s of %s objects, %s", countText(p.Objects), countText(p.Of), sizeText(int64(p.Bytes)))
	}}})
	if err != nil {
		return err
	}
	say.clear()
	if r.Cluster == "" && r.Chains == 0 {
		return advise(&exitError{exitNotFound, fmt.Errorf("%s holds no wpd cluster: no cluster.json, and no chain", store.URL())},
			"check the URL, and the prefix in it: an empty bucket must not pass for a whole one")
	}
	took := time.Since(start)
	out := cmd.OutOrStdout()
	if wantsJSON(cmd) {
		err = printJSON(out, struct {
			OK bool `json:"ok"`
			*offline.Report
			Seconds float64 `json:"seconds"`
		}{r.OK(), r, took.Seconds()})
	} else {
		err = printReport(out, inkFor(cmd, out), r, took)
	}
	switch {
	case err != nil:
		return err
	case r.Damaged():
		return advise(&exitError{exitDataLoss, fmt.Errorf("%s in the bucket", plural(int(r.ProblemsTotal), "problem"))},
			"wpd inspect KEY --bucket URL shows what is left of an object; restore it from a copy")
	case !r.OK():
		return advise(fmt.Errorf("%s of a newer format, which could not be checked", plural(int(r.ProblemsTotal), "object")), "use a newer wpd")
	}
	return nil
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
