package hostfuncs

import (
	"unsafe"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// vector is the scratch for one readv or writev. x/sys's own wrappers allocate
// an iovec array a call.
type vector []unix.Iovec

// gather points v at the count buffers that the guest's iovec array at ptr
// names. Buffers may overlap: the kernel fills them in order.
func (v *vector) gather(mem abi.Memory, ptr, count uint32) Errno {
	if count > maxIovecs {
		return errnoInval
	}
	list, ok := mem.Bytes(ptr, count*iovecSize)
	if !ok {
		return errnoFault
	}
	*v = (*v)[:0]
	for ; len(list) > 0; list = list[iovecSize:] {
		base, n := readIovec(list)
		buf, ok := mem.Bytes(base, n)
		if !ok {
			return errnoFault
		}
		if len(buf) > 0 {
			*v = append(*v, unix.Iovec{Base: &buf[0], Len: uint64(len(buf))})
		}
	}
	return errnoSuccess
}

// limit shortens the vector to at most n bytes.
func (v *vector) limit(n uint64) {
	for i := range *v {
		b := &(*v)[i]
		if b.Len >= n {
			b.Len = n
			*v = (*v)[:i+1]
			return
		}
		n -= b.Len
	}
}

// release drops the pointers into the guest's memory: the engine may move that
// before the next call.
func (v *vector) release() {
	clear(*v)
	*v = (*v)[:0]
}

// transfer does one SYS_READV, SYS_WRITEV, SYS_PREADV or SYS_PWRITEV; the first
// two ignore offset. The kernel moves at most MAX_RW_COUNT bytes, so that the
// number fits 31 bits. unix.Syscall6 and not the raw kind: the call may block,
// and the goroutine that handles signals has to run meanwhile.
func (v vector) transfer(trap uintptr, fd int, offset int64) (uint32, unix.Errno) {
	// The kernel takes the offset as two longs and shifts the high one out of
	// a 64-bit word, so passing both serves 32-bit machines as well.
	n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))),
		uintptr(len(v)), uintptr(offset), uintptr(uint64(offset)>>32), 0)
	return uint32(n), errno
}

// futimens sets the times of an open file. unix.UtimesNanoAt cannot pass the
// null path that names the descriptor itself on every kernel.
func futimens(fd int, ts *[2]unix.Timespec) Errno {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(ts)), 0, 0, 0)
	return fromUnix(errno)
}
