package hostfuncs

import (
	"encoding/binary"
	"math"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

var fsFunctions = []function{
	{module: preview1, name: "fd_advise", params: "iIIi", results: "i",
		names: "fd,offset,len,advice", call: (*Host).fdAdvise},
	{module: preview1, name: "fd_allocate", params: "iII", results: "i",
		names: "fd,offset,len", call: (*Host).fdAllocate},
	{module: preview1, name: "fd_close", params: "i", results: "i",
		names: "fd", call: (*Host).fdClose},
	{module: preview1, name: "fd_datasync", params: "i", results: "i",
		names: "fd", call: (*Host).fdDatasync},
	{module: preview1, name: "fd_fdstat_get", params: "ii", results: "i",
		names: "fd,stat", call: (*Host).fdFdstatGet},
	{module: preview1, name: "fd_fdstat_set_flags", params: "ii", results: "i",
		names: "fd,flags", call: (*Host).fdFdstatSetFlags},
	{module: preview1, name: "fd_fdstat_set_rights", params: "iII", results: "i",
		names: "fd,base,inheriting", call: (*Host).fdFdstatSetRights},
	{module: preview1, name: "fd_filestat_get", params: "ii", results: "i",
		names: "fd,stat", call: (*Host).fdFilestatGet},
	{module: preview1, name: "fd_filestat_set_size", params: "iI", results: "i",
		names: "fd,size", call: (*Host).fdFilestatSetSize},
	{module: preview1, name: "fd_filestat_set_times", params: "iIIi", results: "i",
		names: "fd,atim,mtim,fst_flags", call: (*Host).fdFilestatSetTimes},
	{module: preview1, name: "fd_pread", params: "iiiIi", results: "i",
		names: "fd,iovs,iovs_len,offset,nread=4", call: (*Host).fdPread},
	{module: preview1, name: "fd_prestat_get", params: "ii", results: "i",
		names: "fd,prestat", call: (*Host).fdPrestatGet},
	{module: preview1, name: "fd_prestat_dir_name", params: "iii", results: "i",
		names: "fd,path,path_len", call: (*Host).fdPrestatDirName},
	{module: preview1, name: "fd_pwrite", params: "iiiIi", results: "i",
		names: "fd,iovs,iovs_len,offset,nwritten=4", call: (*Host).fdPwrite},
	{module: preview1, name: "fd_read", params: "iiii", results: "i",
		names: "fd,iovs,iovs_len,nread=4", call: (*Host).fdRead},
	{module: preview1, name: "fd_readdir", params: "iiiIi", results: "i",
		names: "fd,buf,buf_len,cookie,bufused=4", call: (*Host).fdReaddir},
	{module: preview1, name: "fd_renumber", params: "ii", results: "i",
		names: "fd,to", call: (*Host).fdRenumber},
	{module: preview1, name: "fd_seek", params: "iIii", results: "i",
		names: "fd,offset,whence,newoffset=8", call: (*Host).fdSeek},
	{module: preview1, name: "fd_sync", params: "i", results: "i",
		names: "fd", call: (*Host).fdSync},
	{module: preview1, name: "fd_tell", params: "ii", results: "i",
		names: "fd,offset=8", call: (*Host).fdTell},
	{module: preview1, name: "fd_write", params: "iiii", results: "i",
		names: "fd,iovs,iovs_len,nwritten=4", call: (*Host).fdWrite},
}

// filesystem is what the fd_* and path_* functions keep between calls.
type filesystem struct {
	vec   vector
	guard procGuard
	// openat2 remembers whether the kernel, or a seccomp filter, lets this
	// process use openat2.
	openat2 openat2State
}

// file finds a descriptor that has rights.
func (h *Host) file(fd uint64, rights uint64) (*entry, Errno) {
	e, errno := h.files.get(uint32(fd))
	if errno == errnoSuccess && !e.can(rights) {
		return nil, errnoNotcapable
	}
	return e, errno
}

func (h *Host) fdClose(_ abi.Memory, p []uint64) Errno {
	return h.files.close(uint32(p[0]))
}

func (h *Host) fdRenumber(_ abi.Memory, p []uint64) Errno {
	return h.files.renumber(uint32(p[0]), uint32(p[1]))
}

// fdFdstatGet writes a witx fdstat: u8 filetype, u16 flags at 2, u64 rights at
// 8 and 16.
func (h *Host) fdFdstatGet(mem abi.Memory, p []uint64) Errno {
	e, errno := h.files.get(uint32(p[0]))
	if errno != errnoSuccess {
		return errno
	}
	b, ok := mem.Bytes(uint32(p[1]), 24)
	if !ok {
		return errnoFault
	}
	clear(b)
	b[0] = byte(e.kind)
	binary.LittleEndian.PutUint16(b[2:], uint16(e.flags))
	binary.LittleEndian.PutUint64(b[8:], e.base)
	binary.LittleEndian.PutUint64(b[16:], e.inheriting)
	return errnoSuccess
}

// fdFdstatSetFlags changes APPEND and NONBLOCK; Linux ignores a change of the
// sync flags of an open file, so asking for one is an error here.
func (h *Host) fdFdstatSetFlags(_ abi.Memory, p []uint64) Errno {
	e, errno := h.file(p[0], rightFdFdstatSetFlags)
	if errno != errnoSuccess {
		return errno
	}
	const settable = fdflagAppend | fdflagNonblock
	if uint32(p[1]) > uint32(fdflagsAll) {
		return errnoInval
	}
	flags := fdflags(p[1])
	if (flags^e.flags)&^settable != 0 {
		return errnoNotsup
	}
	change := flags ^ e.flags
	if e.shared {
		change &^= fdflagNonblock
	}
	if change != 0 {
		if errno := setFlags(e.fd, change, flags); errno != errnoSuccess {
			return errno
		}
	}
	e.flags = flags
	h.native.update(int(uint32(p[0])), e)
	return errnoSuccess
}

// setFlags gives the bits of change the values that they have in flags. It
// reads the present ones first, since a shared descriptor may have others.
func setFlags(fd int, change, flags fdflags) Errno {
	now, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return errnoOf(err)
	}
	mask := change.openFlags()
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, now&^mask|flags.openFlags()&mask)
	return errnoOf(err)
}

