package hostfuncs

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"
)

// shortWait is how long a wait may keep one of Go's processors, in nanoseconds.
// A server with work to do is woken sooner; giving the processor back and
// getting it again would cost it more than the wait.
const shortWait = 1_000_000

// watchKernel waits until a descriptor is ready, a deadline has passed or a
// signal came.
func (h *Host) watchKernel(q *watch, w *pollWait) Errno {
	timeout := h.timeLeft(w)
	q.ready = 0
	if timeout == 0 || timeout >= shortWait {
		if errno := q.wait(min(int(timeout/shortWait), 1), false); errno != errnoSuccess || q.ready > 0 || timeout == 0 {
			return errno
		}
		if timeout = h.timeLeft(w); timeout == 0 {
			return errnoSuccess
		}
	}
	switch {
	case timeout == never:
		return q.wait(-1, true)
	case w.wall == never && !q.noPwait2:
		if errno := q.waitFor(timeout); errno != errnoNosys {
			return errno
		}
		q.noPwait2 = true
	}
	return h.watchPoll(q, w)
}

// timeLeft is how long to wait at most, in nanoseconds, by the clocks of today.
func (h *Host) timeLeft(w *pollWait) uint64 {
	if w.due {
		return 0
	}
	left := uint64(never)
	if w.mono != never {
		left = remaining(w.mono, h.clock.monotonic())
	}
	if w.wall != never {
		left = min(left, remaining(w.wall, h.clock.realtime()))
	}
	return left
}

// watchPoll waits with ppoll for the watch itself: for a time that
// epoll_wait's milliseconds cannot express, and beside the timer of a
// deadline on the real-time clock.
func (h *Host) watchPoll(q *watch, w *pollWait) Errno {
	l := &h.poll
	l.fds = append(l.fds[:0], unix.PollFd{Fd: int32(q.epfd), Events: unix.POLLIN})
	if errno := h.pollFds(w); errno != errnoSuccess {
		return errno
	}
	return q.wait(0, false)
}

// report writes an event for each subscription that is due, and gives their
// number.
func (q *watch) report(h *Host, a pollArgs, w *pollWait) uint32 {
	out := a.events
	for _, v := range q.told {
		ev := q.event(a.subs, v.at)
		if ev.errno = v.errno; v.errno == errnoSuccess {
			q.fill(h, a.subs, v.at, &ev)
		}
		out = ev.next(out)
	}
	for i := range q.events[:q.ready] {
		s := &q.slots[q.events[i].Fd]
		revents := q.events[i].Events
		for dir, bit := range directions {
			if s.asked&bit == 0 || revents&bit == 0 && revents&(unix.EPOLLIN|unix.EPOLLOUT) != 0 {
				continue
			}
			ev := q.event(a.subs, s.at[dir])
			describe(&ev, s.file, int16(revents))
			out = ev.next(out)
		}
	}
	if len(q.clocks) > 0 {
		out = q.reportClocks(h, a.subs, w, out)
	}
	return uint32((len(a.events) - len(out)) / eventSize)
}

// next writes e and gives what is behind it.
func (e *event) next(out []byte) []byte {
	e.put(out)
	return out[eventSize:]
}

func (q *watch) reportClocks(h *Host, subs []byte, w *pollWait, out []byte) []byte {
	mono, wall := h.clock.monotonic(), h.clock.realtime()
	for _, i := range q.clocks {
		s := readSubscription(subs[int(i)*subscriptionSize:])
		now := mono
		if s.wall() {
			now = wall
		}
		ev := event{userdata: s.userdata, kind: eventClock, errno: s.refused()}
		if ev.errno != errnoSuccess || now >= w.deadline(&s) {
			out = ev.next(out)
		}
	}
	return out
}

// event begins the event of the subscription at a position.
func (q *watch) event(subs []byte, at uint32) event {
	b := subs[int(at)*subscriptionSize:]
	return event{userdata: binary.LittleEndian.Uint64(b), kind: b[8]}
}

// fill describes a descriptor that is always ready.
func (q *watch) fill(h *Host, subs []byte, at uint32, ev *event) {
	s := readSubscription(subs[int(at)*subscriptionSize:])
	if e, errno := h.files.get(s.fd); errno == errnoSuccess {
		describe(ev, e, pollMask(s.tag))
	}
}

// timespec is a timeout for the kernel.
func timespec(ns uint64) unix.Timespec {
	return unix.NsecToTimespec(int64(min(ns, math.MaxInt64)))
}
