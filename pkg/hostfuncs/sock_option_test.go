package hostfuncs

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSockOptions(t *testing.T) {
	g := newGuest(t, Config{})
	stream, dgram := g.openSocket(familyInet4, socktypeStream), g.openSocket(familyInet6, socktypeDgram)
	value, size := g.alloc(32), g.alloc(4)
	get := func(fd, level, name uint64, room uint32) uint32 {
		t.Helper()
		clear(g.bytes(value, 32))
		g.mem.PutUint32(uint32(size), room)
		g.sockMust("sock_getsockopt", fd, level, name, value, size)
		return g.u32(value)
	}
	set := func(fd, level, name uint64, v ...byte) {
		t.Helper()
		copy(g.bytes(value, 32), v)
		g.sockMust("sock_setsockopt", fd, level, name, value, uint64(len(v)))
	}
	one := []byte{1, 0, 0, 0}
	for _, c := range []struct {
		name   string
		number uint64
	}{{"REUSEADDR", 0}, {"DONTROUTE", 3}, {"BROADCAST", 4}, {"KEEPALIVE", 7}, {"OOBINLINE", 8}} {
		set(stream, 0, c.number, one...)
		if got := get(stream, 0, c.number, 4); got != 1 || g.u32(size) != 4 {
			t.Errorf("%s is %d, size %d", c.name, got, g.u32(size))
		}
	}
	if a, b := get(stream, 0, 1, 4), get(dgram, 0, 1, 4); a != socktypeStream || b != socktypeDgram {
		t.Errorf("TYPE of a stream is %d, of a datagram socket %d", a, b)
	}
	if got := get(stream, 0, 13, 4); got != 0 {
		t.Errorf("ACCEPTCONN is %d", got)
	}
	g.sockMust("sock_listen", stream, 1)
	if got := get(stream, 0, 13, 4); got != 1 {
		t.Errorf("ACCEPTCONN of a listener is %d", got)
	}
	// Linux doubles them, as it does for everybody.
	for _, name := range []uint64{5, 6} {
		set(dgram, 0, name, 0, 0x40, 0, 0)
		if got := get(dgram, 0, name, 4); got != 0x8000 {
			t.Errorf("option %d is %#x", name, got)
		}
	}
	set(dgram, 0, 10, 2, 0, 0, 0)
	if got := get(dgram, 0, 10, 4); got != 2 {
		t.Errorf("RCVLOWAT is %d", got)
	}
	// Structures pass as they are: the layouts are the same.
	linger := []byte{1, 0, 0, 0, 7, 0, 0, 0}
	set(stream, 0, 9, linger...)
	if get(stream, 0, 9, 8); g.u32(value+4) != 7 || g.u32(size) != 8 {
		t.Errorf("LINGER is %d", g.u32(value+4))
	}
	timeval := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 3), 500000)
	for _, name := range []uint64{11, 12} {
		set(dgram, 0, name, timeval...)
		if get(dgram, 0, name, 16); g.u64(value) != 3 || g.u64(value+8) != 500000 || g.u32(size) != 16 {
			t.Errorf("timeout %d is %d s %d us", name, g.u64(value), g.u64(value+8))
		}
	}
	if get(dgram, 0, 14, 16); g.u32(size) != 0 {
		t.Errorf("BINDTODEVICE has %d bytes", g.u32(size))
	}
	set(stream, 6, 1, one...) // TCP_NODELAY, as guests of wasi-go have it
	if got := get(stream, 6, 1, 4); got != 1 {
		t.Errorf("TCP_NODELAY is %d", got)
	}
	// The size by value, as Go's net passes it.
	g.sockMust("sock_getsockopt", stream, 0, 1, value, 4)
	if g.u32(value) != socktypeStream {
		t.Errorf("TYPE by value is %d", g.u32(value))
	}
	g.sockWant(errnoInval, "sock_getsockopt", stream, 1, 1, value, size)
	g.sockWant(errnoInval, "sock_getsockopt", stream, 0, 15, value, size)
	g.sockWant(errnoInval, "sock_setsockopt", stream, 0, math.MaxUint32, value, 4)
	g.sockWant(errnoNoprotoopt, "sock_setsockopt", stream, 0, 1, value, 4)
	g.sockWant(errnoFault, "sock_setsockopt", stream, 0, 0, value, math.MaxUint32)
	g.sockWant(errnoAddrnotavail, "sock_getsockopt", stream, 0, 0, value, size+1)
	g.mem.PutUint32(uint32(size), guestMemory)
	g.sockWant(errnoFault, "sock_getsockopt", stream, 0, 0, value, size)
}

