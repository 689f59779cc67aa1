package server

import (
	"net"
	"syscall"
)

// hasSpoken says that something came on a connection, and was not read yet. It
// waits for nobody, not even for who reads there.
func hasSpoken(c net.Conn) (spoken bool) {
	under, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := under.SyscallConn()
	if err != nil {
		return false
	}
	var first [1]byte
	_ = raw.Control(func(fd uintptr) { // Read would wait for who reads; a closed one has not spoken
		n, _, err := syscall.Recvfrom(int(fd), first[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		spoken = err == nil && n > 0
	})
	return spoken
}
