package hostfuncs

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// fuzzNet is what a guest that fuzzes sockets may call: WasmEdge's functions,
// by both names, and those of preview1 that meet them in the table.
func fuzzNet() (list []abi.Import) {
	for _, f := range wasmedge {
		list = append(list, i32Import(f.name, f.params))
	}
	list = append(list, i32Import("sock_recv_from", "iiiiii"), i32Import("sock_recv_from_v2", "iiiiiiii"))
	for _, name := range []string{
		"fd_close", "fd_renumber", "fd_read", "fd_write", "fd_fdstat_get", "fd_fdstat_set_flags",
		"fd_filestat_get", "fd_pread", "poll_oneoff", "path_open", "path_unlink_file",
	} {
		list = append(list, witxImport(name))
	}
	return list
}

// The places in memory that the guest begins with.
const (
	fuzzAddr4     = 512
	fuzzAddr6     = 520
	fuzzAny4      = 528
	fuzzAny6      = 536
	fuzzUnix      = 544
	fuzzAbstract  = 552
	fuzzEscape    = 560
	fuzzHints     = 600
	fuzzResult    = 640
	fuzzNodes     = 20000
	fuzzSubs      = 24000
	fuzzEvents    = 28000
	fuzzCell      = 700
	fuzzNodeCount = 4
)

var netNumbers = []uint64{
	fuzzAddr4, fuzzAddr6, fuzzAny4, fuzzAny6, fuzzUnix, fuzzAbstract, fuzzEscape, fuzzHints, fuzzResult,
	fuzzSubs, fuzzEvents, fuzzCell, fuzzCell + 4, fuzzCell + 1, 64, 128, 8080, 65535, 65536, 128 * 1024,
	guestMemory - 1, guestMemory - 8, guestMemory - 28, guestMemory, math.MaxUint32, math.MaxUint32 - 7, 1 << 31, math.MaxInt32,
}

// netMemory lays out one of everything.
func netMemory(mem abi.Memory) (strs [][2]uint64) {
	strs = fuzzMemory(mem)
	top := uint32(12000)
	address := func(at, n uint32, content ...byte) {
		mem.PutUint32(at, top)
		mem.PutUint32(at+4, n)
		copy(mem[top:], content)
		top += n
	}
	address(fuzzAddr4, 4, 127, 0, 0, 1)
	address(fuzzAddr6, 16, loopback6...)
	address(fuzzAny4, 128, 1, 0, 127, 0, 0, 1)
	address(fuzzAny6, 128, append([]byte{2, 0}, loopback6...)...)
	address(fuzzUnix, 128, append([]byte{3, 0}, "/s"...)...)
	address(fuzzAbstract, 128, append([]byte{3, 0, 0}, "runw-fuzz"...)...)
	address(fuzzEscape, 128, append([]byte{3, 0}, "/../outside/s"...)...)
	for _, s := range []string{"127.0.0.1\x00", "::1\x00", "http\x00", "80", "localhost\x00", "a\x00b", ""} {
		strs = append(strs, [2]uint64{uint64(top), uint64(len(s))})
		top += uint32(copy(mem[top:], s)) + 4
	}
	mem.PutUint32(fuzzResult, fuzzNodes)
	for i := range uint32(fuzzNodeCount) {
		node := fuzzNodes + i*addrinfoSize
		addr, data := uint32(fuzzNodes+512)+i*sockaddrSize, uint32(fuzzNodes+1024)+i*sockDataV6
		mem.PutUint32(node+8, 16*(i%2))
		mem.PutUint32(node+12, addr)
		mem.PutUint32(node+16, fuzzNodes+2048)
		mem.PutUint32(node+20, i*8)
		mem.PutUint32(node+24, fuzzNodes+(i+1)%fuzzNodeCount*addrinfoSize) // a ring
		mem.PutUint32(addr+8, data)
	}
	for i := range uint32(40) {
		sub := fuzzSubs + i*subscriptionSize
		mem.PutUint8(sub+8, uint8(1+i%2))
		mem.PutUint32(sub+16, i/2)
	}
	return strs
}

