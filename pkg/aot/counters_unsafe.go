package aot

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Counters tell other processes what a guest does, on a page of memory that
// they can read. The guest's own thread writes it, without a system call.
type Counters struct {
	// HostCalls counts the guest's calls of imported functions.
	HostCalls uint64
	// MemoryBytes is the size of the linear memory that host functions see.
	// wasmtime does not tell when a guest grows it: there it is what the last
	// host call has seen.
	MemoryBytes uint64
}

// MapCounters puts counters on the first page of a file, which has to have
// one. The page stays mapped until the process ends: C code writes to it.
func MapCounters(f *os.File) (*Counters, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := int(unsafe.Sizeof(Counters{}))
	if info.Size() < int64(size) {
		return nil, fmt.Errorf("counters: %d bytes are too few", info.Size())
	}
	page, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("counters: %w", err)
	}
	return (*Counters)(unsafe.Pointer(unsafe.SliceData(page))), nil
}
