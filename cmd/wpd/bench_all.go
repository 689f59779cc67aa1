package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// caseReport is one case in the output.
type caseReport struct {
	Name    string          `json:"name"`
	Command string          `json:"command"`
	Goal    string          `json:"goal"`
	Found   string          `json:"found"`
	Met     bool            `json:"met"`
	Result  json.RawMessage `json:"result"`
}

// benchAll runs cases one after the other.
type benchAll struct {
	cases []benchCase
	dir   string // for temporary directories; "": where the system has them
	// serve starts a server for one case; nil: nodes are embedded.
	serve func(ctx context.Context, dir string) (addr string, stop func() error, err error)
	old   *baseline
}

func newBenchAllCommand() *cobra.Command {
	var a benchAll
	var scale float64
	var more []string
	var daemon bool
	var compare string
	cmd := &cobra.Command{
		Use:   "all",
		Short: "Run the cases that have goals, and say which are met",
		Long: `Run the cases of docs/benchmarks.md, each in a process and a temporary directory of
its own, and compare them with their goals. A goal that is missed is no error.

With --daemon, the cases are those of a client and a server: each has a server of
its own, in another process on this machine, on the loopback. With --addr, the
same cases use a server that runs already; its memory is that of its whole life.`,
		Example: `  wpd bench all
  wpd bench all --daemon
  wpd bench all --scale 0.1 -o json >old.json
  wpd bench all --scale 0.1 --compare old.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if scale <= 0 || scale > 100 {
				return usagef(cmd, "--scale is %v; want more than 0, at most 100", scale)
			}
			if a.old, err = loadBaseline(compare); err != nil {
				return usage(cmd, err)
			}
			a.cases = benchCases(scale)
			switch remote := cmd.Flags().Changed("addr"); {
			case daemon && remote:
				return usagef(cmd, "--daemon and --addr exclude each other: --daemon starts servers of its own")
			case daemon:
				a.cases, a.serve = serverCases(scale), serveForBench
			case remote:
				t, err := targetOf(cmd)
				if err != nil {
					return err
				}
				a.cases, a.serve = serverCases(scale), func(context.Context, string) (string, func() error, error) {
					return t.addrs, func() error { return nil }, nil
				}
			}
			for i, c := range a.cases {
				if c.name != caseFollowers && c.name != caseSiege { // they have no rounds, nor entries
					a.cases[i].args = append(c.args, more...)
				}
			}
			return a.run(cmd)
		},
	}
	f := cmd.Flags()
	f.Float64Var(&scale, "scale", 1, "multiply sizes and times")
	f.StringSliceVar(&more, "with", nil, "add a flag to every case with entries, for example --with=--rounds=9")
	f.StringVar(&a.dir, "dir", "", "make the temporary directories in this one; default: where the system has them")
	f.BoolVar(&daemon, "daemon", false, "measure a client and a server, started for each case")
	f.StringSlice("addr", nil, "measure a client of the server at HOST:PORT")
	addCompareFlag(f, &compare)
	return cmd
}

func (a *benchAll) run(cmd *cobra.Command) error {
	if err := a.checkBaseline(); err != nil {
		return usage(cmd, err)
	}
	ctx, p := cmd.Context(), newProgress(cmd)
	defer p.clear()
	results := map[string]caseResult{}
	var rows [][]string
	for i, c := range a.cases {
		p.say("case %d of %d: %s", i+1, len(a.cases), c.name)
		r, args, err := a.runCase(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		results[c.name] = r
		found, met := c.found(r, results)
		if !wantsObjects(cmd) {
			verdict := "met"
			if !met {
				verdict = "MISSED"
			}
			rows = append(rows, []string{c.name, c.goal, found, verdict})
			continue
		}
		object, err := json.Marshal(caseReport{c.name, "wpd bench " + strings.Join(args, " "), c.goal, found, met, r.raw})
		if err != nil {
			return err
		}
		compared, err := a.compare(c.name, r)
		if err != nil {
			return err
		}
		if compared != nil {
			object = withComparison(object, compared)
		}
		if err := printObject(cmd, json.RawMessage(object)); err != nil {
			return err
		}
	}
	if wantsObjects(cmd) {
		return nil
	}
	p.clear()
	return a.print(cmd, results, rows)
}

func (a *benchAll) print(cmd *cobra.Command, results map[string]caseResult, rows [][]string) error {
	out := cmd.OutOrStdout()
	ink := inkFor(cmd, out)
	if err := printTable(out, ink, []column{{"case", true}, {"goal", true}, {"found", true}, {"", true}}, rows); err != nil {
		return err
	}
	for _, c := range a.cases {
		compared, err := a.compare(c.name, results[c.name])
		if err != nil {
			return err
		}
		if compared == nil {
			continue
		}
		if err := printComparison(out, ink, c.name, compared); err != nil {
			return err
		}
	}
	return nil
}

// checkBaseline says whether there is anything to compare with.
func (a *benchAll) checkBaseline() error {
	if a.old == nil {
		return nil
	}
	for _, c := range a.cases {
		if a.old.named(c.name) != nil {
			return nil
		}
	}
	return fmt.Errorf("--compare %s: it has none of these cases; want the output of wpd bench all -o json", a.old.file)
}

// compare compares a case with an earlier run of it; nil if there is none.
func (a *benchAll) compare(name string, r caseResult) ([]comparison, error) {
	old := a.old.named(name)
	if old == nil {
		return nil, nil
	}
	return compareResults(old, r.raw)
}

// runCase runs a case in a process of its own, so that memory is that of the
// case alone, and returns its arguments too.
func (a *benchAll) runCase(ctx context.Context, c benchCase) (r caseResult, args []string, err error) {
	args = c.args
	if a.serve != nil {
		addr, stop, startErr := a.serve(ctx, a.dir)
		if startErr != nil {
			return r, nil, startErr
		}
		defer func() { err = errors.Join(err, stop()) }()
		args = append(args[:len(args):len(args)], "--addr", addr)
	}
	out, err := a.output(ctx, args)
	if err != nil {
		return r, args, err
	}
	r.raw = bytes.TrimSpace(out)
	switch c.args[0] {
	case "open":
		var o openResult
		err = json.Unmarshal(out, &o)
		r.OpenSeconds = o.Seconds
	case "followers":
		err = json.Unmarshal(out, &r.followers)
	case "siege":
		err = json.Unmarshal(out, &r.siege)
	default:
		err = json.Unmarshal(out, &r.benchResult)
	}
	return r, args, err
}

// output runs a bench in a process of its own and returns what it printed.
func (a *benchAll) output(ctx context.Context, args []string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, append(append([]string{"bench"}, args...), "-o", "json")...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it has a directory to remove
	cmd.WaitDelay = 10 * time.Second
	if a.dir != "" {
		cmd.Env = append(os.Environ(), "TMPDIR="+a.dir)
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		code := exitUnexpected
		if e, ok := errors.AsType[*exec.ExitError](err); ok && e.ExitCode() > 0 {
			code = e.ExitCode()
		}
		return nil, &exitError{code, fmt.Errorf("%w: %s", err, strings.TrimSpace(complaints.String()))}
	}
	return out, nil
}
