package wire

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// dataOffset is where data, configs and outputs begin in the segment: behind
	// the dimensions, on a page of their own.
	dataOffset = 4096
	// keptSegment is how much of the segment stays in memory between two calls.
	// What is beyond goes back at once: it counts for the container's limit.
	keptSegment = 16 << 20
	// maxSegment is what a guest of 32 bits can use.
	maxSegment = dataOffset + 4<<30
	// segmentSeals keep both peers from making it shorter, which would end the
	// other with SIGBUS.
	segmentSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
)

// newSegment makes a segment for so many bytes of data. It takes memory only as
// it is written to.
func newSegment(data uint64) (fd int, err error) {
	size := dataOffset + (data+dataOffset-1)&^(dataOffset-1)
	if size > maxSegment {
		return -1, fmt.Errorf("a segment of %d bytes: %w", size, unix.EFBIG)
	}
	const name = "runw-nn"
	fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // MFD_NOEXEC_SEAL came with Linux 6.3.
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, fmt.Errorf("memfd for the segment: %w", err)
	}
	if err = unix.Ftruncate(fd, int64(size)); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, segmentSeals)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("segment of %d bytes: %w", size, err)
	}
	return fd, nil
}

// mapSegment maps what the peer calls a segment, if it is one.
func mapSegment(fd int) ([]byte, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	const shape = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	if err != nil || seals&shape != shape || seals&unix.F_SEAL_WRITE != 0 {
		return nil, fmt.Errorf("%w: the segment is no memfd of fixed size", ErrProtocol)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	if st.Size < 2*dataOffset || st.Size > maxSegment {
		return nil, fmt.Errorf("%w: a segment of %d bytes", ErrProtocol, st.Size)
	}
	mem, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the segment of %d bytes: %w", st.Size, err)
	}
	return mem, nil
}

// shrinkSegment gives back the memory of what a call with n bytes of data has
// used beyond keptSegment. Where that fails it stays.
func shrinkSegment(fd int, n uint64) {
	if end := dataOffset + n; end > keptSegment {
		_ = unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, keptSegment, int64(end-keptSegment))
	}
}