// netArgs reads one parameter list, as program.args does.
func (p *program) netArgs(letters string, strs [][2]uint64) []uint64 {
	return p.mixed(letters, strs, netNumbers[:], mix{small: 100, below: 24, edges: 220, strings: 245})
}

// tameNet keeps a call from waiting for ever and from asking name servers.
func (g *guest) tameNet(name string, args []uint64) {
	for fd, e := range g.files.entries {
		if e != nil && isSocket(e) && e.flags&fdflagNonblock == 0 {
			e.flags |= fdflagNonblock
			if !e.shared {
				_ = unix.SetNonblock(e.fd, true)
			}
			g.Host.native.update(fd, e)
		}
	}
	switch strings.TrimSuffix(name, versionTwo) {
	case "poll_oneoff", "epoll_oneoff":
		if b, ok := g.mem.Bytes(uint32(args[0]), subscriptionSize); ok {
			b[8] = eventClock
			binary.LittleEndian.PutUint32(b[16:], clockMonotonic)
			binary.LittleEndian.PutUint64(b[24:], g.soon())
			binary.LittleEndian.PutUint16(b[40:], 0)
		}
	case "sock_getaddrinfo":
		if uint32(args[4]) == 0 {
			args[4] = fuzzHints
		}
		if b, ok := g.mem.Bytes(uint32(args[4]), 2); ok {
			b[0] |= aiNumerichost
		}
	case "sock_recv", "sock_recv_from", "fd_read":
		// A stream that has a timeout waits for it on a shared descriptor.
		for _, e := range g.files.entries {
			if e != nil {
				e.recvTimeout, e.sendTimeout = 0, 0
			}
		}
	}
}

// consistent checks what the watches know of the table.
func (g *guest) consistent(t *testing.T) {
	t.Helper()
	for i := range g.watches {
		q := &g.watches[i]
		for slot := range q.slots {
			if e := q.slots[slot].file; e != nil && (e.slots[i] != uint32(slot)+1 || !slices.Contains(g.files.entries, e)) {
				t.Fatalf("watch %d: slot %d belongs to nobody", i, slot)
			}
		}
		for fd, e := range g.files.entries {
			if e != nil && e.slots[i] != 0 && q.slots[e.slots[i]-1].file != e {
				t.Fatalf("watch %d: fd %d has somebody else's slot", i, fd)
			}
		}
	}
	g.toldNative(t)
}

