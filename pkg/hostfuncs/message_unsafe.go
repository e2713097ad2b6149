package hostfuncs

import (
	"unsafe"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// message is the scratch for one recvmsg or sendmsg, for which x/sys's own
// wrappers allocate.
type message struct {
	hdr unix.Msghdr
	iov vector
}

// gather points the message at the count buffers that the guest's iovec array
// at ptr names.
func (m *message) gather(mem abi.Memory, ptr, count uint32) Errno {
	if errno := m.iov.gather(mem, ptr, count); errno != errnoSuccess {
		return errno
	}
	m.hdr = unix.Msghdr{Iov: unsafe.SliceData(m.iov)}
	m.hdr.SetIovlen(len(m.iov))
	return errnoSuccess
}

func (m *message) release() {
	m.iov.release()
	m.hdr = unix.Msghdr{}
}

// transfer does one SYS_RECVMSG or SYS_SENDMSG. The kernel moves at most
// MAX_RW_COUNT bytes, so that the number fits 31 bits. A call that cannot wait
// is raw: Go's scheduler need not know of it.
func (m *message) transfer(trap uintptr, fd, flags int) (uint32, Errno) {
	var n uintptr
	var errno unix.Errno
	if flags&unix.MSG_DONTWAIT != 0 {
		n, _, errno = unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr)), uintptr(flags))
	} else {
		n, _, errno = unix.Syscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr)), uintptr(flags))
	}
	if errno != 0 {
		return 0, fromUnix(errno)
	}
	return uint32(n), errnoSuccess
}

// accept takes a connection without asking for the peer's address, which
// unix.Accept4 would allocate.
func accept(fd, flags int, block bool) (int, Errno) {
	var n uintptr
	var errno unix.Errno
	if block {
		n, _, errno = unix.Syscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, uintptr(flags), 0, 0)
	} else {
		n, _, errno = unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, uintptr(flags), 0, 0)
	}
	if errno != 0 {
		return -1, fromUnix(errno)
	}
	return int(n), errnoSuccess
}
