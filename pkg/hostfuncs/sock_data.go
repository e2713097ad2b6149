package hostfuncs

import (
	"encoding/binary"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// received is where the results of a receiving call go; the pointers that a
// version does not have are absent by has.
type received struct {
	addr []byte
	// port is the address of the u32 for the sender's port, 0 in version 1.
	port           uint32
	datalen, flags uint32
}

// sockRecvFromV1 gives the sender's octets without a family and a port.
func (h *Host) sockRecvFromV1(mem abi.Memory, p []uint64) Errno {
	return h.recvFrom(mem, p, received{datalen: uint32(p[5]), flags: uint32(p[6])}, false)
}

// sockRecvFromV2 writes the port in host order. WasmEdge since 0.12 writes it
// in network order, by mistake, into half of a u32 that guests read as a number
// in host order.
func (h *Host) sockRecvFromV2(mem abi.Memory, p []uint64) Errno {
	return h.recvFrom(mem, p, received{port: uint32(p[5]), datalen: uint32(p[6]), flags: uint32(p[7])}, true)
}

func (h *Host) recvFrom(mem abi.Memory, p []uint64, r received, withPort bool) Errno {
	e, errno := h.socket(p[0])
	if errno != errnoSuccess {
		return errno
	}
	flags, errno := receiveFlags(p[4])
	if errno != errnoSuccess {
		return errno
	}
	if r.addr, errno = guestAddress(mem, uint32(p[3])); errno != errnoSuccess {
		return errno
	}
	if withPort {
		if errno := cell(mem, r.port, 4); errno != errnoSuccess {
			return errno
		}
	}
	if errno := resultCells(mem, r.datalen, r.flags); errno != errnoSuccess {
		return errno
	}
	defer h.msg.release()
	if errno := h.msg.gather(mem, uint32(p[1]), uint32(p[2])); errno != errnoSuccess {
		return errno
	}
	a := &h.sock.addr
	a.start(unix.AF_UNSPEC, uint32(len(a.b)))
	h.msg.address(a)
	n, errno := h.transfer(e, unix.SYS_RECVMSG, flags)
	if errno != errnoSuccess {
		return errno
	}
	if a.n = h.msg.hdr.Namelen; a.n == 0 && e.kind == filetypeSocket {
		// The kernel names no sender on a stream; guests cannot live without
		// one, and there is only one that it can be.
		_ = a.name(unix.SYS_GETPEERNAME, e.fd)
	}
	h.sock.policy.heard(e, a)
	a.write(r.addr)
	if withPort {
		mem.PutUint32(r.port, uint32(a.port()))
	}
	mem.PutUint32(r.datalen, n)
	mem.PutUint16(r.flags, h.msg.truncated())
	return errnoSuccess
}

// truncated are the witx roflags of the message that was received.
func (m *message) truncated() uint16 {
	if m.hdr.Flags&unix.MSG_TRUNC != 0 {
		return recvDataTruncated
	}
	return 0
}

// receiveFlags translates witx riflags.
func receiveFlags(ri uint64) (int, Errno) {
	flags := 0
	if uint32(ri)&^(recvPeek|recvWaitall) != 0 {
		return 0, errnoInval
	}
	if ri&recvPeek != 0 {
		flags |= unix.MSG_PEEK
	}
	if ri&recvWaitall != 0 {
		flags |= unix.MSG_WAITALL
	}
	return flags, errnoSuccess
}

// resultCells checks where a receiving call puts its length and flags, before
// the call, whose effect could not be taken back.
func resultCells(mem abi.Memory, datalen, flags uint32) Errno {
	if errno := cell(mem, datalen, 4); errno != errnoSuccess {
		return errno
	}
	return cell(mem, flags, 2)
}

func (h *Host) sockSendTo(mem abi.Memory, p []uint64) Errno {
	e, errno := h.socket(p[0])
	if errno != errnoSuccess {
		return errno
	}
	a := &h.sock.addr
	if errno := a.read(mem, uint32(p[3]), p[4]); errno != errnoSuccess {
		return errno
	}
	if uint32(p[5]) != 0 {
		return errnoInval
	}
	if errno := cell(mem, uint32(p[6]), 4); errno != errnoSuccess {
		return errno
	}
	if !h.sock.policy.mayReach(a) && !h.sock.policy.mayAnswer(e, a) {
		return errnoAcces
	}
	defer h.msg.release()
	if errno := h.msg.gather(mem, uint32(p[1]), uint32(p[2])); errno != errnoSuccess {
		return errno
	}
	send := func() Errno {
		h.msg.address(a)
		n, errno := h.transfer(e, unix.SYS_SENDMSG, unix.MSG_NOSIGNAL)
		if errno == errnoSuccess {
			mem.PutUint32(uint32(p[6]), n)
		}
		return errno
	}
	if a.family() == unix.AF_UNIX {
		return h.sendUnix(a, send)
	}
	return send()
}

// The socket options, by WasmEdge's numbers.
var sockOptions = [...]int{
	unix.SO_REUSEADDR, unix.SO_TYPE, unix.SO_ERROR, unix.SO_DONTROUTE, unix.SO_BROADCAST,
	unix.SO_SNDBUF, unix.SO_RCVBUF, unix.SO_KEEPALIVE, unix.SO_OOBINLINE, unix.SO_LINGER,
	unix.SO_RCVLOWAT, unix.SO_RCVTIMEO, unix.SO_SNDTIMEO, unix.SO_ACCEPTCONN, unix.SO_BINDTODEVICE,
}

// The levels: 0 is WasmEdge's only one, 6 with the option 1 is TCP_NODELAY as
// guests of wasi-go know it.
const (
	levelSocket = 0
	levelTCP    = 6
	tcpNodelay  = 1
)

func sockOption(level, name uint64) (int, int, Errno) {
	switch l, n := uint32(level), uint32(name); {
	case l == levelSocket && n < uint32(len(sockOptions)):
		return unix.SOL_SOCKET, sockOptions[n], errnoSuccess
	case l == levelTCP && n == tcpNodelay:
		return unix.IPPROTO_TCP, unix.TCP_NODELAY, errnoSuccess
	}
	return 0, 0, errnoInval
}

// sizeByValue bounds a flag_size of sock_getsockopt that is the size itself
// (Go's net passes 4): no variable of a guest lies below.
const sizeByValue = 16

// sockGetsockopt passes the kernel's bytes on, but for TYPE and ERROR, which
// have numbers of their own.
func (h *Host) sockGetsockopt(mem abi.Memory, p []uint64) Errno {
	e, errno := h.socket(p[0])
	if errno != errnoSuccess {
		return errno
	}
	level, name, errno := sockOption(p[1], p[2])
	if errno != errnoSuccess {
		return errno
	}
	size, at := uint32(p[4]), uint32(p[4])
	if at >= sizeByValue {
		if errno := cell(mem, at, 4); errno != errnoSuccess {
			return errno
		}
		size, _ = mem.Uint32(at)
	}
	buf, ok := mem.Bytes(uint32(p[3]), size)
	if !ok {
		return errnoFault
	}
	opt := h.sock.opt[:min(len(buf), len(h.sock.opt))]
	if level == unix.SOL_SOCKET && (name == unix.SO_TYPE || name == unix.SO_ERROR) && len(opt) < 4 {
		return errnoInval
	}
	n, errno := getOption(e.fd, level, name, opt)
	if errno != errnoSuccess {
		return errno
	}
	opt = opt[:min(n, len(opt))]
	if level == unix.SOL_SOCKET {
		translateOption(name, opt)
	}
	copy(buf, opt)
	if at >= sizeByValue {
		mem.PutUint32(at, uint32(len(opt)))
	}
	return errnoSuccess
}

// translateOption puts the guest's number in place of the kernel's.
func translateOption(name int, opt []byte) {
	if name != unix.SO_TYPE && name != unix.SO_ERROR || len(opt) < 4 {
		return
	}
	v := binary.NativeEndian.Uint32(opt)
	switch {
	case name == unix.SO_ERROR:
		v = uint32(fromUnix(unix.Errno(v)))
	case v == unix.SOCK_DGRAM:
		v = socktypeDgram
	case v == unix.SOCK_STREAM:
		v = socktypeStream
	default:
		v = socktypeAny
	}
	binary.LittleEndian.PutUint32(opt, v)
}

func (h *Host) sockSetsockopt(mem abi.Memory, p []uint64) Errno {
	e, errno := h.socket(p[0])
	if errno != errnoSuccess {
		return errno
	}
	level, name, errno := sockOption(p[1], p[2])
	if errno != errnoSuccess {
		return errno
	}
	buf, ok := mem.Bytes(uint32(p[3]), uint32(p[4]))
	if !ok {
		return errnoFault
	}
	if len(buf) > len(h.sock.opt) {
		return errnoInval
	}
	opt := h.sock.opt[:copy(h.sock.opt[:], buf)]
	if errno := setOption(e.fd, level, name, opt); errno != errnoSuccess {
		return errno
	}
	if level == unix.SOL_SOCKET {
		e.rememberTimeout(name, opt)
	}
	return errnoSuccess
}

// rememberTimeout keeps SO_RCVTIMEO and SO_SNDTIMEO in milliseconds for waits
// that are not the kernel's.
func (e *entry) rememberTimeout(name int, opt []byte) {
	if len(opt) < 16 || name != unix.SO_RCVTIMEO && name != unix.SO_SNDTIMEO {
		return
	}
	sec, usec := int64(binary.NativeEndian.Uint64(opt)), int64(binary.NativeEndian.Uint64(opt[8:]))
	ms := int32(min(max(sec, 0), 1<<20)*1000 + (max(usec, 0)+999)/1000)
	if name == unix.SO_RCVTIMEO {
		e.recvTimeout = ms
	} else {
		e.sendTimeout = ms
	}
}

// sendWait is the time that poll(2) is to wait until the socket is writable.
func (e *entry) sendWait() int { return waitTime(e.sendTimeout) }

func waitTime(ms int32) int {
	if ms == 0 {
		return -1
	}
	return int(ms)
}
