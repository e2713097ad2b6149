package hostfuncs

import (
	"strings"

	"golang.org/x/sys/unix"
)

// openat2State is what is known of openat2(2) in this process: Linux before 5.6
// has none, and seccomp filters of older engines refuse it.
type openat2State uint8

const (
	openat2Unknown openat2State = iota
	openat2Works
	openat2Refused
)

// beneathTries bounds how often openat2 is asked again after EAGAIN, which it
// gives for ".." while anything on the machine is renamed or mounted.
const beneathTries = 64

// lookup is one resolution of a guest's path, and what it found.
type lookup struct {
	dir  *entry
	path string
	// flags are those of open(2); O_CLOEXEC is understood.
	flags int

	// st describes what was opened.
	st unix.Stat_t
	// alias is set instead of a descriptor when the path is one of the names
	// for the guest's own descriptors, such as /dev/stdout.
	alias *entry
}

func (l *lookup) follow() bool {
	return l.flags&unix.O_NOFOLLOW == 0 && l.flags&(unix.O_CREAT|unix.O_EXCL) != unix.O_CREAT|unix.O_EXCL
}

// beneath says that nothing outside l.dir may be reached. Otherwise the guest
// holds the root anyway, and only its own ".." is kept from leaving a directory.
func (l *lookup) beneath() bool {
	return !l.dir.rooted || climbs(l.path)
}

// climbs says whether path has more ".." than names before them. With symlinks
// in it the truth may differ, which the kernel then finds out.
func climbs(path string) bool {
	if !strings.Contains(path, "..") {
		return false
	}
	depth := 0
	for name := range strings.SplitSeq(path, "/") {
		switch name {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
}

// open resolves a path below l.dir and opens what it leads to. On success there
// is either a descriptor, which the caller closes, or l.alias.
//
// Objects of a procfs are checked when they are open: procfs has nothing that
// opening changes, and what could (a fifo, a device) is not on it, so an O_PATH
// look beforehand would cost every path_open two system calls for nothing.
func (h *Host) open(l *lookup) (int, Errno) {
	fd, errno := h.openUnchecked(l)
	if errno != errnoSuccess {
		return -1, errno
	}
	if l.alias != nil {
		if l.flags&unix.O_DIRECTORY != 0 && l.alias.kind != filetypeDir {
			return -1, errnoNotdir
		}
		return -1, errnoOf(unix.Fstat(l.alias.fd, &l.st))
	}
	if err := unix.Fstat(fd, &l.st); err != nil {
		_ = unix.Close(fd)
		return -1, errnoOf(err)
	}
	if errno := h.fs.guard.check(fd, &l.st); errno != errnoSuccess {
		_ = unix.Close(fd)
		return -1, errno
	}
	return fd, errnoSuccess
}

func (h *Host) openUnchecked(l *lookup) (int, Errno) {
	l.flags |= unix.O_CLOEXEC
	if l.flags&unix.O_PATH == 0 {
		// The engine leads a session when it is pid 1: a terminal that the
		// guest opens must not become its controlling one.
		l.flags |= unix.O_NOCTTY
	}
	if h.fs.openat2 == openat2Refused {
		return h.walkOpen(l)
	}
	fd, err := h.openat2(l)
	switch err {
	case nil:
		h.fs.openat2 = openat2Works
		return fd, errnoSuccess
	case unix.EXDEV:
		return -1, errnoNotcapable
	case unix.ENOSYS, unix.EPERM:
		if h.fs.openat2 == openat2Unknown {
			h.fs.openat2 = probeOpenat2()
		}
		if h.fs.openat2 == openat2Refused {
			return h.walkOpen(l)
		}
	case unix.ELOOP:
		// One reason is a magic link, as the one that /dev/stdout leads to.
		if l.follow() && l.dir.rooted {
			return h.walkAlias(l)
		}
	}
	return -1, errnoOf(err)
}

func (h *Host) openat2(l *lookup) (int, error) {
	how := unix.OpenHow{Flags: uint64(l.flags), Resolve: unix.RESOLVE_NO_MAGICLINKS}
	if l.flags&unix.O_CREAT != 0 {
		how.Mode = 0o666
	}
	if l.beneath() {
		how.Resolve |= unix.RESOLVE_BENEATH
	}
	for tries := 0; ; {
		fd, err := unix.Openat2(l.dir.fd, l.path, &how)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN && tries < beneathTries:
			tries++
		default:
			return fd, err
		}
	}
}

// probeOpenat2 tells a filter's EPERM from a file's.
func probeOpenat2() openat2State {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
	if err == unix.ENOSYS || err == unix.EPERM {
		return openat2Refused
	}
	if err == nil {
		_ = unix.Close(fd)
	}
	return openat2Works
}

// parent is an open directory and a name in it, for system calls that know no
// RESOLVE_BENEATH but leave the last component alone.
type parent struct {
	fd    int
	owned bool
	name  string
	// slash says that the guest wrote one behind the name.
	slash bool
}

// at is the name for calls that do not follow it even with a slash behind:
// mkdirat, unlinkat, renameat, symlinkat and linkat's target.
func (p *parent) at() string {
	if p.slash {
		return p.name + "/"
	}
	return p.name
}

func (p *parent) close() {
	if p.owned {
		_ = unix.Close(p.fd)
	}
}

// inParent runs call on the directory that path's last component is in.
func (h *Host) inParent(d *entry, path string, call func(*parent) error) Errno {
	in, errno := h.parent(d, path)
	if errno != errnoSuccess {
		return errno
	}
	defer in.close()
	return errnoOf(retry(func() error { return call(in) }))
}

// parent splits off the last component and opens what is before it. "." and
// ".." are resolved, and the kernel then refuses "." as it would the whole.
func (h *Host) parent(d *entry, path string) (*parent, Errno) {
	trimmed := strings.TrimRight(path, "/")
	i := strings.LastIndexByte(trimmed, '/')
	dir := trimmed[:i+1]
	p := &parent{fd: d.fd, name: trimmed[i+1:], slash: len(trimmed) < len(path)}
	if p.name == "." || p.name == ".." {
		dir, p.name, p.slash = path, ".", false
	}
	if dir == "" {
		return p, errnoSuccess
	}
	l := lookup{dir: d, path: dir, flags: unix.O_PATH | unix.O_DIRECTORY}
	fd, errno := h.open(&l)
	switch {
	case errno != errnoSuccess:
		return nil, errno
	case l.alias != nil:
		return nil, errnoNotdir
	}
	p.fd, p.owned = fd, true
	return p, errnoSuccess
}
