package hostfuncs

import (
	"unsafe"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// message is the scratch for one recvmsg or sendmsg. x/sys's own wrappers
// allocate an iovec array and a sockaddr a call.
type message struct {
	hdr unix.Msghdr
	iov []unix.Iovec
}

// gather points the message at the count buffers that the guest's iovec array
// at ptr names. Buffers may overlap: the kernel fills them in order.
func (m *message) gather(mem abi.Memory, ptr, count uint32) Errno {
	if count > maxIovecs {
		return errnoInval
	}
	list, ok := mem.Bytes(ptr, count*iovecSize)
	if !ok {
		return errnoFault
	}
	m.iov = m.iov[:0]
	for ; len(list) > 0; list = list[iovecSize:] {
		base, n := readIovec(list)
		buf, ok := mem.Bytes(base, n)
		if !ok {
			return errnoFault
		}
		if len(buf) > 0 {
			m.iov = append(m.iov, unix.Iovec{Base: &buf[0], Len: uint64(len(buf))})
		}
	}
	m.hdr = unix.Msghdr{}
	if len(m.iov) > 0 {
		m.hdr.Iov = &m.iov[0]
		m.hdr.Iovlen = uint64(len(m.iov))
	}
	return errnoSuccess
}

// release drops the pointers into the guest's memory: the engine may move that
// before the next call.
func (m *message) release() {
	clear(m.iov)
	m.hdr = unix.Msghdr{}
}

// transfer does one SYS_RECVMSG or SYS_SENDMSG. The kernel moves at most
// MAX_RW_COUNT bytes, so that the number fits 31 bits.
func (m *message) transfer(trap uintptr, fd, flags int) (uint32, Errno) {
	n, _, errno := unix.Syscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr)), uintptr(flags))
	if errno != 0 {
		return 0, fromUnix(errno)
	}
	return uint32(n), errnoSuccess
}

// accept takes a connection without asking for the peer's address, which
// unix.Accept4 would allocate.
func accept(fd, flags int) (int, Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, uintptr(flags), 0, 0)
	if errno != 0 {
		return -1, fromUnix(errno)
	}
	return int(n), errnoSuccess
}
