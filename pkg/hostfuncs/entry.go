package hostfuncs

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// newEntry describes a descriptor that comes into the table, with all rights
// that its kind and access mode allow. On an error fd stays the caller's.
func newEntry(fd int, shared bool) (*entry, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	kind, err := filetypeOf(fd, st.Mode)
	if err != nil {
		return nil, err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	stream := false
	if kind == filetypeSocket {
		t, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		stream = err == nil && t == unix.SOCK_STREAM
	}
	e := &entry{fd: fd, kind: kind, stream: stream, shared: shared, flags: fdflagsOf(flags)}
	e.base = rightsOf(kind, kind == filetypeChar && isTerminal(fd))
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		e.base &^= rightFdWrite
	case unix.O_WRONLY:
		e.base &^= rightFdRead
	}
	if kind == filetypeDir {
		e.inheriting = rightsInheriting
	}
	return e, nil
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// filetypeOf is the witx type of an open descriptor. The witx knows no pipe.
func filetypeOf(fd int, mode uint32) (filetype, error) {
	if mode&unix.S_IFMT == unix.S_IFSOCK {
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if kind == unix.SOCK_DGRAM {
			return filetypeSocketDgram, err
		}
		return filetypeSocket, err
	}
	return filetypeOfMode(mode), nil
}

// filetypeOfMode is the witx type for a st_mode.
func filetypeOfMode(mode uint32) filetype {
	switch mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return filetypeBlock
	case unix.S_IFCHR:
		return filetypeChar
	case unix.S_IFDIR:
		return filetypeDir
	case unix.S_IFREG:
		return filetypeRegular
	case unix.S_IFLNK:
		return filetypeSymlink
	case unix.S_IFSOCK:
		return filetypeSocket
	}
	return filetypeUnknown
}

// fdflagsOf translates what F_GETFL says. Linux cannot tell RSYNC from SYNC.
func fdflagsOf(flags int) fdflags {
	var f fdflags
	if flags&unix.O_APPEND != 0 {
		f |= fdflagAppend
	}
	if flags&unix.O_NONBLOCK != 0 {
		f |= fdflagNonblock
	}
	// O_SYNC includes the bit of O_DSYNC.
	switch flags & unix.O_SYNC {
	case unix.O_SYNC:
		f |= fdflagSync
	case unix.O_DSYNC:
		f |= fdflagDsync
	}
	return f
}

// openFlags is the reverse of fdflagsOf.
func (f fdflags) openFlags() int {
	flags := 0
	if f&fdflagAppend != 0 {
		flags |= unix.O_APPEND
	}
	if f&fdflagNonblock != 0 {
		flags |= unix.O_NONBLOCK
	}
	if f&fdflagDsync != 0 {
		flags |= unix.O_DSYNC
	}
	if f&(fdflagSync|fdflagRsync) != 0 {
		flags |= unix.O_SYNC
	}
	return flags
}

// openPreopens opens all directories of Config.Preopens. If one of them is the
// root of this process, the guest holds everything that the container has, and
// symlinks below any of them resolve as they do for a Linux program. A
// read-only root is the exception for a writable preopen beside it: a symlink
// would lead from where writing is allowed to where it is not.
func openPreopens(list []Preopen) (entries []*entry, retErr error) {
	defer func() {
		if retErr != nil {
			for _, e := range entries {
				e.close()
			}
		}
	}()
	var root, st unix.Stat_t
	if err := unix.Stat("/", &root); err != nil {
		return nil, fmt.Errorf("root directory: %w", err)
	}
	var whole *entry
	for _, p := range list {
		e, err := openPreopen(p)
		if err != nil {
			return entries, fmt.Errorf("preopen %q: %w", p.Name, err)
		}
		entries = append(entries, e)
		if err := unix.Fstat(e.fd, &st); err != nil {
			return entries, fmt.Errorf("preopen %q: %w", p.Name, err)
		}
		if st.Dev == root.Dev && st.Ino == root.Ino && (whole == nil || whole.readOnly) {
			whole = e
		}
	}
	if whole != nil {
		for _, e := range entries {
			e.rooted = e.readOnly || !whole.readOnly
		}
	}
	return entries, nil
}

// openPreopen opens one directory of Config.Preopens. One that may be searched
// but not listed still serves as the start of a path.
func openPreopen(p Preopen) (*entry, error) {
	const flags = unix.O_DIRECTORY | unix.O_CLOEXEC
	fd, err := unix.Open(p.Path, unix.O_RDONLY|flags, 0)
	if err == unix.EACCES {
		fd, err = unix.Open(p.Path, unix.O_PATH|flags, 0)
	}
	if err != nil {
		return nil, err
	}
	return &entry{
		fd: fd, kind: filetypeDir, preopen: true, name: p.Name, readOnly: p.ReadOnly,
		base: rightsDir, inheriting: rightsInheriting,
	}, nil
}
