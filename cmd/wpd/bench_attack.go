package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc/siege"
)

// attackBegun is what an attacker says once it is about to attack.
const attackBegun = "begun\n"

// newBenchAttackCommand is the process that attacks for bench siege.
func newBenchAttackCommand() *cobra.Command {
	var cfg siege.Config
	var log uint64
	cmd := &cobra.Command{
		Use:    "attack",
		Short:  "The process that attacks for bench siege",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A Ctrl-C is for the bench, which ends us when it is done.
			ctx, cancel := untilClosed(context.WithoutCancel(cmd.Context()), cmd.InOrStdin())
			defer cancel()
			cfg.Log = wpd.LogID(log)
			report, err := siege.Run(ctx, cfg, func() { _, _ = io.WriteString(cmd.OutOrStdout(), attackBegun) })
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Addr, "addr", "", "HOST:PORT, on the loopback")
	f.StringVar(&cfg.Attack, "name", "", "which attack")
	f.DurationVar(&cfg.Time, "duration", time.Second, "how long")
	f.Uint64Var(&log, "log", 0, "id of a log")
	return cmd
}

// attacker is an attack under way, in a process of its own. It has the lowest
// priority: real attackers have processors of their own.
type attacker struct{ c *child }

// startAttack returns once the attack has begun; end must follow.
func startAttack(ctx context.Context, cfg siege.Config) (*attacker, error) {
	c, err := startChildLast(context.WithoutCancel(ctx), "bench", "attack", "--addr", cfg.Addr, "--name", cfg.Attack,
		"--duration", cfg.Time.String(), "--log", fmt.Sprint(uint64(cfg.Log)))
	if err != nil {
		return nil, err
	}
	a := &attacker{c}
	if line, _ := c.out.ReadString('\n'); line != attackBegun {
		c.end()
		return nil, fmt.Errorf("attack with %s: %w: %s", cfg.Attack, errors.Join(errors.New("it did not begin"), c.wait()), c.complaints())
	}
	return a, nil
}

// end ends the attack, and returns what it did.
func (a *attacker) end() (r siege.Report, err error) {
	a.c.end()
	late := time.AfterFunc(serverStopWait, a.c.kill)
	defer late.Stop()
	line, _ := a.c.out.ReadString('\n')
	if err := a.c.wait(); err != nil {
		return r, fmt.Errorf("the attacker ended: %w: %s", err, a.c.complaints())
	}
	return r, json.Unmarshal([]byte(strings.TrimSpace(line)), &r)
}
