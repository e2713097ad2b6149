package hostfuncs

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// WasmEdge's address families.
const (
	familyUnspec = 0
	familyInet4  = 1
	familyInet6  = 2
	familyUnix   = 3
)

// addressSize is a __wasi_address_t: u32 buffer, u32 length. The length of the
// buffer chooses the format.
const (
	addressSize  = 8
	addressV4    = 4
	addressV6    = 16
	addressAny   = 128 // u16 family, then the octets or the path
	unixPathSize = 108 // sizeof(sun_path)
)

// sockaddr is one address as the kernel has it, in scratch memory of the Host.
type sockaddr struct {
	b [128]byte
	n uint32
}

func (s *sockaddr) family() int {
	if s.n < 2 {
		return unix.AF_UNSPEC
	}
	return int(binary.NativeEndian.Uint16(s.b[:]))
}

// start clears s for an address of the family with n bytes.
func (s *sockaddr) start(family uint16, n uint32) {
	clear(s.b[:])
	binary.NativeEndian.PutUint16(s.b[:], family)
	s.n = n
}

func (s *sockaddr) setV4(octets []byte, port uint16) {
	s.start(unix.AF_INET, unix.SizeofSockaddrInet4)
	binary.BigEndian.PutUint16(s.b[2:], port)
	copy(s.b[4:8], octets)
}

// setV6 leaves the scope 0: the extension has no place for one.
func (s *sockaddr) setV6(octets []byte, port uint16) {
	s.start(unix.AF_INET6, unix.SizeofSockaddrInet6)
	binary.BigEndian.PutUint16(s.b[2:], port)
	copy(s.b[8:24], octets)
}

// setUnix takes a path with a NUL behind it if it is shorter than sun_path, or
// an abstract name, which begins with one and counts in full.
func (s *sockaddr) setUnix(name []byte) {
	name = name[:min(len(name), unixPathSize)]
	n := len(name)
	if n > 0 && name[0] != 0 {
		if i := bytes.IndexByte(name, 0); i >= 0 {
			n = i
		}
	}
	s.start(unix.AF_UNIX, uint32(2+n))
	copy(s.b[2:], name[:n])
	if n > 0 && name[0] != 0 && n < unixPathSize {
		s.n++ // the NUL
	}
}

// octets are the address without family and port.
func (s *sockaddr) octets() []byte {
	switch s.family() {
	case unix.AF_INET:
		return s.b[4:8]
	case unix.AF_INET6:
		return s.b[8:24]
	case unix.AF_UNIX:
		return s.b[2:min(max(s.n, 2), uint32(len(s.b)))]
	}
	return nil
}

func (s *sockaddr) port() uint16 {
	switch s.family() {
	case unix.AF_INET, unix.AF_INET6:
		return binary.BigEndian.Uint16(s.b[2:])
	}
	return 0
}

// addrPort is the address that a rule can be compared with.
func (s *sockaddr) addrPort() netip.AddrPort {
	addr, _ := netip.AddrFromSlice(s.octets())
	return netip.AddrPortFrom(addr.Unmap(), s.port())
}

// wasiFamily is WasmEdge's number of the family.
func (s *sockaddr) wasiFamily() uint16 {
	switch s.family() {
	case unix.AF_INET:
		return familyInet4
	case unix.AF_INET6:
		return familyInet6
	case unix.AF_UNIX:
		return familyUnix
	}
	return familyUnspec
}

// guestAddress finds the buffer that a __wasi_address_t names. WasmEdge answers
// ADDRNOTAVAIL for a pointer that is not aligned.
func guestAddress(mem abi.Memory, ptr uint32) ([]byte, Errno) {
	head, ok := mem.Bytes(ptr, addressSize)
	if !ok {
		return nil, errnoFault
	}
	if ptr%4 != 0 {
		return nil, errnoAddrnotavail
	}
	buf, ok := mem.Bytes(binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:]))
	if !ok {
		return nil, errnoFault
	}
	switch len(buf) {
	case addressV4, addressV6, addressAny:
		return buf, errnoSuccess
	}
	return nil, errnoInval
}

// read takes an address and a port in host order from the guest.
func (s *sockaddr) read(mem abi.Memory, ptr uint32, port uint64) Errno {
	buf, errno := guestAddress(mem, ptr)
	if errno != errnoSuccess {
		return errno
	}
	if uint32(port) > 0xffff {
		return errnoInval
	}
	p := uint16(port)
	switch len(buf) {
	case addressV4:
		s.setV4(buf, p)
		return errnoSuccess
	case addressV6:
		s.setV6(buf, p)
		return errnoSuccess
	}
	switch data := buf[2:]; binary.LittleEndian.Uint16(buf) {
	case familyInet4:
		s.setV4(data, p)
	case familyInet6:
		s.setV6(data, p)
	case familyUnix:
		s.setUnix(data)
	default:
		return errnoInval
	}
	return errnoSuccess
}

// write puts s into a buffer of any of the three sizes: as much as fits.
func (s *sockaddr) write(buf []byte) {
	clear(buf)
	if len(buf) == addressAny {
		binary.LittleEndian.PutUint16(buf, s.wasiFamily())
		buf = buf[2:]
	}
	copy(buf, s.octets())
}

// cell is a result of size bytes that must lie inside the memory, aligned to
// its size.
func cell(mem abi.Memory, ptr uint32, size uint32) Errno {
	if _, ok := mem.Bytes(ptr, size); !ok {
		return errnoFault
	}
	if ptr%size != 0 {
		return errnoAddrnotavail
	}
	return errnoSuccess
}
