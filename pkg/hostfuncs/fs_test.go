package hostfuncs

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newPipe gives a pipe whose ends a Host may take over.
func newPipe(t testing.TB) (r, w int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	return p[0], p[1]
}

func TestFdClose(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "x")
	before := openFDs(t)
	fd := g.mustOpen(openArgs{path: "f", rights: rightFdRead})
	g.must("fd_close", fd)
	g.want(errnoBadf, "fd_close", fd)
	g.want(errnoBadf, "fd_close", 1<<31)
	if now := openFDs(t); now != before {
		t.Errorf("%d descriptors before, %d after", before, now)
	}
	// A preopen is a descriptor like any other.
	g.must("fd_close", preFD)
	g.want(errnoBadf, "fd_prestat_get", preFD, g.alloc(8))
}

func TestFdFdstatGet(t *testing.T) {
	r, w := newPipe(t)
	dir := t.TempDir()
	g := newGuest(t, Config{Stdio: [3]int{r, w, -1}, Preopens: []Preopen{{Name: "/", Path: dir}}})
	hostFile(t, dir, "f", "")
	flags := fdflagAppend | fdflagNonblock | fdflagDsync | fdflagRsync | fdflagSync
	fd := g.mustOpen(openArgs{path: "f", rights: allRights &^ rightFdRead, inherits: rightFdRead, fdflags: uint64(flags)})
	for _, c := range []struct {
		fd   uint64
		want fdstat
	}{
		{0, fdstat{kind: filetypeUnknown, base: rightsFile &^ rightFdWrite}},
		{1, fdstat{kind: filetypeUnknown, base: rightsFile &^ rightFdRead}},
		{preFD, fdstat{kind: filetypeDir, base: rightsDir, inheriting: rightsInheriting}},
		{fd, fdstat{filetypeRegular, flags, rightsFile &^ rightFdRead, rightFdRead}},
	} {
		if got := g.fdstat(c.fd); got != c.want {
			t.Errorf("fd %d is %+v, want %+v", c.fd, got, c.want)
		}
	}
	g.want(errnoFault, "fd_fdstat_get", preFD, guestMemory-23)
	g.want(errnoBadf, "fd_fdstat_get", 77, g.alloc(24))
}

// TestFdFdstatGetTerminal: isatty of wasi-libc is made of these rights.
func TestFdFdstatGetTerminal(t *testing.T) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no terminal to be had: %v", err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, Config{Stdio: [3]int{master, null, -1}})
	if s := g.fdstat(0); s.kind != filetypeChar || s.base&(rightFdSeek|rightFdTell) != 0 {
		t.Errorf("a terminal is %+v", s)
	}
	if s := g.fdstat(1); s.kind != filetypeChar || s.base&(rightFdSeek|rightFdTell) == 0 {
		t.Errorf("/dev/null is %+v", s)
	}
}

func TestFdFdstatSetFlags(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "ab")
	rights := rightFdWrite | rightFdSeek | rightFdFdstatSetFlags
	fd := g.mustOpen(openArgs{path: "f", rights: rights, fdflags: uint64(fdflagSync)})
	g.must("fd_fdstat_set_flags", fd, uint64(fdflagSync|fdflagAppend|fdflagNonblock))
	if _, errno := g.write(fd, "c"); errno != errnoSuccess {
		t.Fatal(errno)
	}
	wantContent(t, dir, "f", "abc")
	g.must("fd_fdstat_set_flags", fd, uint64(fdflagSync))
	if _, errno := g.seek(fd, 0, whenceSet); errno != errnoSuccess {
		t.Fatal(errno)
	}
	if _, errno := g.write(fd, "X"); errno != errnoSuccess {
		t.Fatal(errno)
	}
	wantContent(t, dir, "f", "Xbc")
	g.want(errnoNotsup, "fd_fdstat_set_flags", fd, 0)
	g.want(errnoInval, "fd_fdstat_set_flags", fd, 32)
	g.want(errnoBadf, "fd_fdstat_set_flags", 77, 0)
	none := g.mustOpen(openArgs{path: "f", rights: rightFdWrite})
	g.want(errnoNotcapable, "fd_fdstat_set_flags", none, 0)
}

