package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/doctor"
)

// doctorProcessesMax is more than what any machine has use for.
const doctorProcessesMax = 64

// doctorConfig is what the flags of wpd doctor say.
type doctorConfig struct {
	bucket    string
	rounds    int
	processes int
	quick     bool
	speed     bool
	timeout   time.Duration
}

func newDoctorCommand() *cobra.Command {
	c := &doctorConfig{}
	cmd := &cobra.Command{
		Use:   "doctor --bucket URL",
		Short: "Find out whether a bucket is safe to use, and how fast it is",
		Long: `Test whether a bucket keeps the promises that wpd rests on, and measure it. The
first is that of several creates of one key at the same time, one succeeds: several
processes race for many keys. A server that ignores the condition of a create, or
looks first and writes then, would lose acknowledged entries.

It says of each promise whether it was kept and how that was tested, how far the
store's clock is off, and how long requests took, with histograms. What it makes
is below scratch/ and is removed again; it may run beside a cluster on the same
bucket. It sends 8,000 requests, up to 25,000 on a store without latency, and moves
up to 1.4 GB. --quick is a tenth of that, and --speed=false leaves most bytes out.

The exit code is 0 if all promises were kept, 7 if one was broken: use another
store, and 5 if the store could not be used, or not be tested to the end. That a
store was good to the doctor is no proof that it always is; and nobody can see
from here whether what it stores survives a loss of power.`,
		Example: `  wpd doctor --bucket 's3://wpd?region=eu-central-1'
  wpd doctor --bucket file:///mnt/nfs/wpd --quick
  wpd doctor --bucket gs://wpd -o json | jq '.findings[] | select(.verdict != "kept")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&c.bucket, "bucket", "", "URL of the bucket: file:///path, s3://, gs://, azblob://")
	f.IntVar(&c.rounds, "rounds", 250, "how many keys to race for (with --quick: 40)")
	f.IntVar(&c.processes, "processes", 4, "how many processes race, this one included (with --quick: 2)")
	f.BoolVar(&c.quick, "quick", false, "look for less long")
	f.BoolVar(&c.speed, "speed", true, "measure requests, too")
	f.DurationVar(&c.timeout, "timeout", 10*time.Minute, "end after this long; what was not tested by then is unclear")
	_ = cmd.MarkFlagRequired("bucket") // it is there
	return cmd
}

// options are what the flags say, some of them only with --quick.
func (c *doctorConfig) options(cmd *cobra.Command) (doctor.Options, error) {
	o := doctor.Options{Rounds: c.rounds}
	if c.quick {
		o.Keys, o.Large, o.SpeedTime = 100, 2, 300*time.Millisecond
		if !cmd.Flags().Changed("rounds") {
			o.Rounds = 40
		}
		if !cmd.Flags().Changed("processes") {
			c.processes = 2
		}
	}
	if !c.speed {
		o.SpeedTime = -1
	}
	switch {
	case o.Rounds < 1:
		return o, usagef(cmd, "--rounds is %d; want at least 1", o.Rounds)
	case c.processes < 1 || c.processes > doctorProcessesMax:
		return o, usagef(cmd, "--processes is %d; want 1 to %d", c.processes, doctorProcessesMax)
	case c.timeout <= 0:
		return o, usagef(cmd, "--timeout is %v; want more than 0", c.timeout)
	}
	if strings.HasPrefix(c.bucket, "mem:") {
		c.processes = 1 // each would have a bucket of its own
	}
	return o, nil
}

func (c *doctorConfig) run(cmd *cobra.Command) (err error) {
	o, err := c.options(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
	defer cancel()
	bucket, err := blobstore.Open(ctx, c.bucket, blobstore.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bucket.Close()) }()
	crew, err := startCrew(ctx, c.bucket, c.processes-1)
	if err != nil {
		return err
	}
	o.Crew = crew.members()
	say := newProgress(cmd)
	o.Progress = func(what string, done, of int) {
		if of > 0 {
			what = fmt.Sprintf("%s: %s of %s", what, countText(done), countText(of))
		}
		say.say("%s", what)
	}
	r, err := doctor.Examine(ctx, bucket, o)
	say.clear()
	if cerr := crew.end(); err == nil && ctx.Err() == nil {
		err = cerr
	}
	switch {
	case cmd.Context().Err() != nil:
		return errors.Join(cmd.Context().Err(), err)
	case err != nil:
		return advise(&exitError{exitUnavailable, err}, checkAccess)
	}
	err = printResult(cmd, r, func(w io.Writer, ink ink) error { return printDoctor(w, ink, r) })
	if err != nil {
		return err
	}
	return doctorVerdict(r)
}

// checkAccess is what to try where a store does not let us in.
const checkAccess = "check the bucket's name, its region and endpoint, the credentials, and the network"

// unsafeError is a store that breaks a promise.
type unsafeError struct {
	bucket string
	broken int
	of     int
}

func (e *unsafeError) Error() string {
	return fmt.Sprintf("%s breaks %d of the %d promises that wpd rests on: it would lose acknowledged entries", e.bucket, e.broken, e.of)
}

// doctorVerdict is what the exit code tells.
func doctorVerdict(r *doctor.Report) error {
	switch r.Verdict() {
	case doctor.Broken:
		return &unsafeError{r.Bucket, r.Count(doctor.Broken), len(r.Findings)}
	case doctor.Unclear:
		return advise(&exitError{exitUnavailable, fmt.Errorf("%s could not be tested to the end", r.Bucket)},
			"look at what is unclear; give it more time: --timeout")
	}
	return nil
}
