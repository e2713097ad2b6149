package aot

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

const (
	wasmPage = 64 << 10
	// wazero's native code loads the length of a memory as 32 bits, so a memory
	// of 4 GiB would have none. One page less works.
	wazeroMaxMemory = 1<<32 - wasmPage
)

// executableMemory reports whether memory that was written to can be made
// executable; seccomp or SELinux may deny it.
func executableMemory() bool {
	page, err := unix.Mmap(-1, 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return false
	}
	defer unix.Munmap(page)
	return unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC) == nil
}

// linearMemory is one guest memory: a reservation of address space of which
// the first len(buf) bytes are accessible. The address never changes, growing
// copies nothing, and the Go heap knows nothing of it.
type linearMemory struct {
	limit   uint64 // bytes the guest may have; 0 is no limit
	image   *fileImage
	reserve []byte
	buf     []byte
	err     error // why the initial size could not be had
	// counters are told the size.
	counters *Counters
}

// Allocate is called by wazero once per instance, with the greatest size that
// it will ever ask for.
func (m *linearMemory) Allocate(_, most uint64) experimental.LinearMemory {
	most = min(most, wazeroMaxMemory)
	if m.limit != 0 {
		most = min(most, m.limit&^(wasmPage-1))
	}
	m.reserve, m.err = reserveMemory(most)
	return m
}

// addressSpace is what this process may map in all, RLIMIT_AS.
func addressSpace() uint64 {
	var rl unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_AS, &rl) != nil {
		return math.MaxUint64
	}
	return rl.Cur // unlimited is the greatest number
}

// reserveMemory takes address space without committing memory. RLIMIT_AS
// counts address space, so with a limit the guest gets at most half of it: the
// engine's own code, heap and stacks need the rest.
func reserveMemory(most uint64) ([]byte, error) {
	if limit := addressSpace(); limit != math.MaxUint64 {
		most = min(most, limit/2&^(wasmPage-1))
	}
	for size := most; size > 0; size = size / 2 &^ (wasmPage - 1) {
		b, err := unix.Mmap(-1, 0, int(size), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		if err == nil {
			return b, nil
		}
		if size/2 < wasmPage {
			return nil, fmt.Errorf("reserve %d bytes of address space: %w", size, err)
		}
	}
	return nil, nil
}

// Reallocate makes size bytes accessible, or returns nil, which wazero turns
// into a memory.grow of -1.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.reserve)) {
		m.err = fmt.Errorf("%d bytes of memory do not fit in the %d reserved", size, len(m.reserve))
		return nil
	}
	if have := uint64(len(m.buf)); size > have {
		if err := unix.Mprotect(m.reserve[have:size], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			m.err = fmt.Errorf("grow memory to %d bytes: %w", size, err)
			return nil
		}
	}
	if size == 0 {
		return []byte{}
	}
	fresh := m.buf == nil
	m.buf = m.reserve[:size:size]
	if fresh {
		if err := m.image.place(m.buf); err != nil {
			m.err = fmt.Errorf("initial memory: %w", err)
			m.buf = nil
			return nil
		}
	}
	if m.counters != nil {
		atomic.StoreUint64(&m.counters.MemoryBytes, size)
	}
	return m.buf
}

// Free gives everything back. It may be called again.
func (m *linearMemory) Free() {
	if m.reserve != nil {
		unix.Munmap(m.reserve)
	}
	m.reserve, m.buf = nil, nil
}
