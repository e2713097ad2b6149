package hostfuncs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// family is how a test speaks one address family in one of its formats.
type family struct {
	name   string
	number uint64
	size   int // of the address buffer
	local  []byte
	prefix int // bytes before the octets
}

var loopback6 = append(make([]byte, 15), 1)

var families6 = []family{
	{"v4 in 4", familyInet4, addressV4, []byte{127, 0, 0, 1}, 0},
	{"v6 in 16", familyInet6, addressV6, loopback6, 0},
	{"v4 in 128", familyInet4, addressAny, []byte{1, 0, 127, 0, 0, 1}, 2},
	{"v6 in 128", familyInet6, addressAny, append([]byte{2, 0}, loopback6...), 2},
}

// localPort asks for a socket's port by version 2 of sock_getlocaladdr.
func (g *guest) localPort(fd uint64) uint64 {
	g.t.Helper()
	port := g.alloc(4)
	g.sockMust("sock_getlocaladdr", fd, g.any(0), port)
	return uint64(g.u32(port))
}

// connected gives both ends of a TCP connection of the guest with itself.
func (g *guest) connected(f family) (client, server uint64) {
	g.t.Helper()
	listener := g.openSocket(f.number, socktypeStream)
	g.sockMust("sock_bind", listener, g.address(f.size, f.local...), 0)
	g.sockMust("sock_listen", listener, 8)
	client = g.openSocket(f.number, socktypeStream)
	g.sockMust("sock_connect", client, g.address(f.size, f.local...), g.localPort(listener))
	out := g.alloc(4)
	g.sockMust("sock_accept", listener, out)
	g.must("fd_close", listener)
	return client, uint64(g.u32(out))
}

func TestSockStream(t *testing.T) {
	for _, f := range families6 {
		t.Run(f.name, func(t *testing.T) {
			g := newGuest(t, Config{})
			client, server := g.connected(f)
			text, n := g.put("over the wire")
			iov, count := g.iovec(text, 4, text+4, n-4)
			done, flags := g.alloc(4), g.alloc(2)
			g.sockMust("sock_send", client, iov, count, 0, done)
			if g.u32(done) != uint32(n) {
				t.Fatalf("%d bytes sent", g.u32(done))
			}
			buf := g.alloc(32)
			to, one := g.iovec(buf, 32)
			g.sockMust("sock_recv", server, to, one, 0, done, flags)
			if got := g.bytes(buf, uint64(g.u32(done))); string(got) != "over the wire" {
				t.Errorf("received %q", got)
			}
			// The same descriptors as files.
			g.must("fd_write", server, iov, count, done)
			g.must("fd_read", client, to, one, done)
			if g.u32(done) != uint32(n) {
				t.Errorf("fd_read gives %d bytes", g.u32(done))
			}
			g.sockMust("sock_shutdown", client, shutdownWrite)
			g.sockMust("sock_recv", server, to, one, 0, done, flags)
			if g.u32(done) != 0 {
				t.Errorf("%d bytes after the end", g.u32(done))
			}
		})
	}
}

func TestSockAddresses(t *testing.T) {
	for _, f := range families6 {
		t.Run(f.name, func(t *testing.T) {
			g := newGuest(t, Config{})
			client, server := g.connected(f)
			port := g.localPort(client)
			octets := f.local[f.prefix:]
			// Version 2 tells the family by WasmEdge's number.
			two, at := g.any(9), g.alloc(4)
			g.sockMust("sock_getpeeraddr", server, two, at)
			b := g.inside(two)
			if uint64(g.u32(at)) != port || uint64(binary.LittleEndian.Uint16(b)) != f.number || !bytes.Equal(b[2:2+len(octets)], octets) {
				t.Errorf("version 2: port %d, %v", g.u32(at), b[:20])
			}
			g.sockWant(errnoInval, "sock_getpeeraddr", server, g.address(addressV6), at)
			// Version 1 has no room for it and says 4 or 6.
			kind, version := g.alloc(4), uint32(4)
			if f.number == familyInet6 {
				version = 6
				g.sockWant(errnoNomem, "sock_getpeeraddr", server, g.address(addressV4), kind, at)
			}
			one := g.address(addressV6)
			g.sockMust("sock_getpeeraddr", server, one, kind, at)
			if b := g.inside(one); g.u32(kind) != version || uint64(g.u32(at)) != port || !bytes.Equal(b[:len(octets)], octets) {
				t.Errorf("version 1: kind %d, port %d, %v", g.u32(kind), g.u32(at), b)
			}
			g.sockMust("sock_getlocaladdr", client, one, kind, at)
			if uint64(g.u32(at)) != port {
				t.Errorf("sock_getlocaladdr gives port %d, want %d", g.u32(at), port)
			}
			g.sockWant(errnoInval, "sock_getlocaladdr", client, g.any(0), kind, at)
			g.sockWant(errnoNotconn, "sock_getpeeraddr", g.openSocket(f.number, socktypeStream), two, at)
		})
	}
}

