//go:build !race

package server_test

// shadow: see race_test.go.
const shadow = 1
