package hostfuncs

import (
	"encoding/binary"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// secret stands in a file beside the preopen. The guest must neither read nor
// change anything there.
const secret = "nobody may read this from inside"

// fuzzPaths are put into the guest's memory for path_* calls to find: the way
// out, and names short enough for one call to use what another made.
var fuzzPaths = []string{
	"a", "b", "d", "d/a", "l", "l/secret", ".", "..", "/", "", "a/", "../secret", "../outside/secret",
	"d/../../outside/secret", "/etc/passwd", "l/../a", "\x00", "a\x00b", "//a", "./d/./a", "d/..",
	strings.Repeat("n", 256), strings.Repeat("d/", 2100), "/proc/self/fd/3", "/dev/stdout", "\xff\xfe",
}

// fuzzStrings is where in memory each path is: address, length.
func fuzzMemory(mem abi.Memory) (strs [][2]uint64) {
	at := uint64(1024)
	for _, s := range fuzzPaths {
		strs = append(strs, [2]uint64{at, uint64(len(s))})
		at += uint64(copy(mem[at:], s))
	}
	// A valid iovec array at 64, a hostile one at 128, a stat buffer anywhere.
	for i, v := range []uint32{32768, 16, 32784, 0, 40000, 4096, 32768, 7} {
		mem.PutUint32(64+uint32(i)*4, v)
	}
	for i, v := range []uint32{32768, 16, math.MaxUint32, 2, guestMemory - 1, 2, 0, guestMemory} {
		mem.PutUint32(128+uint32(i)*4, v)
	}
	return strs
}

// program is the fuzzer's input, read as a list of calls.
type program struct{ b []byte }

func (p *program) more() bool { return len(p.b) > 0 }

func (p *program) byte() byte {
	if len(p.b) == 0 {
		return 0
	}
	v := p.b[0]
	p.b = p.b[1:]
	return v
}

func (p *program) uint64() uint64 {
	var v [8]byte
	n := copy(v[:], p.b)
	p.b = p.b[n:]
	return binary.LittleEndian.Uint64(v[:])
}

// fuzzNumbers are edges of everything that is a number here.
var fuzzNumbers = []uint64{
	64, 128, 512, 8192, guestMemory - 1, guestMemory - 8, guestMemory, 1024, 1025,
	math.MaxInt32, 1 << 31, math.MaxUint32, math.MaxUint32 - 7, 1 << 28, 1 << 29, math.MaxInt64, math.MaxUint64,
}

// args reads one parameter list. A byte below 160 is a small number, so that
// most fds, flags and counts are plausible; the others choose from the edges,
// a path with its length, or eight bytes of anything.
func (p *program) args(letters string, strs [][2]uint64) []uint64 {
	return p.mixed(letters, strs, fuzzNumbers[:], mix{small: 160, below: 32, edges: 200, strings: 250})
}

// mix says what a byte chooses: under small a number less than below, under
// edges one of the edges, under strings a path with its length, else anything.
type mix struct{ small, below, edges, strings byte }

func (p *program) mixed(letters string, strs [][2]uint64, edges []uint64, m mix) []uint64 {
	args := make([]uint64, 0, len(letters)+1)
	for len(args) < len(letters) {
		switch b := p.byte(); {
		case b < m.small:
			args = append(args, uint64(b%m.below))
		case b < m.edges:
			args = append(args, edges[int(b)%len(edges)])
		case b < m.strings:
			s := strs[int(p.byte())%len(strs)]
			args = append(args, s[0], s[1])
		default:
			args = append(args, p.uint64())
		}
	}
	return args[:len(letters)]
}

// tame keeps a call from waiting for ever or filling the disk; what is hostile
// about it stays.
func (g *guest) tame(name string, args []uint64) {
	switch name {
	case "poll_oneoff":
		// One subscription that is due at once.
		if b, ok := g.mem.Bytes(uint32(args[0]), subscriptionSize); ok {
			b[8] = eventClock
			binary.LittleEndian.PutUint32(b[16:], clockMonotonic)
			binary.LittleEndian.PutUint64(b[24:], 0)
			binary.LittleEndian.PutUint16(b[40:], 0)
		}
	case "fd_allocate":
		if args[2] < math.MaxInt64 {
			args[2] %= 1 << 16
		}
	case "sock_accept", "fd_read", "sock_recv":
		for _, e := range g.files.entries {
			if e != nil && isSocket(e) {
				e.flags |= fdflagNonblock
			}
		}
	}
}

// fuzzInherited are a listener, a socket whose peer is gone, and both ends of
// pipes whose other ends are gone.
func fuzzInherited(t *testing.T, l net.Listener) []int {
	t.Helper()
	sock, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var in, out [2]int
	if err := unix.Pipe2(in[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := unix.Pipe2(out[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	for _, fd := range []int{sock[1], in[1], out[0]} {
		if err := unix.Close(fd); err != nil {
			t.Fatal(err)
		}
	}
	return []int{dup(t, l), sock[0], in[0], out[1]}
}

// outside describes everything beside the preopen.
func outside(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "inside" {
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String() + "\n")
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b.Write(content)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// FuzzHostCalls plays guests that call everything with anything. Nothing may
// panic, nothing may be written outside of the guest's memory or read or
// changed outside of its directory, and no descriptor may be left over.
func FuzzHostCalls(f *testing.F) {
	names := make([]string, 0, len(witx))
	for name := range witx {
		names = append(names, name)
	}
	slices.Sort(names)
	index := func(name string) byte { return byte(slices.Index(names, name)) }
	path := func(s string) []byte { return []byte{200, byte(slices.Index(fuzzPaths, s))} }
	seed := func(parts ...[]byte) { f.Add(slices.Concat(parts...)) }
	const dir = 7 // stdio, then four inherited descriptors
	rights := []byte{250, 255, 255, 255, 15, 0, 0, 0, 0}
	open := func(p string, oflags byte) []byte {
		return slices.Concat([]byte{index("path_open"), dir, 1}, path(p), []byte{oflags}, rights, rights, []byte{0, 163})
	}
	symlink := func(to, at string) []byte {
		return slices.Concat([]byte{index("path_symlink")}, path(to), []byte{dir}, path(at))
	}
	seed(open("a", 1), []byte{index("fd_write"), 1, 160, 2, 163}, []byte{index("fd_seek"), 8, 0, 0, 163},
		[]byte{index("fd_read"), 8, 160, 2, 163}, []byte{index("fd_readdir"), dir, 163, 163, 0, 163})
	seed(symlink("../outside/secret", "l"), open("l", 0), open("../outside/secret", 0),
		symlink("..", "b"), open("d/../../outside/secret", 0))
	seed([]byte{index("poll_oneoff"), 163, 163, 3, 163}, []byte{index("fd_renumber"), 3, 4},
		[]byte{index("poll_oneoff"), 163, 163, 30, 163}, []byte{index("fd_close"), 3})
	seed([]byte{index("sock_accept"), 3, 4, 163}, []byte{index("sock_recv"), 4, 160, 4, 3, 163, 163},
		[]byte{index("sock_send"), 4, 161, 4, 0, 163}, []byte{index("sock_shutdown"), 4, 3})
	seed([]byte{index("path_create_directory"), dir}, path("d"), open("d", 2), open("d/a", 1),
		[]byte{index("path_rename"), dir}, path("d/a"), []byte{dir}, path("../secret"))
	for _, name := range names {
		seed([]byte{index(name)}, slices.Repeat([]byte{255, 255, 255, 255, 255, 255, 255, 255, 255}, 9))
		seed([]byte{index(name), dir, 164, 165, 166, 167, 168, 169, 170, 171})
	}

	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 1<<12 {
			t.Skip("longer programs find nothing more")
		}
		root := t.TempDir()
		inside := filepath.Join(root, "inside")
		for _, d := range []string{inside, filepath.Join(inside, "d"), filepath.Join(root, "outside")} {
			if err := os.Mkdir(d, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(root, "outside", "secret"), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		before, fds := outside(t, root), openFDs(t)
		t.Run("guest", func(t *testing.T) { playProgram(t, input, names, inside, l) })
		if after := openFDs(t); after != fds {
			t.Errorf("%d descriptors before, %d after", fds, after)
		}
		if after := outside(t, root); after != before {
			t.Errorf("the outside was\n%s\nand is\n%s", before, after)
		}
	})
}

// playProgram runs one guest to its end.
func playProgram(t *testing.T, input []byte, names []string, inside string, l net.Listener) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := program{input}
	c := Config{
		Args: []string{"fuzz", ""}, Env: []string{"A=b"}, Stdio: [3]int{-1, null, -1},
		Inherited: fuzzInherited(t, l), MaxFDs: 24,
		Preopens: []Preopen{{Name: "/", Path: inside}, {Name: "ro", Path: inside, ReadOnly: true}},
	}
	if len(input)%2 == 1 {
		c.Trace = io.Discard
	}
	g := newGuest(t, c)
	g.raise = func(unix.Signal) error { return nil }
	strs := fuzzMemory(g.mem)
	for p.more() {
		op := p.byte()
		if op >= 240 {
			// The guest computes: any four bytes anywhere.
			g.mem.PutUint32(uint32(p.uint64()%guestMemory), uint32(p.uint64()))
			continue
		}
		name := names[int(op)%len(names)]
		args := p.args(witx[name], strs)
		g.tame(name, args)
		if _, err := g.invoke(name, args...); err != nil {
			break
		}
	}
	g.checkCanary()
	if strings.Contains(string(g.mem), secret[1:16]) {
		t.Error("the guest has read what is outside")
	}
}

// FuzzPollOneoff gives poll_oneoff arbitrary subscriptions, most of which fit,
// and checks what the specification promises about the events.
func FuzzPollOneoff(f *testing.F) {
	sub := func(tag byte, id uint32, timeout uint64, flags uint16) []byte {
		b := make([]byte, subscriptionSize)
		b[8] = tag
		binary.LittleEndian.PutUint32(b[16:], id)
		binary.LittleEndian.PutUint64(b[24:], timeout)
		binary.LittleEndian.PutUint16(b[40:], flags)
		return b
	}
	f.Add(slices.Concat(sub(1, 3, 0, 0), sub(2, 3, 0, 0), sub(1, 3, 0, 0)))
	f.Add(slices.Concat(sub(0, 0, math.MaxUint64, 1), sub(2, 4, 0, 0), sub(0, 3, 1, 0)))
	f.Add(slices.Concat(sub(1, math.MaxUint32, 0, 0), sub(0, 1, math.MaxUint64, 0), sub(0, 9, 0, 9)))
	f.Add(sub(3, 0, 0, 0))
	f.Fuzz(func(t *testing.T, input []byte) {
		n := uint64(len(input)/subscriptionSize) + 1
		if n > 500 {
			t.Skip("does not fit the guest's memory")
		}
		g := pipeGuest(t)
		in := g.alloc(int(n) * subscriptionSize)
		out, count := g.alloc(int(n)*eventSize), g.alloc(4)
		// Zeros are a subscription that is due at once; the input follows.
		subs := g.bytes(in, n*subscriptionSize)
		copy(subs[subscriptionSize:], input)
		badTag := false
		for i := range n {
			b := subs[i*subscriptionSize:]
			// A mark that tells where an event comes from.
			binary.LittleEndian.PutUint64(b, i)
			badTag = badTag || b[8] > eventFdWrite
		}
		errno := g.call("poll_oneoff", in, out, n, count)
		if badTag || errno != errnoSuccess {
			if !badTag || errno != errnoInval {
				t.Fatalf("%s, with a bad tag: %v", errno, badTag)
			}
			return
		}
		told, last := make([]bool, n), uint64(0) // a list has an order, a watch none
		for i := range uint64(g.u32(count)) {
			ev := g.bytes(out+i*eventSize, eventSize)
			from := binary.LittleEndian.Uint64(ev)
			if from >= n || told[from] || n <= pollFew && from < last {
				t.Fatalf("event %d comes from subscription %d, of %d, after %d, told: %v", i, from, n, last, told)
			}
			told[from], last = true, from
			s := readSubscription(subs[from*subscriptionSize:])
			if ev[10] != s.tag {
				t.Errorf("event %d has type %d, its subscription %d", i, ev[10], s.tag)
			}
		}
		if !slices.Contains(told, true) {
			t.Error("no event, although one is due")
		}
	})
}
