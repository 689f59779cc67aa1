package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	envPrefix = "WPD_"
	// configEnv names the file where --config does not.
	configEnv = "WPD_CONFIG"
	// configBytesMax is far above what a file of settings has.
	configBytesMax = 1 << 20
)

// origin is where a setting came from.
type origin struct {
	kind  string // default, file, environment or flag
	where string // the file, the variable, the flag
}

const (
	sourceDefault     = "default"
	sourceFile        = "file"
	sourceEnvironment = "environment"
	sourceFlag        = "flag"
)

func (o origin) String() string {
	if o.where == "" {
		return o.kind
	}
	return o.kind + " (" + o.where + ")"
}

// load takes in the file and the environment, below the flags that cmd was
// given. Its errors are the user's, and name all that is wrong.
func (s *settings) load(cmd *cobra.Command, environ []string) error {
	path, err := configPath(cmd, environ)
	if err != nil {
		return err
	}
	file, err := readConfig(path)
	if err != nil {
		return err
	}
	variables := readEnvironment(environ)
	flags := koanf.New(".")
	err = flags.Load(posflag.ProviderWithFlag(cmd.Flags(), ".", nil, func(f *pflag.Flag) (string, any) {
		return strings.ReplaceAll(f.Name, "-", "_"), f.Value.String()
	}), nil)
	if err != nil {
		return err
	}
	var errs []error
	errs = append(errs, s.unknown(file.Keys(), func(key string) string { return fmt.Sprintf("%s: unknown key %q", path, key) }, func(k *knob) string { return k.key })...)
	errs = append(errs, s.unknown(variables.Keys(), func(key string) string { return "unknown variable " + envPrefix + strings.ToUpper(key) }, (*knob).env)...)
	for k := range s.all {
		switch {
		case flags.Exists(k.key): // parsed already
			s.from[k.key] = origin{sourceFlag, "--" + k.flag()}
		case variables.Exists(k.key):
			errs = append(errs, s.set(k, variables.Get(k.key), origin{sourceEnvironment, k.env()}))
		case file.Exists(k.key):
			errs = append(errs, s.set(k, file.Get(k.key), origin{sourceFile, path}))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return advise(&exitError{exitUsage, err}, "docs/configuration.md has every setting; wpd config show prints those in effect")
	}
	s.derive()
	return nil
}

// set gives a setting the value that a file or a variable has for it.
func (s *settings) set(k *knob, v any, from origin) error {
	where := from.where
	if from.kind == sourceFile {
		where += ": " + k.key
	}
	switch v.(type) {
	case nil:
		return fmt.Errorf("%s: there is no value", where)
	case map[string]any, []any:
		return fmt.Errorf("%s: want one value: %s", where, k.value.values())
	}
	if err := k.value.Set(fmt.Sprint(v)); err != nil {
		return fmt.Errorf("%s: %q: %w", where, fmt.Sprint(v), err)
	}
	s.from[k.key] = from
	return nil
}

func configPath(cmd *cobra.Command, environ []string) (string, error) {
	if f := cmd.Flags().Lookup("config"); f.Changed {
		if f.Value.String() == "" {
			return "", usagef(cmd, "--config is empty; want a file")
		}
		return f.Value.String(), nil
	}
	for _, v := range environ {
		if path, ok := strings.CutPrefix(v, configEnv+"="); ok {
			return path, nil
		}
	}
	return "", nil
}

// readConfig reads a file of settings; an empty path is an empty file.
func readConfig(path string) (*koanf.Koanf, error) {
	k := koanf.New(".")
	if path == "" {
		return k, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	b, err := io.ReadAll(io.LimitReader(f, configBytesMax+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the configuration: %w", err)
	case len(b) > configBytesMax:
		err = fmt.Errorf("more than %d bytes", configBytesMax)
	default:
		err = k.Load(rawbytes.Provider(b), yaml.Parser())
	}
	if err != nil {
		return nil, advise(&exitError{exitUsage, fmt.Errorf("%s is no file of settings in YAML: %w", path, err)},
			"one setting a line, as key: value; docs/configuration.md has all of them")
	}
	return k, nil
}

// foreign are variables that others make: those of other commands, of wpd's own
// tests, and those that Kubernetes gives every container for a service whose
// name begins with wpd.
var foreign = regexp.MustCompile(`^WPD_(ADDR|CONFIG|TEST_.*|(.*_)?SERVICE_(HOST|PORT(_.*)?)|(.*_)?PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// readEnvironment takes our variables out of the environment. An empty one
// counts as not there.
func readEnvironment(environ []string) *koanf.Koanf {
	k := koanf.New(".")
	_ = k.Load(env.Provider("", env.Opt{ // without nesting it never fails
		Prefix: envPrefix,
		TransformFunc: func(name, value string) (string, any) {
			if value == "" || foreign.MatchString(name) {
				return "", nil
			}
			return strings.ToLower(strings.TrimPrefix(name, envPrefix)), value
		},
		EnvironFunc: func() []string { return environ },
	}), nil)
	return k
}
