//go:build race

package server_test

// shadow is how many times as much memory the race detector takes, about.
const shadow = 8
