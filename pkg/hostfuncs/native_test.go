package hostfuncs

import (
	"cmp"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// trying puts C before Go where the guest has it so.
func (g *guest) trying(f abi.Func) abi.Func {
	if !g.native || f.Native == nil {
		return f
	}
	call, env := f.Native()
	inGo := f.Call
	f.Call = func(mem abi.Memory, stack []uint64) error {
		before := slices.Clone(stack)
		if tryNative(call, env, mem, stack) {
			return nil
		}
		if !slices.Equal(stack, before) {
			g.t.Fatalf("%s changes %v to %v and passes it on", f.Name, before, stack)
		}
		return inGo(mem, stack)
	}
	return f
}

// soon is a timeout that is not over before C has looked, and is so when Go has.
func (g *guest) soon() uint64 {
	if g.native {
		return 1
	}
	return 0
}

// toldNative checks what C knows of the table and of the watch.
func (g *guest) toldNative(t *testing.T) {
	t.Helper()
	n := &g.Host.native
	if n.guest == nil {
		return
	}
	for fd := range max(len(n.files.list), len(g.files.entries)) {
		var has, want nativeFile
		if fd < len(n.files.list) {
			has = n.files.list[fd]
			has.listed = 0
		}
		if fd < len(g.files.entries) {
			want = nativeFileOf(g.files.entries[fd])
		}
		if has != want {
			t.Fatalf("fd %d: C has %+v, want %+v", fd, has, want)
		}
	}
	q := &g.watches[watchLevel]
	if n.guest.nkeys == 0 {
		return
	}
	if int(n.guest.nkeys) != len(q.last) || int(n.guest.epfd) != q.epfd || q.rebuild {
		t.Fatalf("C has %d keys and epoll %d, want %d and %d", n.guest.nkeys, n.guest.epfd, len(q.last), q.epfd)
	}
	if !slices.Equal(n.keys.list[:len(q.last)], q.last) {
		t.Fatal("C has other keys")
	}
	for i := range q.slots {
		if want := nativeSlotOf(&q.slots[i]); want.asked != 0 && n.slots.list[i] != want {
			t.Fatalf("slot %d: C has %+v, want %+v", i, n.slots.list[i], want)
		}
	}
}

// TestNative repeats with C in front what the tests of sockets and waiting ask of
// Go.
func TestNative(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"SockStream": TestSockStream, "SockSend": TestSockSend, "SockRecv": TestSockRecv, "SockPipe": TestSockPipe,
		"SockTimeout": TestSockTimeout, "SockRecvWaitall": TestSockRecvWaitall, "SockRecvErrors": TestSockRecvErrors,
		"SockBlocking": TestSockBlocking, "SockShutdown": TestSockShutdown, "SockRecvFromStream": TestSockRecvFromStream,
		"SockNonblockConnect": TestSockNonblockConnect, "SockDatagrams": TestSockDatagrams,
		"PollOneoffSocket": TestPollOneoffSocket, "PollOneoffManyFDs": TestPollOneoffManyFDs,
		"PollOneoffEventErrors": TestPollOneoffEventErrors, "PollOneoffCallErrors": TestPollOneoffCallErrors,
		"PollOneoffClock": TestPollOneoffClock, "FdRead": TestFdRead, "FdWrite": TestFdWrite,
	} {
		t.Run(name, test)
	}
}

// own gives the guest n stream sockets of its own from fd 3 on, and their peers.
func own(t testing.TB, n int, native bool) (g *guest, peers []int) {
	t.Helper()
	g = newGuest(t, Config{})
	g.native = native
	for range n {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		g.files.put(3+len(peers), &entry{fd: p[0], kind: filetypeSocket, stream: true, flags: fdflagNonblock, base: rightsOf(filetypeSocket, false)})
		peers = append(peers, p[1])
	}
	t.Cleanup(func() {
		for _, fd := range peers {
			if fd >= 0 {
				_ = unix.Close(fd)
			}
		}
	})
	return g, peers
}

// inC is the function that does in C what one of the guest's imports does.
func (g *guest) inC(name string) (call, env uintptr) {
	g.t.Helper()
	linked, err := g.Link([]abi.Import{witxImport(name)})
	if err != nil {
		g.t.Fatal(err)
	}
	switch {
	case linked[0].Native != nil:
		return linked[0].Native()
	case nativeCall(&function{name: name}) != 0:
		g.t.Fatalf("%s is not offered in C", name)
	}
	g.t.Skip("built without C")
	return 0, 0
}

