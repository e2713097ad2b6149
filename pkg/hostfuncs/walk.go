package hostfuncs

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symlinks one path may have, as in the kernel.
const maxLinks = 40

// walker resolves a path by itself, one component at a time, where openat2 is
// refused or its answer has to be looked into:
//
//	base ── dirs[0] ── dirs[1] ── … ── name
//
// Each directory is held open and the next one opened in it without following
// symlinks, so it does not matter what is renamed meanwhile; ".." goes back to
// the directory it came from.
type walker struct {
	h       *Host
	beneath bool
	// base is where the walk began: the guest's directory, or the root once an
	// absolute symlink led there.
	base      int
	ownBase   bool
	dirs      []int
	links     int
	alias     *entry
	lastSlash bool
}

func (h *Host) newWalker(l *lookup) *walker {
	return &walker{h: h, beneath: l.beneath(), base: l.dir.fd}
}

// walkOpen is openat2 by hand.
func (h *Host) walkOpen(l *lookup) (int, Errno) {
	w := h.newWalker(l)
	defer w.close()
	name, errno := w.walk(l.path, l.follow())
	if errno != errnoSuccess {
		return -1, errno
	}
	if w.alias != nil {
		l.alias = w.alias
		return -1, errnoSuccess
	}
	flags := l.flags | unix.O_NOFOLLOW
	if w.lastSlash {
		if flags&unix.O_CREAT != 0 {
			return -1, errnoIsdir
		}
		flags |= unix.O_DIRECTORY
	}
	for {
		fd, err := unix.Openat(w.dir(), name, flags, 0o666)
		if err != unix.EINTR {
			return fd, errnoOf(err)
		}
	}
}

// walkAlias looks into a path that openat2 refused with ELOOP: the name of a
// descriptor, a magic link of a process, or just too many symlinks.
func (h *Host) walkAlias(l *lookup) (int, Errno) {
	w := h.newWalker(l)
	defer w.close()
	_, errno := w.walk(l.path, true)
	if errno == errnoSuccess && w.alias != nil {
		l.alias = w.alias
		return -1, errnoSuccess
	}
	if errno == errnoSuccess {
		errno = errnoLoop
	}
	return -1, errno
}

// finalParent is parent with a symlink at the end followed.
func (h *Host) finalParent(d *entry, path string) (*parent, Errno) {
	w := h.newWalker(&lookup{dir: d, path: path})
	defer w.close()
	name, errno := w.walk(path, true)
	switch {
	case errno != errnoSuccess:
		return nil, errno
	case w.alias != nil || w.lastSlash:
		return nil, errnoPerm
	}
	fd, err := unix.FcntlInt(uintptr(w.dir()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, errnoOf(err)
	}
	return &parent{fd: fd, owned: true, name: name}, errnoSuccess
}

func (w *walker) close() {
	for _, fd := range w.dirs {
		_ = unix.Close(fd)
	}
	w.dirs = w.dirs[:0]
	if w.ownBase {
		_ = unix.Close(w.base)
		w.ownBase = false
	}
}

// dir is the directory where the walk is.
func (w *walker) dir() int {
	if n := len(w.dirs); n > 0 {
		return w.dirs[n-1]
	}
	return w.base
}

// walk enters all directories of path and gives the last name, "." if it leads
// to the directory itself; with follow that name is no symlink, unless somebody
// makes it one meanwhile. w.lastSlash says that it has to be a directory.
func (w *walker) walk(path string, follow bool) (string, Errno) {
	left := path
	for {
		left = strings.TrimLeft(left, "/")
		name, rest := left, ""
		if i := strings.IndexByte(left, '/'); i >= 0 {
			name, rest = left[:i], left[i:]
		}
		last := strings.Trim(rest, "/") == ""
		w.lastSlash = last && rest != ""
		switch name {
		case "..":
			if errno := w.up(); errno != errnoSuccess {
				return "", errno
			}
			fallthrough
		case ".", "":
			if last {
				return ".", errnoSuccess
			}
			left = rest
			continue
		}
		if last && !follow && !w.lastSlash {
			return name, errnoSuccess
		}
		target, errno := w.enter(name, rest, last)
		if errno != errnoSuccess || w.alias != nil || last && target == "" {
			return name, errno
		}
		left = target + rest
	}
}

// enter looks at one name. If it is a symlink, its target replaces it and the
// walk goes on in the same directory (or at the root); a directory is entered,
// unless it is the last name.
func (w *walker) enter(name, rest string, last bool) (target string, errno Errno) {
	fd, err := unix.Openat(w.dir(), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case err == unix.ENOENT && last:
		return "", errnoSuccess
	case err != nil:
		return "", errnoOf(err)
	}
	entered := false
	defer func() {
		if !entered {
			_ = unix.Close(fd)
		}
	}()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", errnoOf(err)
	}
	if errno := w.h.fs.guard.check(fd, &st); errno != errnoSuccess {
		return "", errno
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return w.expand(fd, rest)
	case last:
		return "", errnoSuccess
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return "", errnoNotdir
	}
	w.dirs = append(w.dirs, fd)
	entered = true
	return "", errnoSuccess
}

// expand reads the symlink fd, with rest still to come after it.
func (w *walker) expand(fd int, rest string) (string, Errno) {
	if w.links++; w.links > maxLinks {
		return "", errnoLoop
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	switch {
	case err != nil:
		return "", errnoOf(err)
	case n == 0:
		return "", errnoNoent
	case n+len(rest) >= unix.PathMax:
		return "", errnoNametoolong
	}
	target := string(buf[:n])
	if target[0] != '/' {
		return target, errnoSuccess
	}
	if w.beneath {
		return "", errnoNotcapable
	}
	if number, ok := descriptorName(target + rest); ok {
		// The engine's numbers are not the guest's.
		e, errno := w.h.files.get(number)
		if errno != errnoSuccess {
			return "", errnoNoent
		}
		w.alias = e
		return target, errnoSuccess
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", errnoOf(err)
	}
	w.close()
	w.base, w.ownBase = root, true
	return target, errnoSuccess
}

// descriptorName recognises where the symlinks /dev/stdin, /dev/stdout,
// /dev/stderr and /dev/fd lead in every container.
func descriptorName(path string) (uint32, bool) {
	digits, ok := strings.CutPrefix(path, "/proc/self/fd/")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), err == nil && digits[0] != '+'
}

// up goes back one directory.
func (w *walker) up() Errno {
	if n := len(w.dirs); n > 0 {
		_ = unix.Close(w.dirs[n-1])
		w.dirs = w.dirs[:n-1]
		return errnoSuccess
	}
	if w.beneath {
		return errnoNotcapable
	}
	above, err := unix.Openat(w.base, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errnoOf(err)
	}
	w.close()
	w.base, w.ownBase = above, true
	return errnoSuccess
}
