package hostfuncs

import (
	"strings"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

var pathFunctions = []function{
	{module: preview1, name: "path_create_directory", params: "iii", results: "i",
		names: "fd,path$,path_len", call: (*Host).pathCreateDirectory},
	{module: preview1, name: "path_filestat_get", params: "iiiii", results: "i",
		names: "fd,flags,path$,path_len,stat", call: (*Host).pathFilestatGet},
	{module: preview1, name: "path_filestat_set_times", params: "iiiiIIi", results: "i",
		names: "fd,flags,path$,path_len,atim,mtim,fst_flags", call: (*Host).pathFilestatSetTimes},
	{module: preview1, name: "path_link", params: "iiiiiii", results: "i",
		names: "old_fd,old_flags,old_path$,old_path_len,new_fd,new_path$,new_path_len", call: (*Host).pathLink},
	{module: preview1, name: "path_open", params: "iiiiiIIii", results: "i",
		names: "fd,dirflags,path$,path_len,oflags,base,inheriting,fdflags,opened=4", call: (*Host).pathOpen},
	{module: preview1, name: "path_readlink", params: "iiiiii", results: "i",
		names: "fd,path$,path_len,buf,buf_len,bufused=4", call: (*Host).pathReadlink},
	{module: preview1, name: "path_remove_directory", params: "iii", results: "i",
		names: "fd,path$,path_len", call: (*Host).pathRemoveDirectory},
	{module: preview1, name: "path_rename", params: "iiiiii", results: "i",
		names: "fd,old_path$,old_path_len,new_fd,new_path$,new_path_len", call: (*Host).pathRename},
	{module: preview1, name: "path_symlink", params: "iiiii", results: "i",
		names: "old_path$,old_path_len,fd,new_path$,new_path_len", call: (*Host).pathSymlink},
	{module: preview1, name: "path_unlink_file", params: "iii", results: "i",
		names: "fd,path$,path_len", call: (*Host).pathUnlinkFile},
}

// lookupFollow is the one bit of the witx lookupflags: follow a symlink that is
// the last component.
const lookupFollow = 1

// directory finds a descriptor to start a path from.
func (h *Host) directory(fd, rights uint64) (*entry, Errno) {
	e, errno := h.files.get(uint32(fd))
	switch {
	case errno != errnoSuccess:
		return nil, errno
	case e.kind != filetypeDir:
		return nil, errnoNotdir
	case !e.can(rights):
		return nil, errnoNotcapable
	}
	return e, errnoSuccess
}

// guestString reads a path as it stands in the guest's memory. Linux wants no
// NUL inside and less than PATH_MAX bytes; any other byte may be in a name.
func guestString(mem abi.Memory, ptr, n uint64) (string, Errno) {
	b, ok := mem.Bytes(uint32(ptr), uint32(n))
	switch {
	case !ok:
		return "", errnoFault
	case len(b) >= unix.PathMax:
		return "", errnoNametoolong
	case len(b) == 0:
		return "", errnoNoent
	}
	s := string(b)
	if strings.IndexByte(s, 0) >= 0 {
		return "", errnoInval
	}
	return s, errnoSuccess
}

// guestPath is guestString for a path to resolve: never an absolute one.
func guestPath(mem abi.Memory, ptr, n uint64) (string, Errno) {
	s, errno := guestString(mem, ptr, n)
	if errno == errnoSuccess && s[0] == '/' {
		return "", errnoNotcapable
	}
	return s, errno
}

// start is directory and guestPath together: what most functions begin with.
func (h *Host) start(mem abi.Memory, fd, ptr, n, rights uint64) (*entry, string, Errno) {
	d, errno := h.directory(fd, rights)
	if errno != errnoSuccess {
		return nil, "", errno
	}
	path, errno := guestPath(mem, ptr, n)
	return d, path, errno
}

func (h *Host) pathCreateDirectory(mem abi.Memory, p []uint64) Errno {
	d, path, errno := h.start(mem, p[0], p[1], p[2], rightPathCreateDirectory)
	if errno != errnoSuccess {
		return errno
	}
	return h.create(d, path, func(in *parent) error { return unix.Mkdirat(in.fd, in.at(), 0o777) })
}

// create runs what adds a name below d.
func (h *Host) create(d *entry, path string, add func(*parent) error) Errno {
	if d.readOnly {
		return h.refuseCreate(d, path)
	}
	return h.inParent(d, path, add)
}

// refuseCreate words the refusal as a read-only file system does, which
// answers EXIST first: programs take that from mkdir for success.
func (h *Host) refuseCreate(d *entry, path string) Errno {
	fd, errno := h.open(&lookup{dir: d, path: path, flags: unix.O_PATH | unix.O_NOFOLLOW})
	switch errno {
	case errnoSuccess:
		_ = unix.Close(fd)
		return errnoExist
	case errnoNoent:
		return errnoRofs
	}
	return errno
}

func (h *Host) pathUnlinkFile(mem abi.Memory, p []uint64) Errno {
	return h.remove(mem, p, rightPathUnlinkFile, 0)
}

func (h *Host) pathRemoveDirectory(mem abi.Memory, p []uint64) Errno {
	return h.remove(mem, p, rightPathRemoveDirectory, unix.AT_REMOVEDIR)
}

func (h *Host) remove(mem abi.Memory, p []uint64, rights uint64, flags int) Errno {
	d, path, errno := h.start(mem, p[0], p[1], p[2], rights)
	switch {
	case errno != errnoSuccess:
		return errno
	case d.readOnly:
		return errnoRofs
	}
	return h.inParent(d, path, func(in *parent) error { return unix.Unlinkat(in.fd, in.at(), flags) })
}

func (h *Host) pathRename(mem abi.Memory, p []uint64) Errno {
	from, oldPath, errno := h.start(mem, p[0], p[1], p[2], rightPathRenameSource)
	if errno != errnoSuccess {
		return errno
	}
	to, newPath, errno := h.start(mem, p[3], p[4], p[5], rightPathRenameTarget)
	switch {
	case errno != errnoSuccess:
		return errno
	case from.readOnly || to.readOnly:
		return errnoRofs
	}
	source, errno := h.parent(from, oldPath)
	if errno != errnoSuccess {
		return errno
	}
	defer source.close()
	return h.inParent(to, newPath, func(in *parent) error {
		return unix.Renameat(source.fd, source.at(), in.fd, in.at())
	})
}

// pathSymlink refuses an absolute target, as other runtimes and the
// wasi-testsuite have it: wasi-libc makes paths relative to a preopen, so that
// "/" in a symlink means a place that this guest cannot know.
func (h *Host) pathSymlink(mem abi.Memory, p []uint64) Errno {
	target, errno := guestPath(mem, p[0], p[1])
	if errno != errnoSuccess {
		return errno
	}
	d, path, errno := h.start(mem, p[2], p[3], p[4], rightPathSymlink)
	if errno != errnoSuccess {
		return errno
	}
	return h.create(d, path, func(in *parent) error { return unix.Symlinkat(target, in.fd, in.at()) })
}

// pathLink needs both directories writable: a link that leads out of a
// read-only one would make its file writable.
func (h *Host) pathLink(mem abi.Memory, p []uint64) Errno {
	from, oldPath, errno := h.start(mem, p[0], p[2], p[3], rightPathLinkSource)
	if errno != errnoSuccess {
		return errno
	}
	to, newPath, errno := h.start(mem, p[4], p[5], p[6], rightPathLinkTarget)
	switch {
	case errno != errnoSuccess:
		return errno
	case uint32(p[1])&^lookupFollow != 0:
		return errnoInval
	case from.readOnly:
		return errnoRofs
	}
	source, errno := h.linkSource(from, oldPath, uint32(p[1])&lookupFollow != 0)
	if errno != errnoSuccess {
		return errno
	}
	defer source.close()
	return h.create(to, newPath, func(in *parent) error {
		return unix.Linkat(source.fd, source.name, in.fd, in.at(), 0)
	})
}

// linkSource finds the directory and the name to link from. Following a
// symlink at the end is done here: AT_SYMLINK_FOLLOW would let the kernel leave
// the directory, and AT_EMPTY_PATH wants CAP_DAC_READ_SEARCH before Linux 6.10.
func (h *Host) linkSource(d *entry, path string, follow bool) (*parent, Errno) {
	if strings.HasSuffix(path, "/") {
		// Leads to a directory or nowhere, and directories have one name.
		fd, errno := h.open(&lookup{dir: d, path: path, flags: unix.O_PATH | unix.O_DIRECTORY})
		if errno == errnoSuccess {
			_ = unix.Close(fd)
			errno = errnoPerm
		}
		return nil, errno
	}
	if !follow {
		return h.parent(d, path)
	}
	return h.finalParent(d, path)
}

// pathReadlink fills the buffer with as much of the target as fits.
func (h *Host) pathReadlink(mem abi.Memory, p []uint64) Errno {
	d, path, errno := h.start(mem, p[0], p[1], p[2], rightPathReadlink)
	if errno != errnoSuccess {
		return errno
	}
	used := uint32(p[5])
	buf, ok := mem.Bytes(uint32(p[3]), uint32(p[4]))
	_, usedOK := mem.Bytes(used, 4)
	if !ok || !usedOK {
		return errnoFault
	}
	if strings.HasSuffix(path, "/") {
		// readlinkat(2) would follow a symlink with a slash behind it.
		fd, errno := h.open(&lookup{dir: d, path: path, flags: unix.O_PATH | unix.O_DIRECTORY})
		if errno == errnoSuccess {
			_ = unix.Close(fd)
			errno = errnoInval
		}
		return errno
	}
	n := 0
	errno = h.inParent(d, path, func(in *parent) (err error) {
		if len(buf) > 0 {
			n, err = unix.Readlinkat(in.fd, in.name, buf)
			return err
		}
		// The kernel calls an empty buffer invalid, the witx does not.
		_, err = unix.Readlinkat(in.fd, in.name, make([]byte, 1))
		return err
	})
	if errno == errnoSuccess {
		mem.PutUint32(used, uint32(n))
	}
	return errno
}

// pathFilestatGet answers for a plain name with one system call.
func (h *Host) pathFilestatGet(mem abi.Memory, p []uint64) Errno {
	d, path, errno := h.start(mem, p[0], p[2], p[3], rightPathFilestatGet)
	if errno != errnoSuccess {
		return errno
	}
	if uint32(p[1])&^lookupFollow != 0 {
		return errnoInval
	}
	follow := uint32(p[1])&lookupFollow != 0
	b, ok := mem.Bytes(uint32(p[4]), filestatSize)
	if !ok {
		return errnoFault
	}
	l := lookup{dir: d, path: path, flags: unix.O_PATH}
	if !follow {
		l.flags |= unix.O_NOFOLLOW
	}
	if h.statName(&l, follow) {
		putFilestat(b, &l.st, filetypeOfMode(l.st.Mode))
		return errnoSuccess
	}
	fd, errno := h.open(&l)
	if errno != errnoSuccess {
		return errno
	}
	kind := filetypeOfMode(l.st.Mode)
	if l.alias != nil {
		kind = l.alias.kind
	} else {
		_ = unix.Close(fd)
	}
	putFilestat(b, &l.st, kind)
	return errnoSuccess
}

// statName is the short way: no directory to enter, no symlink to follow, not
// on a procfs. False leaves the answer to the long way.
func (h *Host) statName(l *lookup, follow bool) bool {
	if l.path == ".." || strings.IndexByte(l.path, '/') >= 0 {
		return false
	}
	if err := unix.Fstatat(l.dir.fd, l.path, &l.st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false
	}
	if follow && l.st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return false
	}
	return h.fs.guard.harmless(&l.st)
}

func (h *Host) pathFilestatSetTimes(mem abi.Memory, p []uint64) Errno {
	d, path, errno := h.start(mem, p[0], p[2], p[3], rightPathFilestatSetTimes)
	if errno != errnoSuccess {
		return errno
	}
	ts, errno := fileTimes(p[4], p[5], uint32(p[6]))
	switch {
	case errno != errnoSuccess:
		return errno
	case uint32(p[1])&^lookupFollow != 0:
		return errnoInval
	case d.readOnly:
		return errnoRofs
	}
	l := lookup{dir: d, path: path, flags: unix.O_PATH}
	if uint32(p[1])&lookupFollow == 0 {
		l.flags |= unix.O_NOFOLLOW
	}
	fd, errno := h.open(&l)
	if errno != errnoSuccess {
		return errno
	}
	if l.alias != nil {
		return futimens(l.alias.fd, &ts)
	}
	defer unix.Close(fd)
	return h.fs.guard.setTimes(fd, &ts)
}
