//go:build unix

package main

import "syscall"

// ownGroup puts a process where a Ctrl-C does not reach it.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
