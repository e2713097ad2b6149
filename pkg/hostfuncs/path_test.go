package hostfuncs

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pathCase is one call on a path and its answer.
type pathCase struct {
	path string
	want Errno
}

// eachTree is eachResolver with a guest on a fresh directory.
func eachTree(t *testing.T, test func(t *testing.T, g *guest, dir string)) {
	eachResolver(t, func(t *testing.T, mode openat2State) {
		g, dir := newTree(t)
		g.fs.openat2 = mode
		before := openFDs(t)
		test(t, g, dir)
		for fd := range g.files.entries {
			if fd != preFD {
				g.call("fd_close", uint64(fd))
			}
		}
		if now := openFDs(t); now != before {
			t.Errorf("%d descriptors before, %d after", before, now)
		}
	})
}

func TestPathOpen(t *testing.T) {
	eachTree(t, func(t *testing.T, g *guest, dir string) {
		hostFile(t, dir, "d/f", "abc")
		hostSymlink(t, "d/f", dir, "l")
		hostSymlink(t, "d", dir, "ld")
		hostSymlink(t, "nowhere", dir, "dangling")
		hostSymlink(t, "loop", dir, "loop")
		hostSymlink(t, "/etc", dir, "abs")
		hostSymlink(t, "../..", dir, "d/up")
		for _, c := range []struct {
			openArgs
			want Errno
		}{
			{openArgs{path: "d/f"}, errnoSuccess},
			{openArgs{path: "./d/.//../d/f"}, errnoSuccess},
			{openArgs{path: "d/"}, errnoSuccess},
			{openArgs{path: "d//."}, errnoSuccess},
			{openArgs{path: "."}, errnoSuccess},
			{openArgs{path: "d/.."}, errnoSuccess},
			{openArgs{path: "d/f/"}, errnoNotdir},
			{openArgs{path: "d/f/.."}, errnoNotdir},
			{openArgs{path: "d/f/x"}, errnoNotdir},
			{openArgs{path: "none"}, errnoNoent},
			{openArgs{path: "none/f"}, errnoNoent},
			{openArgs{path: ""}, errnoNoent},
			{openArgs{path: "d/f\x00"}, errnoInval},
			{openArgs{path: strings.Repeat("a", 256)}, errnoNametoolong},
			{openArgs{path: strings.Repeat("a/", 2048)}, errnoNametoolong},
			{openArgs{path: "/d/f"}, errnoNotcapable},
			{openArgs{path: ".."}, errnoNotcapable},
			{openArgs{path: "d/../../x"}, errnoNotcapable},
			{openArgs{path: "l"}, errnoLoop},
			{openArgs{path: "l", follow: true}, errnoSuccess},
			{openArgs{path: "l", oflags: oflagDirectory}, errnoNotdir},
			{openArgs{path: "l/", follow: true}, errnoNotdir},
			{openArgs{path: "ld/f"}, errnoSuccess},
			{openArgs{path: "ld/"}, errnoSuccess},
			{openArgs{path: "ld/../l", follow: true}, errnoSuccess},
			{openArgs{path: "dangling", follow: true}, errnoNoent},
			{openArgs{path: "loop", follow: true}, errnoLoop},
			{openArgs{path: "loop/x"}, errnoLoop},
			{openArgs{path: "abs", follow: true}, errnoNotcapable},
			{openArgs{path: "abs/passwd"}, errnoNotcapable},
			{openArgs{path: "d/up", follow: true}, errnoNotcapable},
			{openArgs{path: "d/up/etc"}, errnoNotcapable},
			{openArgs{path: "d", oflags: oflagDirectory}, errnoSuccess},
			{openArgs{path: "d/f", oflags: oflagDirectory}, errnoNotdir},
			{openArgs{path: "d", rights: rightFdWrite}, errnoIsdir},
			{openArgs{path: "d", oflags: oflagDirectory, rights: rightFdRead | rightFdWrite}, errnoIsdir},
			{openArgs{path: "d/f", oflags: oflagCreat | oflagExcl}, errnoExist},
			{openArgs{path: "l", follow: true, oflags: oflagCreat | oflagExcl}, errnoExist},
			{openArgs{path: "d", oflags: oflagCreat}, errnoIsdir},
			{openArgs{path: "new/", oflags: oflagCreat}, errnoIsdir},
			{openArgs{path: "d/f", oflags: oflagCreat | oflagDirectory}, errnoInval},
			{openArgs{path: "d/f", oflags: 16}, errnoInval},
			{openArgs{path: "d/f", fdflags: 32}, errnoInval},
			{openArgs{path: "d/f", fdflags: 1 << 16}, errnoInval},
			{openArgs{path: "d/f", rights: 1 << 50}, errnoSuccess},
		} {
			fd, errno := g.pathOpen(c.openArgs)
			if errno != c.want {
				t.Errorf("path_open(%+v) = %s, want %s", c.openArgs, errno, c.want)
			}
			if errno == errnoSuccess {
				g.must("fd_close", fd)
			}
		}
		testPathOpenCreates(t, g, dir)
	})
}

