package hostfuncs

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sub is one subscription as a test writes it.
type sub struct {
	userdata uint64
	tag      uint8
	id       uint32 // the fd or the clock
	timeout  uint64
	flags    uint16
}

func readSub(userdata uint64, fd uint32) sub {
	return sub{userdata: userdata, tag: eventFdRead, id: fd}
}

func writeSub(userdata uint64, fd uint32) sub {
	return sub{userdata: userdata, tag: eventFdWrite, id: fd}
}

func afterSub(userdata uint64, d time.Duration) sub {
	return sub{userdata: userdata, tag: eventClock, id: clockMonotonic, timeout: uint64(d)}
}

// putSubs lays subscriptions out as witx has them, with noise in the padding.
func (g *guest) putSubs(subs []sub) uint64 {
	g.t.Helper()
	ptr := g.alloc(len(subs) * subscriptionSize)
	b := g.bytes(ptr, uint64(len(subs)*subscriptionSize))
	for i := range b {
		b[i] = canary
	}
	for _, s := range subs {
		binary.LittleEndian.PutUint64(b, s.userdata)
		b[8] = s.tag
		binary.LittleEndian.PutUint32(b[16:], s.id)
		binary.LittleEndian.PutUint64(b[24:], s.timeout)
		binary.LittleEndian.PutUint16(b[40:], s.flags)
		b = b[subscriptionSize:]
	}
	return ptr
}

// poll calls poll_oneoff and decodes the events.
func (g *guest) poll(subs ...sub) []event {
	g.t.Helper()
	top := g.top
	defer func() { g.top = top }()
	in := g.putSubs(subs)
	out := g.alloc(len(subs) * eventSize)
	count := g.alloc(4)
	g.must("poll_oneoff", in, out, uint64(len(subs)), count)
	n := uint64(g.u32(count))
	if n == 0 || n > uint64(len(subs)) {
		g.t.Fatalf("%d events for %d subscriptions", n, len(subs))
	}
	var events []event
	for i := range n {
		b := g.bytes(out+i*eventSize, eventSize)
		events = append(events, event{
			userdata: binary.LittleEndian.Uint64(b),
			errno:    Errno(binary.LittleEndian.Uint16(b[8:])),
			kind:     b[10],
			nbytes:   binary.LittleEndian.Uint64(b[16:]),
			flags:    binary.LittleEndian.Uint16(b[24:]),
		})
		for _, at := range []int{11, 12, 13, 14, 15, 26, 27, 28, 29, 30, 31} {
			if b[at] != 0 {
				g.t.Errorf("padding byte %d of event %d is %d", at, i, b[at])
			}
		}
	}
	return events
}

// wantEvents compares events without the sizes, which have a test of their own.
func wantEvents(t *testing.T, got []event, want ...event) {
	t.Helper()
	got = slices.Clone(got)
	for i := range got {
		got[i].nbytes = 0
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %+v\nwant   %+v", got, want)
	}
}

func TestPollOneoffEventErrors(t *testing.T) {
	g := pipeGuest(t)
	g.hostWrite(4, "x")
	clockSub := func(id uint32, flags uint16) sub {
		return sub{userdata: 1, tag: eventClock, id: id, timeout: uint64(time.Hour), flags: flags}
	}
	for _, c := range []struct {
		name string
		subs []sub
		want []event
	}{
		{"unknown fd", []sub{readSub(1, 77)}, []event{{userdata: 1, kind: eventFdRead, errno: errnoBadf}}},
		{"huge fd", []sub{writeSub(1, math.MaxUint32)}, []event{{userdata: 1, kind: eventFdWrite, errno: errnoBadf}}},
		{"unused stdio", []sub{readSub(1, 0)}, []event{{userdata: 1, kind: eventFdRead, errno: errnoBadf}}},
		{"unknown beside ready", []sub{readSub(1, 3), readSub(2, 77)},
			[]event{{userdata: 1, kind: eventFdRead}, {userdata: 2, kind: eventFdRead, errno: errnoBadf}}},
		{"unknown beside not ready", []sub{readSub(1, 4), readSub(2, 77), afterSub(3, time.Hour)},
			[]event{{userdata: 2, kind: eventFdRead, errno: errnoBadf}}},
		{"twice", []sub{readSub(1, 3), readSub(2, 3), writeSub(3, 3), readSub(4, 3)},
			[]event{{userdata: 1, kind: eventFdRead}, {userdata: 2, kind: eventFdRead, errno: errnoExist},
				{userdata: 4, kind: eventFdRead, errno: errnoExist}}},
		{"twice not ready", []sub{readSub(1, 4), readSub(2, 4)},
			[]event{{userdata: 2, kind: eventFdRead, errno: errnoExist}}},
		{"process clock", []sub{clockSub(2, 0)}, []event{{userdata: 1, errno: errnoNotsup}}},
		{"thread clock", []sub{clockSub(3, 1)}, []event{{userdata: 1, errno: errnoNotsup}}},
		{"no clock", []sub{clockSub(4, 0)}, []event{{userdata: 1, errno: errnoInval}}},
		{"clock flags", []sub{clockSub(0, 2)}, []event{{userdata: 1, errno: errnoInval}}},
	} {
		t.Run(c.name, func(t *testing.T) { wantEvents(t, g.poll(c.subs...), c.want...) })
	}
}

