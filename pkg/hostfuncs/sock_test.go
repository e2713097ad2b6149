package hostfuncs

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dup gives a descriptor of its own for what Go's net package holds. It shares
// O_NONBLOCK with it, as a socket inherited from another program does. (File
// and Fd would make it blocking.)
func dup(t testing.TB, c any) int {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	dup := -1
	var dupErr error
	if err := raw.Control(func(fd uintptr) { dup, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		t.Fatal(err)
	}
	if dupErr != nil {
		t.Fatal(dupErr)
	}
	return dup
}

// pair gives a guest one end of a socket pair at fd 3 and the test the other.
func pair(t testing.TB, kind int) (g *guest, peer int) {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(p[1]) })
	return newGuest(t, Config{Inherited: p[:1]}), p[1]
}

func TestSockRecv(t *testing.T) {
	g, peer := pair(t, unix.SOCK_DGRAM)
	n, flags := g.alloc(4), g.alloc(2)
	buf := g.alloc(16)
	send := func(s string) {
		t.Helper()
		if _, err := unix.Write(peer, []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	send("abcdefgh")
	send("ij")
	for _, c := range []struct {
		name  string
		flags uint64
		space uint64
		want  string
		ro    uint16
	}{
		{"peek", recvPeek, 16, "abcdefgh", 0},
		{"peek short", recvPeek, 4, "abcd", recvDataTruncated},
		{"short", 0, 3, "abc", recvDataTruncated},
		{"whole", 0, 16, "ij", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			clear(g.bytes(buf, 16))
			iov, count := g.iovec(buf, 1, buf+1, c.space-1)
			g.must("sock_recv", 3, iov, count, c.flags, n, flags)
			got := g.bytes(buf, 16)
			if string(got[:g.u32(n)]) != c.want || got[g.u32(n)] != 0 || g.u16(flags) != c.ro {
				t.Errorf("%d bytes in %q, flags %d", g.u32(n), got, g.u16(flags))
			}
		})
	}
}

func TestSockRecvWaitall(t *testing.T) {
	g, peer := pair(t, unix.SOCK_STREAM)
	n, flags := g.alloc(4), g.alloc(2)
	buf := g.alloc(16)
	iov, count := g.iovec(buf, 8, buf+8, 8)
	go func() {
		for _, s := range []string{"0123456", "789abcd", "efgh"} {
			_, _ = unix.Write(peer, []byte(s))
			time.Sleep(2 * time.Millisecond)
		}
	}()
	g.must("sock_recv", 3, iov, count, recvWaitall, n, flags)
	if got := g.bytes(buf, 16); g.u32(n) != 16 || string(got) != "0123456789abcdef" {
		t.Errorf("%d bytes %q", g.u32(n), got)
	}
	// End of file is a success with nothing.
	if err := unix.Shutdown(peer, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	g.must("sock_recv", 3, iov, count, 0, n, flags)
	g.must("sock_recv", 3, iov, count, 0, n, flags)
	if g.u32(n) != 0 {
		t.Errorf("%d bytes after the end", g.u32(n))
	}
}

func TestSockRecvErrors(t *testing.T) {
	g, peer := pair(t, unix.SOCK_STREAM)
	if _, err := unix.Write(peer, []byte("x")); err != nil {
		t.Fatal(err)
	}
	n, flags := g.alloc(4), g.alloc(2)
	iov, count := g.iovec(g.alloc(4), 4)
	bad, _ := g.iovec(guestMemory-3, 4)
	wrap, _ := g.iovec(math.MaxUint32, 2)
	for _, c := range []struct {
		name                         string
		fd, iov, count, ri, n, flags uint64
		want                         Errno
	}{
		{"fd", 4, iov, count, 0, n, flags, errnoBadf},
		{"flags", 3, iov, count, 4, n, flags, errnoInval},
		{"high flags", 3, iov, count, 1 << 16, n, flags, errnoInval},
		{"too many buffers", 3, iov, 1025, 0, n, flags, errnoInval},
		{"array outside", 3, guestMemory - 7, 1, 0, n, flags, errnoFault},
		{"product of 2^32", 3, iov, 1 << 29, 0, n, flags, errnoInval},
		{"buffer outside", 3, bad, 1, 0, n, flags, errnoFault},
		{"buffer wraps", 3, wrap, 1, 0, n, flags, errnoFault},
		{"length outside", 3, iov, count, 0, guestMemory - 3, flags, errnoFault},
		{"flags outside", 3, iov, count, 0, n, guestMemory - 1, errnoFault},
		{"array fits exactly", 3, guestMemory - 8, 1, 0, n, flags, errnoSuccess},
	} {
		t.Run(c.name, func(t *testing.T) { g.want(c.want, "sock_recv", c.fd, c.iov, c.count, c.ri, c.n, c.flags) })
	}
	// None of the refused calls has taken the byte.
	g.must("sock_recv", 3, iov, count, 0, n, flags)
	if g.u32(n) != 1 {
		t.Errorf("%d bytes are left, want 1", g.u32(n))
	}
	pipe := pipeGuest(t)
	iov, count = pipe.iovec(pipe.alloc(4), 4)
	pipe.want(errnoNotsock, "sock_recv", 3, iov, count, 0, 64, 64)
	pipe.want(errnoNotsock, "sock_send", 4, iov, count, 0, 64)
}

func TestSockSend(t *testing.T) {
	g, peer := pair(t, unix.SOCK_STREAM)
	n := g.alloc(4)
	iov, count := g.iovec(g.put("hello"))
	g.must("sock_send", 3, iov, count, 0, n)
	got := make([]byte, 8)
	if k, err := unix.Read(peer, got); err != nil || string(got[:k]) != "hello" || g.u32(n) != 5 {
		t.Errorf("%q, %v; %d bytes sent", got[:k], err, g.u32(n))
	}
	g.must("sock_send", 3, iov, 0, 0, n)
	if g.u32(n) != 0 {
		t.Errorf("%d bytes of nothing sent", g.u32(n))
	}
	// 1024 times the same byte: overlapping buffers are allowed.
	one, _ := g.put("z")
	iov, count = g.iovec(slices.Repeat([]uint64{one, 1}, maxIovecs)...)
	g.must("sock_send", 3, iov, count, 0, n)
	big := make([]byte, maxIovecs+1)
	if k, err := unix.Read(peer, big); err != nil || !bytes.Equal(big[:k], bytes.Repeat([]byte{'z'}, maxIovecs)) {
		t.Errorf("%d bytes, %v", k, err)
	}
	g.want(errnoInval, "sock_send", 3, iov, count, 1, n)
	g.want(errnoInval, "sock_send", 3, iov, maxIovecs+1, 0, n)
	g.want(errnoFault, "sock_send", 3, iov, count, 0, guestMemory-3)
	g.want(errnoFault, "sock_send", 3, guestMemory-8*maxIovecs+1, maxIovecs, 0, n)
	g.want(errnoBadf, "sock_send", 9, iov, count, 0, n)
	if err := unix.Shutdown(peer, unix.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	// The errno arrives, and no SIGPIPE with it.
	g.want(errnoPipe, "sock_send", 3, iov, count, 0, n)
}

func TestSockShutdown(t *testing.T) {
	for _, c := range []struct {
		how         uint64
		read, write bool
	}{{1, true, false}, {2, false, true}, {3, true, true}} {
		t.Run(fmt.Sprint(c.how), func(t *testing.T) {
			g, peer := pair(t, unix.SOCK_STREAM)
			g.must("sock_shutdown", 3, c.how)
			_, err := unix.Write(peer, []byte("x"))
			if closed := err == unix.EPIPE; closed != c.read {
				t.Errorf("writing to the guest: %v", err)
			}
			fds := []unix.PollFd{{Fd: int32(peer), Events: unix.POLLIN}}
			ready, err := unix.Poll(fds, 0)
			if err != nil || (ready == 1) != c.write {
				t.Errorf("the peer sees an end: %d, %v", ready, err)
			}
		})
	}
	g, _ := pair(t, unix.SOCK_STREAM)
	for _, how := range []uint64{0, 4, 7, 1 << 31} {
		g.want(errnoInval, "sock_shutdown", 3, how)
	}
	g.want(errnoBadf, "sock_shutdown", 12, 3)
	p := pipeGuest(t)
	p.want(errnoNotsock, "sock_shutdown", 3, 3)
}

// TestSockShutdownListener must not stop a listener that others share.
func TestSockShutdownListener(t *testing.T) {
	for network, l := range listeners(t) {
		t.Run(network, func(t *testing.T) {
			g := newGuest(t, Config{Inherited: []int{dup(t, l)}})
			for how := range uint64(3) {
				g.want(errnoNotconn, "sock_shutdown", 3, how+1)
			}
			c, err := net.Dial(l.Addr().Network(), l.Addr().String())
			if err != nil {
				t.Fatalf("the listener is gone: %v", err)
			}
			c.Close()
		})
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	newGuest(t, Config{Inherited: []int{fd}}).want(errnoNotconn, "sock_shutdown", 3, 3)
}

func TestPollOneoffSocket(t *testing.T) {
	g, peer := pair(t, unix.SOCK_STREAM)
	got := g.poll(readSub(1, 3), writeSub(2, 3))
	wantEvents(t, got, event{userdata: 2, kind: eventFdWrite})
	size, err := unix.GetsockoptInt(g.host(3), unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil || got[0].nbytes != uint64(size) {
		t.Errorf("%d bytes can be written, want %d, %v", got[0].nbytes, size, err)
	}
	g.hostWrite(3, "queued")
	if now := g.poll(writeSub(2, 3))[0].nbytes; now >= uint64(size) || now == 0 {
		t.Errorf("%d bytes can be written with some queued in %d", now, size)
	}
	if _, err := unix.Write(peer, []byte("abc")); err != nil {
		t.Fatal(err)
	}
	got = g.poll(readSub(1, 3))
	if wantEvents(t, got, event{userdata: 1, kind: eventFdRead}); got[0].nbytes != sizeUnknown {
		t.Errorf("%d bytes can be read, want %d", got[0].nbytes, sizeUnknown)
	}
	datagrams, other := pair(t, unix.SOCK_DGRAM)
	say(t, other, "abc")
	if got := datagrams.poll(readSub(1, 3)); got[0].nbytes != 3 {
		t.Errorf("%d bytes can be read of a datagram, want 3", got[0].nbytes)
	}
	if err := unix.Shutdown(peer, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, g.poll(readSub(1, 3), writeSub(2, 3)),
		event{userdata: 1, kind: eventFdRead, flags: eventHangup},
		event{userdata: 2, kind: eventFdWrite, flags: eventHangup})
}

// await waits until fd can be read, at most ten seconds.
func (g *guest) await(fd uint32) {
	g.t.Helper()
	got := g.poll(readSub(1, fd), afterSub(2, 10*time.Second))
	if got[0].userdata != 1 || got[0].errno != errnoSuccess {
		g.t.Fatalf("fd %d cannot be read: %+v", fd, got)
	}
}

func BenchmarkSockSendRecv(b *testing.B) {
	g, peer := pair(b, unix.SOCK_STREAM)
	n, flags := g.alloc(4), g.alloc(2)
	iov, count := g.iovec(g.alloc(64), 64)
	p := make([]uint64, 6)
	buf := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		copy(p, []uint64{3, iov, count, 0, n})
		if errno := g.sockSend(g.mem, p); errno != errnoSuccess {
			b.Fatal(errno)
		}
		if _, err := unix.Read(peer, buf); err != nil {
			b.Fatal(err)
		}
		if _, err := unix.Write(peer, buf); err != nil {
			b.Fatal(err)
		}
		copy(p, []uint64{3, iov, count, 0, n, flags})
		if errno := g.sockRecv(g.mem, p); errno != errnoSuccess {
			b.Fatal(errno)
		}
	}
}
