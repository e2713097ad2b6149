package hostfuncs

import (
	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// WasmEdge's socket types.
const (
	socktypeAny    = 0
	socktypeDgram  = 1
	socktypeStream = 2
)

// sockets is what the sock_* functions keep between calls.
type sockets struct {
	policy NetPolicy
	// addr is scratch for one address, opt for one option's value.
	addr sockaddr
	opt  [256]byte
}

// sockOpen gives the guest a socket that blocks, as WasmEdge's do.
func (h *Host) sockOpen(mem abi.Memory, p []uint64) Errno {
	var domain, kernel int
	var kind filetype
	switch uint32(p[0]) {
	case familyInet4:
		domain = unix.AF_INET
	case familyInet6:
		domain = unix.AF_INET6
	case familyUnix:
		domain = unix.AF_UNIX
	default:
		return errnoInval
	}
	switch uint32(p[1]) {
	case socktypeDgram:
		kernel, kind = unix.SOCK_DGRAM, filetypeSocketDgram
	case socktypeStream:
		kernel, kind = unix.SOCK_STREAM, filetypeSocket
	default:
		return errnoInval
	}
	if errno := cell(mem, uint32(p[2]), 4); errno != errnoSuccess {
		return errno
	}
	if !h.sock.policy.mayOpen(domain) {
		return errnoAcces
	}
	if _, errno := h.files.lowest(); errno != errnoSuccess {
		return errno
	}
	host, err := unix.Socket(domain, kernel|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return errnoOf(err)
	}
	return h.giveSocket(mem, uint32(p[2]), &entry{
		fd: host, kind: kind, stream: kind == filetypeSocket, base: rightsOf(kind, false),
	})
}

// giveSocket puts a new socket into the table and its number at out.
func (h *Host) giveSocket(mem abi.Memory, out uint32, e *entry) Errno {
	fd, errno := h.files.insert(e)
	if errno != errnoSuccess {
		_ = unix.Close(e.fd)
		return errno
	}
	mem.PutUint32(out, fd)
	return errnoSuccess
}

func (h *Host) sockBind(mem abi.Memory, p []uint64) Errno {
	e, errno := h.socket(p[0])
	if errno != errnoSuccess {
		return errno
	}
	a := &h.sock.addr
	if errno := a.read(mem, uint32(p[1]), p[2]); errno != errnoSuccess {
		return errno
	}
	if !h.sock.policy.mayBind(a) {
		return errnoAcces
	}
	if a.family() == unix.AF_UNIX {
		return h.bindUnix(e, a)
	}
	return a.bind(e.fd)
}

func (h *Host) sockListen(_ abi.Memory, p []uint64) Errno {
	e, errno := h.socket(p[0])
	if errno != errnoSuccess {
		return errno
	}
	if !h.sock.policy.mayListen(e.fd) {
		return errnoAcces
	}
	return errnoOf(unix.Listen(e.fd, int(int32(p[1]))))
}

// sockConnect answers INPROGRESS on a socket that does not block: guests wait
// until it is writable and ask for its error.
func (h *Host) sockConnect(mem abi.Memory, p []uint64) Errno {
	e, errno := h.socket(p[0])
	if errno != errnoSuccess {
		return errno
	}
	a := &h.sock.addr
	if errno := a.read(mem, uint32(p[1]), p[2]); errno != errnoSuccess {
		return errno
	}
	if !h.sock.policy.mayReach(a) {
		return errnoAcces
	}
	if a.family() == unix.AF_UNIX {
		return h.connectUnix(e, a)
	}
	return h.connectTo(e, a)
}

// connectTo goes on waiting when a signal interrupts, which connect(2) cannot:
// a second call would only say ALREADY.
func (h *Host) connectTo(e *entry, a *sockaddr) Errno {
	block := e.flags&fdflagNonblock == 0
	errno := a.connect(e.fd, e.mayBlock())
	if errno != errnoIntr && (errno != errnoInprogress || !block) {
		return errno
	}
	if !block {
		return errnoInprogress
	}
	if ready, errno := waitFor(e.fd, unix.POLLOUT, e.sendWait()); !ready {
		if errno == errnoAgain {
			return errnoInprogress // connect(2) after SO_SNDTIMEO
		}
		return errno
	}
	n, err := unix.GetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return errnoOf(err)
	}
	return fromUnix(unix.Errno(n))
}

// sockAcceptV1 is accept without flags: the new socket blocks.
func (h *Host) sockAcceptV1(mem abi.Memory, p []uint64) Errno {
	return h.acceptConnection(mem, p[0], 0, uint32(p[1]))
}

func (h *Host) sockGetlocaladdrV1(mem abi.Memory, p []uint64) Errno {
	return h.addressV1(mem, unix.SYS_GETSOCKNAME, p)
}

func (h *Host) sockGetlocaladdrV2(mem abi.Memory, p []uint64) Errno {
	return h.addressV2(mem, unix.SYS_GETSOCKNAME, p)
}

func (h *Host) sockGetpeeraddrV1(mem abi.Memory, p []uint64) Errno {
	return h.addressV1(mem, unix.SYS_GETPEERNAME, p)
}

func (h *Host) sockGetpeeraddrV2(mem abi.Memory, p []uint64) Errno {
	return h.addressV2(mem, unix.SYS_GETPEERNAME, p)
}

// addressV1 tells the family by 4 or 6, which are not the numbers of the family
// elsewhere in the extension, and cannot tell AF_UNIX.
func (h *Host) addressV1(mem abi.Memory, trap uintptr, p []uint64) Errno {
	a, buf, errno := h.nameOf(mem, trap, p)
	if errno != errnoSuccess {
		return errno
	}
	kind, port := uint32(p[2]), uint32(p[3])
	if errno := cell(mem, kind, 4); errno != errnoSuccess {
		return errno
	}
	if errno := cell(mem, port, 4); errno != errnoSuccess {
		return errno
	}
	if len(buf) != addressV4 && len(buf) != addressV6 {
		return errnoInval
	}
	version := uint32(4)
	switch a.family() {
	case unix.AF_INET:
	case unix.AF_INET6:
		if version = 6; len(buf) < addressV6 {
			return errnoNomem
		}
	default:
		return errnoAfnosupport
	}
	copy(buf, a.octets())
	mem.PutUint32(kind, version)
	mem.PutUint32(port, uint32(a.port()))
	return errnoSuccess
}

func (h *Host) addressV2(mem abi.Memory, trap uintptr, p []uint64) Errno {
	a, buf, errno := h.nameOf(mem, trap, p)
	if errno != errnoSuccess {
		return errno
	}
	if errno := cell(mem, uint32(p[2]), 4); errno != errnoSuccess {
		return errno
	}
	if len(buf) != addressAny {
		return errnoInval
	}
	a.write(buf)
	mem.PutUint32(uint32(p[2]), uint32(a.port()))
	return errnoSuccess
}

// nameOf asks the kernel for an address of the socket p[0] and finds the buffer
// for it.
func (h *Host) nameOf(mem abi.Memory, trap uintptr, p []uint64) (*sockaddr, []byte, Errno) {
	e, errno := h.socket(p[0])
	if errno != errnoSuccess {
		return nil, nil, errno
	}
	buf, errno := guestAddress(mem, uint32(p[1]))
	if errno != errnoSuccess {
		return nil, nil, errno
	}
	a := &h.sock.addr
	if errno := a.name(trap, e.fd); errno != errnoSuccess {
		return nil, nil, errno
	}
	if trap == unix.SYS_GETSOCKNAME && e.name != "" {
		a.setUnix([]byte(e.name))
	}
	return a, buf, errnoSuccess
}
