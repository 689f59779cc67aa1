package server

import (
	"io"
	"net"
	"syscall"

	"google.golang.org/grpc/mem"
)

// readyConn is a connection that waits for bytes without a buffer for them: an
// idle one would hold 32 KiB otherwise. gRPC does the same with a net.TCPConn,
// and asks a wrapped one for ReadOnReady.
type readyConn struct {
	*conn
	raw  syscall.RawConn
	read func(fd uintptr) bool // made once

	// Of the call under way.
	size int
	pool mem.BufferPool
	buf  *[]byte
	n    int
	err  error
}

// ready makes c wait without a buffer, if it can.
func ready(c *conn) net.Conn {
	var raw syscall.RawConn
	var err error
	switch under := c.Conn.(type) {
	case *net.TCPConn:
		raw, err = under.SyscallConn()
	case *net.UnixConn:
		raw, err = under.SyscallConn()
	default:
		return c
	}
	if err != nil {
		return c // which will say what is wrong with it
	}
	r := &readyConn{conn: c, raw: raw}
	r.read = func(fd uintptr) bool {
		r.buf, r.err = r.pool.Get(r.size), syscall.EINTR
		for r.err == syscall.EINTR {
			r.n, r.err = syscall.Read(int(fd), *r.buf)
		}
		if r.err != nil {
			r.pool.Put(r.buf)
			r.buf, r.n = nil, 0
		}
		return r.err != syscall.EAGAIN
	}
	return r
}

// ReadOnReady waits until there is something to read, and reads it into a
// buffer of the pool. Only one reads at a time.
func (r *readyConn) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	r.size, r.pool = size, pool
	err := r.raw.Read(r.read)
	buf, n := r.buf, r.n
	if err == nil {
		err = r.err
	}
	r.pool, r.buf, r.n, r.err = nil, nil, 0, nil
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		if buf != nil {
			pool.Put(buf)
		}
		return nil, 0, err
	}
	r.s.metrics.received.Add(float64(n))
	return buf, n, nil
}

// hasSpoken says that something came on a connection, and was not read yet. It
// does not wait.
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
	_ = raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), first[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		spoken = err == nil && n > 0
		return true
	})
	return spoken
}