// What a server calls for each request does not come back to Go.
func TestNativeDoes(t *testing.T) {
	g, peers := own(t, 12, true)
	list := make([]sub, 0, 12)
	for fd := range uint32(12) {
		list = append(list, readSub(uint64(fd), 3+fd))
	}
	many, few := g.putSubs(list), g.putSubs(list[:2])
	events, n, flags := g.alloc(12*eventSize), g.alloc(4), g.alloc(2)
	iov, count := g.iovec(g.alloc(8), 8, g.alloc(8), 8)
	say(t, peers[1], "0123456789")
	g.inC("poll_oneoff")
	g.Host.native.guest.sparse, g.Host.native.guest.waits = 1, 1000
	g.must("poll_oneoff", many, events, 12, n) // the watch begins
	calls := []struct {
		name string
		args []uint64
		n    uint32
	}{
		{"poll_oneoff", []uint64{many, events, 12, n}, 1},
		{"poll_oneoff", []uint64{few, events, 2, n}, 1},
		{"sock_recv", []uint64{4, iov, 1, 0, n, flags}, 8},
		{"sock_recv", []uint64{4, iov, count, 0, n, flags}, 2},
		{"sock_send", []uint64{4, iov, count, 0, n}, 16},
		{"fd_write", []uint64{4, iov, 1, n}, 8},
		{"fd_read", []uint64{4, iov, 1, n}, 0},
	}
	for _, c := range calls {
		call, env := g.inC(c.name)
		stack := slices.Clone(c.args)
		want := errnoSuccess
		if c.n == 0 {
			want = errnoAgain
		}
		if !tryNative(call, env, g.mem, stack) || Errno(stack[0]) != want {
			t.Errorf("%s%v: passed on, or %s", c.name, c.args, Errno(stack[0]))
		}
		if got := g.u32(n); want == errnoSuccess && got != c.n {
			t.Errorf("%s%v: %d, want %d", c.name, c.args, got, c.n)
		}
	}
	// A trace sees every call.
	g.Host.trace = discard{}
	if linked, err := g.Link([]abi.Import{witxImport("sock_recv")}); err != nil || linked[0].Native != nil {
		t.Errorf("traced: %v", err)
	}
}

// A server that has had events looks for more before it sleeps, for as long as they
// pay for, and gives that up where it is in vain.
func TestNativeLooks(t *testing.T) {
	g, peers := own(t, 12, true)
	list := make([]sub, 0, 12)
	for fd := range uint32(12) {
		list = append(list, readSub(uint64(fd), 3+fd))
	}
	args := []uint64{g.putSubs(list), g.alloc(12 * eventSize), 12, g.alloc(4)}
	call, env := g.inC("poll_oneoff")
	wait := func() {
		t.Helper()
		if !tryNative(call, env, g.mem, slices.Clone(args)) {
			t.Fatal("passed on")
		}
	}
	c := g.Host.native.guest
	c.sparse, c.waits = 1, 1000
	say(t, peers[0], "0")
	g.must("poll_oneoff", args...) // the watch begins
	for i := range uint32(150) {
		if c.credit != min(2*i, 200) {
			t.Fatalf("%d µs to look for after %d events", c.credit, i)
		}
		wait()
	}
	// What comes in 20 ms later is not found by looking.
	buf := make([]byte, 16)
	for i := range uint32(6) {
		if _, err := unix.Read(g.files.entries[3].fd, buf); err != nil {
			t.Fatal(err)
		}
		if c.misses != i || c.skip != 0 {
			t.Fatalf("%d in vain, %d waits without: want %d, 0", c.misses, c.skip, i)
		}
		time.AfterFunc(20*time.Millisecond, func() { _, _ = unix.Write(peers[0], []byte("0")) })
		wait()
		if c.credit != 2 {
			t.Fatalf("%d µs left after looking", c.credit)
		}
		if c.skip != 0 {
			break
		}
	}
	if c.misses != 5 || c.skip != 2 {
		t.Errorf("%d in vain, %d waits without: want 5, 2", c.misses, c.skip)
	}
	wait()
	wait()
	if c.skip != 0 {
		t.Errorf("%d waits without", c.skip)
	}
}

