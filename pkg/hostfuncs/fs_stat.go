package hostfuncs

import (
	"encoding/binary"
	"math"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// filestatSize is the size of a witx filestat.
const filestatSize = 64

func (h *Host) fdFilestatGet(mem abi.Memory, p []uint64) Errno {
	e, errno := h.file(p[0], rightFdFilestatGet)
	if errno != errnoSuccess {
		return errno
	}
	b, ok := mem.Bytes(uint32(p[1]), filestatSize)
	if !ok {
		return errnoFault
	}
	var st unix.Stat_t
	if err := unix.Fstat(e.fd, &st); err != nil {
		return errnoOf(err)
	}
	putFilestat(b, &st, e.kind)
	return errnoSuccess
}

// putFilestat writes a witx filestat: u64 device and inode, u8 filetype at 16,
// u64 links at 24, size at 32, then three times in nanoseconds.
func putFilestat(b []byte, st *unix.Stat_t, kind filetype) {
	put := func(at int, v uint64) { binary.LittleEndian.PutUint64(b[at:], v) }
	put(0, uint64(st.Dev))
	put(8, st.Ino)
	put(16, uint64(kind))
	put(24, uint64(st.Nlink))
	put(32, uint64(st.Size))
	put(40, timestamp(st.Atim))
	put(48, timestamp(st.Mtim))
	put(56, timestamp(st.Ctim))
}

// timestamp counts nanoseconds since 1970, before which the witx knows no time.
func timestamp(ts unix.Timespec) uint64 {
	return uint64(max(ts.Nano(), 0))
}

func (h *Host) fdFilestatSetSize(_ abi.Memory, p []uint64) Errno {
	e, errno := h.content(p[0], rightFdFilestatSetSize)
	switch {
	case errno != errnoSuccess:
		return errno
	case p[1] > math.MaxInt64:
		return errnoFbig
	case e.readOnly:
		return errnoRofs
	}
	return errnoOf(retry(func() error { return unix.Ftruncate(e.fd, int64(p[1])) }))
}

func (h *Host) fdFilestatSetTimes(_ abi.Memory, p []uint64) Errno {
	e, errno := h.file(p[0], rightFdFilestatSetTimes)
	if errno != errnoSuccess {
		return errno
	}
	ts, errno := fileTimes(p[1], p[2], uint32(p[3]))
	switch {
	case errno != errnoSuccess:
		return errno
	case e.readOnly:
		return errnoRofs
	}
	return futimens(e.fd, &ts)
}

// The witx fstflags.
const (
	fstAtim    = 1
	fstAtimNow = 2
	fstMtim    = 4
	fstMtimNow = 8
)

// fileTimes is what utimensat(2) takes for the times and flags of a guest.
func fileTimes(atim, mtim uint64, flags uint32) (ts [2]unix.Timespec, errno Errno) {
	const atimBoth, mtimBoth = fstAtim | fstAtimNow, fstMtim | fstMtimNow
	if flags&^(atimBoth|mtimBoth) != 0 || flags&atimBoth == atimBoth || flags&mtimBoth == mtimBoth {
		return ts, errnoInval
	}
	ts[0] = fileTime(atim, flags&fstAtim != 0, flags&fstAtimNow != 0)
	ts[1] = fileTime(mtim, flags&fstMtim != 0, flags&fstMtimNow != 0)
	return ts, errnoSuccess
}

func fileTime(ns uint64, set, now bool) unix.Timespec {
	switch {
	case now:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	case set:
		return unix.Timespec{Sec: int64(ns / 1e9), Nsec: int64(ns % 1e9)}
	}
	return unix.Timespec{Nsec: unix.UTIME_OMIT}
}