func TestFdFdstatSetRights(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "abc")
	fd := g.mustOpen(openArgs{path: "f", rights: rightFdRead | rightFdWrite | rightFdSync})
	g.must("fd_fdstat_set_rights", fd, rightFdRead|1<<40, 0)
	if s := g.fdstat(fd); s.base != rightFdRead {
		t.Errorf("rights are %#x", s.base)
	}
	_, errno := g.write(fd, "x")
	wantErrno(t, "write without the right", errno, errnoBadf)
	g.want(errnoNotcapable, "fd_sync", fd)
	g.want(errnoNotcapable, "fd_fdstat_set_rights", fd, rightFdRead|rightFdWrite, 0)
	g.want(errnoNotcapable, "fd_fdstat_set_rights", fd, rightFdRead, rightFdRead)
	g.want(errnoBadf, "fd_fdstat_set_rights", 77, 0, 0)

	// What a directory no longer inherits cannot be had below it.
	g.must("fd_fdstat_set_rights", preFD, rightsDir&^rightPathCreateFile, rightFdRead)
	_, errno = g.pathOpen(openArgs{path: "f", rights: rightFdWrite})
	wantErrno(t, "open for writing", errno, errnoNotcapable)
	_, errno = g.pathOpen(openArgs{path: "new", oflags: oflagCreat})
	wantErrno(t, "create", errno, errnoNotcapable)
	_, errno = g.pathOpen(openArgs{path: "f", rights: rightFdRead})
	wantErrno(t, "open for reading", errno, errnoSuccess)
}

func TestFdFilestatGet(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "abc")
	if err := os.Link(filepath.Join(dir, "f"), filepath.Join(dir, "g")); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1_000_000_000, 123_456_789)
	if err := os.Chtimes(filepath.Join(dir, "f"), when, time.Unix(-5, 0)); err != nil {
		t.Fatal(err)
	}
	fd := g.mustOpen(openArgs{path: "f", rights: rightFdFilestatGet})
	info, err := os.Stat(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	sys := info.Sys().(*syscall.Stat_t)
	want := filestat{
		dev: uint64(sys.Dev), ino: sys.Ino, kind: filetypeRegular, nlink: 2, size: 3,
		atim: uint64(when.UnixNano()), mtim: 0, ctim: uint64(unix.TimespecToNsec(unix.Timespec(sys.Ctim))),
	}
	if got := g.fstat(fd); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	g.want(errnoFault, "fd_filestat_get", fd, guestMemory-63)
	none := g.mustOpen(openArgs{path: "f"})
	g.want(errnoNotcapable, "fd_filestat_get", none, g.alloc(64))
}

func TestFdFilestatSetSize(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "abcdef")
	fd := g.mustOpen(openArgs{path: "f", rights: rightFdWrite | rightFdFilestatSetSize})
	g.must("fd_filestat_set_size", fd, 2)
	wantContent(t, dir, "f", "ab")
	g.must("fd_filestat_set_size", fd, 4)
	wantContent(t, dir, "f", "ab\x00\x00")
	g.want(errnoFbig, "fd_filestat_set_size", fd, 1<<63)
	g.want(errnoBadf, "fd_filestat_set_size", preFD, 0)
	none := g.mustOpen(openArgs{path: "f", rights: rightFdWrite})
	g.want(errnoNotcapable, "fd_filestat_set_size", none, 0)
}

func TestFdFilestatSetTimes(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "")
	fd := g.mustOpen(openArgs{path: "f", rights: rightFdFilestatGet | rightFdFilestatSetTimes})
	g.must("fd_filestat_set_times", fd, 1_500_000_001, 2_000_000_003, fstAtim|fstMtim)
	if s := g.fstat(fd); s.atim != 1_500_000_001 || s.mtim != 2_000_000_003 {
		t.Errorf("times are %d and %d", s.atim, s.mtim)
	}
	start := time.Now().Add(-time.Second)
	g.must("fd_filestat_set_times", fd, 7, 7, fstMtimNow)
	if s := g.fstat(fd); s.atim != 1_500_000_001 || int64(s.mtim) < start.UnixNano() {
		t.Errorf("times are %d and %d", s.atim, s.mtim)
	}
	for _, flags := range []uint64{fstAtim | fstAtimNow, fstMtim | fstMtimNow, 16} {
		g.want(errnoInval, "fd_filestat_set_times", fd, 1, 1, flags)
	}
	g.must("fd_filestat_set_times", preFD, 0, 9_000_000_009, fstMtim)
	none := g.mustOpen(openArgs{path: "f"})
	g.want(errnoNotcapable, "fd_filestat_set_times", none, 1, 1, fstAtim)
}

func TestFdAdvise(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "abc")
	fd := g.mustOpen(openArgs{path: "f", rights: rightFdRead | rightFdAdvise})
	for advice := range uint64(6) {
		g.must("fd_advise", fd, 0, 3, advice)
	}
	g.want(errnoInval, "fd_advise", fd, 0, 3, 6)
	g.want(errnoInval, "fd_advise", fd, 1<<63, 3, 0)
	g.want(errnoInval, "fd_advise", fd, 0, 1<<63, 0)
	g.want(errnoBadf, "fd_advise", preFD, 0, 0, 0)
	none := g.mustOpen(openArgs{path: "f"})
	g.want(errnoNotcapable, "fd_advise", none, 0, 0, 0)
}

