package hostfuncs

import (
	"encoding/binary"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// watch is a set of descriptors that the kernel keeps from call to call, so
// that a guest that waits for ten thousand sockets pays for those that have
// something to say. What the guest lists is compared with what it listed the
// last time; only differences reach the kernel.
type watch struct {
	// epfd is the epoll descriptor, -1 until needed.
	epfd int
	// edge is EPOLLET for epoll_oneoff, 0 for poll_oneoff; index is the
	// watch's place in entry.slots.
	edge  uint32
	index int
	// slots are the descriptors that the kernel has; a slot's index is the
	// event's data.
	slots []watched
	free  []uint32
	// last is the key of each subscription of the last call.
	last []uint64
	// rebuild says that last cannot be compared with: something in it was not
	// an ordinary subscription of an open descriptor.
	rebuild bool

	// The rest is scratch of one call: the positions whose key changed, those
	// of clocks, the slots that a change touched, what needs no waiting, and
	// what the kernel said.
	changed, clocks, touched []uint32
	told                     []verdict
	events                   []unix.EpollEvent
	ready                    int
	// noPwait2 remembers that the kernel (before 5.11) or a seccomp filter has
	// no epoll_pwait2.
	noPwait2 bool
}

// The watches of a Host.
const (
	watchLevel = iota
	watchEdge
	watches
)

// forget is called before a descriptor loses its number.
func (h *Host) forget(e *entry) {
	h.native.hideWatch()
	for i := range h.watches {
		h.watches[i].forget(e)
	}
}

// watched is one descriptor in a watch.
type watched struct {
	file *entry
	// has is what the kernel was told, asked what the guest wants: EPOLLIN and
	// EPOLLOUT.
	has, asked uint32
	// at is the position of the subscription of each direction.
	at      [2]uint32
	touched bool
}

// verdict is the event of a subscription that needs no waiting.
type verdict struct {
	at    uint32
	errno Errno
}

// The keys in watch.last: tag and descriptor, or one of these.
const (
	keyNone  = 0
	keyClock = 1 << 40
)

// watchEvents is how many descriptors one look at the kernel can find ready.
// Those left over are found by the next.
const watchEvents = 512

var directions = [2]uint32{unix.EPOLLIN, unix.EPOLLOUT}

// epollOneoff is WasmEdge's edge-triggered poll_oneoff. No subscriptions drop
// what was registered, and there is nothing to wait for.
func (h *Host) epollOneoff(mem abi.Memory, p []uint64) Errno {
	a, errno := pollArguments(mem, p)
	if errno != errnoSuccess {
		return errno
	}
	return h.pollWatch(mem, &h.watches[watchEdge], a)
}

// pollWatch is poll_oneoff on a watch.
func (h *Host) pollWatch(mem abi.Memory, q *watch, a pollArgs) Errno {
	if !q.open() {
		return h.pollList(mem, a)
	}
	h.native.hideWatch()
	w := pollWait{start: h.clock.monotonic(), mono: never, wall: never}
	if errno := q.scan(a.subs, &w); errno != errnoSuccess {
		return errno
	}
	q.apply(h, a.subs)
	if !q.sync() {
		q.reset()
		return h.pollList(mem, a)
	}
	if len(a.subs) == 0 {
		mem.PutUint32(a.nevents, 0)
		return errnoSuccess
	}
	if overlap(a.subs, a.events) {
		// Events come in the kernel's order here and would be written over
		// subscriptions still to be read.
		q.rebuild = true
		a.subs = append([]byte(nil), a.subs...)
	}
	h.native.tellWatch(q)
	w.due = w.due || len(q.told) > 0
	for {
		if errno := h.watchKernel(q, &w); errno != errnoSuccess {
			return errno
		}
		if n := q.report(h, a, &w); n > 0 {
			mem.PutUint32(a.nevents, n)
			return errnoSuccess
		}
	}
}

// open makes the epoll descriptor; false if there is none to be had.
func (q *watch) open() bool {
	if q.epfd >= 0 {
		return true
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	q.epfd = fd
	if q.events == nil {
		q.events = make([]unix.EpollEvent, watchEvents)
	}
	return true
}

// scan compares the subscriptions with the last ones and notes the deadlines.
// It changes nothing that lasts.
func (q *watch) scan(subs []byte, w *pollWait) Errno {
	q.changed, q.clocks = q.changed[:0], q.clocks[:0]
	for i := uint32(0); len(subs) > 0; i, subs = i+1, subs[subscriptionSize:] {
		key := keyOf(subs)
		if key == keyClock {
			q.clocks = append(q.clocks, i)
			w.add(subs)
		} else if tag := key >> 32; tag != eventFdRead && tag != eventFdWrite {
			return errnoInval
		}
		if q.rebuild || uint64(i) >= uint64(len(q.last)) || q.last[i] != key {
			q.changed = append(q.changed, i)
		}
	}
	return errnoSuccess
}

// keyOf is the part of a subscription that says what to wait for.
func keyOf(sub []byte) uint64 {
	_ = sub[subscriptionSize-1]
	if sub[8] == eventClock {
		return keyClock
	}
	return uint64(sub[8])<<32 | uint64(binary.LittleEndian.Uint32(sub[16:]))
}

// add notes the deadline of a clock's subscription.
func (w *pollWait) add(sub []byte) {
	s := readSubscription(sub)
	switch {
	case s.refused() != errnoSuccess:
		w.due = true
	case s.wall():
		w.wall = min(w.wall, w.deadline(&s))
	default:
		w.mono = min(w.mono, w.deadline(&s))
	}
}

// apply brings the slots up to what the guest asks for now.
func (q *watch) apply(h *Host, subs []byte) {
	q.told, q.touched = q.told[:0], q.touched[:0]
	n := len(subs) / subscriptionSize
	if q.rebuild {
		for i := range q.slots {
			if q.slots[i].file != nil {
				q.slots[i].asked = 0
				q.touch(uint32(i))
			}
		}
	} else {
		for _, i := range q.changed {
			if int(i) < len(q.last) {
				q.drop(h, q.last[i])
			}
		}
		for i := n; i < len(q.last); i++ {
			q.drop(h, q.last[i])
		}
	}
	q.rebuild = false
	if n <= cap(q.last) {
		q.last = q.last[:n]
	} else {
		q.last = append(q.last, make([]uint64, n-len(q.last))...)
	}
	for _, i := range q.changed {
		key := keyOf(subs[int(i)*subscriptionSize:])
		q.last[i] = key
		if key != keyClock {
			q.ask(h, i, key)
		}
	}
}

// drop takes back what a position of the last call asked for.
func (q *watch) drop(h *Host, key uint64) {
	if key == keyNone || key == keyClock {
		return
	}
	e, errno := h.files.get(uint32(key))
	if errno != errnoSuccess || e.slots[q.index] == 0 {
		return
	}
	slot := e.slots[q.index] - 1
	q.slots[slot].asked &^= directions[key>>32-eventFdRead]
	q.touch(slot)
}

func (q *watch) touch(slot uint32) {
	if s := &q.slots[slot]; !s.touched {
		s.touched = true
		q.touched = append(q.touched, slot)
	}
}

// ask notes what the subscription at position i waits for, or why it need not.
func (q *watch) ask(h *Host, i uint32, key uint64) {
	e, errno := h.files.get(uint32(key))
	switch {
	case errno != errnoSuccess:
		q.tell(i, errno)
		return
	case alwaysReady(e):
		q.tell(i, errnoSuccess)
		return
	}
	if e.slots[q.index] == 0 {
		e.slots[q.index] = q.take(e) + 1
	}
	slot := e.slots[q.index] - 1
	s, dir := &q.slots[slot], key>>32-eventFdRead
	if s.asked&directions[dir] != 0 {
		q.tell(i, errnoExist)
		return
	}
	s.asked |= directions[dir]
	s.at[dir] = i
	q.touch(slot)
}

func (q *watch) tell(i uint32, errno Errno) {
	q.told = append(q.told, verdict{i, errno})
	q.rebuild = true
}

// take gives e a slot.
func (q *watch) take(e *entry) uint32 {
	if n := len(q.free); n > 0 {
		slot := q.free[n-1]
		q.free = q.free[:n-1]
		q.slots[slot] = watched{file: e}
		return slot
	}
	q.slots = append(q.slots, watched{file: e})
	return uint32(len(q.slots) - 1)
}

func (q *watch) release(slot uint32) {
	q.slots[slot].file.slots[q.index] = 0
	q.slots[slot] = watched{}
	q.free = append(q.free, slot)
}

// sync tells the kernel of the slots that changed. False means that the kernel
// takes no more (max_user_watches, memory).
func (q *watch) sync() bool {
	for _, slot := range q.touched {
		s := &q.slots[slot]
		s.touched = false
		if s.asked == s.has {
			if s.asked == 0 {
				q.release(slot)
			}
			continue
		}
		op := unix.EPOLL_CTL_MOD
		switch {
		case s.has == 0:
			op = unix.EPOLL_CTL_ADD
		case s.asked == 0:
			op = unix.EPOLL_CTL_DEL
		}
		err := epollCtl(q.epfd, op, s.file.fd, &unix.EpollEvent{Events: s.asked | q.edge, Fd: int32(slot)})
		switch {
		case err == unix.EPERM && op == unix.EPOLL_CTL_ADD:
			// A file without a state to wait for: POSIX has it always ready.
			for dir, bit := range directions {
				if s.asked&bit != 0 {
					q.tell(s.at[dir], errnoSuccess)
				}
			}
			q.release(slot)
			continue
		case err != 0 && op != unix.EPOLL_CTL_DEL:
			return false
		}
		if s.has = s.asked; s.has == 0 {
			q.release(slot)
		}
	}
	return true
}

// forget drops a descriptor that is about to be closed or to get another
// number. The kernel would drop it by itself only with the last of the
// descriptors that share its description.
func (q *watch) forget(e *entry) {
	if e.slots[q.index] == 0 {
		return
	}
	slot := e.slots[q.index] - 1
	s := &q.slots[slot]
	for dir, bit := range directions {
		if s.asked&bit != 0 && int(s.at[dir]) < len(q.last) {
			q.last[s.at[dir]] = keyNone
		}
	}
	if s.has != 0 {
		_ = epollCtl(q.epfd, unix.EPOLL_CTL_DEL, e.fd, &unix.EpollEvent{})
	}
	q.release(slot)
}

// reset forgets everything; closing the descriptor makes the kernel do so.
func (q *watch) reset() {
	for i := range q.slots {
		if q.slots[i].file != nil {
			q.release(uint32(i))
		}
	}
	q.close()
	q.slots, q.free, q.last = q.slots[:0], q.free[:0], q.last[:0]
	q.rebuild = false
}

func (q *watch) close() {
	if q.epfd >= 0 {
		_ = unix.Close(q.epfd)
		q.epfd = -1
	}
}
