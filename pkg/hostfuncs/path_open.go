package hostfuncs

import (
	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// The witx oflags.
const (
	oflagCreat     = 1
	oflagDirectory = 2
	oflagExcl      = 4
	oflagTrunc     = 8
)

// openRequest is what a guest wants of path_open, checked against the rights of
// the directory.
type openRequest struct {
	// flags are those of open(2).
	flags            int
	fdflags          fdflags
	base, inheriting uint64
}

// pathOpen asks for room in the table first: a file must not be created or cut
// off by a call that fails.
func (h *Host) pathOpen(mem abi.Memory, p []uint64) Errno {
	d, path, errno := h.start(mem, p[0], p[2], p[3], rightPathOpen)
	if errno != errnoSuccess {
		return errno
	}
	req, errno := d.openRequest(p)
	if errno != errnoSuccess {
		return errno
	}
	opened := uint32(p[8])
	if _, ok := mem.Bytes(opened, 4); !ok {
		return errnoFault
	}
	if _, errno := h.files.lowest(); errno != errnoSuccess {
		return errno
	}
	l := lookup{dir: d, path: path, flags: req.flags}
	var fd int
	if d.readOnly {
		fd, errno = h.openReadOnly(&l)
	} else {
		fd, errno = h.open(&l)
	}
	if errno != errnoSuccess {
		return errno
	}
	var e *entry
	if l.alias != nil {
		e, errno = l.alias.duplicate(&req)
	} else {
		e, errno = req.entry(fd, &l)
	}
	if errno != errnoSuccess {
		return errno
	}
	number, errno := h.files.insert(e)
	if errno != errnoSuccess {
		e.close()
		return errno
	}
	mem.PutUint32(opened, number)
	return errnoSuccess
}

// openRequest reads the flags and rights of a path_open.
func (e *entry) openRequest(p []uint64) (openRequest, Errno) {
	dirflags, oflags, fdf := uint32(p[1]), uint32(p[4]), uint32(p[7])
	r := openRequest{fdflags: fdflags(fdf), base: p[5] & rightsKnown, inheriting: p[6] & rightsKnown}
	switch {
	case dirflags&^lookupFollow != 0, fdf&^uint32(fdflagsAll) != 0,
		oflags&^(oflagCreat|oflagDirectory|oflagExcl|oflagTrunc) != 0,
		// Up to Linux 6.3 the two together made a regular file.
		oflags&oflagCreat != 0 && oflags&oflagDirectory != 0:
		return r, errnoInval
	case (r.base|r.inheriting)&^e.inheriting != 0,
		oflags&oflagCreat != 0 && !e.can(rightPathCreateFile),
		oflags&oflagTrunc != 0 && !e.can(rightPathFilestatSetSize):
		return r, errnoNotcapable
	}
	r.flags = r.fdflags.openFlags()
	// WRITE alone decides: Go asks for FILESTAT_SET_SIZE on what it only reads.
	switch r.base & (rightFdRead | rightFdWrite) {
	case rightFdRead | rightFdWrite:
		r.flags |= unix.O_RDWR
	case rightFdWrite:
		r.flags |= unix.O_WRONLY
	}
	for _, f := range [...]struct {
		oflag uint32
		flag  int
	}{
		{oflagCreat, unix.O_CREAT}, {oflagDirectory, unix.O_DIRECTORY},
		{oflagExcl, unix.O_EXCL}, {oflagTrunc, unix.O_TRUNC},
	} {
		if oflags&f.oflag != 0 {
			r.flags |= f.flag
		}
	}
	if dirflags&lookupFollow == 0 {
		r.flags |= unix.O_NOFOLLOW
	}
	return r, errnoSuccess
}

// openReadOnly opens as below a read-only mount: nothing is created or cut off,
// and no regular file is open for writing; devices and pipes are.
func (h *Host) openReadOnly(l *lookup) (int, Errno) {
	const creation = unix.O_CREAT | unix.O_EXCL | unix.O_TRUNC
	asked := l.flags
	if asked&unix.O_CREAT != 0 && asked&unix.O_EXCL != 0 {
		return -1, h.refuseCreate(l.dir, l.path)
	}
	l.flags &^= creation
	fd, errno := h.open(l)
	switch {
	case errno == errnoNoent && asked&unix.O_CREAT != 0:
		return -1, errnoRofs
	case errno != errnoSuccess || l.alias != nil:
		return fd, errno
	}
	writes := asked&unix.O_ACCMODE != unix.O_RDONLY || asked&unix.O_TRUNC != 0
	if writes && l.st.Mode&unix.S_IFMT == unix.S_IFREG {
		_ = unix.Close(fd)
		return -1, errnoRofs
	}
	return fd, errnoSuccess
}

// entry describes the opened fd, which it closes if it fails.
func (r *openRequest) entry(fd int, l *lookup) (*entry, Errno) {
	kind, err := filetypeOf(fd, l.st.Mode)
	if err != nil {
		_ = unix.Close(fd)
		return nil, errnoOf(err)
	}
	return &entry{
		fd: fd, kind: kind, flags: r.fdflags,
		base:       r.base & rightsOf(kind, kind == filetypeChar && isTerminal(fd)),
		inheriting: r.inheriting,
		rooted:     l.dir.rooted, readOnly: l.dir.readOnly,
	}, errnoSuccess
}

// duplicate is what opening /dev/stdout gives: not the file anew, which
// another user may own and whose position would start at 0, but the guest's
// descriptor once more.
func (e *entry) duplicate(r *openRequest) (*entry, Errno) {
	if r.base&(rightFdRead|rightFdWrite)&^e.base != 0 {
		return nil, errnoAcces
	}
	fd, err := unix.FcntlInt(uintptr(e.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, errnoOf(err)
	}
	twin := *e
	twin.fd, twin.dir, twin.peers, twin.slots = fd, nil, nil, [watches]uint32{}
	twin.preopen, twin.inherited = false, false
	// The description is one with the original's, whose flags a change of this
	// one's must not touch.
	twin.shared = true
	twin.flags |= r.fdflags & fdflagNonblock
	twin.base &= r.base
	twin.inheriting &= r.inheriting
	return &twin, errnoSuccess
}
