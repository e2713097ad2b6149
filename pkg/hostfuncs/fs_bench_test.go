package hostfuncs

import (
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// linked is one host function as an engine calls it, with its own stack.
func (g *guest) linked(name string, args ...uint64) func() Errno {
	g.t.Helper()
	funcs, err := g.Link([]abi.Import{witxImport(name)})
	if err != nil {
		g.t.Fatal(err)
	}
	stack := make([]uint64, len(args))
	return func() Errno {
		copy(stack, args)
		if err := funcs[0].Call(g.mem, stack); err != nil {
			g.t.Fatal(err)
		}
		return Errno(stack[0])
	}
}

// devGuest has /dev as preopen 3 and /dev/zero and /dev/null at 0 and 1.
func devGuest(t testing.TB) *guest {
	t.Helper()
	var stdio [3]int
	for i, name := range []string{"/dev/zero", "/dev/null"} {
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		stdio[i] = fd
	}
	stdio[2] = -1
	return newGuest(t, Config{Stdio: stdio, Preopens: []Preopen{{Name: "/", Path: "/dev"}}})
}

// transferCalls are the calls that must not allocate.
func transferCalls(g *guest) map[string]func() Errno {
	buf := g.alloc(64)
	iovs, n := g.iovec(buf, 32, buf+32, 32)
	return map[string]func() Errno{
		"fd_read":   g.linked("fd_read", 0, iovs, n, buf),
		"fd_pread":  g.linked("fd_pread", 0, iovs, n, 0, buf),
		"fd_write":  g.linked("fd_write", 1, iovs, n, buf),
		"fd_pwrite": g.linked("fd_pwrite", 1, iovs, n, 0, buf),
	}
}

func TestTransfersDoNotAllocate(t *testing.T) {
	for name, call := range transferCalls(devGuest(t)) {
		allocs := testing.AllocsPerRun(100, func() {
			if errno := call(); errno != errnoSuccess {
				t.Fatalf("%s: %s", name, errno)
			}
		})
		if allocs != 0 {
			t.Errorf("%s allocates %v times", name, allocs)
		}
	}
}

func BenchmarkTransfer(b *testing.B) {
	for name, call := range transferCalls(devGuest(b)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if errno := call(); errno != errnoSuccess {
					b.Fatal(errno)
				}
			}
		})
	}
}

// BenchmarkPathOpen opens and closes a file two directories down.
func BenchmarkPathOpen(b *testing.B) {
	for name, mode := range map[string]openat2State{"openat2": openat2Unknown, "walker": openat2Refused} {
		b.Run(name, func(b *testing.B) {
			g, dir := newTree(b)
			g.fs.openat2 = mode
			hostFile(b, dir, "usr/lib/file", "")
			p, n := g.put("usr/lib/file")
			out := g.alloc(4)
			open := g.linked("path_open", preFD, 1, p, n, 0, rightFdRead, 0, 0, out)
			closeIt := g.linked("fd_close", 0)
			b.ReportAllocs()
			for b.Loop() {
				if errno := open(); errno != errnoSuccess {
					b.Fatal(errno)
				}
				if errno := closeIt(); errno != errnoSuccess {
					b.Fatal(errno)
				}
			}
		})
	}
}

func BenchmarkPathFilestatGet(b *testing.B) {
	for _, path := range []string{"file", "usr/lib/file"} {
		b.Run(path, func(b *testing.B) {
			g, dir := newTree(b)
			hostFile(b, dir, path, "")
			p, n := g.put(path)
			stat := g.linked("path_filestat_get", preFD, 1, p, n, g.alloc(filestatSize))
			b.ReportAllocs()
			for b.Loop() {
				if errno := stat(); errno != errnoSuccess {
					b.Fatal(errno)
				}
			}
		})
	}
}