// A timeout that the guest sets ends its waiting, on its own sockets and on
// those it shares.
func TestSockTimeout(t *testing.T) {
	g, peer := pair(t, unix.SOCK_STREAM)
	if err := unix.SetNonblock(g.host(3), true); err != nil {
		t.Fatal(err)
	}
	g.must("fd_fdstat_set_flags", 3, 0)
	client, server := g.connected(families6[0])
	timeval := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 0), 20000)
	value, n := g.put(string(timeval))
	iov, _ := g.iovec(g.alloc(8), 8)
	done, flags := g.alloc(4), g.alloc(2)
	for _, fd := range []uint64{3, server} {
		g.sockMust("sock_setsockopt", fd, 0, 11, value, n)
		begin := time.Now()
		g.sockWant(errnoAgain, "sock_recv", fd, iov, 1, 0, done, flags)
		if took := time.Since(begin); took < 15*time.Millisecond {
			t.Errorf("fd %d: back after %v", fd, took)
		}
	}
	say(t, peer, "x")
	g.sockMust("sock_send", client, iov, 1, 0, done)
	g.sockMust("sock_recv", 3, iov, 1, 0, done, flags)
	g.sockMust("sock_recv", server, iov, 1, 0, done, flags)
}

// Every pointer is looked at before anything is done: outside of the memory is
// FAULT, and not aligned ADDRNOTAVAIL, as WasmEdge has it.
func TestSockPointers(t *testing.T) {
	g := newGuest(t, Config{})
	client, server := g.connected(families6[2])
	fresh, dgram := g.openSocket(familyInet4, socktypeStream), g.openSocket(familyInet4, socktypeDgram)
	text, n := g.put("x")
	iov, _ := g.iovec(text, n)
	done, flags, port, kind := g.alloc(4), g.alloc(2), g.alloc(4), g.alloc(4)
	local := g.any(1, 127, 0, 0, 1)
	wild := g.address(addressV4)
	g.mem.PutUint32(uint32(wild), guestMemory-3)
	odd := g.address(5)
	huge := g.address(addressV4)
	g.mem.PutUint32(uint32(huge)+4, math.MaxUint32)
	badFamily := g.any(4)
	const end = guestMemory
	for _, c := range []struct {
		want Errno
		name string
		args []uint64
	}{
		{errnoFault, "sock_open", []uint64{1, 2, end - 3}},
		{errnoAddrnotavail, "sock_open", []uint64{1, 2, done + 2}},
		{errnoInval, "sock_open", []uint64{0, 2, done}},
		{errnoInval, "sock_open", []uint64{4, 2, done}},
		{errnoInval, "sock_open", []uint64{257, 2, done}},
		{errnoInval, "sock_open", []uint64{1, 0, done}},
		{errnoInval, "sock_open", []uint64{1, 3, done}},
		{errnoFault, "sock_bind", []uint64{fresh, end - 7, 0}},
		{errnoFault, "sock_bind", []uint64{fresh, wild, 0}},
		{errnoFault, "sock_bind", []uint64{fresh, huge, 0}},
		{errnoInval, "sock_bind", []uint64{fresh, odd, 0}},
		{errnoInval, "sock_bind", []uint64{fresh, badFamily, 0}},
		{errnoInval, "sock_bind", []uint64{fresh, local, 65536}},
		{errnoAddrnotavail, "sock_bind", []uint64{fresh, local + 2, 0}},
		{errnoBadf, "sock_bind", []uint64{99, local, 0}},
		{errnoFault, "sock_connect", []uint64{fresh, wild, 0}},
		{errnoInval, "sock_connect", []uint64{fresh, odd, 0}},
		{errnoFault, "sock_accept", []uint64{fresh, end - 2}},
		{errnoAddrnotavail, "sock_accept", []uint64{fresh, 0, done + 1}},
		{errnoInval, "sock_accept", []uint64{fresh, 8, done}},
		{errnoInval, "sock_accept", []uint64{fresh, done}}, // does not listen
		{errnoFault, "sock_recv_from", []uint64{server, iov, 1, local, 0, end - 3, done, flags}},
		{errnoFault, "sock_recv_from", []uint64{server, iov, 1, wild, 0, port, done, flags}},
		{errnoFault, "sock_recv_from", []uint64{server, end - 7, 1, local, 0, port, done, flags}},
		{errnoInval, "sock_recv_from", []uint64{server, iov, 1025, local, 0, port, done, flags}},
		{errnoInval, "sock_recv_from", []uint64{server, iov, 1, odd, 0, port, done, flags}},
		{errnoInval, "sock_recv_from", []uint64{server, iov, 1, local, 4, port, done, flags}},
		{errnoAddrnotavail, "sock_recv_from", []uint64{server, iov, 1, local, 0, done, flags + 1}},
		{errnoFault, "sock_send_to", []uint64{dgram, iov, 1, local, 9, 0, end}},
		{errnoInval, "sock_send_to", []uint64{dgram, iov, 1, local, 9, 1, done}},
		{errnoInval, "sock_send_to", []uint64{dgram, iov, 1, local, 70000, 0, done}},
		{errnoFault, "sock_getlocaladdr", []uint64{client, local, end - 3}},
		{errnoFault, "sock_getlocaladdr", []uint64{client, local, kind, end}},
		{errnoAddrnotavail, "sock_getpeeraddr", []uint64{client, local, kind, port + 1}},
		{errnoFault, "sock_getpeeraddr", []uint64{client, wild, port}},
		{errnoNotconn, "sock_shutdown", []uint64{fresh, 3}},
		{errnoInval, "sock_shutdown", []uint64{client, 0}},
		{errnoInval, "sock_shutdown", []uint64{client, 4}},
		{errnoFault, "sock_getaddrinfo", []uint64{end, 1, text, 0, 0, done, 1, done}},
		{errnoFault, "epoll_oneoff", []uint64{0, 0, 1 << 30, done}},
	} {
		if got := g.sock(c.name, c.args...); got != c.want {
			t.Errorf("%s%v = %s, want %s", c.name, c.args, got, c.want)
		}
	}
	// Nothing was taken or lost on the way.
	g.sockMust("sock_send", client, iov, 1, 0, done)
	g.sockMust("sock_recv", server, iov, 1, 0, done, flags)
}

