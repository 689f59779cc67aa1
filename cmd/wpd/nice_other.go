//go:build !linux

package main

import "context"

// startChildLast is startChild: priorities are set on Linux only.
func startChildLast(ctx context.Context, args ...string) (*child, error) {
	return startChild(ctx, args...)
}