// ownNetwork gives a network namespace with nothing in it but a loopback, -1 if
// this user cannot make one.
func ownNetwork(f *testing.F) int {
	f.Helper()
	made := make(chan int)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- -1
			return
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = loopbackUp()
		}
		if err != nil {
			fd = -1
		}
		made <- fd
	}()
	fd := <-made
	if fd >= 0 {
		f.Cleanup(func() { _ = unix.Close(fd) })
	}
	return fd
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// FuzzSockets plays guests that call the socket functions in any order with
// anything. Nothing may panic or wait for ever, nothing may be written outside
// of the guest's memory or changed outside of its directory, no descriptor may
// be left over, and what epoll was told must stay true.
func FuzzSockets(f *testing.F) {
	list := fuzzNet()
	index := func(name, params string) byte {
		return byte(slices.IndexFunc(list, func(im abi.Import) bool {
			return im.Name == name && slices.Equal(im.Sig.Params, valueTypes(params))
		}))
	}
	number := func(v uint64) byte { // the byte that netArgs reads as v
		i := slices.Index(netNumbers, v)
		for b := 100; ; b++ {
			if b%len(netNumbers) == i {
				return byte(b)
			}
		}
	}
	cell := number(fuzzCell)
	var serve []byte
	for _, addr := range []uint64{fuzzAddr4, fuzzAddr6, fuzzAny4, fuzzAny6, fuzzUnix, fuzzAbstract} {
		family := map[uint64]byte{fuzzAddr4: 1, fuzzAny4: 1, fuzzAddr6: 2, fuzzAny6: 2, fuzzUnix: 3, fuzzAbstract: 3}[addr]
		stream := slices.Concat([]byte{index("sock_open", "iii"), family, 2, cell}, []byte{index("sock_bind", "iii"), 0, number(addr), number(8080)},
			[]byte{index("sock_listen", "ii"), 0, 4}, []byte{index("sock_open", "iii"), family, 2, cell}, []byte{index("sock_connect", "iii"), 2, number(addr), number(8080)},
			[]byte{index("sock_accept", "ii"), 0, cell}, []byte{index("sock_send", "iiiii"), 2, number(64), 1, 0, cell},
			[]byte{index("poll_oneoff", "iiii"), number(fuzzSubs), number(fuzzEvents), 20, cell},
			[]byte{index("epoll_oneoff", "iiii"), number(fuzzSubs), number(fuzzEvents), 20, cell},
			[]byte{index("sock_recv_from", "iiiiiiii"), 5, number(64), 1, number(fuzzAny4), 0, cell, cell, cell},
			[]byte{index("fd_renumber", "ii"), 2, 5}, []byte{index("poll_oneoff", "iiii"), number(fuzzSubs), number(fuzzEvents), 20, cell},
			[]byte{index("fd_close", "i"), 0}, []byte{index("epoll_oneoff", "iiii"), number(fuzzSubs), number(fuzzEvents), 20, cell})
		f.Add(stream)
		serve = append(serve, stream...)
		f.Add(slices.Concat([]byte{index("sock_open", "iii"), family, 1, cell}, []byte{index("sock_bind", "iii"), 0, number(addr), number(8080)},
			[]byte{index("sock_send_to", "iiiiiii"), 0, number(64), 1, number(addr), number(8080), 0, cell},
			[]byte{index("sock_recv_from", "iiiiiii"), 0, number(64), 1, number(fuzzAny4), 0, cell, cell},
			[]byte{index("sock_getlocaladdr", "iii"), 0, number(fuzzAny6), cell}, []byte{index("sock_getlocaladdr", "iiii"), 0, number(fuzzAddr6), cell, cell}))
	}
	f.Add(serve)
	for i := range list {
		f.Add(append([]byte{byte(i)}, slices.Repeat([]byte{255}, 72)...))
		f.Add([]byte{byte(i), 3, 110, 111, 112, 113, 114, 115, 116, 117})
	}
	for i := range byte(60) {
		f.Add([]byte{index("sock_getaddrinfo", "iiiiiiii"), 221, 26 + i%8, 221, 26 + i/8, number(fuzzHints), number(fuzzResult), 4, cell})
	}

	ns := ownNetwork(f)
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 1<<12 {
			t.Skip("longer programs find nothing more")
		}
		root := t.TempDir()
		inside := filepath.Join(root, "inside")
		for _, d := range []string{inside, filepath.Join(root, "outside")} {
			if err := os.Mkdir(d, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		before, fds := outside(t, root), openFDs(t)
		t.Run("guest", func(t *testing.T) { playSockets(t, input, list, inside, ns) })
		if after := openFDs(t); after != fds {
			t.Errorf("%d descriptors before, %d after", fds, after)
		}
		if after := outside(t, root); after != before {
			t.Errorf("the outside was\n%s\nand is\n%s", before, after)
		}
	})
}

