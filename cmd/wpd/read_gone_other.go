//go:build !unix

package main

import (
	"context"
	"io"
)

// watchReaderOf: here, that nobody reads our output shows at the next write.
func watchReaderOf(io.Writer, context.CancelCauseFunc) (stop func()) { return func() {} }
