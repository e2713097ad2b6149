package hostfuncs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// nativeGuest is what native.c knows of a guest; native.h has the same layout.
type nativeGuest struct {
	files  *nativeFile
	keys   *uint64
	slots  *nativeSlot
	events *unix.EpollEvent
	errnos *Errno

	nfiles, nkeys, nslots, nevents, nerrnos uint32
	epfd                                    int32
	// sparse is C's judgement of the guest's list, see native.crowded.
	sparse uint32
	// C's own: how it fares with looking before it sleeps, and how dense the list is.
	credit, skip, misses uint32
	density              int32
	waits, trials        uint32
}

// offHeap is a list that does not lie in Go's memory, for C keeps its address,
// and nobody says when it lets go: the engine's process ends with the guest.
type offHeap[T any] struct {
	list []T
	raw  []byte
}

// grow makes the list at least n long; false if there is no memory. It may move.
func (o *offHeap[T]) grow(n int) bool {
	var t T
	for size := int(unsafe.Sizeof(t)); len(o.raw)/size < n; {
		raw, err := unix.Mmap(-1, 0, max(4096, 2*len(o.raw), n*size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return false
		}
		copy(raw, o.raw)
		o.close()
		o.raw = raw
	}
	o.list = unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(o.raw))), max(n, len(o.list)))
	return true
}

func (o *offHeap[T]) close() {
	if o.raw != nil {
		_ = unix.Munmap(o.raw)
	}
	o.raw = nil
}

// env is the first parameter of the functions in native.c, 0 if there is no
// memory for it.
func (n *native) env() uintptr {
	if n.guest == nil {
		if !n.own.grow(1) {
			return 0
		}
		n.guest = &n.own.list[0]
		// A variable of the package: it stays where it is.
		n.guest.errnos, n.guest.nerrnos = &linuxErrnos[0], uint32(len(linuxErrnos))
	}
	return uintptr(unsafe.Pointer(n.guest))
}

// showFiles gives C the table.
func (n *native) showFiles() {
	n.guest.files, n.guest.nfiles = unsafe.SliceData(n.files.list), uint32(len(n.files.list))
}

// showWatch gives C the watch.
func (n *native) showWatch(epfd, keys int) {
	g := n.guest
	g.slots, g.nslots = unsafe.SliceData(n.slots.list), uint32(len(n.slots.list))
	g.events, g.nevents = unsafe.SliceData(n.events.list), uint32(len(n.events.list))
	g.keys, g.nkeys = unsafe.SliceData(n.keys.list), uint32(keys)
	g.epfd = int32(epfd)
}

func (n *native) close() {
	n.own.close()
	n.files.close()
	n.keys.close()
	n.slots.close()
	n.events.close()
	*n = native{}
}
