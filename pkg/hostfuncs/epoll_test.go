package hostfuncs

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// waiter calls one of the ways to wait with the same subscriptions as another.
type waiter func(h *Host, g *guest, a pollArgs) Errno

func byWatch(h *Host, g *guest, a pollArgs) Errno {
	return h.pollWatch(g.mem, &h.watches[watchLevel], a)
}

func byList(h *Host, g *guest, a pollArgs) Errno { return h.pollList(g.mem, a) }

func byEdge(h *Host, g *guest, a pollArgs) Errno { return h.pollWatch(g.mem, &h.watches[watchEdge], a) }

// waitBy waits and gives the events, ordered by userdata.
func (g *guest) waitBy(w waiter, subs ...sub) []event {
	g.t.Helper()
	top := g.top
	defer func() { g.top = top }()
	in, out, count := g.putSubs(subs), g.alloc(len(subs)*eventSize), g.alloc(4)
	a, errno := pollArguments(g.mem, []uint64{in, out, uint64(len(subs)), count})
	if errno == errnoSuccess {
		errno = w(g.Host, g, a)
	}
	if errno != errnoSuccess {
		g.t.Fatal(errno)
	}
	var events []event
	for i := range uint64(g.u32(count)) {
		events = append(events, readEvent(g.bytes(out+i*eventSize, eventSize)))
	}
	slices.SortFunc(events, func(a, b event) int { return int(int64(a.userdata) - int64(b.userdata)) })
	return events
}

func readEvent(b []byte) event {
	return event{
		userdata: binary.LittleEndian.Uint64(b),
		errno:    Errno(binary.LittleEndian.Uint16(b[8:])),
		kind:     b[10],
		nbytes:   binary.LittleEndian.Uint64(b[16:]),
		flags:    binary.LittleEndian.Uint16(b[24:]),
	}
}

// now is a subscription that keeps a call from waiting; its event comes last.
var now = sub{userdata: math.MaxInt64, tag: eventClock, id: clockMonotonic}

func userdata(events []event) []uint64 {
	var list []uint64
	for _, e := range events {
		if e.userdata != now.userdata {
			list = append(list, e.userdata)
		}
	}
	return list
}

// pairs gives the guest n stream sockets from fd 3 on, and their peers.
func pairs(t testing.TB, n int) (g *guest, peers []int) {
	t.Helper()
	var fds []int
	for range n {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds, peers = append(fds, p[0]), append(peers, p[1])
	}
	t.Cleanup(func() {
		for _, fd := range peers {
			if fd >= 0 {
				_ = unix.Close(fd)
			}
		}
	})
	return newGuest(t, Config{Inherited: fds}), peers
}

