package hostfuncs

import (
	"math"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

func (h *Host) fdRead(mem abi.Memory, p []uint64) Errno {
	return h.transferFile(mem, p[0], uint32(p[1]), uint32(p[2]), uint32(p[3]), fileTransfer{
		trap: unix.SYS_READV, events: unix.POLLIN, rights: rightFdRead, dir: errnoIsdir,
	})
}

func (h *Host) fdWrite(mem abi.Memory, p []uint64) Errno {
	return h.transferFile(mem, p[0], uint32(p[1]), uint32(p[2]), uint32(p[3]), fileTransfer{
		trap: unix.SYS_WRITEV, events: unix.POLLOUT, rights: rightFdWrite, dir: errnoBadf,
	})
}

func (h *Host) fdPread(mem abi.Memory, p []uint64) Errno {
	if p[3] > math.MaxInt64 {
		return errnoInval
	}
	return h.transferFile(mem, p[0], uint32(p[1]), uint32(p[2]), uint32(p[4]), fileTransfer{
		trap: unix.SYS_PREADV, offset: int64(p[3]), rights: rightFdRead, seek: true, dir: errnoIsdir,
	})
}

// fdPwrite ignores the offset of a file opened with APPEND, as pwrite(2) does
// on Linux.
func (h *Host) fdPwrite(mem abi.Memory, p []uint64) Errno {
	if p[3] > math.MaxInt64 {
		return errnoInval
	}
	return h.transferFile(mem, p[0], uint32(p[1]), uint32(p[2]), uint32(p[4]), fileTransfer{
		trap: unix.SYS_PWRITEV, offset: int64(p[3]), rights: rightFdWrite, seek: true, dir: errnoBadf,
	})
}

// fileTransfer says how the four functions above differ.
type fileTransfer struct {
	trap   uintptr
	offset int64
	// events is what poll(2) calls ready; 0 for files that have no such state.
	events int16
	rights uint64
	seek   bool
	// dir is the answer for a directory, the one open(2) and read(2) give.
	dir Errno
}

// transferFile moves bytes between the guest's buffers and a descriptor.
func (h *Host) transferFile(mem abi.Memory, fd uint64, iovs, count, result uint32, x fileTransfer) Errno {
	e, errno := h.files.get(uint32(fd))
	switch {
	case errno != errnoSuccess:
		return errno
	case e.kind == filetypeDir:
		return x.dir
	case !e.can(x.rights):
		// A descriptor lacks these rights mostly because it was opened without
		// them, and BADF is what programs expect from read(2) and write(2).
		return errnoBadf
	case x.seek && e.kind == filetypeRegular && !e.can(rightFdSeek):
		return errnoNotcapable
	}
	if _, ok := mem.Bytes(result, 4); !ok {
		return errnoFault
	}
	if isSocket(e) && !x.seek {
		return h.transferSocket(mem, e, iovs, count, result, &x)
	}
	return h.transferBytes(mem, e, iovs, count, result, &x)
}

// transferSocket is transferFile for sockets: a closed peer is an error without
// a signal, and what the guest does not want to wait for needs no look first.
func (h *Host) transferSocket(mem abi.Memory, e *entry, iovs, count, result uint32, x *fileTransfer) Errno {
	defer h.msg.release()
	if errno := h.msg.gather(mem, iovs, count); errno != errnoSuccess {
		return errno
	}
	if len(h.msg.iov) == 0 {
		// recv(2) of nothing waits for something, read(2) does not.
		return h.transferBytes(mem, e, iovs, count, result, x)
	}
	trap, flags := uintptr(unix.SYS_RECVMSG), 0
	if x.trap == unix.SYS_WRITEV {
		trap, flags = unix.SYS_SENDMSG, unix.MSG_NOSIGNAL
	}
	n, errno := h.transfer(e, trap, flags)
	if errno != errnoSuccess {
		return errno
	}
	mem.PutUint32(result, n)
	return errnoSuccess
}

// transferBytes is transferFile once the descriptor and the result are checked.
func (h *Host) transferBytes(mem abi.Memory, e *entry, iovs, count, result uint32, x *fileTransfer) Errno {
	if errno := h.fs.vec.gather(mem, iovs, count); errno != errnoSuccess {
		h.fs.vec.release()
		return errno
	}
	n, errno := h.moveBytes(e, x)
	h.fs.vec.release()
	if errno != errnoSuccess {
		return errno
	}
	mem.PutUint32(result, n)
	return errnoSuccess
}

// moveBytes runs the system call, waiting or not as the guest asked for.
func (h *Host) moveBytes(e *entry, x *fileTransfer) (uint32, Errno) {
	emulate := e.shared && e.flags&fdflagNonblock != 0 && x.events != 0
	for {
		if emulate {
			if ready, errno := waitFor(e.fd, x.events, 0); !ready {
				return 0, errno
			}
			if x.events == unix.POLLOUT {
				h.shorten(e)
			}
		}
		n, unixErrno := h.fs.vec.transfer(x.trap, e.fd, x.offset)
		if unixErrno == 0 {
			return n, errnoSuccess
		}
		errno := fromUnix(unixErrno)
		if errno != errnoIntr && x.events == 0 {
			return 0, errno
		}
		if retry, errno := h.again(e, x.events, errno); !retry {
			return 0, errno
		}
	}
}

// shorten keeps a write to a descriptor that blocks from blocking after poll(2)
// called it ready: pipes and terminals then take a page, not more. A datagram
// must stay whole, and a regular file never blocks.
func (h *Host) shorten(e *entry) {
	if e.kind != filetypeSocketDgram && e.kind != filetypeRegular {
		h.fs.vec.limit(4096)
	}
}

// The witx whence.
const (
	whenceSet = 0
	whenceCur = 1
	whenceEnd = 2
)

func (h *Host) fdSeek(mem abi.Memory, p []uint64) Errno {
	offset, whence := int64(p[1]), uint32(p[2])
	rights := rightFdSeek
	if offset == 0 && whence == whenceCur {
		// Only asks where it is; SEEK implies TELL.
		rights = 0
	}
	return h.seek(mem, p[0], offset, whence, uint32(p[3]), rights)
}

func (h *Host) fdTell(mem abi.Memory, p []uint64) Errno {
	return h.seek(mem, p[0], 0, whenceCur, uint32(p[1]), 0)
}

// seek needs rights, or with 0 one of SEEK and TELL.
func (h *Host) seek(mem abi.Memory, fd uint64, offset int64, whence, result uint32, rights uint64) Errno {
	e, errno := h.files.get(uint32(fd))
	switch {
	case errno != errnoSuccess:
		return errno
	case e.kind == filetypeDir:
		return errnoBadf
	case whence > whenceEnd:
		return errnoInval
	}
	// A pipe or terminal answers SPIPE, whatever its rights.
	if e.kind == filetypeRegular || e.kind == filetypeBlock {
		if rights == 0 && !e.can(rightFdSeek) {
			rights = rightFdTell
		}
		if !e.can(rights) {
			return errnoNotcapable
		}
	}
	if _, ok := mem.Bytes(result, 8); !ok {
		return errnoFault
	}
	// The witx numbers are those of lseek(2).
	now, err := unix.Seek(e.fd, offset, int(whence))
	if err != nil {
		return errnoOf(err)
	}
	mem.PutUint64(result, uint64(now))
	return errnoSuccess
}
