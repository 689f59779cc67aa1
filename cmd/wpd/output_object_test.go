package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestYAML(t *testing.T) {
	v := struct {
		Z     string   `json:"z"`
		A     uint64   `json:"a"`
		Text  []string `json:"text"`
		None  *int     `json:"none"`
		Empty []int    `json:"empty"`
		Sub   struct {
			F float64 `json:"f"`
			B bool    `json:"b"`
		} `json:"sub"`
	}{Z: "first", A: 1<<64 - 1, Text: []string{"true", "12", "1e3", "null", "", "a: b", "two\nlines", "\x7f\x00", "2026-01-01", "é😀"}, Empty: []int{}}
	v.Sub.F, v.Sub.B = 0.25, true
	var out bytes.Buffer
	require.NoError(t, printYAML(&out, v))
	require.True(t, bytes.HasPrefix(out.Bytes(), []byte("---\nz: first\na: 18446744073709551615\n")), out.String())

	// It says what the JSON says.
	var fromYAML, fromJSON any
	require.NoError(t, yaml.Unmarshal(out.Bytes(), &fromYAML))
	b, err := json.Marshal(fromYAML)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &fromYAML))
	b, err = json.Marshal(v)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &fromJSON))
	require.Equal(t, fromJSON, fromYAML)
}

func TestYAMLDocumentsFollowEachOther(t *testing.T) {
	var out bytes.Buffer
	for i := range 3 {
		require.NoError(t, printYAML(&out, ackJSON{1, uint64(i)}))
	}
	d := yaml.NewDecoder(&out)
	for i := range 3 {
		var got map[string]int
		require.NoError(t, d.Decode(&got))
		require.Equal(t, map[string]int{"first_lsn": 1, "count": i}, got)
	}
}
