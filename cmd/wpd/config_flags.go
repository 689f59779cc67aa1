package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// addFlags gives a command a flag for each setting, and --config.
func (s *settings) addFlags(cmd *cobra.Command) {
	cmd.Flags().String("config", "", "`FILE` of settings, in YAML (default $"+configEnv+")")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // it is there
	for k := range s.all {
		k.addFlag(cmd)
	}
}

// addFlagsOf gives a command flags for some settings.
func (s *settings) addFlagsOf(cmd *cobra.Command, keys ...string) {
	for k := range s.all {
		if slices.Contains(keys, k.key) {
			k.addFlag(cmd)
		}
	}
}

func (k *knob) addFlag(cmd *cobra.Command) {
	usage, _, _ := strings.Cut(strings.ReplaceAll(k.what, "`", ""), ". ")
	usage = strings.TrimSuffix(usage, ".")
	if len(usage) > 1 && (usage[1] == ' ' || unicode.IsLower(rune(usage[1]))) {
		usage = strings.ToLower(usage[:1]) + usage[1:]
	}
	if k.unset != "" {
		usage += " (default: " + k.unset + ")"
	}
	flag := cmd.Flags().VarPF(k.value, k.flag(), "", usage)
	switch v := k.value.(type) {
	case boolValue:
		flag.NoOptDefVal = "true"
	case *textValue:
		if v.words != nil {
			completeValues(cmd, k.flag(), v.words...)
		}
		if v.kind == "dir" {
			_ = cmd.MarkFlagDirname(k.flag()) // it is there
		}
	}
}

// flagError adds to an unknown flag which one it was meant to be.
func (s *settings) flagError(_ *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return err
	}
	name := unknown.GetSpecifiedName()
	if k := s.nearest(strings.ReplaceAll(name, "-", "_")); k != nil {
		return fmt.Errorf("%w; did you mean --%s?", err, k.flag())
	}
	return err
}

// noteFlags notes which settings came from flags, for a command that has no
// other source.
func (s *settings) noteFlags(cmd *cobra.Command) {
	for k := range s.all {
		if cmd.Flags().Changed(k.flag()) {
			s.from[k.key] = origin{sourceFlag, "--" + k.flag()}
		}
	}
}
