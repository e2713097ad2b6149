package hostfuncs

import (
	"bytes"
	"math"
	"net/netip"
	"slices"
	"testing"
)

// nodes lays out n linked answers as guests do; each has room bytes for a name
// and says addrlen.
func (g *guest) nodes(n int, addrlen, room uint32) (res uint64) {
	g.t.Helper()
	list := g.alloc(n * addrinfoSize)
	for i := range n {
		node := uint32(list) + uint32(i)*addrinfoSize
		addr, data, name := g.alloc(16), g.alloc(sockDataV6), g.alloc(int(room))
		g.mem.PutUint32(node+4, 0xffffffff)
		g.mem.PutUint32(node+8, addrlen)
		g.mem.PutUint32(node+12, uint32(addr))
		g.mem.PutUint32(node+16, uint32(name))
		g.mem.PutUint32(node+20, room)
		if i+1 < n {
			g.mem.PutUint32(node+24, node+addrinfoSize)
		}
		g.mem.PutUint32(uint32(addr), 0xffffffff)
		g.mem.PutUint32(uint32(addr)+8, uint32(data))
	}
	res = g.alloc(4)
	g.mem.PutUint32(uint32(res), uint32(list))
	return res
}

func (g *guest) hints(flags uint16, family, socktype, protocol uint8) uint64 {
	g.t.Helper()
	ptr := g.alloc(addrinfoSize)
	g.mem.PutUint16(uint32(ptr), flags)
	copy(g.bytes(ptr+2, 3), []byte{family, socktype, protocol})
	return ptr
}

func TestSockGetaddrinfo(t *testing.T) {
	g := newGuest(t, Config{})
	node, nodeLen := g.put("2001:db8::1\x00")
	service, serviceLen := g.put("https\x00")
	n := g.alloc(4)
	for _, c := range []struct {
		name    string
		addrlen uint32
		at      uint64 // of the octets
		size    uint32
	}{{"as WasmEdge", 0, 6, 28}, {"as Go's net", 16, 2, 16}} {
		t.Run(c.name, func(t *testing.T) {
			res := g.nodes(4, c.addrlen, 30)
			g.sockMust("sock_getaddrinfo", node, nodeLen, service, serviceLen, g.hints(aiCanonname, 0, 0, 0), res, 4, n)
			if g.u32(n) != 2 {
				t.Fatalf("%d answers", g.u32(n))
			}
			first := uint64(g.u32(res))
			b := g.bytes(first, addrinfoSize)
			if b[2] != familyInet6 || b[3] != socktypeStream || !bytes.Equal(b[4:8], []byte{protocolTCP, 0, 0, 0}) || g.u32(first+8) != c.size {
				t.Errorf("answer %v", b)
			}
			if second := g.bytes(uint64(g.u32(first+24)), 8); second[3] != socktypeDgram || second[4] != protocolUDP {
				t.Errorf("second answer %v", second)
			}
			addr := uint64(g.u32(first + 12))
			data := g.bytes(uint64(g.u32(addr+8)), sockDataV6)
			want := netip.MustParseAddr("2001:db8::1").As16()
			if g.u32(addr) != familyInet6 || g.u32(addr+4) != 26 || data[0] != 1 || data[1] != 0xbb || !bytes.Equal(data[c.at:c.at+16], want[:]) {
				t.Errorf("address %v", data)
			}
			if name := g.bytes(uint64(g.u32(first+16)), uint64(g.u32(first+20))); string(name) != "2001:db8::1" {
				t.Errorf("name %q", name)
			}
		})
	}
}

