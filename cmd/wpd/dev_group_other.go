//go:build !unix

package main

import "syscall"

// ownGroup has nothing to offer here: a Ctrl-C reaches all nodes.
func ownGroup() *syscall.SysProcAttr { return nil }