func testPathOpenCreates(t *testing.T, g *guest, dir string) {
	old := syscall.Umask(0o027)
	defer syscall.Umask(old)
	fd := g.mustOpen(openArgs{path: "d/new", oflags: oflagCreat | oflagExcl, rights: rightFdWrite})
	info, err := os.Stat(filepath.Join(dir, "d/new"))
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("the new file is %v, %v", info, err)
	}
	if _, errno := g.write(fd, "12345"); errno != errnoSuccess {
		t.Fatal(errno)
	}
	g.mustOpen(openArgs{path: "d/new", oflags: oflagTrunc})
	wantContent(t, dir, "d/new", "")
	// A symlink that leads nowhere yet is a name to create.
	g.mustOpen(openArgs{path: "dangling", follow: true, oflags: oflagCreat})
	wantContent(t, dir, "nowhere", "")

	p, n := g.put("d/f")
	out := g.alloc(4)
	g.want(errnoFault, "path_open", preFD, 0, guestMemory-2, 3, 0, 0, 0, 0, out)
	g.want(errnoFault, "path_open", preFD, 0, p, n, oflagTrunc, 0, 0, 0, guestMemory-3)
	wantContent(t, dir, "d/f", "abc")
	g.want(errnoInval, "path_open", preFD, 2, p, n, 0, 0, 0, 0, out)
	g.want(errnoBadf, "path_open", 99, 0, p, n, 0, 0, 0, 0, out)
	g.want(errnoNotdir, "path_open", fd, 0, p, n, 0, 0, 0, 0, out)
	blind := g.mustOpen(openArgs{path: "d", rights: rightFdReaddir})
	g.want(errnoNotcapable, "path_open", blind, 0, p, n, 0, 0, 0, 0, out)
}

// TestPathOpenFullTable: a call that cannot succeed must not leave a file.
func TestPathOpenFullTable(t *testing.T) {
	dir := t.TempDir()
	g := newGuest(t, Config{Preopens: []Preopen{{Name: "/", Path: dir}}, MaxFDs: 8})
	for {
		if _, errno := g.pathOpen(openArgs{path: "."}); errno != errnoSuccess {
			wantErrno(t, "open with a full table", errno, errnoMfile)
			break
		}
	}
	_, errno := g.pathOpen(openArgs{path: "new", oflags: oflagCreat})
	wantErrno(t, "create with a full table", errno, errnoMfile)
	if _, err := os.Lstat(filepath.Join(dir, "new")); err == nil {
		t.Error("the file was created")
	}
}