// Where many of a list are ready the kernel keeps no set of them. Where few are it
// does, until a wait for the list itself is tried again, ever more rarely.
func TestNativeCrowd(t *testing.T) {
	const sockets, busy = 96, 48
	g, peers := own(t, sockets, false)
	list := make([]sub, 0, sockets)
	for fd := range uint32(sockets) {
		list = append(list, readSub(uint64(fd), 3+fd))
	}
	events, n := g.alloc(sockets*eventSize), g.alloc(4)
	args := []uint64{g.putSubs(list), events, sockets, n}
	call, env := g.inC("poll_oneoff")
	c, watch := g.Host.native.guest, &g.watches[watchLevel]
	// until waits until the call is passed on, and Go does it.
	until := func(waits int, ready uint32, why string) {
		t.Helper()
		for i := 0; tryNative(call, env, g.mem, slices.Clone(args)); i++ {
			if got := g.u32(n); got != ready {
				t.Fatalf("%s: %d are ready, want %d", why, got, ready)
			}
			if i == waits {
				t.Fatalf("%s: not passed on after %d waits", why, waits)
			}
		}
		g.must("poll_oneoff", args...)
		if got := g.u32(n); got != ready {
			t.Fatalf("%s, in Go: %d are ready, want %d", why, got, ready)
		}
	}
	kept := func(want bool, why string) {
		t.Helper()
		if sparse, got := c.sparse != 0, watch.epfd >= 0; got != want || sparse != want {
			t.Fatalf("%s: sparse %t, a set %t, want %t", why, sparse, got, want)
		}
	}

	for _, peer := range peers[:busy] {
		say(t, peer, "0")
	}
	for range 100 {
		if !tryNative(call, env, g.mem, slices.Clone(args)) || g.u32(n) != busy {
			t.Fatalf("%d are ready, or passed on", g.u32(n))
		}
	}
	kept(false, "a crowd")
	buf := make([]byte, 1)
	for i := range busy - 1 {
		if _, err := unix.Read(g.files.entries[3+i].fd, buf); err != nil {
			t.Fatal(err)
		}
	}
	until(96, 1, "the crowd leaves") // from 16 waits above to 16 below, by 64 of 96 each
	kept(true, "one speaks")
	for trial := range 8 {
		if want := uint32(1024) << min(trial, 6); c.waits != want {
			t.Fatalf("%d waits until trial %d, want %d", c.waits, trial, want)
		}
		until(1024<<min(trial, 6), 1, "with the set")
		kept(false, "a trial")
		until(48, 1, "a trial")
		kept(true, "after the trial")
	}
	for _, peer := range peers[:busy-1] {
		say(t, peer, "0")
	}
	until(1024<<6, busy, "the crowd comes back")
	kept(false, "a crowd again")

	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	g.must("fd_close", 3)
	g.files.put(3, &entry{fd: pair[0], kind: filetypeSocket, stream: true, shared: true})
	until(0, busy-1, "somebody else's socket")
	kept(true, "somebody else's socket")
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// nativeNames are the functions that FuzzNative compares, and those that change
// what C knows.
var nativeNames = []string{"sock_recv", "sock_send", "fd_read", "fd_write", "poll_oneoff", "fd_close", "fd_renumber", "sock_shutdown"}

// FuzzNative plays one guest twice, with C and without: the errors, the memory
// and the events are the same.
func FuzzNative(f *testing.F) {
	f.Add([]byte{0x01, 9, 0x10, 3, 64, 100, 4, 1, 0, 0, 0x14, 20, 0x13, 3})
	f.Add(slices.Repeat([]byte{0x01, 3, 0x14, 20, 0x14, 5, 0x10, 4, 101, 1, 102}, 9))
	f.Add([]byte{0x02, 1, 0x14, 20, 0x15, 3, 0x14, 20, 0x16, 4, 5, 0x14, 20, 0x03, 2, 0x14, 20, 0x11, 5, 100, 1, 0, 102})
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 512 {
			t.Skip("longer programs find nothing more")
		}
		const sockets = 12
		a, left := own(t, sockets, false)
		b, right := own(t, sockets, true)
		netMemory(a.mem)
		copy(b.mem, a.mem)
		p := program{input}
		for p.more() {
			op := p.byte()
			i := int(p.byte()) % sockets
			if op < 0x10 {
				for _, peers := range [][]int{left, right} {
					peerDoes(peers, i, int(op))
				}
				continue
			}
			name := nativeNames[int(op)%len(nativeNames)]
			args := p.nativeArgs(name, uint64(i)+3)
			if name == "poll_oneoff" {
				a.waitsFor(&p, args)
				copy(b.mem, a.mem)
				if c := b.Host.native.guest; op >= 0x80 && c != nil && c.sparse != 0 {
					c.waits = 1
				}
			}
			before := uint32(args[len(args)-1])
			x, y := a.call(name, args...), b.call(name, args...)
			if x != y {
				t.Fatalf("%s%v: %s, with C %s", name, args, x, y)
			}
			if name == "poll_oneoff" {
				// A count that lies over the events changes them, and clocks count.
				over := before+4 > uint32(args[1]) && before < uint32(args[1])+uint32(args[2])*eventSize
				if x == errnoSuccess && !over {
					if in, inC := a.eventsAt(args, before), b.eventsAt(args, before); !slices.Equal(in, inC) {
						t.Fatalf("%s%v:\n%+v, with C\n%+v", name, args, in, inC)
					}
				}
				copy(b.mem, a.mem)
			}
			if !slices.Equal(a.mem, b.mem) {
				t.Fatalf("%s%v: not the same memory", name, args)
			}
			a.consistent(t)
			b.consistent(t)
		}
	})
}

