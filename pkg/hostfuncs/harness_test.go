package hostfuncs

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// guest plays a module: it links functions as an engine does and calls them
// with raw numbers. Its memory lies between two canary pages, which are checked
// when the test ends, and two pages that nobody may touch.
type guest struct {
	*Host
	t     testing.TB
	mem   abi.Memory
	guard [][]byte
	funcs map[string]abi.Func
	// top is the end of what put has given out.
	top uint32
	// native tries C first, as an engine may.
	native bool
}

// guestMemory is the size of a guest's memory: four WebAssembly pages.
const guestMemory = 4 << 16

const canary = 0xa5

// newGuest starts a guest; a zero Stdio means that it has none.
func newGuest(t testing.TB, c Config) *guest {
	t.Helper()
	if c.Stdio == ([3]int{}) {
		c.Stdio = [3]int{-1, -1, -1}
	}
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{Host: h, t: t, funcs: map[string]abi.Func{}, native: strings.HasPrefix(t.Name(), "TestNative/")}
	// Address 0 stays unused, as in real guests: 0 reads as a null pointer.
	g.top = 16
	g.mapMemory()
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return g
}

func (g *guest) mapMemory() {
	g.t.Helper()
	page := os.Getpagesize()
	all, err := unix.Mmap(-1, 0, guestMemory+4*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		g.checkCanary()
		if err := unix.Munmap(all); err != nil {
			g.t.Error(err)
		}
	})
	for _, b := range [][]byte{all[:page], all[len(all)-page:]} {
		if err := unix.Mprotect(b, unix.PROT_NONE); err != nil {
			g.t.Fatal(err)
		}
	}
	g.guard = [][]byte{all[page : 2*page], all[2*page+guestMemory : 3*page+guestMemory]}
	for _, b := range g.guard {
		for i := range b {
			b[i] = canary
		}
	}
	g.mem = abi.Memory(all[2*page : 2*page+guestMemory])
}

// checkCanary fails the test if something was written beside the memory.
func (g *guest) checkCanary() {
	g.t.Helper()
	for _, b := range g.guard {
		if bytes.Count(b, []byte{canary}) != len(b) {
			g.t.Fatal("something was written outside of the guest's memory")
		}
	}
}

// invoke calls a preview1 function through Link and gives its first result.
// Upper halves of i32 parameters are dirty, as engines may leave them.
func (g *guest) invoke(name string, args ...uint64) (uint64, error) {
	g.t.Helper()
	f := g.imported(witxImport(name))
	if len(args) != len(f.Sig.Params) {
		g.t.Fatalf("%s takes %d parameters, not %d", name, len(f.Sig.Params), len(args))
	}
	stack := slices.Clone(args)
	for i, p := range f.Sig.Params {
		if p == abi.I32 {
			stack[i] = uint64(uint32(stack[i])) | 0xdeadbeef<<32
		}
	}
	if len(stack) < len(f.Sig.Results) {
		stack = make([]uint64, len(f.Sig.Results))
	}
	if err := f.Call(g.mem, stack); err != nil || len(f.Sig.Results) == 0 {
		return 0, err
	}
	return stack[0], nil
}

// call is invoke for functions that do not end the guest.
func (g *guest) call(name string, args ...uint64) Errno {
	g.t.Helper()
	n, err := g.invoke(name, args...)
	if err != nil {
		g.t.Fatalf("%s ends the guest: %v", name, err)
	}
	return Errno(n)
}

// must is call for what has to succeed.
func (g *guest) must(name string, args ...uint64) {
	g.t.Helper()
	if errno := g.call(name, args...); errno != errnoSuccess {
		g.t.Fatalf("%s%v = %s", name, args, errno)
	}
}

// want calls and compares the errno.
func (g *guest) want(errno Errno, name string, args ...uint64) {
	g.t.Helper()
	if got := g.call(name, args...); got != errno {
		g.t.Errorf("%s%v = %s, want %s", name, args, got, errno)
	}
}

// alloc gives out n zeroed bytes of memory, aligned to 8.
func (g *guest) alloc(n int) uint64 {
	g.t.Helper()
	ptr := (g.top + 7) &^ 7
	b, ok := g.mem.Bytes(ptr, uint32(n))
	if !ok {
		g.t.Fatalf("guest memory is full: %d bytes at %d", n, ptr)
	}
	clear(b)
	g.top = ptr + uint32(n)
	return uint64(ptr)
}

// put copies a string into memory: its address and length.
func (g *guest) put(s string) (ptr, n uint64) {
	g.t.Helper()
	ptr = g.alloc(len(s))
	copy(g.bytes(ptr, uint64(len(s))), s)
	return ptr, uint64(len(s))
}

// iovec writes an iovec array over (address, length) pairs: its address and
// the number of elements.
func (g *guest) iovec(pairs ...uint64) (ptr, n uint64) {
	g.t.Helper()
	ptr = g.alloc(len(pairs) * 4)
	for i, v := range pairs {
		g.mem.PutUint32(uint32(ptr)+uint32(i)*4, uint32(v))
	}
	return ptr, uint64(len(pairs) / 2)
}

func (g *guest) bytes(ptr, n uint64) []byte {
	g.t.Helper()
	b, ok := g.mem.Bytes(uint32(ptr), uint32(n))
	if !ok {
		g.t.Fatalf("%d bytes at %d lie outside of the guest's memory", n, ptr)
	}
	return b
}

func (g *guest) u16(ptr uint64) uint16 {
	g.t.Helper()
	g.bytes(ptr, 2)
	v, _ := g.mem.Uint16(uint32(ptr))
	return v
}

func (g *guest) u32(ptr uint64) uint32 {
	g.t.Helper()
	g.bytes(ptr, 4)
	v, _ := g.mem.Uint32(uint32(ptr))
	return v
}

func (g *guest) u64(ptr uint64) uint64 {
	g.t.Helper()
	g.bytes(ptr, 8)
	v, _ := g.mem.Uint64(uint32(ptr))
	return v
}

// openFDs counts this process's descriptors.
func openFDs(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