func TestPathCreateDirectory(t *testing.T) {
	eachTree(t, func(t *testing.T, g *guest, dir string) {
		hostFile(t, dir, "f", "")
		hostSymlink(t, "/tmp", dir, "abs")
		hostSymlink(t, "d", dir, "l")
		for _, c := range []pathCase{
			{"d", errnoSuccess}, {"d/e", errnoSuccess}, {"g/", errnoSuccess}, {"l/h", errnoSuccess},
			{"d", errnoExist}, {"f", errnoExist}, {".", errnoExist}, {"d/..", errnoExist}, {"l", errnoExist},
			{"x/y", errnoNoent}, {"f/x", errnoNotdir}, {"", errnoNoent},
			{"../x", errnoNotcapable}, {"..", errnoNotcapable}, {"/x", errnoNotcapable}, {"abs/x", errnoNotcapable},
			{"l/../../x", errnoNotcapable},
		} {
			wantErrno(t, "mkdir "+c.path, g.onPath("path_create_directory", preFD, c.path), c.want)
		}
		if _, err := os.Stat(filepath.Join(dir, "d/h")); err != nil {
			t.Error(err)
		}
		g.must("fd_fdstat_set_rights", preFD, rightsDir&^rightPathCreateDirectory, 0)
		wantErrno(t, "without the right", g.onPath("path_create_directory", preFD, "z"), errnoNotcapable)
	})
}

func TestPathRemoveDirectory(t *testing.T) {
	eachTree(t, func(t *testing.T, g *guest, dir string) {
		hostFile(t, dir, "d/f", "")
		hostFile(t, dir, "e/x/f", "")
		hostSymlink(t, "d", dir, "l")
		if err := os.Remove(filepath.Join(dir, "e/x/f")); err != nil {
			t.Fatal(err)
		}
		for _, c := range []pathCase{
			{"d", errnoNotempty}, {"d/f", errnoNotdir}, {"d/f/", errnoNotdir}, {"l", errnoNotdir}, {"l/", errnoNotdir},
			{"e/x/", errnoSuccess}, {"e", errnoSuccess}, {"e", errnoNoent}, {".", errnoInval}, {"..", errnoNotcapable},
		} {
			wantErrno(t, "rmdir "+c.path, g.onPath("path_remove_directory", preFD, c.path), c.want)
		}
	})
}

func TestPathUnlinkFile(t *testing.T) {
	eachTree(t, func(t *testing.T, g *guest, dir string) {
		hostFile(t, dir, "d/f", "")
		hostSymlink(t, "d/f", dir, "l")
		hostSymlink(t, t.TempDir(), dir, "abs")
		for _, c := range []pathCase{
			{"d", errnoIsdir}, {"d/", errnoIsdir}, {"d/f/", errnoNotdir}, {"l", errnoSuccess}, {"l", errnoNoent},
			{"abs/", errnoNotdir}, {"abs/x", errnoNotcapable}, {"d/../d/f", errnoSuccess}, {"abs", errnoSuccess},
		} {
			wantErrno(t, "unlink "+c.path, g.onPath("path_unlink_file", preFD, c.path), c.want)
		}
	})
}

func TestPathRename(t *testing.T) {
	eachTree(t, func(t *testing.T, g *guest, dir string) {
		hostFile(t, dir, "d/f", "F")
		hostFile(t, dir, "e/g", "G")
		hostSymlink(t, "/tmp", dir, "abs")
		for _, c := range []struct {
			from, to string
			want     Errno
		}{
			{"d/f", "e/f", errnoSuccess},
			{"e/f", "e/g", errnoSuccess},
			{"e", "d", errnoSuccess},
			{"d/", "e/", errnoSuccess},
			{"e", "e/sub", errnoInval},
			{"e/g", "e", errnoNotempty},
			{"e", "e/g", errnoNotdir},
			{"none", "x", errnoNoent},
			{"e/g", "../x", errnoNotcapable},
			{"../x", "x", errnoNotcapable},
			{"e/g", "abs/x", errnoNotcapable},
			{".", "x", errnoBusy},
			{"abs", "abs2", errnoSuccess},
		} {
			got := g.rename(c.from, c.to)
			if c.want == errnoNotempty && got == errnoIsdir || c.want == errnoNotdir && got == errnoInval {
				continue // the order in which Linux looks differs by file system
			}
			wantErrno(t, "rename "+c.from+" "+c.to, got, c.want)
		}
		wantContent(t, dir, "e/g", "F")
	})
}

