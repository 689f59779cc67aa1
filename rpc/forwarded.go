package rpc

import "context"

type forwardedKey struct{}

// WithForwarded marks the context of a call that another node makes for a
// client of its own.
func WithForwarded(ctx context.Context) context.Context {
	return context.WithValue(ctx, forwardedKey{}, true)
}

// Forwarded says that another node makes the call for a client of its own: it
// must be done here, or not at all.
func Forwarded(ctx context.Context) bool { return ctx.Value(forwardedKey{}) != nil }
