// Package fsmpb holds the protobuf messages of package fsm: its commands, and
// the records of its snapshots. fsm.proto is the source; the rest is
// generated and kept in git.
package fsmpb

//go:generate protoc --go_out=. --go_opt=paths=source_relative fsm.proto
