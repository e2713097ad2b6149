package hostfuncs

import "golang.org/x/sys/unix"

// The functions in native.c do without Go what a server calls for each request.
// This file tells them what they may do: which descriptors they may use, and
// what the kernel's epoll set holds. Nothing is told before the guest has a
// socket of its own.

// native is the Go side of a guest in C.
type native struct {
	// guest lies in own; nil until an engine has asked for it.
	guest  *nativeGuest
	own    offHeap[nativeGuest]
	files  offHeap[nativeFile]
	keys   offHeap[uint64]
	slots  offHeap[nativeSlot]
	events offHeap[unix.EpollEvent]
}

// nativeFile is what C knows of one of the guest's descriptors.
type nativeFile struct {
	fd     int32
	flags  uint32
	listed uint32 // C's own
}

// The flags of a nativeFile.
const (
	nativeSocket   = 1
	nativeStream   = 2
	nativeNonblock = 4
)

// nativeSlot is what C knows of one descriptor in the watch of poll_oneoff.
type nativeSlot struct {
	fd    int32
	asked uint32
	at    [2]uint32
	flags uint32
}

// nativeFileOf leaves to Go what others share, whose blocking is emulated.
func nativeFileOf(e *entry) nativeFile {
	if e == nil || !isSocket(e) || e.shared {
		return nativeFile{}
	}
	f := nativeFile{fd: int32(e.fd), flags: nativeSocket}
	if e.stream {
		f.flags |= nativeStream
	}
	if e.flags&fdflagNonblock != 0 {
		f.flags |= nativeNonblock
	}
	return f
}

// update is called when the entry at fd has changed.
func (n *native) update(fd int, e *entry) {
	if n.guest == nil {
		return
	}
	f := nativeFileOf(e)
	if fd >= len(n.files.list) && (f.flags == 0 || !n.files.grow(fd+1)) {
		return
	}
	n.files.list[fd] = f
	n.showFiles()
}

// begin tells of what the guest has already.
func (n *native) begin(t *table) uintptr {
	if n.guest != nil {
		return n.env()
	}
	env := n.env()
	for fd, e := range t.entries {
		n.update(fd, e)
	}
	return env
}

// hideWatch keeps C from waiting until the next showing.
func (n *native) hideWatch() {
	if n.guest != nil {
		n.guest.nkeys = 0
	}
}

// crowded says that C waits for n subscriptions by ppoll: much happens on them.
func (n *native) crowded(subs uint32) bool {
	return n.guest != nil && len(n.files.list) > 0 && n.guest.sparse == 0 && subs <= pollMost
}

// tellWatch shows the watch if C can wait with it as it is. Slots that no change
// has touched are known.
func (n *native) tellWatch(q *watch) {
	if n.guest == nil || len(n.files.list) == 0 || q.edge != 0 || q.rebuild || len(q.told) > 0 {
		return
	}
	known := len(n.slots.list)
	if !n.keys.grow(len(q.last)) || !n.slots.grow(len(q.slots)) || !n.events.grow(watchEvents) {
		return
	}
	for i := known; i < len(q.slots); i++ {
		n.slots.list[i] = nativeSlotOf(&q.slots[i])
	}
	for _, i := range q.touched {
		n.slots.list[i] = nativeSlotOf(&q.slots[i])
	}
	copy(n.keys.list, q.last)
	n.showWatch(q.epfd, len(q.last))
}

func nativeSlotOf(s *watched) nativeSlot {
	if s.file == nil {
		return nativeSlot{fd: -1}
	}
	out := nativeSlot{fd: int32(s.file.fd), asked: s.asked, at: s.at}
	if isSocket(s.file) {
		out.flags = nativeSocket
	}
	if s.file.stream {
		out.flags |= nativeStream
	}
	return out
}