func say(t testing.TB, fd int, text string) {
	t.Helper()
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func (g *guest) hear(fd uint64) {
	g.t.Helper()
	iov, count := g.iovec(g.alloc(64), 64)
	g.must("fd_read", fd, iov, count, g.alloc(4))
}

// What changes between two calls must be all that the second one sees changed.
func TestWatchChanges(t *testing.T) {
	g, peers := pairs(t, 12)
	all := func(tag uint8, fds ...uint32) (subs []sub) {
		for _, fd := range fds {
			subs = append(subs, sub{userdata: uint64(tag)<<8 | uint64(fd), tag: tag, id: fd})
		}
		return append(subs, now)
	}
	want := func(what string, subs []sub, ready ...uint64) {
		t.Helper()
		if got := userdata(g.waitBy(byWatch, subs...)); !slices.Equal(got, ready) {
			t.Errorf("%s: %#x, want %#x", what, got, ready)
		}
	}
	reads := all(eventFdRead, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
	want("nothing yet", reads)
	say(t, peers[2], "x")
	want("one", reads, 0x105)
	want("level-triggered", reads, 0x105)
	want("not asked for", all(eventFdRead, 3, 4))
	want("asked for again", reads, 0x105)
	want("another direction", all(eventFdWrite, 5), 0x205)
	want("both", append(all(eventFdRead, 5), all(eventFdWrite, 5, 6)...), 0x105, 0x205, 0x206)
	want("order does not matter", all(eventFdRead, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3), 0x105)
	g.hear(5)
	want("read", reads)
	// Closed and given out again: the new one is another.
	say(t, peers[3], "x")
	want("before close", reads, 0x106)
	g.must("fd_close", 6)
	if got := g.waitBy(byWatch, reads...); len(got) != 2 || got[0].errno != errnoBadf {
		t.Errorf("closed: %+v", got)
	}
	fd, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd[1])
	g.files.put(6, &entry{fd: fd[0], kind: filetypeSocket})
	want("number used again", reads)
	say(t, fd[1], "y")
	want("and heard", reads, 0x106)
	// Moved: 7 is now what 6 was.
	g.must("fd_renumber", 6, 7)
	want("moved", all(eventFdRead, 3, 4, 5, 7), 0x107)
	if got := userdata(g.waitBy(byWatch, now)); len(got) != 0 {
		t.Errorf("nothing asked for: %v", got)
	}
	for i := range g.watches[watchLevel].slots {
		if g.watches[watchLevel].slots[i].file != nil {
			t.Errorf("slot %d is still used", i)
		}
	}
}

func TestEpollEdge(t *testing.T) {
	g, peers := pairs(t, 2)
	subs := []sub{readSub(1, 3), readSub(2, 4), now}
	want := func(what string, subs []sub, ready ...uint64) {
		t.Helper()
		if got := userdata(g.waitBy(byEdge, subs...)); !slices.Equal(got, ready) {
			t.Errorf("%s: %v, want %v", what, got, ready)
		}
	}
	want("nothing", subs)
	say(t, peers[0], "x")
	want("the edge", subs, 1)
	want("no second time", subs)
	say(t, peers[0], "y")
	want("a new edge", subs, 1)
	// Not mentioned: dropped. Mentioned again: registered anew, and ready.
	want("the other", []sub{readSub(2, 4), now})
	want("back", subs, 1)
	g.must("fd_close", 3)
	if got := g.waitBy(byEdge, subs...); got[0].errno != errnoBadf {
		t.Errorf("closed: %+v", got)
	}
	// A change of the directions registers anew.
	want("directions", []sub{readSub(2, 4), writeSub(3, 4), now}, 3)
	want("directions again", []sub{readSub(2, 4), writeSub(3, 4), now})
	// No subscriptions: success at once, and everything is forgotten.
	n := g.alloc(4)
	g.mem.PutUint32(uint32(n), 7)
	g.sockMust("epoll_oneoff", 0, 0, 0, n)
	if g.u32(n) != 0 {
		t.Errorf("%d events", g.u32(n))
	}
	want("after that", []sub{readSub(2, 4), writeSub(3, 4), now}, 3)
}

// The two ways to wait say the same about everything.
func TestWatchEqualsList(t *testing.T) {
	g, peers := pairs(t, 6)
	dir := t.TempDir()
	file, err := os.OpenFile(filepath.Join(dir, "f"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("12345"); err != nil {
		t.Fatal(err)
	}
	regular, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(p[0]) // nobody reads what the guest writes
	for _, fd := range []int{regular, null, p[1]} {
		e, err := newEntry(fd, true)
		if err != nil {
			t.Fatal(err)
		}
		if _, errno := g.files.insert(e); errno != errnoSuccess {
			t.Fatal(errno)
		}
	}
	say(t, peers[0], "abc")
	_ = unix.Close(peers[1])
	peers[1] = -1
	if err := unix.Shutdown(peers[2], unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	var subs []sub
	for fd := range uint32(14) {
		subs = append(subs, readSub(uint64(fd)*2, fd), writeSub(uint64(fd)*2+1, fd))
	}
	subs = append(subs, readSub(100, 3), writeSub(101, 99), now,
		sub{userdata: 102, tag: eventClock, id: clockProcess},
		sub{userdata: 103, tag: eventClock, id: 9},
		sub{userdata: 104, tag: eventClock, id: clockRealtime, timeout: 1, flags: subclockAbstime},
		sub{userdata: 105, tag: eventClock, id: clockRealtime, timeout: math.MaxUint64, flags: subclockAbstime},
		sub{userdata: 106, tag: eventClock, id: clockMonotonic, timeout: math.MaxUint64})
	for range 3 {
		watch, list := g.waitBy(byWatch, subs...), g.waitBy(byList, subs...)
		if !slices.Equal(watch, list) {
			t.Errorf("watch %+v\nlist  %+v", watch, list)
		}
		// Each direction alone, and nothing else.
		for _, s := range subs[:28] {
			watch, list := g.waitBy(byWatch, s, now), g.waitBy(byList, s, now)
			if !slices.Equal(watch, list) {
				t.Errorf("%+v: watch %+v, list %+v", s, watch, list)
			}
		}
	}
}

func TestWatchTimeouts(t *testing.T) {
	for _, old := range []bool{false, true} {
		g, _ := pairs(t, 10)
		g.watches[watchLevel].noPwait2 = old // as before Linux 5.11
		var subs []sub
		for fd := range uint32(10) {
			subs = append(subs, readSub(1, fd+3))
		}
		for _, d := range []time.Duration{0, 300 * time.Microsecond, 1500 * time.Microsecond, 12 * time.Millisecond} {
			real, mono := time.Now(), g.clock.monotonic()
			for name, s := range map[string]sub{
				"relative":          afterSub(9, d),
				"relative realtime": {userdata: 9, id: clockRealtime, timeout: uint64(d)},
				"monotonic":         {userdata: 9, id: clockMonotonic, timeout: mono + uint64(d), flags: subclockAbstime},
				"realtime":          {userdata: 9, id: clockRealtime, timeout: uint64(real.Add(d).UnixNano()), flags: subclockAbstime},
			} {
				begin := time.Now()
				got := g.waitBy(byWatch, append(subs, s)...)
				took := time.Since(begin)
				if len(got) != 1 || got[0].userdata != 9 || got[0].kind != eventClock {
					t.Fatalf("%s %v: %+v", name, d, got)
				}
				if s.flags == 0 && took < d {
					t.Errorf("%s %v: back after %v", name, d, took)
				}
				if s.flags != 0 && time.Now().Before(real.Add(d)) {
					t.Errorf("%s %v: back too early", name, d)
				}
			}
		}
	}
}

// An output array over the input must not spoil what is still to be read.
func TestWatchOverlap(t *testing.T) {
	g, peers := pairs(t, 12)
	var subs []sub
	for fd := range uint32(12) {
		subs = append(subs, readSub(uint64(fd), fd+3))
		say(t, peers[fd], "x")
	}
	in := g.putSubs(subs)
	n := g.alloc(4)
	g.must("poll_oneoff", in, in, 12, n)
	seen := map[uint64]bool{}
	for i := range uint64(g.u32(n)) {
		seen[readEvent(g.bytes(in+i*eventSize, eventSize)).userdata] = true
	}
	if len(seen) != 12 {
		t.Errorf("%d events, of %d subscriptions: %v", g.u32(n), len(seen), seen)
	}
}

// Without a descriptor for epoll the list of ppoll serves.
func TestWatchWithoutEpoll(t *testing.T) {
	g, peers := pairs(t, 12)
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	// Enough for the list, which is as long as ppoll takes, and used up.
	none := unix.Rlimit{Cur: 13, Max: lim.Max}
	var subs []sub
	for fd := range uint32(12) {
		subs = append(subs, readSub(uint64(fd), fd+3))
	}
	say(t, peers[4], "x")
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	got := g.waitBy(byWatch, subs...)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(userdata(got), []uint64{4}) {
		t.Errorf("%+v", got)
	}
}

// What a server calls for each request stays off Go's heap.
func TestSocketCallsDoNotAllocate(t *testing.T) {
	g, peers := pairs(t, 12)
	client, server := g.connected(families6[2])
	dgram := g.openSocket(familyInet4, socktypeDgram)
	g.sockMust("sock_bind", dgram, g.any(1, 127, 0, 0, 1), 0)
	var subs []sub
	for fd := range uint32(12) {
		subs = append(subs, readSub(uint64(fd), fd+3))
	}
	say(t, peers[0], "x")
	in, out := g.putSubs(append(subs, now)), g.alloc(16*eventSize)
	text, n := g.put("x")
	iov, _ := g.iovec(text, n)
	done, flags, port, addr := g.alloc(4), g.alloc(2), g.alloc(4), g.any(1, 127, 0, 0, 1)
	for _, c := range []struct {
		name  string
		calls [][]uint64
	}{
		{"sock_send,sock_recv", [][]uint64{{client, iov, 1, 0, done}, {server, iov, 1, 0, done, flags}}},
		{"sock_send_to,sock_recv_from", [][]uint64{{dgram, iov, 1, addr, g.localPort(dgram), 0, done}, {dgram, iov, 1, addr, 0, port, done, flags}}},
		{"fd_write,fd_read", [][]uint64{{client, iov, 1, done}, {server, iov, 1, done}}},
		{"poll_oneoff", [][]uint64{{in, out, 13, done}}},
		{"epoll_oneoff", [][]uint64{{in, out, 13, done}}},
		{"sock_getpeeraddr", [][]uint64{{client, addr, port}}},
		{"sock_getsockopt", [][]uint64{{client, 0, 2, done, 4}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var calls []func()
			for i, name := range strings.Split(c.name, ",") {
				args := c.calls[i]
				f := g.imported(i32Import(name, strings.Repeat("i", len(args))))
				stack := make([]uint64, len(args))
				calls = append(calls, func() {
					copy(stack, args)
					if err := f.Call(g.mem, stack); err != nil || stack[0] != 0 {
						t.Fatal(err, Errno(stack[0]))
					}
				})
			}
			if allocs := testing.AllocsPerRun(50, func() {
				for _, call := range calls {
					call()
				}
			}); allocs != 0 {
				t.Errorf("%v allocations a round", allocs)
			}
		})
	}
}
