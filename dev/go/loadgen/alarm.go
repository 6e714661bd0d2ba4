package main

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// alarm waits until a moment, to some microseconds. Go's own timers come up to a millisecond late on an idle machine, for its poller counts
// in milliseconds; with that, every time of an open loop would be half a millisecond too long.
type alarm struct {
	descriptor uintptr
	file       *os.File
	rung       [8]byte
}

const (
	clockMonotonic = 1
	closeOnExec    = 0x80000
	nonBlocking    = 0x800
)

// newAlarm makes one that a stop wakes.
func newAlarm(stop chan struct{}) (*alarm, error) {
	descriptor, _, failed := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, clockMonotonic, closeOnExec|nonBlocking, 0)
	if failed != 0 {
		return nil, failed
	}
	it := &alarm{descriptor: descriptor, file: os.NewFile(descriptor, "alarm")}
	go func() {
		<-stop
		it.file.SetReadDeadline(time.Unix(0, 1))
	}()
	return it, nil
}

// wait returns after so long, or at once when it is stopped.
func (it *alarm) wait(span time.Duration) {
	if span <= 0 {
		return
	}
	due := [2]syscall.Timespec{{}, syscall.NsecToTimespec(int64(span))}
	syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, it.descriptor, 0, uintptr(unsafe.Pointer(&due)), 0, 0, 0)
	it.file.Read(it.rung[:])
}
