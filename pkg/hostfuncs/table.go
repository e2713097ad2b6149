package hostfuncs

import "golang.org/x/sys/unix"

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
	// preopen says that name is to be reported by fd_prestat_dir_name.
	preopen bool
	name    string
	// rooted: the guest was given the container's whole root, so an absolute
	// symlink below this directory leads on from the root instead of being an
	// escape.
	rooted bool
	// readOnly refuses writes below this directory (Preopen.ReadOnly); handed
	// on to what is opened through it.
	readOnly bool
	// dir is the open listing of a directory; nil until the first fd_readdir.
	dir *dirStream
}

// table maps the guest's descriptor numbers to entries. The lowest free number
// is given out first, as in POSIX.
type table struct {
	entries []*entry
	max     int
}

// get finds an open descriptor; BADF if there is none of that number.
func (t *table) get(fd uint32) (*entry, Errno) {
	if uint64(fd) >= uint64(len(t.entries)) || t.entries[fd] == nil {
		return nil, errnoBadf
	}
	return t.entries[fd], errnoSuccess
}

// insert gives e the lowest free number; MFILE when the table is full, and
// then e stays the caller's to close.
func (t *table) insert(e *entry) (uint32, Errno) {
	for i, have := range t.entries {
		if have == nil {
			t.entries[i] = e
			return uint32(i), errnoSuccess
		}
	}
	if len(t.entries) >= t.max {
		return 0, errnoMfile
	}
	t.entries = append(t.entries, e)
	return uint32(len(t.entries) - 1), errnoSuccess
}

// close frees the number and the host's descriptor behind it.
func (t *table) close(fd uint32) Errno {
	e, errno := t.get(fd)
	if errno != errnoSuccess {
		return errno
	}
	t.entries[fd] = nil
	return errnoOf(unix.Close(e.fd))
}
