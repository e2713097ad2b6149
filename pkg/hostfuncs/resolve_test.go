package hostfuncs

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestResolveRooted: a guest that holds "/" sees symlinks as a Linux program.
func TestResolveRooted(t *testing.T) {
	eachResolver(t, func(t *testing.T, mode openat2State) {
		dir := t.TempDir()
		g := newGuest(t, Config{Preopens: []Preopen{{Name: "/", Path: "/"}, {Name: ".", Path: dir}}})
		g.fs.openat2 = mode
		hostFile(t, dir, "d/f", "abc")
		hostSymlink(t, filepath.Join(dir, "d"), dir, "abs")
		hostSymlink(t, "../d/f", dir, "e/rel")
		hostSymlink(t, strings.Repeat("../", 30)+dir+"/d/f", dir, "e/top")
		hostFile(t, dir, "up", "up")
		hostSymlink(t, "../../up", dir, "d/in/up")
		// Takes fd 0, which means the preopen in openArgs.
		g.mustOpen(openArgs{path: "."})
		in := g.mustOpen(openArgs{dir: 4, path: "d/in", rights: rightsDir, inherits: rightsInheriting})
		for _, c := range []struct {
			openArgs
			want Errno
		}{
			{openArgs{path: dir[1:] + "/abs/f"}, errnoSuccess},
			{openArgs{dir: 4, path: "abs/f"}, errnoSuccess},
			{openArgs{dir: 4, path: "e/rel", follow: true}, errnoSuccess},
			{openArgs{dir: 4, path: "e/top", follow: true}, errnoSuccess},
			{openArgs{dir: in, path: "up", follow: true}, errnoSuccess},
			{openArgs{path: "../" + dir[1:]}, errnoNotcapable},
			{openArgs{dir: 4, path: "../"}, errnoNotcapable},
			{openArgs{dir: 4, path: "d/../../"}, errnoNotcapable},
			{openArgs{dir: 4, path: "abs/../none"}, errnoNoent},
		} {
			fd, errno := g.pathOpen(c.openArgs)
			if errno != c.want {
				t.Errorf("path_open(%+v) = %s, want %s", c.openArgs, errno, c.want)
			}
			if errno == errnoSuccess {
				g.must("fd_close", fd)
			}
		}
	})
}

// TestResolveReadOnlyRoot: a symlink in a writable preopen must not lead into a
// root that the guest may only read.
func TestResolveReadOnlyRoot(t *testing.T) {
	eachResolver(t, func(t *testing.T, mode openat2State) {
		dir, other := t.TempDir(), t.TempDir()
		hostFile(t, other, "f", "abc")
		hostSymlink(t, filepath.Join(other, "f"), dir, "l")
		g := newGuest(t, Config{Preopens: []Preopen{{Name: "/", Path: "/", ReadOnly: true}, {Name: "/d", Path: dir}}})
		g.fs.openat2 = mode
		_, errno := g.pathOpen(openArgs{dir: 4, path: "l", follow: true, rights: rightFdWrite, oflags: oflagTrunc})
		wantErrno(t, "open for writing through the symlink", errno, errnoNotcapable)
		_, errno = g.pathOpen(openArgs{path: dir[1:] + "/l", follow: true, rights: rightFdRead})
		wantErrno(t, "read through the root", errno, errnoSuccess)
		wantContent(t, other, "f", "abc")
	})
}

// TestResolveDevStdout: the names for the own descriptors are the guest's
// numbers, whatever the engine has under them.
func TestResolveDevStdout(t *testing.T) {
	eachResolver(t, func(t *testing.T, mode openat2State) {
		dir := t.TempDir()
		// A container's /dev, as runtimes make it.
		hostSymlink(t, "/proc/self/fd", dir, "dev/fd")
		hostSymlink(t, "/proc/self/fd/1", dir, "dev/stdout")
		hostSymlink(t, "fd/1", dir, "dev/relative")
		hostSymlink(t, filepath.Join(dir, "dev/stdout"), dir, "log/access.log")
		hostSymlink(t, "/proc/self/fd/9", dir, "dev/nine")
		r, w := newPipe(t)
		// The engine's own fd 1 is something else than the guest's.
		defer unix.Close(r)
		g := newGuest(t, Config{Stdio: [3]int{-1, w, -1}, Preopens: []Preopen{{Name: "/", Path: "/"}}})
		g.fs.openat2 = mode
		before := openFDs(t)
		for _, path := range []string{"dev/stdout", "dev/fd/1", "dev/relative", "log/access.log"} {
			a := openArgs{path: dir[1:] + "/" + path, follow: true, oflags: oflagCreat | oflagTrunc, rights: rightFdWrite}
			fd := g.mustOpen(a)
			if _, errno := g.write(fd, path); errno != errnoSuccess {
				t.Fatal(errno)
			}
			g.must("fd_close", fd)
			buf := make([]byte, 100)
			n, err := unix.Read(r, buf)
			if err != nil || string(buf[:n]) != path {
				t.Errorf("%s: the pipe has %q, %v", path, buf[:n], err)
			}
			if s, errno := g.stat(a.path, true); errno != errnoSuccess || s.kind != filetypeUnknown {
				t.Errorf("stat %s: %+v %s", path, s, errno)
			}
			a.rights = rightFdRead
			_, errno := g.pathOpen(a)
			wantErrno(t, "read from "+path, errno, errnoAcces)
			a.oflags, a.rights = oflagDirectory, 0
			_, errno = g.pathOpen(a)
			wantErrno(t, path+" as a directory", errno, errnoNotdir)
		}
		_, errno := g.pathOpen(openArgs{path: dir[1:] + "/dev/nine", follow: true})
		wantErrno(t, "a number that is not open", errno, errnoNoent)
		// The engine's fd of the preopen is not the guest's number.
		_, errno = g.pathOpen(openArgs{path: dir[1:] + "/dev/fd/" + strconv.Itoa(g.files.entries[preFD].fd+100), follow: true})
		wantErrno(t, "a number of the engine", errno, errnoNoent)
		if now := openFDs(t); now != before {
			t.Errorf("%d descriptors before, %d after", before, now)
		}
	})
}

