package hostfuncs

import (
	"encoding/binary"
	"math"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

var pollFunctions = []function{
	{module: preview1, name: "poll_oneoff", params: "iiii", results: "i",
		names: "in,out,nsubscriptions,nevents=4", call: (*Host).pollOneoff},
}

// The witx layouts of subscription and event.
const (
	subscriptionSize = 48
	eventSize        = 32
)

// The witx eventtypes, which are also the tags of a subscription.
const (
	eventClock   = 0
	eventFdRead  = 1
	eventFdWrite = 2
)

const (
	subclockAbstime = 1
	eventHangup     = 1
)

// never is a deadline that does not come.
const never = math.MaxUint64

// subscription is one record of poll_oneoff's input.
type subscription struct {
	userdata uint64
	tag      uint8
	// fd is set for the two fd tags, the rest for a clock.
	fd      uint32
	clock   uint32
	timeout uint64
	flags   uint16
}

func readSubscription(b []byte) subscription {
	_ = b[subscriptionSize-1]
	id := binary.LittleEndian.Uint32(b[16:])
	return subscription{
		userdata: binary.LittleEndian.Uint64(b),
		tag:      b[8],
		fd:       id,
		clock:    id,
		timeout:  binary.LittleEndian.Uint64(b[24:]),
		flags:    binary.LittleEndian.Uint16(b[40:]),
	}
}

// refused is what makes a clock subscription impossible.
func (s *subscription) refused() Errno {
	switch {
	case s.clock > clockThread || s.flags&^subclockAbstime != 0:
		return errnoInval
	case s.clock > clockMonotonic:
		// The kernel can wait for CPU time to pass, but the guest would wait
		// for its own, which does not pass meanwhile.
		return errnoNotsup
	}
	return errnoSuccess
}

// wall says that the deadline moves when the host's clock is set.
func (s *subscription) wall() bool {
	return s.clock == clockRealtime && s.flags&subclockAbstime != 0
}

// poller is what poll_oneoff keeps from call to call, so that a guest's event
// loop does not allocate.
type poller struct {
	// fds is what the kernel polls: one element per descriptor, whatever number
	// of subscriptions it has, then the timer if one is needed.
	fds []unix.PollFd
	// items run parallel to fds, without the timer.
	items []pollItem
	// slots finds a guest's descriptor: 1 + its index in items, 0 for none.
	slots []uint32
	// timer is a timerfd for deadlines on the real-time clock, -1 until needed.
	timer int
}

// pollItem is one descriptor of the current call.
type pollItem struct {
	fd   uint32
	file *entry
	// asked and told are POLLIN and POLLOUT: what the guest waits for and what
	// was reported already, which tells a duplicate.
	asked, told int16
}

// pollWait is when the current call has to end.
type pollWait struct {
	// start is the monotonic time that relative deadlines count from.
	start uint64
	// mono and wall are the earliest deadlines of either kind.
	mono, wall uint64
	// due says that there is something to report whatever the kernel answers.
	due bool
}

// deadline is the monotonic time, or for s.wall() the real time, at which s is
// due. A relative timeout on the real-time clock counts elapsed time, as
// clock_nanosleep(2) does.
func (w *pollWait) deadline(s *subscription) uint64 {
	if s.flags&subclockAbstime != 0 {
		return s.timeout
	}
	if s.timeout > never-w.start {
		return never
	}
	return w.start + s.timeout
}

// pollFew is up to how many subscriptions one ppoll is cheaper than keeping a
// watch up to date.
const pollFew = 8

// pollMost is up to how many C uses ppoll where many of them are ready.
const pollMost = 1024

// pollArgs are the checked parameters of a call.
type pollArgs struct {
	subs, events []byte
	nevents      uint32
}

func pollArguments(mem abi.Memory, p []uint64) (a pollArgs, errno Errno) {
	n := uint64(uint32(p[2]))
	if n*subscriptionSize > uint64(len(mem)) {
		return a, errnoFault
	}
	var ok [3]bool
	a.nevents = uint32(p[3])
	a.subs, ok[0] = mem.Bytes(uint32(p[0]), uint32(n*subscriptionSize))
	a.events, ok[1] = mem.Bytes(uint32(p[1]), uint32(n*eventSize))
	_, ok[2] = mem.Bytes(a.nevents, 4)
	if !ok[0] || !ok[1] || !ok[2] {
		return a, errnoFault
	}
	return a, errnoSuccess
}

// pollOneoff waits until at least one subscription is due, and reports all that
// are. Problems of one subscription are reported in its event and let the
// others be; a tag that is none fails the call, because an event of that type
// cannot be expressed.
func (h *Host) pollOneoff(mem abi.Memory, p []uint64) Errno {
	if uint32(p[2]) == 0 {
		return errnoInval
	}
	a, errno := pollArguments(mem, p)
	switch {
	case errno != errnoSuccess:
		return errno
	case uint32(p[2]) <= pollFew:
	case h.native.crowded(uint32(p[2])):
		h.giveUpWatch()
	default:
		return h.pollWatch(mem, &h.watches[watchLevel], a)
	}
	return h.pollList(mem, a)
}

// giveUpWatch takes from the kernel what it would have to do for each packet of a
// crowd; the watch of a longer list stays.
func (h *Host) giveUpWatch() {
	if q := &h.watches[watchLevel]; len(q.last) <= pollMost {
		h.native.hideWatch()
		q.reset()
	}
}

// pollList asks in one ppoll.
func (h *Host) pollList(mem abi.Memory, a pollArgs) Errno {
	subs, events := a.subs, a.events
	if len(subs) == 0 {
		mem.PutUint32(a.nevents, 0)
		return errnoSuccess
	}
	if overlap(subs, events) {
		// An event may lie over a subscription still to be read.
		subs = append([]byte(nil), subs...)
	}
	w := pollWait{start: h.clock.monotonic(), mono: never, wall: never}
	if errno := h.pollGather(subs, &w); errno != errnoSuccess {
		return errno
	}
	for {
		if errno := h.pollKernel(&w); errno != errnoSuccess {
			return errno
		}
		if n := h.pollReport(subs, events, &w); n > 0 {
			mem.PutUint32(a.nevents, n)
			return errnoSuccess
		}
	}
}

// pollGather fills the kernel's list and w from the subscriptions.
func (h *Host) pollGather(subs []byte, w *pollWait) Errno {
	q := &h.poll
	q.reset(len(h.files.entries))
	for ; len(subs) > 0; subs = subs[subscriptionSize:] {
		s := readSubscription(subs)
		switch s.tag {
		case eventClock:
			w.add(subs)
		case eventFdRead, eventFdWrite:
			e, errno := h.files.get(s.fd)
			if errno != errnoSuccess || !q.ask(s.fd, e, pollMask(s.tag)) {
				w.due = true
			}
		default:
			return errnoInval
		}
	}
	return errnoSuccess
}

func pollMask(tag uint8) int16 {
	if tag == eventFdRead {
		return unix.POLLIN
	}
	return unix.POLLOUT
}

// reset forgets the last call; fds is the length of the guest's table.
func (q *poller) reset(fds int) {
	for i := range q.items {
		q.slots[q.items[i].fd] = 0
		q.items[i].file = nil
	}
	q.items = q.items[:0]
	q.fds = q.fds[:0]
	if len(q.slots) < fds {
		q.slots = append(q.slots, make([]uint32, fds-len(q.slots))...)
	}
}

// ask adds one direction of a descriptor. It answers false when the result is
// known without asking the kernel: a duplicate, or a file that is always ready.
func (q *poller) ask(fd uint32, e *entry, mask int16) bool {
	if q.slots[fd] == 0 {
		q.items = append(q.items, pollItem{fd: fd, file: e})
		q.slots[fd] = uint32(len(q.items))
		// The kernel skips negative numbers. A directory may be an O_PATH
		// descriptor, which it would call invalid.
		host := int32(-1)
		if !alwaysReady(e) {
			host = int32(e.fd)
		}
		q.fds = append(q.fds, unix.PollFd{Fd: host})
	}
	i := q.slots[fd] - 1
	if q.items[i].asked&mask != 0 {
		return false
	}
	q.items[i].asked |= mask
	q.fds[i].Events |= mask
	return q.fds[i].Fd >= 0
}

// alwaysReady says that poll(2) has no meaning for the file (POSIX: regular
// files always poll true).
func alwaysReady(e *entry) bool {
	return e.kind == filetypeRegular || e.kind == filetypeDir
}

// pollKernel waits until a descriptor is ready, a deadline has passed or a
// signal came; pollReport finds out which.
func (h *Host) pollKernel(w *pollWait) Errno {
	q := &h.poll
	q.fds = q.fds[:len(q.items)]
	return h.pollFds(w)
}

// pollFds waits for the list, shortly at first; see shortWait.
func (h *Host) pollFds(w *pollWait) Errno {
	q := &h.poll
	timeout := h.pollTimeout(w)
	ts := timespec(min(timeout, shortWait))
	n, err := ppoll(q.fds, &ts, false)
	if n == 0 && err == 0 && timeout > shortWait {
		if timeout == never {
			_, err = ppoll(q.fds, nil, true)
		} else {
			ts = timespec(timeout - shortWait)
			_, err = ppoll(q.fds, &ts, true)
		}
	}
	switch err {
	case 0:
		return errnoSuccess
	case unix.EINTR:
		// The list may be half filled in.
		for i := range q.fds {
			q.fds[i].Revents = 0
		}
		return errnoSuccess
	}
	return fromUnix(err)
}

// pollTimeout gives the nanoseconds to wait, or never, and puts the timer into
// the kernel's list if it is needed.
func (h *Host) pollTimeout(w *pollWait) uint64 {
	if w.due {
		return 0
	}
	timeout := uint64(never)
	if w.mono != never {
		timeout = remaining(w.mono, h.clock.monotonic())
	}
	if w.wall == never || timeout == 0 {
		return timeout
	}
	left := remaining(w.wall, h.clock.realtime())
	if left == 0 || !h.poll.arm(w.wall) {
		return min(timeout, left)
	}
	return timeout
}

func remaining(deadline, now uint64) uint64 {
	if now >= deadline {
		return 0
	}
	return deadline - now
}

// arm lets the poll end when the real-time clock reaches deadline, also if
// somebody sets that clock meanwhile. Without a descriptor to spare for the
// timer the caller falls back to the time left by today's clock.
func (q *poller) arm(deadline uint64) bool {
	if q.timer < 0 {
		fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
		if err != nil {
			return false
		}
		q.timer = fd
	}
	// Setting it anew also takes back an expiry that nobody has read.
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(min(deadline, math.MaxInt64)))}
	if err := unix.TimerfdSettime(q.timer, unix.TFD_TIMER_ABSTIME, &at, nil); err != nil {
		return false
	}
	q.fds = append(q.fds, unix.PollFd{Fd: int32(q.timer), Events: unix.POLLIN})
	return true
}

func (q *poller) close() {
	if q.timer >= 0 {
		_ = unix.Close(q.timer)
		q.timer = -1
	}
}