// The host writes as far as the guest has made room, and no further.
func TestSockGetaddrinfoRoom(t *testing.T) {
	g := newGuest(t, Config{})
	node, nodeLen := g.put("192.0.2.1\x00")
	n := g.alloc(4)
	empty, zero := g.put("\x00")
	// More announced than linked; and linked in a ring.
	res := g.nodes(1, 0, 4)
	hint := g.hints(aiCanonname, 0, 0, 0)
	g.sockMust("sock_getaddrinfo", node, nodeLen, empty, zero, hint, res, math.MaxUint32, n)
	if g.u32(n) != 1 {
		t.Errorf("%d answers", g.u32(n))
	}
	first := uint64(g.u32(res))
	if got := g.bytes(uint64(g.u32(first+16)), 4); string(got) != "192." {
		t.Errorf("name %q", got)
	}
	// Not asked for: the pointer of a name may lead nowhere (Rust's does).
	g.mem.PutUint32(uint32(first)+16, math.MaxUint32)
	g.sockMust("sock_getaddrinfo", node, nodeLen, empty, zero, g.hints(0, 0, 2, 0), res, 1, n)
	if g.u32(first+20) != 0 {
		t.Errorf("length of the name %d", g.u32(first+20))
	}
	for _, at := range []uint64{first + 12, uint64(g.u32(first+12)) + 8} {
		old := g.u32(at)
		g.mem.PutUint32(uint32(at), guestMemory-8)
		g.sockWant(errnoFault, "sock_getaddrinfo", node, nodeLen, empty, zero, hint, res, 1, n)
		g.mem.PutUint32(uint32(at), old)
	}
	g.mem.PutUint32(uint32(res), guestMemory-27)
	g.sockWant(errnoFault, "sock_getaddrinfo", node, nodeLen, empty, zero, hint, res, 1, n)
}

func TestSockGetaddrinfoErrors(t *testing.T) {
	g := newGuest(t, Config{})
	n := g.alloc(4)
	res := g.nodes(2, 0, 0)
	for _, c := range []struct {
		name, node, service string
		hints               []uint8
		flags               uint16
		limit               uint64
		want                Errno
	}{
		{"nothing", "\x00", "\x00", []uint8{0, 2, 0}, 0, 2, errnoAinoname},
		{"no room", "::1", "1", []uint8{0, 2, 0}, 0, 0, errnoAimemory},
		{"name of nothing", "", "1", []uint8{0, 2, 0}, aiCanonname, 2, errnoAibadflag},
		{"unknown flag", "::1", "1", []uint8{0, 2, 0}, 128, 2, errnoAibadflag},
		{"family", "::1", "1", []uint8{3, 2, 0}, 0, 2, errnoAifamily},
		{"type", "::1", "1", []uint8{0, 3, 0}, 0, 2, errnoNosys},
		{"protocol", "::1", "1", []uint8{0, 2, 3}, 0, 2, errnoNosys},
		{"type and protocol", "::1", "1", []uint8{0, 2, 2}, 0, 2, errnoAisocktype},
		{"literal of the other family", "::1", "1", []uint8{1, 2, 0}, 0, 2, errnoAiaddrfamily},
		{"no literal", "localhost", "1", []uint8{0, 2, 0}, aiNumerichost, 2, errnoAinoname},
		{"no number", "::1", "http", []uint8{0, 2, 0}, aiNumericserv, 2, errnoAinoname},
		{"no service", "::1", "no-such", []uint8{0, 2, 0}, 0, 2, errnoAiservice},
		{"port", "::1", "65536", []uint8{0, 2, 0}, 0, 2, errnoAiservice},
		{"NUL inside", "a\x00b", "1", []uint8{0, 2, 0}, 0, 2, errnoAinoname},
		{"long", string(slices.Repeat([]byte{'a'}, 2000)), "1", []uint8{0, 2, 0}, 0, 2, errnoAinoname},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := g.top
			defer func() { g.top = top }()
			node, nodeLen := g.put(c.node)
			service, serviceLen := g.put(c.service)
			h := g.hints(c.flags, c.hints[0], c.hints[1], c.hints[2])
			if got := g.sock("sock_getaddrinfo", node, nodeLen, service, serviceLen, h, res, c.limit, n); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