func TestSockDatagrams(t *testing.T) {
	for _, f := range families6 {
		t.Run(f.name, func(t *testing.T) {
			g := newGuest(t, Config{})
			a, b := g.openSocket(f.number, socktypeDgram), g.openSocket(f.number, socktypeDgram)
			for _, fd := range []uint64{a, b} {
				g.sockMust("sock_bind", fd, g.address(f.size, f.local...), 0)
			}
			text, n := g.put("datagram")
			iov, count := g.iovec(text, n)
			done, flags, port := g.alloc(4), g.alloc(2), g.alloc(4)
			send := func() {
				t.Helper()
				g.sockMust("sock_send_to", a, iov, count, g.address(f.size, f.local...), g.localPort(b), 0, done)
			}
			buf := g.alloc(16)
			to, one := g.iovec(buf, 16)
			from := g.address(f.size, bytes.Repeat([]byte{9}, f.size)...)
			send()
			g.sockMust("sock_recv_from", b, to, one, from, 0, port, done, flags)
			if got := g.inside(from); !bytes.Equal(got[:len(f.local)], f.local) || uint64(g.u32(port)) != g.localPort(a) || g.u32(done) != 8 {
				t.Errorf("from %v port %d, %d bytes", got[:len(f.local)], g.u32(port), g.u32(done))
			}
			// Version 1, cut off.
			send()
			short, _ := g.iovec(buf, 3)
			g.sockMust("sock_recv_from", b, short, 1, from, 0, done, flags)
			if got := g.inside(from); !bytes.Equal(got[:len(f.local)], f.local) || g.u16(flags) != recvDataTruncated || g.u32(done) != 3 {
				t.Errorf("from %v, flags %d, %d bytes", got[:len(f.local)], g.u16(flags), g.u32(done))
			}
		})
	}
}

// A stream's sender is its peer: guests stop at an address without a family.
func TestSockRecvFromStream(t *testing.T) {
	for _, f := range families6 {
		g := newGuest(t, Config{})
		client, server := g.connected(f)
		text, n := g.put("x")
		iov, _ := g.iovec(text, n)
		done, flags, port := g.alloc(4), g.alloc(2), g.alloc(4)
		g.sockMust("sock_send", client, iov, 1, 0, done)
		from := g.any(0)
		g.sockMust("sock_recv_from", server, iov, 1, from, 0, port, done, flags)
		if got := g.inside(from); uint64(got[0]) != f.number || uint64(g.u32(port)) != g.localPort(client) {
			t.Errorf("%s: family %d, port %d", f.name, got[0], g.u32(port))
		}
	}
}

func TestSockUnix(t *testing.T) {
	for _, kind := range []uint64{socktypeStream, socktypeDgram} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			dir := t.TempDir()
			g := newGuest(t, Config{Preopens: []Preopen{{Name: "/data", Path: dir}, {Name: "/ro", Path: dir, ReadOnly: true}}})
			path := append([]byte("/data/s"), 0)
			server, client := g.openSocket(familyUnix, kind), g.openSocket(familyUnix, kind)
			g.sockWant(errnoNotcapable, "sock_bind", server, g.any(familyUnix, []byte("/tmp/s")...), 0)
			g.sockWant(errnoNotcapable, "sock_bind", server, g.any(familyUnix, []byte("/data/../s")...), 0)
			g.sockWant(errnoRofs, "sock_bind", server, g.any(familyUnix, []byte("/ro/s")...), 0)
			g.sockMust("sock_bind", server, g.any(familyUnix, path...), 0)
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(dir, "s"), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
				t.Fatal(st.Mode, err)
			}
			at := g.alloc(4)
			name := g.any(0)
			g.sockMust("sock_getlocaladdr", server, name, at)
			if b := g.inside(name); b[0] != familyUnix || !bytes.HasPrefix(b[2:], path) {
				t.Errorf("bound to %q", b)
			}
			kindOut := g.alloc(4)
			g.sockWant(errnoAfnosupport, "sock_getlocaladdr", server, g.address(addressV6), kindOut, at)
			text, n := g.put("hello")
			iov, _ := g.iovec(text, n)
			done, flags := g.alloc(4), g.alloc(2)
			if kind == socktypeStream {
				g.sockMust("sock_listen", server, 1)
				g.sockMust("sock_connect", client, g.any(familyUnix, path...), 0)
				g.sockMust("sock_accept", server, at)
				server = uint64(g.u32(at))
				g.sockMust("sock_send", client, iov, 1, 0, done)
			} else {
				g.sockWant(errnoNoent, "sock_send_to", client, iov, 1, g.any(familyUnix, []byte("/data/none")...), 0, 0, done)
				g.sockMust("sock_send_to", client, iov, 1, g.any(familyUnix, path...), 0, 0, done)
			}
			g.sockMust("sock_recv", server, iov, 1, 0, done, flags)
			if g.u32(done) != 5 {
				t.Errorf("%d bytes", g.u32(done))
			}
		})
	}
}

