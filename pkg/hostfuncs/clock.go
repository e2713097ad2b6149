package hostfuncs

import (
	"time"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// The witx clockids.
const (
	clockRealtime  = 0
	clockMonotonic = 1
	clockProcess   = 2
	clockThread    = 3
)

var clockFunctions = []function{
	{module: preview1, name: "clock_res_get", params: "ii", results: "i",
		names: "id,resolution=8", call: (*Host).clockResGet},
	{module: preview1, name: "clock_time_get", params: "iIi", results: "i",
		names: "id,precision,time=8", call: (*Host).clockTimeGet},
}

// clock turns Go's clock, which reads the vDSO, into CLOCK_MONOTONIC:
// x/sys's ClockGettime is a real system call, some twenty times the cost.
type clock struct {
	base time.Time
	// mono is CLOCK_MONOTONIC at base, in nanoseconds.
	mono uint64
}

func newClock() clock {
	// In this order the clock lags a little; it must not run ahead of the
	// kernel's, which decides when a sleep is over.
	mono, errno := kernelClock(unix.CLOCK_MONOTONIC)
	if errno != errnoSuccess {
		// Only the difference of two readings has a meaning for a guest, but
		// Go's runtime takes zero for a broken clock.
		mono = 1
	}
	return clock{base: time.Now(), mono: mono}
}

// monotonic is CLOCK_MONOTONIC in nanoseconds.
func (c *clock) monotonic() uint64 { return c.mono + uint64(time.Since(c.base)) }

// realtime is nanoseconds since 1970. A host whose clock stands before 1970 is
// reported as 1970: a witx timestamp has no sign.
func (c *clock) realtime() uint64 { return uint64(max(time.Now().UnixNano(), 0)) }

// kernelClock reads a clock that Go does not know.
func kernelClock(id int32) (uint64, Errno) {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, errnoOf(err)
	}
	return uint64(ts.Nano()), errnoSuccess
}

// kernelClockID gives the Linux clock behind a witx clockid. The guest's thread
// is a goroutine, which may change its kernel thread between two calls, and a
// CPU clock that jumps back is worse than one that counts the engine's helpers:
// the thread's clock is the process's.
func kernelClockID(id uint32) (int32, Errno) {
	switch id {
	case clockRealtime:
		return unix.CLOCK_REALTIME, errnoSuccess
	case clockMonotonic:
		return unix.CLOCK_MONOTONIC, errnoSuccess
	case clockProcess, clockThread:
		return unix.CLOCK_PROCESS_CPUTIME_ID, errnoSuccess
	}
	return 0, errnoInval
}

func (h *Host) clockResGet(mem abi.Memory, p []uint64) Errno {
	id, errno := kernelClockID(uint32(p[0]))
	if errno != errnoSuccess {
		return errno
	}
	var ts unix.Timespec
	if err := unix.ClockGetres(id, &ts); err != nil {
		return errnoOf(err)
	}
	if !mem.PutUint64(uint32(p[1]), uint64(ts.Nano())) {
		return errnoFault
	}
	return errnoSuccess
}

// clockTimeGet ignores the precision: every clock here is read at its full one.
func (h *Host) clockTimeGet(mem abi.Memory, p []uint64) Errno {
	var now uint64
	switch id := uint32(p[0]); id {
	case clockRealtime:
		now = h.clock.realtime()
	case clockMonotonic:
		now = h.clock.monotonic()
	default:
		kernel, errno := kernelClockID(id)
		if errno != errnoSuccess {
			return errno
		}
		if now, errno = kernelClock(kernel); errno != errnoSuccess {
			return errno
		}
	}
	if !mem.PutUint64(uint32(p[2]), now) {
		return errnoFault
	}
	return errnoSuccess
}