// TestResolveManyLinks: the limit counts symlinks, not components.
func TestResolveManyLinks(t *testing.T) {
	eachTree(t, func(t *testing.T, g *guest, dir string) {
		hostFile(t, dir, "f", "")
		prev := "f"
		for i := range maxLinks + 1 {
			name := "l" + strconv.Itoa(i)
			hostSymlink(t, prev, dir, name)
			prev = name
		}
		_, errno := g.pathOpen(openArgs{path: "l39", follow: true})
		wantErrno(t, "40 symlinks", errno, errnoSuccess)
		_, errno = g.pathOpen(openArgs{path: "l40", follow: true})
		wantErrno(t, "41 symlinks", errno, errnoLoop)
		deep := strings.Repeat("d/", 500)
		if err := os.MkdirAll(filepath.Join(dir, deep), 0o755); err != nil {
			t.Fatal(err)
		}
		fd := g.mustOpen(openArgs{path: deep + strings.Repeat("../", 500) + "f"})
		g.must("fd_close", fd)
	})
}

// TestResolveRace swaps a directory for a symlink to the outside while the
// guest opens, links and removes through it.
func TestResolveRace(t *testing.T) {
	eachTree(t, func(t *testing.T, g *guest, dir string) {
		outside := t.TempDir()
		hostFile(t, outside, "f", "outside")
		hostFile(t, dir, "real/f", "inside")
		hostSymlink(t, outside, dir, "link")
		swap := filepath.Join(dir, "d")
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				target := []string{"real", "link"}[i%2]
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, target), unix.AT_FDCWD, swap, unix.RENAME_NOREPLACE)
				_ = unix.Renameat2(unix.AT_FDCWD, swap, unix.AT_FDCWD, filepath.Join(dir, target), unix.RENAME_NOREPLACE)
			}
		})
		hits := 0
		for range 3000 {
			fd, errno := g.pathOpen(openArgs{path: "d/f", follow: true, rights: rightFdRead | rightFdWrite})
			if errno == errnoSuccess {
				hits++
				if s, _ := g.read(fd, 10); s != "inside" {
					t.Errorf("read %q", s)
				}
				g.must("fd_close", fd)
			}
			if errno := g.onPath("path_create_directory", preFD, "d/x"); errno == errnoSuccess {
				g.onPath("path_remove_directory", preFD, "d/x")
			}
			g.link("d/f", true, "d/y")
		}
		close(stop)
		wg.Wait()
		if _, err := os.Lstat(filepath.Join(outside, "x")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a directory was made outside: %v", err)
		}
		if list, err := os.ReadDir(outside); err != nil || len(list) != 1 {
			t.Errorf("outside are %v, %v", list, err)
		}
		if hits == 0 {
			t.Log("the race was never won by the guest")
		}
	})
}

// TestOpenat2Probe: EPERM of a file is no sign of a filter.
func TestOpenat2Probe(t *testing.T) {
	if probeOpenat2() == openat2Refused {
		t.Skip("this kernel or sandbox refuses openat2")
	}
	g, dir := newTree(t)
	hostFile(t, dir, "f", "")
	g.mustOpen(openArgs{path: "f"})
	if g.fs.openat2 != openat2Works {
		t.Errorf("the state is %d", g.fs.openat2)
	}
}

// FuzzResolve lets a hostile tree and path loose on both resolvers: they must
// agree, and what they open must lie beneath the root.
func FuzzResolve(f *testing.F) {
	for _, s := range []struct{ l1, l2, path string }{
		{"d", "/etc", "l1/l2/passwd"},
		{"..", "l1/..", "d/l2/x"},
		{"l2", "l1", "l1/"},
		{".", "../../../../..", "d/../l1/./l2//f"},
		{"d/f", "d//../d/f/", "l2/"},
	} {
		f.Add(s.l1, s.l2, s.path, true)
		f.Add(s.l1, s.l2, s.path, false)
	}
	f.Fuzz(func(t *testing.T, l1, l2, path string, follow bool) {
		if len(path) > 4096 {
			t.Skip("longer than the guest's memory is meant for")
		}
		top := t.TempDir()
		dir := filepath.Join(top, "root")
		hostFile(t, top, "outside/f", "secret")
		hostFile(t, dir, "d/f", "inside")
		// A target that Linux refuses leaves the name missing.
		_ = os.Symlink(l1, filepath.Join(dir, "l1"))
		_ = os.Symlink(l2, filepath.Join(dir, "d/l2"))
		g := newGuest(t, Config{Preopens: []Preopen{{Name: "/", Path: dir}}})
		first := errnoSuccess
		for i, mode := range []openat2State{openat2Unknown, openat2Refused} {
			g.fs.openat2 = mode
			fd, errno := g.pathOpen(openArgs{path: path, follow: follow})
			if i == 0 {
				first = errno
			} else if errno != first {
				t.Errorf("openat2 says %s, the walker %s", first, errno)
			}
			if errno != errnoSuccess {
				continue
			}
			where, ok := g.fs.guard.name(g.files.entries[fd].fd)
			if !ok || where != dir && !strings.HasPrefix(where, dir+"/") {
				t.Errorf("opened %q", where)
			}
			g.must("fd_close", fd)
		}
	})
}
