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

func TestFdRead(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "hello world")
	fd := g.mustOpen(openArgs{path: "f", rights: rightFdRead})
	a, b, out := g.alloc(6), g.alloc(8), g.alloc(4)
	iovs, n := g.iovec(a, 6, 0, 0, b, 8)
	g.must("fd_read", fd, iovs, n, out)
	if got := string(g.bytes(a, 6)) + string(g.bytes(b, 5)); g.u32(out) != 11 || got != "hello world" {
		t.Errorf("read %d bytes %q", g.u32(out), got)
	}
	if s, errno := g.read(fd, 4); s != "" || errno != errnoSuccess {
		t.Errorf("at the end: %q, %s", s, errno)
	}
	g.must("fd_read", fd, iovs, 0, out)
	g.want(errnoInval, "fd_read", fd, iovs, maxIovecs+1, out)
	g.want(errnoFault, "fd_read", fd, guestMemory-4, 1, out)
	g.want(errnoFault, "fd_read", fd, iovs, n, guestMemory-3)
	far, n := g.iovec(guestMemory-1, 2)
	g.want(errnoFault, "fd_read", fd, far, n, out)
	g.want(errnoBadf, "fd_read", 99, iovs, n, out)
	g.want(errnoIsdir, "fd_read", preFD, iovs, n, out)
	writer := g.mustOpen(openArgs{path: "f", rights: rightFdWrite})
	g.want(errnoBadf, "fd_read", writer, iovs, n, out)
}

func TestFdWrite(t *testing.T) {
	g, dir := newTree(t)
	fd := g.mustOpen(openArgs{path: "f", oflags: oflagCreat, rights: rightFdWrite | rightFdSeek})
	p1, n1 := g.put("hello ")
	p2, n2 := g.put("world")
	out := g.alloc(4)
	iovs, n := g.iovec(p1, n1, p2, n2)
	g.must("fd_write", fd, iovs, n, out)
	if g.u32(out) != 11 {
		t.Errorf("wrote %d bytes", g.u32(out))
	}
	wantContent(t, dir, "f", "hello world")
	// A bad pointer writes nothing at all.
	bad, n := g.iovec(p1, n1, guestMemory, 1)
	g.want(errnoFault, "fd_write", fd, bad, n, out)
	g.want(errnoFault, "fd_write", fd, iovs, n, guestMemory)
	wantContent(t, dir, "f", "hello world")
	g.want(errnoBadf, "fd_write", preFD, iovs, n, out)
	reader := g.mustOpen(openArgs{path: "f", rights: rightFdRead})
	g.want(errnoBadf, "fd_write", reader, iovs, n, out)

	appender := g.mustOpen(openArgs{path: "f", rights: rightFdWrite, fdflags: uint64(fdflagAppend)})
	if _, errno := g.write(appender, "!"); errno != errnoSuccess {
		t.Fatal(errno)
	}
	wantContent(t, dir, "f", "hello world!")
}

func TestFdWriteBrokenPipe(t *testing.T) {
	r, w := newPipe(t)
	g := newGuest(t, Config{Stdio: [3]int{-1, w, -1}})
	if err := unix.Close(r); err != nil {
		t.Fatal(err)
	}
	_, errno := g.write(1, "x")
	wantErrno(t, "write to a pipe nobody reads", errno, errnoPipe)
}

// TestFdNonblockShared: the guest's NONBLOCK does not reach those who share
// the pipe with it, and theirs does not reach the guest.
func TestFdNonblockShared(t *testing.T) {
	r, w := newPipe(t)
	r2, w2 := newPipe(t)
	ours, err := unix.Dup(r)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ours)
	g := newGuest(t, Config{Stdio: [3]int{r, w, -1}, Inherited: []int{r2, w2}})
	g.must("fd_fdstat_set_flags", 0, uint64(fdflagNonblock))
	if got := g.fdstat(0).flags; got != fdflagNonblock {
		t.Errorf("flags are %d", got)
	}
	if fl, err := unix.FcntlInt(uintptr(ours), unix.F_GETFL, 0); err != nil || fl&unix.O_NONBLOCK != 0 {
		t.Errorf("the shared description has O_NONBLOCK: %#x, %v", fl, err)
	}
	_, errno := g.read(0, 1)
	wantErrno(t, "read from an empty pipe", errno, errnoAgain)
	g.must("fd_fdstat_set_flags", 1, uint64(fdflagNonblock))
	total := 0
	for {
		n, errno := g.write(1, string(make([]byte, 10000)))
		if errno != errnoSuccess {
			wantErrno(t, "write to a full pipe", errno, errnoAgain)
			break
		}
		if total += int(n); total > 4<<20 {
			t.Fatal("the pipe never fills up")
		}
	}
	if s, errno := g.read(0, 100); len(s) != 100 || errno != errnoSuccess {
		t.Errorf("read %d bytes, %s", len(s), errno)
	}

	if err := unix.SetNonblock(r2, true); err != nil {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		_, _ = unix.Write(w2, []byte("late"))
	}()
	if s, errno := g.read(3, 10); s != "late" || errno != errnoSuccess {
		t.Errorf("a guest that blocks got %q, %s", s, errno)
	}
}

