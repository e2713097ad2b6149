package hostfuncs

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listeners are one listening socket of each family.
func listeners(t *testing.T) map[string]net.Listener {
	t.Helper()
	all := map[string]net.Listener{}
	for network, address := range map[string]string{
		"tcp4": "127.0.0.1:0",
		"tcp6": "[::1]:0",
		"unix": filepath.Join(t.TempDir(), "s"),
	} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Logf("%s: no listener: %v", network, err)
			continue
		}
		t.Cleanup(func() { l.Close() })
		all[network] = l
	}
	if len(all) == 0 {
		t.Fatal("no family can listen")
	}
	return all
}

func TestSockAccept(t *testing.T) {
	for network, l := range listeners(t) {
		t.Run(network, func(t *testing.T) {
			g := newGuest(t, Config{Inherited: []int{dup(t, l)}})
			out := g.alloc(4)
			// net made the listener non-blocking, and the guest sees that.
			g.want(errnoAgain, "sock_accept", 3, 0, out)
			for i, flags := range []uint64{0, uint64(fdflagNonblock)} {
				peer, err := net.Dial(l.Addr().Network(), l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer peer.Close()
				g.await(3)
				g.must("sock_accept", 3, flags, out)
				fd := g.u32(out)
				if fd != uint32(i) {
					t.Fatalf("connection is fd %d, want %d, the lowest free one", fd, i)
				}
				e, _ := g.files.get(fd)
				if e.kind != filetypeSocket || e.shared || e.inherited || uint64(e.flags) != flags {
					t.Errorf("entry %+v", e)
				}
				if n, err := unix.FcntlInt(uintptr(e.fd), unix.F_GETFD, 0); err != nil || n&unix.FD_CLOEXEC == 0 {
					t.Errorf("F_GETFD is %d, %v", n, err)
				}
				if n, err := unix.FcntlInt(uintptr(e.fd), unix.F_GETFL, 0); err != nil || (n&unix.O_NONBLOCK != 0) != (flags != 0) {
					t.Errorf("F_GETFL is %#x, %v, want flags %d", n, err, flags)
				}
				exchange(t, g, uint64(fd), peer)
			}
		})
	}
}

// exchange sends something each way between the guest's fd and peer.
func exchange(t *testing.T, g *guest, fd uint64, peer net.Conn) {
	t.Helper()
	n, flags := g.alloc(4), g.alloc(2)
	over, overLen := g.put("over ")
	there, thereLen := g.put("there")
	iov, count := g.iovec(over, overLen, there, thereLen)
	g.must("sock_send", fd, iov, count, 0, n)
	got := make([]byte, 32)
	k, err := peer.Read(got)
	if err != nil || string(got[:k]) != "over there" || g.u32(n) != 10 {
		t.Fatalf("peer read %q, %v; the guest wrote %d", got[:k], err, g.u32(n))
	}
	if _, err := peer.Write([]byte("and back")); err != nil {
		t.Fatal(err)
	}
	buf := g.alloc(16)
	iov, count = g.iovec(buf, 3, buf+3, 0, buf+3, 13)
	g.await(uint32(fd))
	g.must("sock_recv", fd, iov, count, 0, n, flags)
	if s := g.bytes(buf, uint64(g.u32(n))); string(s) != "and back" || g.u16(flags) != 0 {
		t.Errorf("guest read %q with flags %d", s, g.u16(flags))
	}
}

func TestSockAcceptErrors(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	stream, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, Config{Inherited: []int{dup(t, l), pipe[0], pipe[1], stream}, MaxFDs: 8})
	out := g.alloc(4)
	g.want(errnoBadf, "sock_accept", 99, 0, out)
	g.want(errnoBadf, "sock_accept", 0, 0, out)
	g.want(errnoNotsock, "sock_accept", 4, 0, out)
	g.want(errnoInval, "sock_accept", 6, 0, out)
	g.want(errnoInval, "sock_accept", 3, 1, out)
	g.want(errnoInval, "sock_accept", 3, 1<<16, out)
	g.want(errnoFault, "sock_accept", 3, 0, guestMemory-3)

	// Numbers 0 to 2 and 7 are free: the fifth connection has to wait.
	for i := range 5 {
		peer, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		g.await(3)
		if i < 4 {
			g.must("sock_accept", 3, 0, out)
		}
	}
	g.want(errnoMfile, "sock_accept", 3, 0, out)
	if errno := g.files.close(1); errno != errnoSuccess {
		t.Fatal(errno)
	}
	g.must("sock_accept", 3, 0, out)
	if fd := g.u32(out); fd != 1 {
		t.Errorf("the lowest free number is 1, not %d", fd)
	}
}

// TestSockBlocking has the host's descriptor and the guest's view of it differ:
// the guest's counts.
func TestSockBlocking(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const pause = 20 * time.Millisecond
	t.Run("host does not block, guest does", func(t *testing.T) {
		g := newGuest(t, Config{Inherited: []int{dup(t, l)}})
		g.files.entries[3].flags = 0
		peers := make(chan net.Conn, 1)
		start := time.Now()
		go func() {
			time.Sleep(pause)
			c, err := net.Dial("tcp4", l.Addr().String())
			if err != nil {
				t.Error(err)
			}
			peers <- c
		}()
		g.must("sock_accept", 3, 0, g.alloc(4))
		if took := time.Since(start); took < pause {
			t.Errorf("accept took %v", took)
		}
		(<-peers).Close()
	})
	t.Run("host blocks, guest does not", func(t *testing.T) {
		g, peer := pair(t, unix.SOCK_STREAM)
		g.files.entries[3].flags = fdflagNonblock
		n, flags := g.alloc(4), g.alloc(2)
		buf := g.alloc(1 << 16)
		iov, count := g.iovec(buf, 1<<16)
		g.want(errnoAgain, "sock_recv", 3, iov, count, 0, n, flags)
		g.want(errnoAgain, "sock_recv", 3, iov, count, recvWaitall, n, flags)
		errno := errnoSuccess
		for i := 0; errno == errnoSuccess && i < 1000; i++ {
			errno = g.call("sock_send", 3, iov, count, 0, n)
		}
		if errno != errnoAgain {
			t.Errorf("sending without a reader ends in %s", errno)
		}
		if fl, err := unix.FcntlInt(uintptr(peer), unix.F_GETFL, 0); err != nil || fl&unix.O_NONBLOCK != 0 {
			t.Errorf("the peer's flags are %#x, %v", fl, err)
		}
	})
	t.Run("accept", func(t *testing.T) {
		fd := dup(t, l)
		if err := unix.SetNonblock(fd, false); err != nil {
			t.Fatal(err)
		}
		g := newGuest(t, Config{Inherited: []int{fd}})
		g.files.entries[3].flags = fdflagNonblock
		g.want(errnoAgain, "sock_accept", 3, 0, g.alloc(4))
	})
}
