package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
)

//go:generate go run . config docs --write ../../docs/configuration.md

// configDocs is docs/configuration.md, but for the settings.
//
//go:embed config_docs.md
var configDocs string

func newConfigDocsCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:    "docs",
		Short:  "Write docs/configuration.md",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := writeConfigDocs()
			if err != nil {
				return err
			}
			if file != "" {
				return os.WriteFile(file, text, 0o644)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&file, "write", "", "`FILE` to write to, in place of stdout")
	return cmd
}

// writeConfigDocs makes the page from the settings themselves.
func writeConfigDocs() ([]byte, error) {
	page, err := template.New("configuration").Parse(configDocs)
	if err != nil {
		return nil, err
	}
	s := newSettings()
	var b bytes.Buffer
	err = page.Execute(&b, map[string]string{"Settings": s.tables(), "File": s.example()})
	return b.Bytes(), err
}

// tables lists all settings, by room.
func (s *settings) tables() string {
	var b strings.Builder
	for _, r := range s.rooms {
		fmt.Fprintf(&b, "### %s\n\n%s\n\n", r.name, r.about)
		b.WriteString("| key | flag | environment | default | takes | what it does |\n|---|---|---|---|---|---|\n")
		for _, k := range r.knobs {
			fmt.Fprintf(&b, "| `%s` | `--%s` | `%s` | %s | %s | %s |\n", k.key, k.flag(), k.env(), k.defaultText(), k.value.values(), k.what)
		}
		b.WriteString("\n")
	}
	return strings.TrimSpace(b.String())
}

// defaultText says what happens if nothing is said.
func (k *knob) defaultText() string {
	switch {
	case k.unset != "":
		return k.unset
	case k.def == "":
		return "none"
	}
	return "`" + k.def + "`"
}

// example is a file that has every default.
func (s *settings) example() string {
	var b strings.Builder
	for i, r := range s.rooms {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "# %s\n", r.name)
		for _, k := range r.knobs {
			switch def := k.value.String(); {
			case k.key == "bucket":
				b.WriteString("bucket: file:///var/lib/wpd/objects\n")
			case k.key == "data_dir":
				b.WriteString("data_dir: /var/lib/wpd/node\n")
			case def == "":
				fmt.Fprintf(&b, "# %s:\n", k.key)
			default:
				fmt.Fprintf(&b, "%s: %s\n", k.key, def)
			}
		}
	}
	return strings.TrimSpace(b.String())
}
