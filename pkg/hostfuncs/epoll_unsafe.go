package hostfuncs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func epollCtl(epfd, op, fd int, ev *unix.EpollEvent) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epfd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(ev)), 0, 0)
	return errno
}

// wait asks the kernel for ready descriptors; ms as for epoll_wait(2). With
// yield Go's scheduler is told that this may take a while. A signal ends the
// wait with nothing ready.
func (q *watch) wait(ms int, yield bool) Errno {
	call := [4]uintptr{uintptr(q.epfd), uintptr(unsafe.Pointer(unsafe.SliceData(q.events))), uintptr(len(q.events)), uintptr(ms)}
	var n uintptr
	var errno unix.Errno
	if yield {
		n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, call[0], call[1], call[2], call[3], 0, 0)
	} else {
		n, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, call[0], call[1], call[2], call[3], 0, 0)
	}
	return q.waited(n, errno)
}

// waitFor is wait for nanoseconds. NOSYS also stands for a seccomp filter's
// EPERM.
func (q *watch) waitFor(ns uint64) Errno {
	ts := timespec(ns)
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(q.epfd), uintptr(unsafe.Pointer(unsafe.SliceData(q.events))),
		uintptr(len(q.events)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	if errno == unix.EPERM {
		return errnoNosys
	}
	return q.waited(n, errno)
}

func (q *watch) waited(n uintptr, errno unix.Errno) Errno {
	switch errno {
	case 0:
		q.ready = int(n)
		return errnoSuccess
	case unix.EINTR:
		return errnoSuccess
	}
	return fromUnix(errno)
}

// ppoll gives the number of descriptors that are ready; ts nil waits for ever.
func ppoll(fds []unix.PollFd, ts *unix.Timespec, yield bool) (int, unix.Errno) {
	list, count, timeout := uintptr(unsafe.Pointer(unsafe.SliceData(fds))), uintptr(len(fds)), uintptr(unsafe.Pointer(ts))
	var n uintptr
	var errno unix.Errno
	if yield {
		n, _, errno = unix.Syscall6(unix.SYS_PPOLL, list, count, timeout, 0, 0, 0)
	} else {
		n, _, errno = unix.RawSyscall6(unix.SYS_PPOLL, list, count, timeout, 0, 0, 0)
	}
	return int(n), errno
}

// overlap says whether two parts of the guest's memory share a byte.
func overlap(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	p, q := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return p < q+uintptr(len(b)) && q < p+uintptr(len(a))
}