func TestFdAllocate(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "abc")
	fd := g.mustOpen(openArgs{path: "f", rights: rightFdWrite | rightFdAllocate | rightFdFilestatGet})
	if errno := g.call("fd_allocate", fd, 10, 10); errno == errnoNotsup {
		t.Skip("the file system of the temporary directory has no fallocate")
	}
	if s := g.fstat(fd); s.size != 20 {
		t.Errorf("the size is %d", s.size)
	}
	g.want(errnoInval, "fd_allocate", fd, 0, 0)
	g.want(errnoFbig, "fd_allocate", fd, 1<<63, 1)
	g.want(errnoBadf, "fd_allocate", preFD, 0, 1)
	none := g.mustOpen(openArgs{path: "f", rights: rightFdWrite})
	g.want(errnoNotcapable, "fd_allocate", none, 0, 1)
}

func TestFdSync(t *testing.T)     { testSync(t, "fd_sync", rightFdSync) }
func TestFdDatasync(t *testing.T) { testSync(t, "fd_datasync", rightFdDatasync) }

func testSync(t *testing.T, name string, right uint64) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "")
	g.must(name, g.mustOpen(openArgs{path: "f", rights: right}))
	g.must(name, preFD)
	g.want(errnoNotcapable, name, g.mustOpen(openArgs{path: "f"}))
	g.want(errnoBadf, name, 77)
	r, w := newPipe(t)
	defer unix.Close(w)
	piped := newGuest(t, Config{Stdio: [3]int{r, -1, -1}})
	piped.want(errnoInval, name, 0)
}

func TestFdRenumber(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "a", "AAA")
	hostFile(t, dir, "b", "BBB")
	before := openFDs(t)
	a := g.mustOpen(openArgs{path: "a", rights: rightFdRead})
	b := g.mustOpen(openArgs{path: "b", rights: rightFdRead})
	g.must("fd_renumber", a, b)
	if s, _ := g.read(b, 3); s != "AAA" {
		t.Errorf("the target reads %q", s)
	}
	g.want(errnoBadf, "fd_renumber", a, b)
	g.want(errnoBadf, "fd_renumber", b, a)
	g.must("fd_renumber", b, b)
	// The freed number is the next to be given out.
	if again := g.mustOpen(openArgs{path: "b"}); again != a {
		t.Errorf("got fd %d, want %d", again, a)
	}
	// Over a preopen.
	g.must("fd_renumber", b, preFD)
	g.want(errnoBadf, "fd_prestat_get", preFD, g.alloc(8))
	g.must("fd_close", a)
	if now := openFDs(t); now != before {
		t.Errorf("%d descriptors before, %d after", before, now)
	}
}

func TestFdPrestatGet(t *testing.T) {
	r, w := newPipe(t)
	g := newGuest(t, Config{
		Stdio: [3]int{w, -1, -1}, Inherited: []int{r},
		Preopens: []Preopen{{Name: "/data", Path: t.TempDir()}},
	})
	out := g.alloc(8)
	g.want(errnoBadf, "fd_prestat_get", 0, out)
	g.want(errnoBadf, "fd_prestat_get", 5, out)
	g.must("fd_prestat_get", 3, out)
	if tag := g.bytes(out, 1)[0]; tag != preopenOther {
		t.Errorf("an inherited pipe has tag %d", tag)
	}
	g.must("fd_prestat_get", 4, out)
	if tag, n := g.bytes(out, 1)[0], g.u32(out+4); tag != preopenDir || n != 5 {
		t.Errorf("the preopen has tag %d and a name of %d bytes", tag, n)
	}
	opened := g.mustOpen(openArgs{dir: 4, path: "."})
	g.want(errnoBadf, "fd_prestat_get", opened, out)
	g.want(errnoFault, "fd_prestat_get", 4, guestMemory-7)
}

func TestFdPrestatDirName(t *testing.T) {
	g := newGuest(t, Config{Preopens: []Preopen{{Name: "/data", Path: t.TempDir()}}})
	buf := g.alloc(8)
	g.must("fd_prestat_dir_name", preFD, buf, 8)
	if got := string(g.bytes(buf, 8)); got != "/data\x00\x00\x00" {
		t.Errorf("the name is %q", got)
	}
	g.want(errnoNametoolong, "fd_prestat_dir_name", preFD, buf, 4)
	g.want(errnoFault, "fd_prestat_dir_name", preFD, guestMemory-4, 5)
	g.want(errnoBadf, "fd_prestat_dir_name", 0, buf, 8)
	opened := g.mustOpen(openArgs{path: "."})
	g.want(errnoNotdir, "fd_prestat_dir_name", opened, buf, 8)
}
