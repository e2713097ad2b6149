package aot

import (
	"time"

	"golang.org/x/sys/unix"
)

// usesSuffix names the file that counts the uses of an entry: each use appends
// a byte, so the size is the number of uses and the modification time that of
// the last one. Appending needs no lock and loses nothing, however many start at
// once. Nobody reads the bytes: every usesPunch of them the space is given back.
const (
	usesSuffix = ".uses"
	usesPunch  = 64 << 10
)

// used counts a use. Where that is not possible (a read-only or full store)
// the entry is only evicted sooner.
func (s *shelf) used(entry string) {
	fd, err := unix.Openat(s.fd(), entry+usesSuffix, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte{0}); err != nil {
		return
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Size%usesPunch == 0 {
		_ = unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, st.Size)
	}
}

// uses reads the count and the time of the last use: zero if there was none.
func (s *shelf) uses(entry string) (n int64, last time.Time) {
	var st unix.Stat_t
	err := unix.Fstatat(s.fd(), entry+usesSuffix, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size == 0 {
		return 0, time.Time{}
	}
	return st.Size, time.Unix(st.Mtim.Unix())
}
