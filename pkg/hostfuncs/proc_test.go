package hostfuncs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

func TestArgsGet(t *testing.T)         { testStrings(t, "args_get", "args_sizes_get") }
func TestArgsSizesGet(t *testing.T)    { testStringSizes(t, "args_sizes_get") }
func TestEnvironGet(t *testing.T)      { testStrings(t, "environ_get", "environ_sizes_get") }
func TestEnvironSizesGet(t *testing.T) { testStringSizes(t, "environ_sizes_get") }

// stringLists are argument lists and environments with their size in bytes.
var stringLists = []struct {
	name string
	list []string
	size uint32
}{
	{"none", nil, 0},
	{"one", []string{"app"}, 4},
	{"empty string", []string{"", "a", ""}, 4},
	{"not UTF-8", []string{"\xff\xfe", "K=ä"}, 8},
	{"long", []string{strings.Repeat("x", 1<<16)}, 1<<16 + 1},
}

// withStrings gives the list to args and another one to the environment, or
// the other way round.
func withStrings(name string, list []string) Config {
	if strings.HasPrefix(name, "args") {
		return Config{Args: list, Env: []string{"OTHER=1"}}
	}
	return Config{Args: []string{"other"}, Env: list}
}

func testStringSizes(t *testing.T, sizes string) {
	for _, c := range stringLists {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t, withStrings(sizes, c.list))
			count, size := g.alloc(4), g.alloc(4)
			g.must(sizes, count, size)
			if g.u32(count) != uint32(len(c.list)) || g.u32(size) != c.size {
				t.Errorf("count %d and size %d, want %d and %d", g.u32(count), g.u32(size), len(c.list), c.size)
			}
			g.want(errnoFault, sizes, guestMemory-3, size)
			g.want(errnoFault, sizes, count, 0xffffffff)
		})
	}
}

func testStrings(t *testing.T, get, sizes string) {
	for _, c := range stringLists {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t, withStrings(get, c.list))
			count, size := g.alloc(4), g.alloc(4)
			g.must(sizes, count, size)
			ptrs := g.alloc(4 * len(c.list))
			buf := g.alloc(int(g.u32(size)) + 1)
			end := buf + uint64(g.u32(size))
			g.bytes(end, 1)[0] = canary
			g.must(get, ptrs, buf)
			for i, want := range c.list {
				ptr := g.u32(ptrs + uint64(i)*4)
				b, _ := g.mem.Bytes(ptr, uint32(len(want)+1))
				if !bytes.Equal(b, append([]byte(want), 0)) {
					t.Errorf("string %d is %q, want %q and a NUL", i, b, want)
				}
			}
			if g.bytes(end, 1)[0] != canary {
				t.Error("more bytes were written than announced")
			}
			if len(c.list) == 0 {
				return
			}
			// One byte or one pointer too far, and far beyond.
			g.want(errnoFault, get, ptrs, guestMemory-uint64(c.size)+1)
			g.must(get, ptrs, guestMemory-uint64(c.size))
			g.want(errnoFault, get, guestMemory-4*uint64(len(c.list))+1, buf)
			g.want(errnoFault, get, 0xfffffffc, buf)
			g.want(errnoFault, get, ptrs, 0xffffffff)
		})
	}
}

func TestNewRefusesStrings(t *testing.T) {
	none := [3]int{-1, -1, -1}
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Stdio: none, Args: []string{"a", "b\x00c"}}, "args: contains a NUL byte"},
		{Config{Stdio: none, Env: []string{"A=\x00"}}, "env: contains a NUL byte"},
	} {
		if _, err := New(c.config); err == nil || err.Error() != c.want {
			t.Errorf("New: %v, want %s", err, c.want)
		}
	}
}

func TestProcExit(t *testing.T) {
	g := newGuest(t, Config{})
	for _, code := range []uint32{0, 1, 255, 256, 1 << 31, 0xffffffff} {
		_, err := g.invoke("proc_exit", uint64(code))
		var exit *abi.ExitError
		if !errors.As(err, &exit) || exit.Code != code {
			t.Errorf("proc_exit(%d) gives %v", code, err)
		}
	}
}

