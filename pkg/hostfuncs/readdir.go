package hostfuncs

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// dirStream is the open listing of a directory:
//
//	kernel's position ──getdents64──▶ buf[pos:end] ──▶ guest's buffer
//
// A cookie is the kernel's own d_off, so it costs no memory and stays valid
// while names come and go. As long as the guest reads on where it stopped, the
// kernel's position is never set: some file systems (tmpfs before Linux 6.6)
// count entries and would skip one for each that was removed meanwhile.
type dirStream struct {
	// fd is a descriptor of its own where the entry's cannot be read or its
	// position belongs to others too; -1 otherwise.
	fd       int
	buf      []byte
	pos, end int
	// next is the cookie of buf[pos], and first that of buf[0].
	first, next uint64
}

// dirBuffer bounds what a listing holds in memory; the longest name takes 280
// bytes of it.
const dirBuffer = 8 << 10

// direntSize is the size of a witx dirent: u64 cookie of the next entry, u64
// inode, u32 length of the name, u8 filetype, padding; the name follows.
const direntSize = 24

func (s *dirStream) close() {
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
	}
}

// fdReaddir fills the guest's buffer. Fewer bytes than it holds mean the end of
// the directory; the last entry may be cut off, and the guest then asks for it
// again by its cookie.
func (h *Host) fdReaddir(mem abi.Memory, p []uint64) Errno {
	e, errno := h.files.get(uint32(p[0]))
	switch {
	case errno != errnoSuccess:
		return errno
	case e.kind != filetypeDir:
		return errnoNotdir
	case !e.can(rightFdReaddir):
		return errnoNotcapable
	}
	used := uint32(p[4])
	out, ok := mem.Bytes(uint32(p[1]), uint32(p[2]))
	_, usedOK := mem.Bytes(used, 4)
	if !ok || !usedOK {
		return errnoFault
	}
	if e.dir == nil {
		s, errno := newDirStream(e)
		if errno != errnoSuccess {
			return errno
		}
		e.dir = s
	}
	n, errno := e.readdir(out, p[3])
	if errno != errnoSuccess {
		return errno
	}
	mem.PutUint32(used, uint32(n))
	return errnoSuccess
}

func newDirStream(e *entry) (*dirStream, Errno) {
	s := &dirStream{fd: -1}
	flags, err := unix.FcntlInt(uintptr(e.fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, errnoOf(err)
	}
	if e.shared || flags&unix.O_PATH != 0 {
		s.fd, err = unix.Openat(e.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	} else {
		// The kernel's position may not be at the start: fd_readdir is what
		// defines it from here on.
		_, err = unix.Seek(e.fd, 0, unix.SEEK_SET)
	}
	if err != nil {
		return nil, errnoOf(err)
	}
	s.buf = make([]byte, dirBuffer)
	return s, errnoSuccess
}

func (e *entry) readdir(out []byte, cookie uint64) (int, Errno) {
	s := e.dir
	fd := s.fd
	if fd < 0 {
		fd = e.fd
	}
	if errno := s.moveTo(fd, cookie); errno != errnoSuccess {
		return 0, errno
	}
	n := 0
	for n < len(out) {
		if s.pos == s.end {
			more, errno := s.fill(fd)
			if errno != errnoSuccess {
				return 0, errno
			}
			if !more {
				break
			}
		}
		d := s.peek()
		if d.kind == filetypeUnknown && d.undecided {
			d.kind = kindAt(fd, d.name)
		}
		k := d.encode(out[n:])
		n += k
		if k < direntSize+len(d.name) {
			break
		}
		s.pos += d.size
		s.next = d.next
	}
	return n, errnoSuccess
}

// moveTo makes cookie the next entry. Cookie 0 reads the directory anew.
func (s *dirStream) moveTo(fd int, cookie uint64) Errno {
	if cookie == s.next && cookie != 0 {
		return errnoSuccess
	}
	if cookie != 0 && s.find(cookie) {
		return errnoSuccess
	}
	if cookie > math.MaxInt64 {
		return errnoInval
	}
	if _, err := unix.Seek(fd, int64(cookie), unix.SEEK_SET); err != nil {
		return errnoOf(err)
	}
	s.pos, s.end, s.first, s.next = 0, 0, cookie, cookie
	return errnoSuccess
}

// find looks for cookie among what was read last.
func (s *dirStream) find(cookie uint64) bool {
	pos, next := s.pos, s.next
	s.pos, s.next = 0, s.first
	for s.pos < s.end && s.next != cookie {
		d := s.peek()
		s.pos += d.size
		s.next = d.next
	}
	if s.next == cookie {
		return true
	}
	s.pos, s.next = pos, next
	return false
}

// fill reads the next entries; false at the end of the directory. A directory
// that was removed has none.
func (s *dirStream) fill(fd int) (bool, Errno) {
	for {
		n, err := unix.Getdents(fd, s.buf)
		switch err {
		case nil:
			s.pos, s.end, s.first = 0, n, s.next
			return n > 0, errnoSuccess
		case unix.EINTR:
		case unix.ENOENT:
			return false, errnoSuccess
		default:
			return false, errnoOf(err)
		}
	}
}

// dirent is one entry of a listing.
type dirent struct {
	next, ino uint64
	name      string
	kind      filetype
	// undecided: the file system did not say the type.
	undecided bool
	// size is the length of the kernel's record.
	size int
}

// peek decodes the kernel's record at pos (struct linux_dirent64: u64 inode,
// u64 offset, u16 length, u8 type, the name with a NUL).
func (s *dirStream) peek() dirent {
	b := s.buf[s.pos:s.end]
	size := int(binary.NativeEndian.Uint16(b[16:]))
	name := string(b[19:size])
	if i := strings.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	d := dirent{
		ino:  binary.NativeEndian.Uint64(b),
		next: binary.NativeEndian.Uint64(b[8:]),
		name: name, size: size,
	}
	switch b[18] {
	case unix.DT_UNKNOWN:
		d.undecided = true
	default:
		// DT_x is S_IFx without its twelve zero bits.
		d.kind = filetypeOfMode(uint32(b[18]) << 12)
	}
	return d
}

func kindAt(fd int, name string) filetype {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return filetypeUnknown
	}
	return filetypeOfMode(st.Mode)
}

// encode writes as much of the witx dirent and its name as fits.
func (d *dirent) encode(out []byte) int {
	var head [direntSize]byte
	binary.LittleEndian.PutUint64(head[0:], d.next)
	binary.LittleEndian.PutUint64(head[8:], d.ino)
	binary.LittleEndian.PutUint32(head[16:], uint32(len(d.name)))
	head[20] = byte(d.kind)
	n := copy(out, head[:])
	return n + copy(out[n:], d.name)
}
