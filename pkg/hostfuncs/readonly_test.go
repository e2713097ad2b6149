package hostfuncs

import "testing"

// TestReadOnlyPreopen: nothing below may change, by whatever function.
func TestReadOnlyPreopen(t *testing.T) {
	eachResolver(t, func(t *testing.T, mode openat2State) {
		dir := t.TempDir()
		hostFile(t, dir, "d/f", "abc")
		g := newGuest(t, Config{Preopens: []Preopen{{Name: "/", Path: dir, ReadOnly: true}}})
		g.fs.openat2 = mode
		for _, c := range []struct {
			openArgs
			want Errno
		}{
			{openArgs{path: "d/f", rights: rightFdRead}, errnoSuccess},
			{openArgs{path: "d/f", oflags: oflagCreat, rights: rightFdRead}, errnoSuccess},
			{openArgs{path: "d/f", rights: rightFdWrite}, errnoRofs},
			{openArgs{path: "d/f", oflags: oflagTrunc}, errnoRofs},
			{openArgs{path: "d/f", oflags: oflagCreat | oflagExcl}, errnoExist},
			{openArgs{path: "new", oflags: oflagCreat}, errnoRofs},
			{openArgs{path: "new", oflags: oflagCreat | oflagExcl}, errnoRofs},
			{openArgs{path: "new"}, errnoNoent},
		} {
			_, errno := g.pathOpen(c.openArgs)
			if errno != c.want {
				t.Errorf("path_open(%+v) = %s, want %s", c.openArgs, errno, c.want)
			}
		}
		sub := g.mustOpen(openArgs{path: "d", rights: rightsDir, inherits: rightsInheriting})
		_, errno := g.pathOpen(openArgs{dir: sub, path: "f", rights: rightFdWrite})
		wantErrno(t, "through an opened directory", errno, errnoRofs)
		wantErrno(t, "mkdir", g.onPath("path_create_directory", preFD, "x"), errnoRofs)
		wantErrno(t, "mkdir of what exists", g.onPath("path_create_directory", preFD, "d"), errnoExist)
		wantErrno(t, "unlink", g.onPath("path_unlink_file", sub, "f"), errnoRofs)
		wantErrno(t, "rmdir", g.onPath("path_remove_directory", preFD, "d"), errnoRofs)
		wantErrno(t, "rename", g.rename("d/f", "g"), errnoRofs)
		wantErrno(t, "link", g.link("d/f", false, "g"), errnoRofs)
		wantErrno(t, "symlink", g.symlink("f", "g"), errnoRofs)
		p, n := g.put("d/f")
		g.want(errnoRofs, "path_filestat_set_times", preFD, 0, p, n, 1, 1, fstMtim)
		fd := g.mustOpen(openArgs{path: "d/f", rights: allRights &^ rightFdWrite})
		g.want(errnoRofs, "fd_filestat_set_times", fd, 1, 1, fstMtim)
		g.want(errnoRofs, "fd_filestat_set_size", fd, 0)
		wantContent(t, dir, "d/f", "abc")
	})
}

// TestReadOnlyDevice: a device is written to on a read-only file system too.
func TestReadOnlyDevice(t *testing.T) {
	g := newGuest(t, Config{Preopens: []Preopen{{Name: "/", Path: "/dev", ReadOnly: true}}})
	fd := g.mustOpen(openArgs{path: "null", rights: rightFdWrite, oflags: oflagCreat | oflagTrunc})
	if n, errno := g.write(fd, "x"); n != 1 || errno != errnoSuccess {
		t.Errorf("wrote %d bytes, %s", n, errno)
	}
}
