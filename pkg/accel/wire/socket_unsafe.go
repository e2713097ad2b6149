package wire

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// shortWait is how long a wait for a message may keep one of Go's processors.
var shortWait = unix.Timespec{Nsec: 1_000_000}

// awaitShort waits a little for a message without telling Go's scheduler: of a
// process whose only processor in use waits, its monitor thread goes to sleep, to
// be woken by each message and then to look every 20 µs, which the library's
// threads pay for. Whatever the outcome, the caller goes on to receive.
func awaitShort(conn int) {
	fds, left := unix.PollFd{Fd: int32(conn), Events: unix.POLLIN}, shortWait
	_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds)), 1, uintptr(unsafe.Pointer(&left)), 0, 0, 0)
}
