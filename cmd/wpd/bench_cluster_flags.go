package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
)

// clusterBench is what the benchmarks of a cluster have in common.
type clusterBench struct {
	nodes   int
	rounds  int
	rate    float64 // appends per second, of all logs
	dir     string
	compare string
}

// clusterResult is what one of them has found, or another benchmark that says
// whether all is as it was acknowledged.
type clusterResult interface {
	print(w io.Writer, ink ink) error
	// problem says what is not as it was acknowledged; "" if all is.
	problem() string
}

// verification is the part of a clusterResult that says whether everything was
// read back and is as acknowledged.
type verification struct {
	Verified      bool   `json:"verified"`
	VerifyProblem string `json:"verify_problem,omitempty"`
}

func verified(err error) verification {
	if err != nil {
		return verification{VerifyProblem: err.Error()}
	}
	return verification{Verified: true}
}

func (v verification) problem() string { return v.VerifyProblem }

func (v verification) text(ink ink) string {
	if !v.Verified {
		return ink.red("NO: " + v.VerifyProblem)
	}
	return ink.green("yes")
}

func (b *clusterBench) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&b.nodes, "nodes", 3, "how many nodes: 3 to 9")
	f.StringVar(&b.dir, "dir", "", "directory to work in, below which all is removed in the end (default: the system's for temporary files)")
	addCompareFlag(f, &b.compare)
}

// runAndPrint runs a benchmark and prints its result, beside an earlier one of
// the same key with as many nodes.
func (b *clusterBench) runAndPrint(cmd *cobra.Command, k benchKey, run func(ctx context.Context, p *progress) (clusterResult, error)) error {
	switch {
	case b.nodes < 3 || b.nodes > devNodesMax:
		return usagef(cmd, "--nodes is %d; want 3 to %d", b.nodes, devNodesMax)
	case b.rounds < 1 || b.rounds > 1000:
		return usagef(cmd, "--rounds is %d; want 1 to 1,000", b.rounds)
	case b.rate < 0 || b.rate > 10_000:
		return usagef(cmd, "--rate is %v; want up to 10,000", b.rate)
	}
	k.Nodes = b.nodes
	old, err := findBaseline(b.compare, k)
	if err != nil {
		return usage(cmd, err)
	}
	p := newProgress(cmd)
	r, err := run(cmd.Context(), p)
	p.clear()
	if err != nil {
		return err
	}
	return printVerified(cmd, r, old)
}

// printVerified prints a result beside an earlier one, which may be nil, and fails
// if not all is as it was acknowledged.
func printVerified(cmd *cobra.Command, r clusterResult, old json.RawMessage) error {
	if err := printBench(cmd, r, old, r.print); err != nil {
		return err
	}
	if why := r.problem(); why != "" {
		return &exitError{exitDataLoss, errors.New(why)}
	}
	return nil
}

// writers opens a writer of each of n new logs.
func (c *benchCluster) writers(ctx context.Context, n int) (*load, []*wpd.Log, error) {
	b := &bench{cfg: &benchConfig{kind: "cluster", size: 100, logs: n, producers: 1, inFlight: 64 << 20}, id: newRunID(), p: &progress{}, at: &remote{conn: c.client}}
	if err := b.createLogs(ctx); err != nil {
		return nil, nil, err
	}
	l, err := b.newLoad(ctx)
	return l, b.logs, err
}
