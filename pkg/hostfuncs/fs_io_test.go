package hostfuncs

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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
