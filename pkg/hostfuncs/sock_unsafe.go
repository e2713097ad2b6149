package hostfuncs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below that cannot block are raw: they keep Go's scheduler out of
// the guest's way. x/sys's own wrappers allocate their addresses.

// bind gives the socket the address in s.
func (s *sockaddr) bind(fd int) Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&s.b)), uintptr(s.n))
	return fromUnix(errno)
}

// connect may take as long as the network does, unless the socket does not
// block.
func (s *sockaddr) connect(fd int, block bool) Errno {
	var errno unix.Errno
	if block {
		_, _, errno = unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&s.b)), uintptr(s.n))
	} else {
		_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&s.b)), uintptr(s.n))
	}
	return fromUnix(errno)
}

// name fills s by SYS_GETSOCKNAME or SYS_GETPEERNAME.
func (s *sockaddr) name(trap uintptr, fd int) Errno {
	clear(s.b[:])
	s.n = uint32(len(s.b))
	_, _, errno := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&s.b)), uintptr(unsafe.Pointer(&s.n)))
	if errno != 0 {
		s.n = 0
	}
	return fromUnix(errno)
}

// getOption reads an option into b and gives its length.
func getOption(fd, level, name int, b []byte) (int, Errno) {
	n := uint32(len(b))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(unsafe.Pointer(&n)), 0)
	return int(n), fromUnix(errno)
}

func setOption(fd, level, name int, b []byte) Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0)
	return fromUnix(errno)
}

// address adds where the message goes to, or where its sender is to be put.
func (m *message) address(s *sockaddr) {
	m.hdr.Name = &s.b[0]
	m.hdr.Namelen = s.n
}

// single says that there is one buffer without an address, for which the kernel has the shorter
// way of recv(2) and send(2).
func (m *message) single() bool { return len(m.iov) == 1 && m.hdr.Name == nil }

// move does one SYS_RECVMSG or SYS_SENDMSG, by the shortest way.
func (m *message) move(e *entry, trap uintptr, flags int) (uint32, Errno) {
	if e.stream && m.single() {
		return m.stream(trap, e.fd, flags)
	}
	return m.transfer(trap, e.fd, flags)
}

// stream moves a single buffer of a stream, of which nothing is to be known but
// how much was moved.
func (m *message) stream(trap uintptr, fd, flags int) (uint32, Errno) {
	short := uintptr(unix.SYS_RECVFROM)
	if trap == unix.SYS_SENDMSG {
		short = unix.SYS_SENDTO
	}
	base, n := uintptr(unsafe.Pointer(m.iov[0].Base)), uintptr(m.iov[0].Len)
	var moved uintptr
	var errno unix.Errno
	if flags&unix.MSG_DONTWAIT != 0 {
		moved, _, errno = unix.RawSyscall6(short, uintptr(fd), base, n, uintptr(flags), 0, 0)
	} else {
		moved, _, errno = unix.Syscall6(short, uintptr(fd), base, n, uintptr(flags), 0, 0)
	}
	if errno != 0 {
		return 0, fromUnix(errno)
	}
	return uint32(moved), errnoSuccess
}