// A symlink must not lead to a socket outside.
func TestSockUnixEscape(t *testing.T) {
	root := t.TempDir()
	inside := filepath.Join(root, "inside")
	if err := unix.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(root, "outside")}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Symlink("../outside", filepath.Join(inside, "relative")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Symlink(filepath.Join(root, "outside"), filepath.Join(inside, "absolute")); err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, Config{Preopens: []Preopen{{Name: "/", Path: inside}}})
	for _, name := range []string{"/relative", "/absolute", "/../outside"} {
		g.sockWant(errnoNotcapable, "sock_connect", g.openSocket(familyUnix, socktypeStream), g.any(familyUnix, []byte(name)...), 0)
	}
}

func TestSockNonblockConnect(t *testing.T) {
	g := newGuest(t, Config{})
	listener := g.openSocket(familyInet4, socktypeStream)
	g.sockMust("sock_bind", listener, g.address(4, 127, 0, 0, 1), 0)
	port := g.localPort(listener)
	fd := g.openSocket(familyInet4, socktypeStream)
	g.must("fd_fdstat_set_flags", fd, uint64(fdflagNonblock))
	stat := g.alloc(24)
	g.must("fd_fdstat_get", fd, stat)
	if g.u16(stat+2) != uint16(fdflagNonblock) {
		t.Errorf("flags %d", g.u16(stat+2))
	}
	// Nobody listens yet: the error is the socket's, told once.
	g.sockWant(errnoInprogress, "sock_connect", fd, g.address(4, 127, 0, 0, 1), port)
	ev := g.pollOne(writeSub(7, uint32(fd)))
	value, size := g.alloc(4), g.alloc(4)
	g.mem.PutUint32(uint32(size), 4)
	g.sockMust("sock_getsockopt", fd, 0, 2, value, size)
	if Errno(g.u32(value)) != errnoConnrefused || ev.userdata != 7 {
		t.Errorf("SO_ERROR is %s, event %+v", Errno(g.u32(value)), ev)
	}
	g.must("fd_close", fd)
	g.sockMust("sock_listen", listener, 1)
	fd = g.openSocket(familyInet4, socktypeStream)
	g.must("fd_fdstat_set_flags", fd, uint64(fdflagNonblock))
	if errno := g.sock("sock_connect", fd, g.address(4, 127, 0, 0, 1), port); errno != errnoInprogress {
		t.Errorf("sock_connect = %s", errno)
	}
	g.pollOne(writeSub(7, uint32(fd)))
	// By value, as Go's net has it.
	g.sockMust("sock_getsockopt", fd, 0, 2, value, 4)
	if g.u32(value) != 0 {
		t.Errorf("SO_ERROR is %d", g.u32(value))
	}
	// The kernel tells the success once more before it calls this an error.
	g.sockMust("sock_connect", fd, g.address(4, 127, 0, 0, 1), port)
	g.sockWant(errnoIsconn, "sock_connect", fd, g.address(4, 127, 0, 0, 1), port)
}

// pollOne waits for the one subscription.
func (g *guest) pollOne(s sub) event {
	g.t.Helper()
	events := g.poll(s)
	if len(events) != 1 || events[0].errno != errnoSuccess {
		g.t.Fatalf("events %+v", events)
	}
	return events[0]
}