func TestFdPread(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "0123456789")
	fd := g.mustOpen(openArgs{path: "f", rights: rightFdRead | rightFdSeek | rightFdTell})
	buf, out := g.alloc(4), g.alloc(4)
	iovs, n := g.iovec(buf, 4)
	g.must("fd_pread", fd, iovs, n, 8, out)
	if g.u32(out) != 2 || string(g.bytes(buf, 2)) != "89" {
		t.Errorf("read %d bytes %q", g.u32(out), g.bytes(buf, 4))
	}
	g.must("fd_pread", fd, iovs, n, 1<<62, out)
	if g.u32(out) != 0 {
		t.Errorf("read %d bytes behind the end", g.u32(out))
	}
	g.want(errnoInval, "fd_pread", fd, iovs, n, 1<<63, out)
	g.want(errnoIsdir, "fd_pread", preFD, iovs, n, 0, out)
	noSeek := g.mustOpen(openArgs{path: "f", rights: rightFdRead})
	g.want(errnoNotcapable, "fd_pread", noSeek, iovs, n, 0, out)
	if pos, errno := g.seek(fd, 0, whenceCur); pos != 0 || errno != errnoSuccess {
		t.Errorf("the position moved to %d, %s", pos, errno)
	}
	r, w := newPipe(t)
	defer unix.Close(w)
	piped := newGuest(t, Config{Stdio: [3]int{r, -1, -1}})
	piped.want(errnoSpipe, "fd_pread", 0, 0, 0, 0, 16)
}

func TestFdPwrite(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "0123456789")
	fd := g.mustOpen(openArgs{path: "f", rights: rightFdWrite | rightFdSeek})
	p, k := g.put("ab")
	out := g.alloc(4)
	iovs, n := g.iovec(p, k)
	g.must("fd_pwrite", fd, iovs, n, 4, out)
	wantContent(t, dir, "f", "0123ab6789")
	g.want(errnoInval, "fd_pwrite", fd, iovs, n, 1<<63, out)
	g.want(errnoBadf, "fd_pwrite", preFD, iovs, n, 0, out)
	// Linux appends, wherever the guest points.
	app := g.mustOpen(openArgs{path: "f", rights: rightFdWrite | rightFdSeek, fdflags: uint64(fdflagAppend)})
	g.must("fd_pwrite", app, iovs, n, 0, out)
	wantContent(t, dir, "f", "0123ab6789ab")
}

func TestFdSeek(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "0123456789")
	fd := g.mustOpen(openArgs{path: "f", rights: rightFdRead | rightFdSeek})
	for _, s := range []struct {
		offset int64
		whence uint64
		want   uint64
		errno  Errno
	}{
		{4, whenceSet, 4, errnoSuccess},
		{-1, whenceCur, 3, errnoSuccess},
		{-2, whenceEnd, 8, errnoSuccess},
		{100, whenceEnd, 110, errnoSuccess},
		{-1, whenceSet, 0, errnoInval},
		{0, 3, 0, errnoInval},
		{0, 1 << 31, 0, errnoInval},
	} {
		if got, errno := g.seek(fd, s.offset, s.whence); got != s.want || errno != s.errno {
			t.Errorf("seek(%d, %d) = %d %s, want %d %s", s.offset, s.whence, got, errno, s.want, s.errno)
		}
	}
	_, errno := g.seek(preFD, 0, whenceSet)
	wantErrno(t, "seek on a directory", errno, errnoBadf)
	g.want(errnoFault, "fd_seek", fd, 0, whenceCur, guestMemory-7)
	teller := g.mustOpen(openArgs{path: "f", rights: rightFdRead | rightFdTell})
	if _, errno := g.seek(teller, 0, whenceCur); errno != errnoSuccess {
		t.Errorf("TELL allows to ask for the position: %s", errno)
	}
	_, errno = g.seek(teller, 1, whenceCur)
	wantErrno(t, "seek without the right", errno, errnoNotcapable)
}

func TestFdTell(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "f", "0123456789")
	fd := g.mustOpen(openArgs{path: "f", rights: rightFdRead | rightFdSeek})
	if _, errno := g.read(fd, 7); errno != errnoSuccess {
		t.Fatal(errno)
	}
	out := g.alloc(8)
	g.must("fd_tell", fd, out)
	if g.u64(out) != 7 {
		t.Errorf("the position is %d", g.u64(out))
	}
	g.want(errnoBadf, "fd_tell", preFD, out)
	none := g.mustOpen(openArgs{path: "f", rights: rightFdRead})
	g.want(errnoNotcapable, "fd_tell", none, out)
	r, w := newPipe(t)
	defer unix.Close(w)
	piped := newGuest(t, Config{Stdio: [3]int{r, -1, -1}})
	piped.want(errnoSpipe, "fd_tell", 0, 16)
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