// playSockets runs one guest to its end. Without a network of its own it has
// sockets of AF_UNIX only.
func playSockets(t *testing.T, input []byte, list []abi.Import, inside string, ns int) {
	policy := NetPolicy{Restricted: true, Unix: true}
	if ns >= 0 {
		runtime.LockOSThread() // until the end of this goroutine, and of its thread
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			t.Fatal(err)
		}
		if len(input)%2 == 0 {
			policy = NetPolicy{}
		} else {
			policy.Listen = true
		}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, Config{
		Inherited: pair[:1], MaxFDs: 24, Net: policy,
		Preopens: []Preopen{{Name: "/", Path: inside}},
	})
	g.native = len(input)%3 != 0
	defer unix.Close(pair[1])
	p := program{input}
	strs := netMemory(g.mem)
	for p.more() {
		op := p.byte()
		if op >= 240 {
			g.mem.PutUint32(uint32(p.uint64()%guestMemory), uint32(p.uint64()))
			continue
		}
		im := list[int(op)%len(list)]
		f := g.imported(im)
		letters := make([]byte, len(im.Sig.Params))
		for i, v := range im.Sig.Params {
			letters[i] = typeLetter(v)
		}
		args := p.netArgs(string(letters), strs)
		g.tameNet(im.Name, args)
		if err := f.Call(g.mem, append(args, 0)); err != nil {
			t.Fatalf("%s ends the guest: %v", im.Name, err)
		}
		g.consistent(t)
	}
	g.checkCanary()
}

// FuzzWatch plays guests that wait for sockets which come, go and change: the
// watch must say what one ppoll says.
func FuzzWatch(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 0x80, 0, 0x81, 1, 0x40, 0x41, 0x42})
	f.Add([]byte("\x80\x00\x10\x11\x80\x01\x20\x81\x00\x30\x80\x00"))
	f.Add(slices.Repeat([]byte{0x80, 0x12, 0x13, 0x43, 0x21, 0x32}, 40))
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 512 {
			t.Skip("longer programs find nothing more")
		}
		const sockets = 8
		g, peers := pairs(t, sockets)
		p := program{input}
		var subs []sub
		for p.more() {
			op := p.byte()
			i := int(op) % sockets
			fd := uint32(i) + 3
			switch op >> 4 {
			case 0: // the peer speaks
				if peers[i] >= 0 {
					_ = unix.Sendmsg(peers[i], []byte("x"), nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
				}
			case 1: // the guest reads
				if e, errno := g.files.get(fd); errno == errnoSuccess {
					_, _, _ = unix.Recvfrom(e.fd, make([]byte, 64), unix.MSG_DONTWAIT)
				}
			case 2:
				if peers[i] >= 0 {
					_ = unix.Close(peers[i])
					peers[i] = -1
				}
			case 3:
				g.call("fd_close", uint64(fd))
			case 4:
				g.call("fd_renumber", uint64(fd), uint64(p.byte()%sockets)+3)
			case 5: // another socket takes the number
				if e, _ := g.files.get(fd); e == nil && peers[i] < 0 {
					q, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
					if err != nil {
						t.Fatal(err)
					}
					g.files.put(int(fd), &entry{fd: q[0], kind: filetypeSocket})
					peers[i] = q[1]
				}
			case 6:
				subs = slices.Delete(subs, min(i, len(subs)), min(i+1, len(subs)))
			case 7:
				subs = slices.Insert(subs, min(int(p.byte()), len(subs)), readSub(uint64(len(subs)), fd))
			default:
				subs = append(subs, sub{userdata: uint64(len(subs)), tag: 1 + op>>3&1, id: fd + uint32(op>>6&1)})
			}
			if len(subs) > 64 {
				subs = subs[:32]
			}
			for i := range subs {
				subs[i].userdata = uint64(i)
			}
			all := append(slices.Clone(subs), now)
			watch, list := g.waitBy(byWatch, all...), g.waitBy(byList, all...)
			if !slices.Equal(watch, list) {
				t.Fatalf("subscriptions %+v\nwatch %+v\nlist  %+v", all, watch, list)
			}
			g.consistent(t)
		}
	})
}