func TestProcRaise(t *testing.T) {
	g := newGuest(t, Config{})
	g.raise = func(unix.Signal) error { return errors.New("no stop signal here") }
	for n, exit := range map[uint64]uint32{
		1: 129, 2: 130, 3: 131, 4: 132, 5: 133, 6: 134, 7: 135, 8: 136, 9: 137, 10: 138,
		11: 139, 12: 140, 13: 141, 14: 142, 15: 143, 23: 152, 24: 153, 25: 154, 26: 155,
		28: 157, 29: 158, 30: 159,
	} {
		_, err := g.invoke("proc_raise", n)
		var e *abi.ExitError
		if !errors.As(err, &e) || e.Code != exit {
			t.Errorf("proc_raise(%d) gives %v, want exit status %d", n, err, exit)
		}
	}
	for _, n := range []uint64{0, 16, 17, 22, 27} {
		g.must("proc_raise", n)
	}
	for _, n := range []uint64{31, 64, 1 << 31, 0xffffffff} {
		g.want(errnoInval, "proc_raise", n)
	}
	var sent []unix.Signal
	g.raise = func(s unix.Signal) error { sent = append(sent, s); return nil }
	for n := uint64(18); n <= 21; n++ {
		g.must("proc_raise", n)
	}
	if want := []unix.Signal{unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU}; fmt.Sprint(sent) != fmt.Sprint(want) {
		t.Errorf("stop signals sent: %v, want %v", sent, want)
	}
}

// TestProcRaiseStops runs itself as a child, which a stop signal of the guest
// really stops and SIGCONT lets go on.
func TestProcRaiseStops(t *testing.T) {
	const child = "HOSTFUNCS_STOP_CHILD"
	if os.Getenv(child) != "" {
		newGuest(t, Config{}).must("proc_raise", 18)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestProcRaiseStops$")
	cmd.Env = append(os.Environ(), child+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(cmd.Process.Pid, &ws, unix.WUNTRACED, nil); err != nil {
		t.Fatal(err)
	}
	if !ws.Stopped() || ws.StopSignal() != unix.SIGSTOP {
		t.Errorf("the child did not stop: %v", ws)
	}
	if ws.Stopped() {
		if err := cmd.Process.Signal(unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestSchedYield(t *testing.T) {
	newGuest(t, Config{}).must("sched_yield")
}

func TestRandomGet(t *testing.T) {
	g := newGuest(t, Config{})
	for _, n := range []uint64{0, 1, 7, 256, 257, 4096, 1 << 16} {
		buf := uint64(64)
		clear(g.mem)
		g.must("random_get", buf, n)
		if n > 200 && bytes.Count(g.bytes(buf, n), []byte{0}) > int(n)/16 {
			t.Errorf("%d random bytes have too many zeros", n)
		}
		for _, b := range [][]byte{g.mem[:buf], g.mem[buf+n:]} {
			if bytes.Count(b, []byte{0}) != len(b) {
				t.Errorf("random_get(%d) wrote beside the buffer", n)
			}
		}
	}
	g.must("random_get", 0, guestMemory)
	g.must("random_get", guestMemory, 0)
	g.want(errnoFault, "random_get", 1, guestMemory)
	g.want(errnoFault, "random_get", 0xffffffff, 0)
	g.want(errnoFault, "random_get", 16, 0xffffffff)
}

// TestRandomGetChunks asks for more than one system call gives.
func TestRandomGetChunks(t *testing.T) {
	g := newGuest(t, Config{})
	big := make(abi.Memory, 3*randomChunk+5)
	if errno := g.randomGet(big, []uint64{0, uint64(len(big))}); errno != errnoSuccess {
		t.Fatal(errno)
	}
	for _, at := range []int{randomChunk - 32, 2*randomChunk - 16, len(big) - 32} {
		if bytes.Count(big[at:at+32], []byte{0}) > 8 {
			t.Errorf("bytes at %d are not random: %x", at, big[at:at+32])
		}
	}
}

func BenchmarkRandomGet(b *testing.B) {
	for _, n := range []uint64{8, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g := newGuest(b, Config{})
			p := make([]uint64, 2)
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				p[0], p[1] = 64, n
				if errno := g.randomGet(g.mem, p); errno != errnoSuccess {
					b.Fatal(errno)
				}
			}
		})
	}
}

func BenchmarkSchedYield(b *testing.B) {
	g := newGuest(b, Config{})
	b.ReportAllocs()
	for b.Loop() {
		if errno := g.schedYield(g.mem, nil); errno != errnoSuccess {
			b.Fatal(errno)
		}
	}
}
