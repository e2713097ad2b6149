package aot

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// settleTime is how long ago a file must have changed for its change time to
// tell the next change: far more than the clock's tick (10 ms) that stamps files.
const settleTime = 2 * time.Second

var errNoIdentity = errors.New("file has no identity to rely on")

// identity names the content of a file without reading it; RATIONALE.md says
// what makes that sound. It holds for the running boot and for files of the
// store's own file system.
type identity struct {
	boot         string
	major, minor uint32
	handle       unix.FileHandle // inode number and generation
	stat         unix.Statx_t
}

// key is what the table is searched for.
func (i *identity) key(kind keyKind) [32]byte {
	b := append([]byte{byte(kind)}, i.boot...)
	le := binary.LittleEndian
	b = le.AppendUint32(b, i.major)
	b = le.AppendUint32(b, i.minor)
	b = le.AppendUint64(b, i.stat.Ino)
	b = le.AppendUint64(b, i.stat.Size)
	for _, t := range []unix.StatxTimestamp{i.stat.Mtime, i.stat.Ctime, i.stat.Btime} {
		b = le.AppendUint64(b, uint64(t.Sec))
		b = le.AppendUint32(b, t.Nsec)
	}
	b = le.AppendUint32(b, uint32(i.handle.Type()))
	return sha256.Sum256(append(b, i.handle.Bytes()...))
}

// settled tells that the file has not changed for d before t.
func (i *identity) settled(t time.Time, d time.Duration) bool {
	return time.Unix(i.stat.Ctime.Sec, int64(i.stat.Ctime.Nsec)).Before(t.Add(-d))
}

// identify gives the identity of an open file, which may be opened O_PATH.
func (s *Store) identify(fd int) (*identity, error) {
	home, err := s.home()
	if err != nil {
		return nil, err
	}
	i := &identity{boot: home.boot}
	if i.stat, err = statx(fd); err != nil {
		return nil, err
	}
	if i.major, i.minor = i.stat.Dev_major, i.stat.Dev_minor; i.major != home.major || i.minor != home.minor {
		return nil, fmt.Errorf("%w: not on the store's file system", errNoIdentity)
	}
	if i.handle, _, err = unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH); err != nil {
		return nil, fmt.Errorf("%w: file handle: %w", errNoIdentity, err)
	}
	return i, nil
}

// statx is fstat with all that identifies a regular file.
func statx(fd int) (st unix.Statx_t, err error) {
	const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_SYNC_AS_STAT, mask, &st); err != nil {
		return st, fmt.Errorf("%w: statx: %w", errNoIdentity, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mask&mask != mask {
		return st, fmt.Errorf("%w: not a regular file with all times", errNoIdentity)
	}
	return st, nil
}

// home is the file system of the store. Keys hold for files in it only: the
// table goes away with it, so its device number cannot come to mean another
// file system while the table is there.
type home struct {
	boot         string
	major, minor uint32
}

func (s *Store) home() (*home, error) {
	s.homeOnce.Do(func() { s.homeIs, s.homeErr = findHome(int(s.dir.Fd())) })
	return s.homeIs, s.homeErr
}

func findHome(dir int) (*home, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dir, &fs); err != nil {
		return nil, fmt.Errorf("%w: statfs: %w", errNoIdentity, err)
	}
	if !keepsTimes(int64(fs.Type)) { //nolint:unconvert // the type differs between processors
		return nil, fmt.Errorf("%w: file system of type %#x", errNoIdentity, fs.Type)
	}
	var st unix.Statx_t
	if err := unix.Statx(dir, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st); err != nil {
		return nil, fmt.Errorf("%w: statx: %w", errNoIdentity, err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(boot) < 36 {
		return nil, fmt.Errorf("%w: boot id: %w", errNoIdentity, err)
	}
	return &home{string(boot[:36]), st.Dev_major, st.Dev_minor}, nil
}

// keepsTimes lists the local file systems that set the change time on each
// write and on the first write by way of a mapping after each writeback. tmpfs
// does not do the latter.
func keepsTimes(magic int64) bool {
	switch magic {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC:
		return true
	}
	return false
}

const fileidIno32Gen = 1 // the kernel's FILEID_INO32_GEN

const atHandleFID = 0x200 // AT_HANDLE_FID, Linux 6.6: a handle to compare, where the file system exports none

// beneath opens (O_PATH) the file of the store's file system that lies below a
// file of an overlay, be it of a lower or of the upper layer. The overlay names
// it, which is not believed: times and size must be equal too, and whoever
// records an identity has to compare the bytes (layers of other file systems, metadata-only copies).
func (s *Store) beneath(fd int) (*os.File, error) {
	h, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH|atHandleFID)
	if err != nil {
		return nil, fmt.Errorf("%w: overlay handle: %w", errNoIdentity, err)
	}
	real, err := overlayHandle(h.Bytes())
	if err != nil {
		return nil, err
	}
	below, err := unix.OpenByHandleAt(int(s.dir.Fd()), real, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("%w: open below the overlay: %w", errNoIdentity, err)
	}
	f := os.NewFile(uintptr(below), "below the overlay")
	over, err := statx(fd)
	if err == nil {
		var st unix.Statx_t
		if st, err = statx(below); err == nil && !alike(&over, &st) {
			err = fmt.Errorf("%w: the overlay's file is another one than below", errNoIdentity)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func alike(a, b *unix.Statx_t) bool {
	return a.Size == b.Size && a.Mtime == b.Mtime && a.Ctime == b.Ctime
}

// overlayHandle takes the layer's own handle out of an overlay's: struct ovl_fh
// of Linux, which is 3 bytes of padding, version 0, magic 0xfb, length, flags,
// type, the layer's UUID, the handle.
func overlayHandle(b []byte) (unix.FileHandle, error) {
	const pad, head = 3, 21
	if len(b) < pad+head || b[pad] != 0 || b[pad+1] != 0xfb {
		return unix.FileHandle{}, fmt.Errorf("%w: unknown overlay handle", errNoIdentity)
	}
	end := pad + int(b[pad+2])
	if end <= pad+head || end > len(b) {
		return unix.FileHandle{}, fmt.Errorf("%w: overlay handle of bad length", errNoIdentity)
	}
	h := unix.NewFileHandle(int32(b[pad+4]), b[pad+head:end])
	// Inode number and generation. File systems that come as images, such as
	// erofs and squashfs, have none: a layer of theirs could name any inode.
	if f := h.Bytes(); h.Type() == fileidIno32Gen && (len(f) < 8 || binary.LittleEndian.Uint32(f[4:]) == 0) {
		return h, fmt.Errorf("%w: overlay handle without a generation", errNoIdentity)
	}
	return h, nil
}