func TestPollOneoffCallErrors(t *testing.T) {
	g := pipeGuest(t)
	in := g.putSubs([]sub{afterSub(1, 0), {tag: 3}})
	out, count := g.alloc(2*eventSize), g.alloc(4)
	g.must("poll_oneoff", in, out, 1, count)
	for _, c := range []struct {
		name           string
		in, out, n, at uint64
		want           Errno
	}{
		{"nothing", in, out, 0, count, errnoInval},
		{"tag", in, out, 2, count, errnoInval},
		{"in outside", guestMemory - 47, out, 1, count, errnoFault},
		{"out outside", in, guestMemory - 31, 1, count, errnoFault},
		{"count outside", in, out, 1, guestMemory - 3, errnoFault},
		{"more than the memory holds", 0, 0, guestMemory/subscriptionSize + 1, count, errnoFault},
		{"product of 2^32", 0, 0, 1 << 28, count, errnoFault},
		{"all ones", 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, errnoFault},
	} {
		t.Run(c.name, func(t *testing.T) { g.want(c.want, "poll_oneoff", c.in, c.out, c.n, c.at) })
	}
	// After a refused call the next one is a fresh start.
	wantEvents(t, g.poll(writeSub(1, 4)), event{userdata: 1, kind: eventFdWrite})
	// Unaligned, and input and output in the same place.
	copy(g.mem[1001:], g.bytes(in, subscriptionSize))
	copy(g.mem[1001+subscriptionSize:], g.bytes(in, subscriptionSize))
	g.must("poll_oneoff", 1001, 1001, 2, 1997)
	if n, user := g.u32(1997), g.u64(1001+eventSize); n != 2 || user != 1 {
		t.Errorf("%d events, the second for %d", n, user)
	}
}

func TestPollOneoffClock(t *testing.T) {
	g := newGuest(t, Config{})
	const wait = 20 * time.Millisecond
	for _, c := range []struct {
		name  string
		clock uint32
		flags uint16
		base  func() uint64
	}{
		{"relative monotonic", clockMonotonic, 0, func() uint64 { return 0 }},
		{"relative realtime", clockRealtime, 0, func() uint64 { return 0 }},
		{"absolute monotonic", clockMonotonic, subclockAbstime, g.clock.monotonic},
		{"absolute realtime", clockRealtime, subclockAbstime, g.clock.realtime},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := g.clock.monotonic
			if c.clock == clockRealtime {
				now = g.clock.realtime
			}
			start := now()
			deadline := start + uint64(wait)
			timeout := uint64(wait)
			if c.flags != 0 {
				timeout = deadline
			}
			got := g.poll(sub{userdata: 5, id: c.clock, timeout: timeout, flags: c.flags})
			wantEvents(t, got, event{userdata: 5})
			if late := int64(now() - deadline); late < 0 || late > int64(5*time.Second) {
				t.Errorf("woke %d ns after the deadline", late)
			}
			// The past is due at once.
			past := sub{userdata: 6, id: c.clock, timeout: min(timeout, 1), flags: c.flags}
			wantEvents(t, g.poll(past), event{userdata: 6})
		})
	}
}