// peerDoes is what happens on the other side of the sockets.
func peerDoes(peers []int, i, op int) {
	switch {
	case peers[i] < 0:
	case op < 8:
		_ = unix.Sendmsg(peers[i], make([]byte, 1+op*op*300), nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	case op < 14:
		_, _, _ = unix.Recvfrom(peers[i], make([]byte, 1<<18), unix.MSG_DONTWAIT)
	default:
		_ = unix.Close(peers[i])
		peers[i] = -1
	}
}

// nativeArgs makes parameters that are mostly right.
func (p *program) nativeArgs(name string, fd uint64) []uint64 {
	pick := func(usual ...uint64) uint64 {
		if b := int(p.byte()); b >= 160 {
			return netNumbers[b%len(netNumbers)]
		} else {
			return usual[b%len(usual)]
		}
	}
	iov, n := pick(64, 72, 96), pick(1, 2, 3, 9)
	switch name {
	case "sock_recv":
		return []uint64{fd, iov, n, pick(0, 0, 0, recvPeek), pick(fuzzCell, fuzzCell+8), pick(fuzzCell + 4)}
	case "sock_send":
		return []uint64{fd, iov, n, pick(0), pick(fuzzCell)}
	case "fd_read", "fd_write":
		return []uint64{fd, iov, n, pick(fuzzCell, fuzzCell+1)}
	case "poll_oneoff":
		return []uint64{pick(fuzzSubs), pick(fuzzEvents), pick(2, 4, 9, 13, 25), pick(fuzzCell)}
	case "fd_renumber":
		return []uint64{fd, 3 + pick(0, 1, 2, 3)%12}
	case "sock_shutdown":
		return []uint64{fd, pick(1, 2, 3)}
	}
	return []uint64{fd}
}

// waitsFor writes subscriptions, the first of which keeps the call from
// waiting.
func (g *guest) waitsFor(p *program, args []uint64) {
	turn := uint32(p.byte())
	for i := range uint32(26) {
		b, _ := g.mem.Bytes(fuzzSubs+i*subscriptionSize, subscriptionSize)
		clear(b)
		binary.LittleEndian.PutUint64(b, uint64(i))
		fd := 3 + (i+turn%4)%13
		b[8] = eventFdRead
		if turn >= 128 && i%3 == 0 {
			b[8] = eventFdWrite
		}
		binary.LittleEndian.PutUint32(b[16:], fd)
	}
	if b, ok := g.mem.Bytes(uint32(args[0]), subscriptionSize); ok {
		b[8] = eventClock
		binary.LittleEndian.PutUint32(b[16:], turn%2)
		binary.LittleEndian.PutUint64(b[24:], 1)
		binary.LittleEndian.PutUint16(b[40:], 0)
	}
}

// eventsAt are the events of a call but for those of clocks, which C leaves for
// later while something else is due, in an order that does not depend on epoll.
func (g *guest) eventsAt(args []uint64, count uint32) (list []event) {
	n, _ := g.mem.Uint32(count)
	for i := range n {
		b, ok := g.mem.Bytes(uint32(args[1])+i*eventSize, eventSize)
		if !ok {
			g.t.Fatalf("%d events in %d", n, args[2])
		}
		if e := readEvent(b); e.kind != eventClock {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.userdata, b.userdata), cmp.Compare(a.kind, b.kind), cmp.Compare(a.errno, b.errno), cmp.Compare(a.nbytes, b.nbytes))
	})
	return list
}
