package hostfuncs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// event is one record of poll_oneoff's output.
type event struct {
	userdata uint64
	errno    Errno
	kind     uint8
	nbytes   uint64
	flags    uint16
}

// put writes all 32 bytes, padding included.
func (e *event) put(b []byte) {
	_ = b[eventSize-1]
	clear(b[:eventSize])
	binary.LittleEndian.PutUint64(b, e.userdata)
	binary.LittleEndian.PutUint16(b[8:], uint16(e.errno))
	b[10] = e.kind
	binary.LittleEndian.PutUint64(b[16:], e.nbytes)
	binary.LittleEndian.PutUint16(b[24:], e.flags)
}

// pollReport writes an event for each subscription that is due, in the order of
// the subscriptions, and gives their number.
func (h *Host) pollReport(subs, events []byte, w *pollWait) uint32 {
	// One reading of each clock: deadlines that are equal are due together.
	mono, wall := uint64(0), uint64(0)
	if w.mono != never {
		mono = h.clock.monotonic()
	}
	if w.wall != never {
		wall = h.clock.realtime()
	}
	for i := range h.poll.items {
		h.poll.items[i].told = 0
	}
	n := uint32(0)
	for ; len(subs) > 0; subs = subs[subscriptionSize:] {
		s := readSubscription(subs)
		ev := event{userdata: s.userdata, kind: s.tag}
		var due bool
		if s.tag == eventClock {
			now := mono
			if s.wall() {
				now = wall
			}
			ev.errno = s.refused()
			due = ev.errno != errnoSuccess || now >= w.deadline(&s)
		} else {
			due = h.pollFd(&s, &ev)
		}
		if due {
			ev.put(events)
			events = events[eventSize:]
			n++
		}
	}
	return n
}

// pollFd fills in what is to be said about a descriptor; false if nothing is.
func (h *Host) pollFd(s *subscription, ev *event) bool {
	if uint64(s.fd) >= uint64(len(h.poll.slots)) || h.poll.slots[s.fd] == 0 {
		ev.errno = errnoBadf
		return true
	}
	i := h.poll.slots[s.fd] - 1
	item, mask := &h.poll.items[i], pollMask(s.tag)
	if item.told&mask != 0 {
		ev.errno = errnoExist
		return true
	}
	item.told |= mask
	revents := h.poll.fds[i].Revents
	if alwaysReady(item.file) {
		revents = mask
	}
	switch {
	case revents&unix.POLLNVAL != 0:
		ev.errno = errnoBadf
		return true
	case revents&mask != 0:
	case revents&(unix.POLLIN|unix.POLLOUT) == 0 && revents&(unix.POLLHUP|unix.POLLERR) != 0:
		// Neither direction will become ready any more: both are told.
	default:
		return false
	}
	describe(ev, item.file, revents)
	return true
}

// describe says what a ready descriptor is ready for; ev.kind is the direction.
// The bits of poll(2) and epoll(7) are the same.
func describe(ev *event, e *entry, revents int16) {
	if hungUp(e, revents) {
		ev.flags = eventHangup
	}
	if ev.kind == eventFdRead {
		ev.nbytes = readable(e)
	} else {
		ev.nbytes = writable(e)
	}
}

// hungUp says that the other side is gone. For the writing end of a pipe Linux
// has POLLERR instead of POLLHUP (pipe_poll); for a socket POLLERR is an error
// that the next call on it returns.
func hungUp(e *entry, revents int16) bool {
	if revents&unix.POLLHUP != 0 {
		return true
	}
	return revents&unix.POLLERR != 0 && !isSocket(e)
}

func isSocket(e *entry) bool {
	return e.kind == filetypeSocket || e.kind == filetypeSocketDgram
}

// sizeUnknown is reported where something can be read or written and nobody says
// how much: a zero would look like an end of file.
const sizeUnknown = 1

// readable is how many bytes can be read without blocking.
func readable(e *entry) uint64 {
	switch e.kind {
	case filetypeRegular:
		var st unix.Stat_t
		if err := unix.Fstat(e.fd, &st); err != nil {
			return sizeUnknown
		}
		at, err := unix.Seek(e.fd, 0, unix.SEEK_CUR)
		if err != nil {
			return sizeUnknown
		}
		return uint64(max(st.Size-at, 0))
	case filetypeDir:
		return 0
	case filetypeSocket:
		if e.stream {
			return sizeUnknown // RATIONALE.md: a system call for each ready connection
		}
	}
	// TIOCINQ is Linux's other name for FIONREAD; a listener has none.
	n, err := unix.IoctlGetUint32(e.fd, unix.TIOCINQ)
	if err != nil {
		return sizeUnknown
	}
	return uint64(n)
}

// writable is how many bytes can be written without blocking. The kernel's
// SO_SNDBUF counts its own bookkeeping too, so that this is an upper bound.
func writable(e *entry) uint64 {
	if !isSocket(e) {
		return sizeUnknown
	}
	size, err := unix.GetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return sizeUnknown
	}
	queued, err := unix.IoctlGetUint32(e.fd, unix.SIOCOUTQ)
	if err != nil {
		return sizeUnknown
	}
	return uint64(max(size-int(queued), 0))
}
