package hostfuncs

import (
	"math/bits"
	"net/netip"

	"golang.org/x/sys/unix"
)

// filetype is the witx filetype of a descriptor.
type filetype uint8

// The witx filetypes.
const (
	filetypeUnknown     filetype = 0
	filetypeBlock       filetype = 1
	filetypeChar        filetype = 2
	filetypeDir         filetype = 3
	filetypeRegular     filetype = 4
	filetypeSocketDgram filetype = 5
	filetypeSocket      filetype = 6
	filetypeSymlink     filetype = 7
)

// fdflags are the witx fdflags.
type fdflags uint16

// The witx fdflags bits.
const (
	fdflagAppend   fdflags = 1
	fdflagDsync    fdflags = 2
	fdflagNonblock fdflags = 4
	fdflagRsync    fdflags = 8
	fdflagSync     fdflags = 16

	fdflagsAll = fdflagAppend | fdflagDsync | fdflagNonblock | fdflagRsync | fdflagSync
)

// entry is one open descriptor of the guest: a file, directory, pipe, terminal
// or socket. All families share this one type so that fd_renumber, fd_close
// and poll_oneoff work on every kind.
type entry struct {
	// fd is the host's descriptor, owned by the table.
	fd int
	// kind was read with fstat when the descriptor came in.
	kind filetype
	// flags are what fd_fdstat_get reports and fd_fdstat_set_flags changed.
	flags fdflags
	// base and inheriting are the witx rights.
	base, inheriting uint64
	// shared says that the open file description also belongs to somebody
	// outside the guest (stdio, inherited descriptors): O_NONBLOCK is emulated
	// there instead of being set for everybody.
	shared bool
	// inherited says that the guest was started with the descriptor at fd 3 or
	// above: guests that look for preopens must not stop at it.
	inherited bool
	// preopen says that name is to be reported by fd_prestat_dir_name.
	preopen bool
	// name is also the path that the guest has bound an AF_UNIX socket to.
	name string
	// rooted: the guest was given the container's whole root, so an absolute
	// symlink below this directory leads on from the root instead of being an
	// escape.
	rooted bool
	// readOnly refuses writes below this directory (Preopen.ReadOnly); handed
	// on to what is opened through it.
	readOnly bool
	// stream says that it is a SOCK_STREAM socket.
	stream bool
	// recvTimeout and sendTimeout are the socket's SO_RCVTIMEO and SO_SNDTIMEO
	// in milliseconds, as far as the guest has set them.
	recvTimeout, sendTimeout int32
	// peers are who may be answered; see NetPolicy.heard.
	peers    []netip.AddrPort
	nextPeer int
	// slots are 1 + the descriptor's index in each of the host's watches, 0 for
	// none.
	slots [watches]uint32
	// dir is the open listing of a directory; nil until the first fd_readdir.
	dir *dirStream
}

// mayBlock says that a call on the kernel's descriptor can wait: the guest wants
// it to, or does not decide.
func (e *entry) mayBlock() bool { return e.flags&fdflagNonblock == 0 || e.shared }

// close gives back the host's descriptors. Linux frees the number even when
// close(2) reports an error, EINTR included, so it is never repeated.
func (e *entry) close() Errno {
	if e.dir != nil {
		e.dir.close()
	}
	if e.fd <= unix.Stderr && plug(e.fd) {
		return errnoSuccess
	}
	if err := unix.Close(e.fd); err != nil && err != unix.EINTR {
		return errnoOf(err)
	}
	return errnoSuccess
}

// plug closes one of the process's own 0, 1 and 2 without freeing the number: a
// file that the guest opens next would take it, and what Go's runtime and the
// engine print to stderr would go there.
func plug(fd int) bool {
	dead, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(dead)
	return unix.Dup3(dead, fd, unix.O_CLOEXEC) == nil
}

// table maps the guest's descriptor numbers to entries. The lowest free number
// is given out first, as in POSIX.
type table struct {
	entries []*entry
	max     int
	// left is called with what is about to lose its number, changed when a number
	// has got another entry or none.
	left    func(*entry)
	changed func(fd int, e *entry)
	// used has one bit for each number; no word below low has a free one.
	used []uint64
	low  int
}

// get finds an open descriptor; BADF if there is none of that number.
func (t *table) get(fd uint32) (*entry, Errno) {
	if uint64(fd) >= uint64(len(t.entries)) || t.entries[fd] == nil {
		return nil, errnoBadf
	}
	return t.entries[fd], errnoSuccess
}

// lowest is the number that insert would use next; MFILE when the table is
// full. Callers whose work cannot be undone ask before they begin.
func (t *table) lowest() (int, Errno) {
	for t.low < len(t.used) && ^t.used[t.low] == 0 {
		t.low++
	}
	fd := t.low * 64
	if t.low < len(t.used) {
		fd += bits.TrailingZeros64(^t.used[t.low])
	}
	if fd >= t.max {
		return 0, errnoMfile
	}
	return fd, errnoSuccess
}

// insert gives e the lowest free number; MFILE when the table is full, and
// then e stays the caller's to close.
func (t *table) insert(e *entry) (uint32, Errno) {
	fd, errno := t.lowest()
	if errno != errnoSuccess {
		return 0, errno
	}
	t.put(fd, e)
	return uint32(fd), errnoSuccess
}

// put gives e a number that is free. New uses it to leave gaps.
func (t *table) put(fd int, e *entry) {
	for len(t.entries) <= fd {
		t.entries = append(t.entries, nil)
	}
	for len(t.used) <= fd/64 {
		t.used = append(t.used, 0)
	}
	t.used[fd/64] |= 1 << (fd % 64)
	t.set(fd, e)
}

func (t *table) set(fd int, e *entry) {
	t.entries[fd] = e
	if t.changed != nil {
		t.changed(fd, e)
	}
}

// take removes an entry without closing it.
func (t *table) take(fd uint32) {
	t.set(int(fd), nil)
	t.used[fd/64] &^= 1 << (fd % 64)
	t.low = min(t.low, int(fd/64))
}

// close frees the number and the host's descriptor behind it.
func (t *table) close(fd uint32) Errno {
	e, errno := t.get(fd)
	if errno != errnoSuccess {
		return errno
	}
	t.take(fd)
	t.leave(e)
	return e.close()
}

func (t *table) leave(e *entry) {
	if t.left != nil {
		t.left(e)
	}
}

// renumber moves from's entry to the number to and closes what was there. Both
// must be open: a guest that could choose free numbers would race with another
// part of itself that is about to be given one (witx fd_renumber).
func (t *table) renumber(from, to uint32) Errno {
	e, errno := t.get(from)
	if errno != errnoSuccess {
		return errno
	}
	old, errno := t.get(to)
	if errno != errnoSuccess || from == to {
		return errno
	}
	t.leave(e)
	t.leave(old)
	t.set(int(to), e)
	t.take(from)
	// What close(2) says about the old file is lost, as with dup2(2).
	_ = old.close()
	return errnoSuccess
}
