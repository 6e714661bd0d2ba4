package main

import (
	"net"
	"syscall"
)

// readable tells whether an idle connection has something to read, which can only be its end.
func readable(conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	ended := true
	one := make([]byte, 1)
	looked := raw.Read(func(descriptor uintptr) bool {
		_, _, err := syscall.Recvfrom(int(descriptor), one, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		ended = err != syscall.EAGAIN
		return true
	})
	return ended || looked != nil
}