func TestPathLink(t *testing.T) {
	eachTree(t, func(t *testing.T, g *guest, dir string) {
		hostFile(t, dir, "d/f", "F")
		hostSymlink(t, "d/f", dir, "l")
		hostSymlink(t, "nowhere", dir, "dangling")
		secret := t.TempDir()
		hostFile(t, secret, "s", "secret")
		hostSymlink(t, filepath.Join(secret, "s"), dir, "abs")
		for _, c := range []struct {
			from   string
			follow bool
			to     string
			want   Errno
		}{
			{"d/f", false, "1", errnoSuccess},
			{"d/f", false, "1", errnoExist},
			{"l", false, "2", errnoSuccess},
			{"l", true, "3", errnoSuccess},
			{"abs", false, "4", errnoSuccess},
			{"abs", true, "5", errnoNotcapable},
			{"dangling", true, "6", errnoNoent},
			{"d", false, "7", errnoPerm},
			{"d/", true, "7", errnoPerm},
			{"d/f/", false, "7", errnoNotdir},
			{"d/f", false, "8/", errnoNoent},
			{"d/f", false, "../x", errnoNotcapable},
			{"../x", false, "x", errnoNotcapable},
			{"..", false, "x", errnoNotcapable},
		} {
			wantErrno(t, "link "+c.from+" "+c.to, g.link(c.from, c.follow, c.to), c.want)
		}
		for name, kind := range map[string]filetype{"1": filetypeRegular, "2": filetypeSymlink, "3": filetypeRegular, "4": filetypeSymlink} {
			if s, errno := g.stat(name, false); s.kind != kind || errno != errnoSuccess {
				t.Errorf("%s is %d, %s", name, s.kind, errno)
			}
		}
	})
}

func TestPathSymlink(t *testing.T) {
	eachTree(t, func(t *testing.T, g *guest, dir string) {
		hostFile(t, dir, "d/f", "F")
		for _, c := range []struct {
			target, path string
			want         Errno
		}{
			{"f", "d/l", errnoSuccess},
			{"../../../x", "out", errnoSuccess},
			{"f", "d/l", errnoExist},
			{"f", "d", errnoExist},
			{"f", "new/", errnoNoent},
			{"/etc/passwd", "x", errnoNotcapable},
			{"", "x", errnoNoent},
			{"a\x00b", "x", errnoInval},
			{strings.Repeat("x", 4096), "x", errnoNametoolong},
			{"f", "../x", errnoNotcapable},
		} {
			wantErrno(t, "symlink "+c.path, g.symlink(c.target, c.path), c.want)
		}
		_, errno := g.pathOpen(openArgs{path: "out", follow: true})
		wantErrno(t, "open through the symlink that leads out", errno, errnoNotcapable)
		if fd, errno := g.pathOpen(openArgs{path: "d/l", follow: true}); errno != errnoSuccess {
			t.Error(errno)
		} else {
			g.must("fd_close", fd)
		}
	})
}

func TestPathReadlink(t *testing.T) {
	eachTree(t, func(t *testing.T, g *guest, dir string) {
		hostFile(t, dir, "d/f", "F")
		hostSymlink(t, "target", dir, "d/l")
		hostSymlink(t, "/etc", dir, "abs")
		for _, c := range []struct {
			path string
			size int
			text string
			want Errno
		}{
			{"d/l", 100, "target", errnoSuccess},
			{"d/l", 3, "tar", errnoSuccess},
			{"d/l", 0, "", errnoSuccess},
			{"abs", 100, "/etc", errnoSuccess},
			{"abs/", 100, "", errnoNotcapable},
			{"d/f", 100, "", errnoInval},
			{"d/f", 0, "", errnoInval},
			{"d", 100, "", errnoInval},
			{"d/", 100, "", errnoInval},
			{"..", 100, "", errnoNotcapable},
			{"none", 100, "", errnoNoent},
		} {
			got, errno := g.readlink(c.path, c.size)
			if errno != c.want || errno == errnoSuccess && got != c.text {
				t.Errorf("readlink %s into %d bytes: %q %s", c.path, c.size, got, errno)
			}
		}
	})
}

