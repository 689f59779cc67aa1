package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/doctor"
)

// doctorCrew are the other processes of a doctor.
type doctorCrew []*child

// startCrew starts n processes that race on a bucket. They end with ctx, or by
// end, which must follow.
func startCrew(ctx context.Context, bucket string, n int) (crew doctorCrew, err error) {
	for range n {
		c, err := startChild(ctx, "doctor-racer")
		if err == nil {
			crew = append(crew, c)
			// Not an argument, which other users see: a URL may hold secrets.
			_, err = fmt.Fprintln(c.stdin, bucket)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start a process that races: %w", err), crew.end())
		}
	}
	return crew, nil
}

func (crew doctorCrew) members() []*doctor.Crew {
	var members []*doctor.Crew
	for _, c := range crew {
		members = append(members, doctor.NewCrew(c.stdin, c.out))
	}
	return members
}

// end ends the processes in good order, and says what they complain about.
func (crew doctorCrew) end() error {
	var errs []error
	for _, c := range crew {
		c.end()
	}
	for _, c := range crew {
		if err := c.wait(); err != nil {
			errs = append(errs, fmt.Errorf("a process of the race: %w: %s", err, c.complaints()))
		}
	}
	return errors.Join(errs...)
}

func newDoctorRacerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "doctor-racer",
		Short:  "Take part in the races of wpd doctor, which starts this",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			in := bufio.NewReader(cmd.InOrStdin())
			url, err := in.ReadString('\n')
			if errors.Is(err, io.EOF) {
				return nil // whoever started us has left
			}
			if err != nil {
				return err
			}
			bucket, err := blobstore.Open(cmd.Context(), strings.TrimSpace(url), blobstore.Options{})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, bucket.Close()) }()
			return doctor.Serve(cmd.Context(), bucket, in, cmd.OutOrStdout())
		},
	}
}
