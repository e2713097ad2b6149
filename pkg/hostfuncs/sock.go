package hostfuncs

import (
	"encoding/binary"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

var sockFunctions = []function{
	{module: preview1, name: "sock_accept", params: "iii", results: "i",
		names: "fd,flags,connection=4", call: (*Host).sockAccept},
	{module: preview1, name: "sock_recv", params: "iiiiii", results: "i",
		names: "fd,ri_data,ri_data_len,ri_flags,ro_datalen=4,ro_flags=2", call: (*Host).sockRecv},
	{module: preview1, name: "sock_send", params: "iiiii", results: "i",
		names: "fd,si_data,si_data_len,si_flags,so_datalen=4", call: (*Host).sockSend},
	{module: preview1, name: "sock_shutdown", params: "ii", results: "i",
		names: "fd,how", call: (*Host).sockShutdown},
}

// The witx riflags, roflags and sdflags.
const (
	recvPeek          = 1
	recvWaitall       = 2
	recvDataTruncated = 1
	shutdownRead      = 1
	shutdownWrite     = 2
)

const iovecSize = 8

// maxIovecs is the kernel's UIO_MAXIOV, which is also WasmEdge's limit.
const maxIovecs = 1024

// readIovec reads one witx iovec or ciovec.
func readIovec(b []byte) (ptr, n uint32) {
	return binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
}

// socket finds a descriptor that is a socket.
func (h *Host) socket(fd uint64) (*entry, Errno) {
	e, errno := h.files.get(uint32(fd))
	if errno == errnoSuccess && !isSocket(e) {
		return nil, errnoNotsock
	}
	return e, errno
}

// sockAccept gives the guest a connection of a listener.
func (h *Host) sockAccept(mem abi.Memory, p []uint64) Errno {
	return h.acceptConnection(mem, p[0], uint32(p[1]), uint32(p[2]))
}

func (h *Host) acceptConnection(mem abi.Memory, fd uint64, fdflags32, out uint32) Errno {
	e, errno := h.socket(fd)
	if errno != errnoSuccess {
		return errno
	}
	if fdflags32&^uint32(fdflagNonblock) != 0 {
		return errnoInval
	}
	flags := fdflags(fdflags32)
	if errno := cell(mem, out, 4); errno != errnoSuccess {
		return errno
	}
	// A full table must leave the connection in the listener's queue, as
	// accept(2) does at RLIMIT_NOFILE.
	if _, errno := h.files.lowest(); errno != errnoSuccess {
		return errno
	}
	host, errno := h.acceptOn(e, flags)
	if errno != errnoSuccess {
		return errno
	}
	// The connection is of the listener's type; asking the kernel would be four
	// more system calls each.
	child := &entry{fd: host, kind: e.kind, stream: e.stream, flags: flags, base: rightsOf(e.kind, false)}
	return h.giveSocket(mem, out, child)
}

func (h *Host) acceptOn(e *entry, flags fdflags) (int, Errno) {
	kernel := unix.SOCK_CLOEXEC
	if flags&fdflagNonblock != 0 {
		kernel |= unix.SOCK_NONBLOCK
	}
	for {
		// accept4 has no MSG_DONTWAIT: on a listener that stays blocking for
		// those who share it, only a look beforehand avoids the wait.
		if e.shared && e.flags&fdflagNonblock != 0 {
			if ready, errno := waitFor(e.fd, unix.POLLIN, 0); !ready {
				return -1, errno
			}
		}
		fd, errno := accept(e.fd, kernel, e.mayBlock())
		if retry, errno := h.again(e, unix.POLLIN, errno); !retry {
			return fd, errno
		}
	}
}

// sockRecv is recvmsg into the guest's buffers.
func (h *Host) sockRecv(mem abi.Memory, p []uint64) Errno {
	e, errno := h.socket(p[0])
	if errno != errnoSuccess {
		return errno
	}
	flags, errno := receiveFlags(p[3])
	if errno != errnoSuccess {
		return errno
	}
	datalen, roflags := uint32(p[4]), uint32(p[5])
	if errno := resultCells(mem, datalen, roflags); errno != errnoSuccess {
		return errno
	}
	defer h.msg.release()
	if errno := h.msg.gather(mem, uint32(p[1]), uint32(p[2])); errno != errnoSuccess {
		return errno
	}
	n, errno := h.transfer(e, unix.SYS_RECVMSG, flags)
	if errno != errnoSuccess {
		return errno
	}
	mem.PutUint32(datalen, n)
	mem.PutUint16(roflags, h.msg.truncated())
	return errnoSuccess
}

// sockSend is sendmsg from the guest's buffers.
func (h *Host) sockSend(mem abi.Memory, p []uint64) Errno {
	e, errno := h.socket(p[0])
	if errno != errnoSuccess {
		return errno
	}
	if uint32(p[3]) != 0 {
		return errnoInval
	}
	datalen := uint32(p[4])
	if errno := cell(mem, datalen, 4); errno != errnoSuccess {
		return errno
	}
	defer h.msg.release()
	if errno := h.msg.gather(mem, uint32(p[1]), uint32(p[2])); errno != errnoSuccess {
		return errno
	}
	n, errno := h.transfer(e, unix.SYS_SENDMSG, unix.MSG_NOSIGNAL)
	if errno != errnoSuccess {
		return errno
	}
	mem.PutUint32(datalen, n)
	return errnoSuccess
}

// transfer runs the gathered message, waiting or not as the guest asked for.
func (h *Host) transfer(e *entry, trap uintptr, flags int) (uint32, Errno) {
	if e.flags&fdflagNonblock != 0 {
		flags |= unix.MSG_DONTWAIT
	}
	events := int16(unix.POLLIN)
	if trap == unix.SYS_SENDMSG {
		events = unix.POLLOUT
	}
	for {
		n, errno := h.msg.move(e, trap, flags)
		if retry, errno := h.again(e, events, errno); !retry {
			return n, errno
		}
	}
}

// again says whether a call that ended with errno is to be repeated: after a
// signal, and when the kernel's descriptor does not block (whoever passed it on
// shares it and wants it so) but the guest's does. A timeout that the guest has
// set (SO_RCVTIMEO, SO_SNDTIMEO) ends both kinds of waiting.
func (h *Host) again(e *entry, events int16, errno Errno) (bool, Errno) {
	switch {
	case errno == errnoIntr:
		return true, errnoSuccess
	case errno == errnoAgain && e.flags&fdflagNonblock == 0:
		timeout := e.recvTimeout
		if events == unix.POLLOUT {
			timeout = e.sendTimeout
		}
		if timeout != 0 && !e.shared {
			return false, errnoAgain // the kernel has waited
		}
		return waitFor(e.fd, events, waitTime(timeout))
	}
	return false, errno
}

// waitFor polls one descriptor; a negative timeout (milliseconds) waits as long
// as it takes. It answers AGAIN when the time is over.
func waitFor(fd int, events int16, timeout int) (bool, Errno) {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		n, err := unix.Poll(fds[:], timeout)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return false, errnoOf(err)
		case n == 0:
			return false, errnoAgain
		default:
			return true, errnoSuccess
		}
	}
}

// sockShutdown refuses listeners: Linux would stop them listening for everybody
// who shares them.
func (h *Host) sockShutdown(_ abi.Memory, p []uint64) Errno {
	e, errno := h.socket(p[0])
	if errno != errnoSuccess {
		return errno
	}
	var how int
	switch uint32(p[1]) {
	case shutdownRead:
		how = unix.SHUT_RD
	case shutdownWrite:
		how = unix.SHUT_WR
	case shutdownRead | shutdownWrite:
		how = unix.SHUT_RDWR
	default:
		return errnoInval
	}
	if listening, err := unix.GetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && listening != 0 {
		return errnoNotconn
	}
	return errnoOf(unix.Shutdown(e.fd, how))
}
