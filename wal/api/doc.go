// Package api is the contract of the log service: what it is asked, what it
// answers, and every error that crosses the boundary between a program and
// the node that serves it.
//
// It sits below both ends. Room wal answers in these terms, package wpd shows
// them to users, and whatever carries calls between the two (in one process,
// or over a network) needs nothing else. So it holds values and one
// interface, and imports only fragment.
//
// Callers may rely on this: the outcome of an append is one of acknowledged
// (a nil error: the entries are durable), unknown (the error Is ErrUncertain)
// and refused (any other error: the entries are not in the log and never will
// be, unless the error Is ErrMoved, which asks for the identical batch again).
package api