func (h *Host) fdFdstatSetRights(_ abi.Memory, p []uint64) Errno {
	e, errno := h.files.get(uint32(p[0]))
	if errno != errnoSuccess {
		return errno
	}
	base, inheriting := p[1]&rightsKnown, p[2]&rightsKnown
	if base&^e.base != 0 || inheriting&^e.inheriting != 0 {
		return errnoNotcapable
	}
	e.base, e.inheriting = base, inheriting
	return errnoSuccess
}

// The witx preopentype of a directory, and the one reported for everything
// else that the guest was started with: wasi-libc, Go and Rust look for
// preopens from fd 3 on until the first BADF and pass over other types.
const (
	preopenDir   = 0
	preopenOther = 1
)

// fdPrestatGet writes a witx prestat: u8 type, u32 length of the name at 4.
func (h *Host) fdPrestatGet(mem abi.Memory, p []uint64) Errno {
	e, errno := h.files.get(uint32(p[0]))
	if errno != errnoSuccess {
		return errno
	}
	if !e.preopen && !e.inherited {
		return errnoBadf
	}
	b, ok := mem.Bytes(uint32(p[1]), 8)
	if !ok {
		return errnoFault
	}
	clear(b)
	b[0] = preopenOther
	if e.preopen {
		b[0] = preopenDir
		binary.LittleEndian.PutUint32(b[4:], uint32(len(e.name)))
	}
	return errnoSuccess
}

func (h *Host) fdPrestatDirName(mem abi.Memory, p []uint64) Errno {
	e, errno := h.files.get(uint32(p[0]))
	switch {
	case errno != errnoSuccess:
		return errno
	case !e.preopen:
		return errnoNotdir
	case uint64(len(e.name)) > uint64(uint32(p[2])):
		return errnoNametoolong
	}
	b, ok := mem.Bytes(uint32(p[1]), uint32(len(e.name)))
	if !ok {
		return errnoFault
	}
	copy(b, e.name)
	return errnoSuccess
}

// advices translates the witx advice; Linux numbers RANDOM and SEQUENTIAL the
// other way round.
var advices = [...]int{
	unix.FADV_NORMAL, unix.FADV_SEQUENTIAL, unix.FADV_RANDOM,
	unix.FADV_WILLNEED, unix.FADV_DONTNEED, unix.FADV_NOREUSE,
}

func (h *Host) fdAdvise(_ abi.Memory, p []uint64) Errno {
	e, errno := h.content(p[0], rightFdAdvise)
	if errno != errnoSuccess {
		return errno
	}
	advice := uint32(p[3])
	if p[1] > math.MaxInt64 || p[2] > math.MaxInt64 || int(advice) >= len(advices) {
		return errnoInval
	}
	return errnoOf(unix.Fadvise(e.fd, int64(p[1]), int64(p[2]), advices[advice]))
}

func (h *Host) fdAllocate(_ abi.Memory, p []uint64) Errno {
	e, errno := h.content(p[0], rightFdAllocate)
	switch {
	case errno != errnoSuccess:
		return errno
	case p[1] > math.MaxInt64 || p[2] > math.MaxInt64:
		return errnoFbig
	}
	return errnoOf(retry(func() error { return unix.Fallocate(e.fd, 0, int64(p[1]), int64(p[2])) }))
}

func (h *Host) fdDatasync(_ abi.Memory, p []uint64) Errno {
	e, errno := h.file(p[0], rightFdDatasync)
	if errno != errnoSuccess {
		return errno
	}
	return errnoOf(retry(func() error { return unix.Fdatasync(e.fd) }))
}

func (h *Host) fdSync(_ abi.Memory, p []uint64) Errno {
	e, errno := h.file(p[0], rightFdSync)
	if errno != errnoSuccess {
		return errno
	}
	return errnoOf(retry(func() error { return unix.Fsync(e.fd) }))
}

// content is file for what a directory has none of: bytes. The kernel would
// give lseek(2) on a directory a meaning that no witx cookie has.
func (h *Host) content(fd, rights uint64) (*entry, Errno) {
	e, errno := h.files.get(uint32(fd))
	switch {
	case errno != errnoSuccess:
		return nil, errno
	case e.kind == filetypeDir:
		return nil, errnoBadf
	case !e.can(rights):
		return nil, errnoNotcapable
	}
	return e, errnoSuccess
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
