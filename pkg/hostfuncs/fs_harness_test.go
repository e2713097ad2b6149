package hostfuncs

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// preFD is the first preopen of a guest without inherited descriptors.
const preFD = 3

const allRights = rightsInheriting

// newTree starts a guest whose only preopen is a fresh directory.
func newTree(t testing.TB) (*guest, string) {
	t.Helper()
	dir := t.TempDir()
	return newGuest(t, Config{Preopens: []Preopen{{Name: "/", Path: dir}}}), dir
}

// eachResolver runs a test with openat2 and with the walker that stands in for
// it.
func eachResolver(t *testing.T, test func(t *testing.T, mode openat2State)) {
	t.Run("openat2", func(t *testing.T) {
		if probeOpenat2() == openat2Refused {
			t.Skip("this kernel or sandbox refuses openat2")
		}
		test(t, openat2Unknown)
	})
	t.Run("walker", func(t *testing.T) { test(t, openat2Refused) })
}

// scratch forgets what was allocated since, when the caller is done.
func (g *guest) scratch() func() {
	top := g.top
	return func() { g.top = top }
}

// openArgs are the parameters of path_open that matter to a test.
type openArgs struct {
	dir      uint64
	path     string
	follow   bool
	oflags   uint64
	rights   uint64
	inherits uint64
	fdflags  uint64
}

func (g *guest) pathOpen(a openArgs) (uint64, Errno) {
	g.t.Helper()
	defer g.scratch()()
	if a.dir == 0 {
		a.dir = preFD
	}
	ptr, n := g.put(a.path)
	out := g.alloc(4)
	errno := g.call("path_open", a.dir, flag(a.follow), ptr, n, a.oflags, a.rights, a.inherits, a.fdflags, out)
	return uint64(g.u32(out)), errno
}

// mustOpen opens a path that has to exist.
func (g *guest) mustOpen(a openArgs) uint64 {
	g.t.Helper()
	fd, errno := g.pathOpen(a)
	if errno != errnoSuccess {
		g.t.Fatalf("path_open(%+v) = %s", a, errno)
	}
	return fd
}

func flag(b bool) uint64 {
	if b {
		return lookupFollow
	}
	return 0
}

// read calls fd_read with one buffer.
func (g *guest) read(fd uint64, n int) (string, Errno) {
	g.t.Helper()
	defer g.scratch()()
	buf, out := g.alloc(n), g.alloc(4)
	iovs, count := g.iovec(buf, uint64(n))
	errno := g.call("fd_read", fd, iovs, count, out)
	if errno != errnoSuccess {
		return "", errno
	}
	return string(g.bytes(buf, uint64(g.u32(out)))), errno
}

// write calls fd_write with one buffer.
func (g *guest) write(fd uint64, s string) (uint32, Errno) {
	g.t.Helper()
	defer g.scratch()()
	ptr, n := g.put(s)
	out := g.alloc(4)
	iovs, count := g.iovec(ptr, n)
	errno := g.call("fd_write", fd, iovs, count, out)
	return g.u32(out), errno
}

// onPath calls a function that takes a directory and a path first.
func (g *guest) onPath(name string, dir uint64, path string, rest ...uint64) Errno {
	g.t.Helper()
	defer g.scratch()()
	ptr, n := g.put(path)
	return g.call(name, append([]uint64{dir, ptr, n}, rest...)...)
}

// twoPaths calls path_rename.
func (g *guest) rename(from, to string) Errno {
	g.t.Helper()
	defer g.scratch()()
	p1, n1 := g.put(from)
	p2, n2 := g.put(to)
	return g.call("path_rename", preFD, p1, n1, preFD, p2, n2)
}

func (g *guest) link(from string, follow bool, to string) Errno {
	g.t.Helper()
	defer g.scratch()()
	p1, n1 := g.put(from)
	p2, n2 := g.put(to)
	return g.call("path_link", preFD, flag(follow), p1, n1, preFD, p2, n2)
}

func (g *guest) symlink(target, path string) Errno {
	g.t.Helper()
	defer g.scratch()()
	p1, n1 := g.put(target)
	p2, n2 := g.put(path)
	return g.call("path_symlink", p1, n1, preFD, p2, n2)
}

func (g *guest) readlink(path string, size int) (string, Errno) {
	g.t.Helper()
	defer g.scratch()()
	ptr, n := g.put(path)
	buf, used := g.alloc(size), g.alloc(4)
	errno := g.call("path_readlink", preFD, ptr, n, buf, uint64(size), used)
	return string(g.bytes(buf, uint64(g.u32(used)))), errno
}

// filestat is a decoded witx filestat.
type filestat struct {
	dev, ino         uint64
	kind             filetype
	nlink, size      uint64
	atim, mtim, ctim uint64
}

func decodeFilestat(b []byte) filestat {
	u := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	return filestat{dev: u(0), ino: u(8), kind: filetype(u(16)), nlink: u(24), size: u(32), atim: u(40), mtim: u(48), ctim: u(56)}
}

func (g *guest) stat(path string, follow bool) (filestat, Errno) {
	g.t.Helper()
	defer g.scratch()()
	ptr, n := g.put(path)
	out := g.alloc(filestatSize)
	errno := g.call("path_filestat_get", preFD, flag(follow), ptr, n, out)
	return decodeFilestat(g.bytes(out, filestatSize)), errno
}

func (g *guest) fstat(fd uint64) filestat {
	g.t.Helper()
	defer g.scratch()()
	out := g.alloc(filestatSize)
	g.must("fd_filestat_get", fd, out)
	return decodeFilestat(g.bytes(out, filestatSize))
}

// fdstat is a decoded witx fdstat.
type fdstat struct {
	kind             filetype
	flags            fdflags
	base, inheriting uint64
}

func (g *guest) fdstat(fd uint64) fdstat {
	g.t.Helper()
	defer g.scratch()()
	p := g.alloc(24)
	g.must("fd_fdstat_get", fd, p)
	return fdstat{filetype(g.bytes(p, 1)[0]), fdflags(g.u16(p + 2)), g.u64(p + 8), g.u64(p + 16)}
}

func (g *guest) seek(fd uint64, offset int64, whence uint64) (uint64, Errno) {
	g.t.Helper()
	defer g.scratch()()
	out := g.alloc(8)
	errno := g.call("fd_seek", fd, uint64(offset), whence, out)
	return g.u64(out), errno
}

// hostFile makes a file on the host's side, with the directories before it.
func hostFile(t testing.TB, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func hostSymlink(t testing.TB, target, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func wantContent(t *testing.T, dir, name, want string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || !bytes.Equal(b, []byte(want)) {
		t.Errorf("%s holds %q (%v), want %q", name, b, err, want)
	}
}

// wantErrno compares the outcome of a helper.
func wantErrno(t testing.TB, what string, got, want Errno) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %s, want %s", what, got, want)
	}
}