func TestPathFilestatGet(t *testing.T) {
	eachTree(t, func(t *testing.T, g *guest, dir string) {
		hostFile(t, dir, "d/f", "abc")
		hostSymlink(t, "d/f", dir, "l")
		hostSymlink(t, "/etc/passwd", dir, "abs")
		if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			path   string
			follow bool
			kind   filetype
			want   Errno
		}{
			{"d", false, filetypeDir, errnoSuccess},
			{"d/", false, filetypeDir, errnoSuccess},
			{".", false, filetypeDir, errnoSuccess},
			{"d/f", false, filetypeRegular, errnoSuccess},
			{"l", false, filetypeSymlink, errnoSuccess},
			{"l", true, filetypeRegular, errnoSuccess},
			{"l/", false, 0, errnoNotdir},
			{"abs", false, filetypeSymlink, errnoSuccess},
			{"abs", true, 0, errnoNotcapable},
			{"abs/", false, 0, errnoNotcapable},
			// A fifo without a writer must not make the guest wait.
			{"fifo", true, filetypeUnknown, errnoSuccess},
			{"..", false, 0, errnoNotcapable},
			{"none", false, 0, errnoNoent},
		} {
			if s, errno := g.stat(c.path, c.follow); errno != c.want || s.kind != c.kind {
				t.Errorf("stat %s: %d %s, want %d %s", c.path, s.kind, errno, c.kind, c.want)
			}
		}
		short, _ := g.stat("l", true)
		long, _ := g.stat("./l", true)
		if short != long || short.size != 3 {
			t.Errorf("the short way says %+v, the long one %+v", short, long)
		}
		p, n := g.put("d")
		g.want(errnoInval, "path_filestat_get", preFD, 2, p, n, g.alloc(64))
		g.want(errnoFault, "path_filestat_get", preFD, 0, p, n, guestMemory-63)
	})
}

func TestPathFilestatSetTimes(t *testing.T) {
	eachTree(t, func(t *testing.T, g *guest, dir string) {
		hostFile(t, dir, "d/f", "abc")
		hostSymlink(t, "d/f", dir, "l")
		hostSymlink(t, "/etc/passwd", dir, "abs")
		set := func(path string, follow bool, mtim uint64) Errno {
			defer g.scratch()()
			p, n := g.put(path)
			return g.call("path_filestat_set_times", preFD, flag(follow), p, n, 0, mtim, fstMtim)
		}
		wantErrno(t, "through the symlink", set("l", true, 1_000_000_001), errnoSuccess)
		wantErrno(t, "the symlink itself", set("l", false, 2_000_000_002), errnoSuccess)
		wantErrno(t, "a symlink that leads out", set("abs", true, 1), errnoNotcapable)
		wantErrno(t, "that symlink itself", set("abs", false, 3), errnoSuccess)
		if s, _ := g.stat("d/f", false); s.mtim != 1_000_000_001 {
			t.Errorf("the file's time is %d", s.mtim)
		}
		if s, _ := g.stat("l", false); s.mtim != 2_000_000_002 {
			t.Errorf("the symlink's time is %d", s.mtim)
		}
		p, n := g.put("d/f")
		g.want(errnoInval, "path_filestat_set_times", preFD, 0, p, n, 1, 1, fstMtim|fstMtimNow)
		g.want(errnoInval, "path_filestat_set_times", preFD, 4, p, n, 1, 1, fstMtim)
	})
}
