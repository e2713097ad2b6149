package hostfuncs

import (
	"encoding/binary"
	"strings"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// The sizes of __wasi_addrinfo_t and __wasi_sockaddr_t, of the bytes that one
// of each family needs behind the latter, and of a host's or service's name.
const (
	addrinfoSize  = 28
	sockaddrSize  = 12
	sockDataV4    = 14
	sockDataV6    = 26
	maxNodeName   = 1025
	maxAddresses  = 256
	protocolTCP   = 1
	protocolUDP   = 2
	kernelSizeV4  = 16
	kernelSizeV6  = 28
	compactLayout = 16
)

// The ai_flags.
const (
	aiPassive     = 1
	aiCanonname   = 2
	aiNumerichost = 4
	aiNumericserv = 8
	aiV4mapped    = 16
	aiAll         = 32
	aiAddrconfig  = 64

	aiKnown = aiAddrconfig<<1 - 1
)

// hints is what sock_getaddrinfo is to find.
type hints struct {
	flags                      uint16
	family, socktype, protocol uint8
}

func readHints(b []byte) hints {
	return hints{flags: binary.LittleEndian.Uint16(b), family: b[2], socktype: b[3], protocol: b[4]}
}

func (t *hints) refused(node, service string) Errno {
	switch {
	case t.flags&^aiKnown != 0:
		return errnoAibadflag
	case t.family > familyInet6:
		return errnoAifamily
	case t.socktype > socktypeStream || t.protocol > protocolUDP:
		return errnoNosys
	case t.socktype == socktypeStream && t.protocol == protocolUDP,
		t.socktype == socktypeDgram && t.protocol == protocolTCP:
		return errnoAisocktype
	case node == "" && service == "":
		return errnoAinoname
	case node == "" && t.flags&aiCanonname != 0:
		return errnoAibadflag
	}
	return errnoSuccess
}

// transports are the socktypes of the answers to each address.
func (t *hints) transports() []uint8 {
	switch {
	case t.socktype != socktypeAny:
		return []uint8{t.socktype}
	case t.protocol == protocolTCP:
		return []uint8{socktypeStream}
	case t.protocol == protocolUDP:
		return []uint8{socktypeDgram}
	}
	return []uint8{socktypeStream, socktypeDgram}
}

// sockGetaddrinfo fills in the list of answers that the guest has laid out: the
// host allocates nothing in the guest's memory. The list ends where the guest
// ends it, whatever max_res_len says.
func (h *Host) sockGetaddrinfo(mem abi.Memory, p []uint64) Errno {
	node, errno := guestName(mem, p[0], p[1])
	if errno != errnoSuccess {
		return errno
	}
	service, errno := guestName(mem, p[2], p[3])
	if errno != errnoSuccess {
		return errno
	}
	var want hints
	if ptr := uint32(p[4]); ptr != 0 {
		b, ok := mem.Bytes(ptr, addrinfoSize)
		if !ok {
			return errnoFault
		}
		want = readHints(b)
	}
	first, ok := mem.Uint32(uint32(p[5]))
	if !ok {
		return errnoFault
	}
	if errno := cell(mem, uint32(p[7]), 4); errno != errnoSuccess {
		return errno
	}
	if uint32(p[6]) == 0 {
		return errnoAimemory
	}
	if errno := want.refused(node, service); errno != errnoSuccess {
		return errno
	}
	found, errno := h.resolve(node, service, want)
	if errno != errnoSuccess {
		return errno
	}
	n, errno := found.write(mem, first, uint32(p[6]))
	if errno != errnoSuccess {
		return errno
	}
	mem.PutUint32(uint32(p[7]), n)
	return errnoSuccess
}

// guestName reads a name with or without a NUL behind it, which the length
// counts.
func guestName(mem abi.Memory, ptr, n uint64) (string, Errno) {
	b, ok := mem.Bytes(uint32(ptr), uint32(n))
	if !ok {
		return "", errnoFault
	}
	if len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	if len(b) > maxNodeName {
		return "", errnoAinoname
	}
	s := string(b)
	if strings.IndexByte(s, 0) >= 0 {
		return "", errnoAinoname
	}
	return s, errnoSuccess
}

// write fills in at most limit nodes of the guest's list and gives their
// number. Each node is checked before it is written to.
func (a *answers) write(mem abi.Memory, node, limit uint32) (uint32, Errno) {
	n := uint32(0)
	for _, addr := range a.addrs {
		for i, socktype := range a.hints.transports() {
			if n == limit || node == 0 {
				return n, errnoSuccess
			}
			next, errno := a.writeNode(mem, node, answer{addr.AsSlice(), a.ports[i%len(a.ports)], socktype, n == 0})
			if errno != errnoSuccess {
				return 0, errno
			}
			node, n = next, n+1
		}
	}
	return n, errnoSuccess
}

// answer is one node's content.
type answer struct {
	octets   []byte
	port     uint16
	socktype uint8
	first    bool
}

// writeNode gives the address of the node behind it.
func (a *answers) writeNode(mem abi.Memory, ptr uint32, x answer) (uint32, Errno) {
	b, ok := mem.Bytes(ptr, addrinfoSize)
	if !ok {
		return 0, errnoFault
	}
	// What the guest has put there says how it reads an IPv6 address.
	addrlen := binary.LittleEndian.Uint32(b[8:])
	name, room := binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[20:])
	next := binary.LittleEndian.Uint32(b[24:])
	family, size, errno := x.writeAddress(mem, binary.LittleEndian.Uint32(b[12:]), addrlen == compactLayout)
	if errno != errnoSuccess {
		return 0, errno
	}
	written := uint32(0)
	if x.first && a.canonical != "" && room > 0 {
		buf, ok := mem.Bytes(name, room)
		if !ok {
			return 0, errnoFault
		}
		written = uint32(copy(buf, a.canonical))
		if written < room {
			buf[written] = 0
		}
	}
	binary.LittleEndian.PutUint16(b, a.hints.flags)
	// The four bytes behind the family and the type: guests in Go and C read
	// the protocol as a u32.
	b[2], b[3], b[4] = family, x.socktype, protocolTCP
	if x.socktype == socktypeDgram {
		b[4] = protocolUDP
	}
	clear(b[5:8])
	binary.LittleEndian.PutUint32(b[8:], size)
	binary.LittleEndian.PutUint32(b[20:], written)
	return next, errnoSuccess
}

// writeAddress fills in a __wasi_sockaddr_t and what it points to. WasmEdge's
// guests find an IPv6 address behind port and flow, as in sockaddr_in6; the
// compact layout, of Go's guests, has it right behind the port.
func (x *answer) writeAddress(mem abi.Memory, ptr uint32, compact bool) (family uint8, size uint32, errno Errno) {
	head, ok := mem.Bytes(ptr, sockaddrSize)
	if !ok {
		return 0, 0, errnoFault
	}
	family, size = familyInet4, kernelSizeV4
	n, at := uint32(sockDataV4), 2
	if len(x.octets) == addressV6 {
		family, size, n, at = familyInet6, kernelSizeV6, sockDataV6, 6
		if compact {
			size, at = compactLayout, 2
		}
	}
	data, ok := mem.Bytes(binary.LittleEndian.Uint32(head[8:]), n)
	if !ok {
		return 0, 0, errnoFault
	}
	clear(data)
	binary.BigEndian.PutUint16(data, x.port)
	copy(data[at:], x.octets)
	binary.LittleEndian.PutUint32(head, uint32(family))
	binary.LittleEndian.PutUint32(head[4:], n)
	return family, size, errnoSuccess
}
