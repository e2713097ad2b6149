package wire

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// awaitTime is longer than a token takes on most machines.
const awaitTime = 100e6 // ns

// await returns when there is something to receive on conn, an end included, or
// sooner and false: receive waits in any case. What it is for is that Go's scheduler is not
// told of the wait, so that it gives nobody else the processor, has no thread to
// wake for it when the answer comes, and does not look for one that is free. An
// engine has no more than one other goroutine that runs, and a processor for it.
// Who needs this one, the scheduler after some 10 ms or a collection, sends a signal,
// which ends the wait (EINTR).
func await(conn int) bool {
	p := unix.PollFd{Fd: int32(conn), Events: unix.POLLIN}
	t := unix.Timespec{Nsec: awaitTime}
	n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
	return errno == 0 && n == 1
}