// TestPollOneoffClockOrder has several deadlines in one call: those that have
// passed are reported, all of them.
func TestPollOneoffClockOrder(t *testing.T) {
	g := pipeGuest(t)
	hour := uint64(time.Hour)
	got := g.poll(
		afterSub(1, time.Hour), afterSub(2, 2*time.Millisecond), afterSub(3, time.Millisecond/2),
		sub{userdata: 4, id: clockRealtime, timeout: g.clock.realtime() + hour, flags: subclockAbstime},
		sub{userdata: 5, id: clockMonotonic, timeout: math.MaxUint64},
		sub{userdata: 6, id: clockRealtime, timeout: math.MaxUint64, flags: subclockAbstime},
	)
	for _, e := range got {
		if e.userdata != 2 && e.userdata != 3 {
			t.Errorf("event %+v is not due", e)
		}
	}
	if !slices.ContainsFunc(got, func(e event) bool { return e.userdata == 3 }) {
		t.Errorf("the first deadline is missing in %+v", got)
	}
	// An expired clock does not hide a ready descriptor, nor the reverse.
	g.hostWrite(4, "x")
	wantEvents(t, g.poll(afterSub(1, 0), readSub(2, 3), afterSub(3, time.Hour)),
		event{userdata: 1}, event{userdata: 2, kind: eventFdRead})
}

// TestPollOneoffClockSet cannot set the machine's clock; it looks at the timer
// that the kernel moves when somebody does.
func TestPollOneoffClockSet(t *testing.T) {
	g := newGuest(t, Config{})
	deadline := g.clock.realtime() + uint64(200*time.Millisecond) // no timer for what is due already
	g.poll(sub{userdata: 1, id: clockRealtime, timeout: deadline, flags: subclockAbstime})
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", g.Host.poll.timer))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"clockid: 0\n", "settime flags: 01\n"} {
		if !strings.Contains(string(info), want) {
			t.Errorf("no %q in %s", want, info)
		}
	}
}

// TestPollOneoffTimerless takes the timer's descriptor away.
func TestPollOneoffTimerless(t *testing.T) {
	g := newGuest(t, Config{})
	deadline := g.clock.realtime() + uint64(5*time.Millisecond)
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: 0, Max: lim.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	got := g.poll(sub{userdata: 1, id: clockRealtime, timeout: deadline, flags: subclockAbstime})
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got, event{userdata: 1})
	if g.Host.poll.timer >= 0 || g.clock.realtime() < deadline {
		t.Errorf("timer %d, %d ns before the deadline", g.Host.poll.timer, int64(deadline-g.clock.realtime()))
	}
}

// TestPollOneoffInterrupted sends signals while the guest sleeps: it must
// neither fail nor wake early.
//
// With one processor it also shows that the engine's other goroutines, such as
// the one that handles SIGTERM, get it while the guest sleeps.
func TestPollOneoffInterrupted(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	g := pipeGuest(t)
	const wait = 50 * time.Millisecond
	done := make(chan struct{})
	stopped := make(chan struct{})
	var signals atomic.Int32
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
				// SIGURG is what Go's own preemption sends.
				_ = unix.Kill(unix.Getpid(), unix.SIGURG)
				signals.Add(1)
			}
		}
	}()
	start := time.Now()
	wantEvents(t, g.poll(readSub(1, 3), afterSub(2, wait)), event{userdata: 2})
	if took := time.Since(start); took < wait {
		t.Errorf("woke after %v, want %v", took, wait)
	}
	if signals.Load() < 3 {
		t.Errorf("%d signals were sent during the sleep", signals.Load())
	}
	close(done)
	<-stopped
}

func BenchmarkPollOneoff(b *testing.B) {
	for _, c := range []struct {
		name string
		subs []sub
	}{
		{"clock", []sub{afterSub(1, 0)}},
		{"pipe", []sub{writeSub(1, 4), afterSub(2, time.Hour)}},
		{"absolute", []sub{writeSub(1, 4), {userdata: 2, timeout: math.MaxInt64, flags: subclockAbstime}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			g := pipeGuest(b)
			in := g.putSubs(c.subs)
			out, count := g.alloc(len(c.subs)*eventSize), g.alloc(4)
			p := make([]uint64, 4)
			b.ReportAllocs()
			for b.Loop() {
				p[0], p[1], p[2], p[3] = in, out, uint64(len(c.subs)), count
				if errno := g.pollOneoff(g.mem, p); errno != errnoSuccess {
					b.Fatal(errno)
				}
			}
		})
	}
}
