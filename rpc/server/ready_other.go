//go:build !linux

package server

import "net"

// ready makes c wait without a buffer where that is known to work.
func ready(c *conn) net.Conn { return c }