// A full table, and a full process, reach the guest as MFILE.
func TestSockDescriptorsRunOut(t *testing.T) {
	g := newGuest(t, Config{MaxFDs: 4})
	out := g.alloc(4)
	for range 4 {
		g.sockMust("sock_open", familyInet4, socktypeStream, out)
	}
	g.sockWant(errnoMfile, "sock_open", familyInet4, socktypeStream, out)
	g.must("fd_close", 2)
	g.sockMust("sock_open", familyInet6, socktypeDgram, out)
	if g.u32(out) != 2 {
		t.Errorf("fd %d", g.u32(out))
	}
}

// A datagram socket says so: Go's net looks.
func TestSockFiletype(t *testing.T) {
	g := newGuest(t, Config{})
	stat := g.alloc(24)
	for kind, want := range map[uint64]filetype{socktypeStream: filetypeSocket, socktypeDgram: filetypeSocketDgram} {
		g.must("fd_fdstat_get", g.openSocket(familyInet4, kind), stat)
		if got := filetype(g.bytes(stat, 1)[0]); got != want {
			t.Errorf("type %d has filetype %d", kind, got)
		}
	}
}

// A peer that is gone is PIPE, whichever function tells it.
func TestSockPipe(t *testing.T) {
	g := newGuest(t, Config{})
	client, server := g.connected(families6[0])
	g.must("fd_close", server)
	text, n := g.put("x")
	iov, _ := g.iovec(text, n)
	done := g.alloc(4)
	_ = g.sock("sock_send", client, iov, 1, 0, done) // answered by a reset
	time.Sleep(time.Millisecond)
	for _, name := range []string{"sock_send", "fd_write"} {
		args := []uint64{client, iov, 1, 0, done}
		if name == "fd_write" {
			args = []uint64{client, iov, 1, done}
		}
		if got := g.sock(name, args...); got != errnoPipe && got != errnoConnreset {
			t.Errorf("%s = %s", name, got)
		}
	}
}
