package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// outputFormat is what -o says: table, json or yaml.
func outputFormat(cmd *cobra.Command) string {
	format, _ := cmd.Flags().GetString("output")
	return format
}

// wantsJSON says whether results are to be printed as JSON.
func wantsJSON(cmd *cobra.Command) bool { return outputFormat(cmd) == "json" }

// wantsObjects says whether results are to be printed for programs, by
// printObject: as JSON or YAML.
func wantsObjects(cmd *cobra.Command) bool { return outputFormat(cmd) != "table" }

// printResult prints v as -o wants it: as an object, or by table, for people.
func printResult(cmd *cobra.Command, v any, table func(w io.Writer, ink ink) error) error {
	if wantsObjects(cmd) {
		return printObject(cmd, v)
	}
	out := cmd.OutOrStdout()
	return table(out, inkFor(cmd, out))
}

// printObject prints v to stdout, in one write, as -o wants it: as one line of
// JSON, or as a YAML document with the same keys in the same order.
func printObject(cmd *cobra.Command, v any) error {
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), v)
	}
	return printYAML(cmd.OutOrStdout(), v)
}

// printJSON prints v as one line.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printYAML prints v as a document that starts with "---", so that documents
// may follow each other. What v is called and how, its JSON says.
func printYAML(w io.Writer, v any) error {
	var b bytes.Buffer
	if err := printJSON(&b, v); err != nil {
		return err
	}
	d := json.NewDecoder(&b)
	d.UseNumber()
	n, err := yamlNode(d)
	if err != nil {
		return err
	}
	out := bytes.NewBufferString("---\n")
	e := yaml.NewEncoder(out)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return err
	}
	_, err = w.Write(out.Bytes())
	return err
}

// yamlNode makes a YAML node of the next JSON value; keys keep their order.
func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		n := &yaml.Node{}
		if number, ok := token.(json.Number); ok { // as it was written
			n.Kind, n.Value = yaml.ScalarNode, number.String()
			return n, nil
		}
		return n, n.Encode(token)
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if delim == '{' {
		n.Kind = yaml.MappingNode
	}
	for d.More() {
		child, err := yamlNode(d) // of a mapping, a key and then its value
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, child)
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("end of %v: %w", delim, err)
	}
	return n, nil
}
