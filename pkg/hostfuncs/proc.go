package hostfuncs

import (
	"errors"
	"math"
	"strings"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

var procFunctions = []function{
	{module: preview1, name: "args_get", params: "ii", results: "i",
		names: "argv,argv_buf", call: (*Host).argsGet},
	{module: preview1, name: "args_sizes_get", params: "ii", results: "i",
		names: "argc=4,argv_buf_size=4", call: (*Host).argsSizesGet},
	{module: preview1, name: "environ_get", params: "ii", results: "i",
		names: "environ,environ_buf", call: (*Host).environGet},
	{module: preview1, name: "environ_sizes_get", params: "ii", results: "i",
		names: "environc=4,environ_buf_size=4", call: (*Host).environSizesGet},
	{module: preview1, name: "proc_exit", params: "i",
		names: "rval", end: (*Host).procExit},
	{module: preview1, name: "proc_raise", params: "i", results: "i",
		names: "sig", end: (*Host).procRaise},
	{module: preview1, name: "sched_yield", results: "i", call: (*Host).schedYield},
	{module: preview1, name: "random_get", params: "ii", results: "i",
		names: "buf,buf_len", call: (*Host).randomGet},
}

// stringList is argv or environ, checked to be what C can hold.
type stringList struct {
	list []string
	// size is the length of all strings, each with a terminating NUL.
	size uint32
}

var (
	errNUL     = errors.New("contains a NUL byte")
	errTooLong = errors.New("longer than 4 GiB")
)

func newStringList(list []string) (stringList, error) {
	var size uint64
	for _, s := range list {
		if strings.IndexByte(s, 0) >= 0 {
			return stringList{}, errNUL
		}
		size += uint64(len(s)) + 1
	}
	if size > math.MaxUint32 {
		return stringList{}, errTooLong
	}
	return stringList{list: list, size: uint32(size)}, nil
}

// sizes answers args_sizes_get and environ_sizes_get.
func (l *stringList) sizes(mem abi.Memory, p []uint64) Errno {
	if !mem.PutUint32(uint32(p[0]), uint32(len(l.list))) || !mem.PutUint32(uint32(p[1]), l.size) {
		return errnoFault
	}
	return errnoSuccess
}

// copy answers args_get and environ_get: an array of pointers at p[0] and the
// strings they point to at p[1].
func (l *stringList) copy(mem abi.Memory, p []uint64) Errno {
	ptrs, buf := uint32(p[0]), uint32(p[1])
	// len(list) is at most size, so that four times it may not fit 32 bits.
	if uint64(len(l.list))*4 > math.MaxUint32 {
		return errnoFault
	}
	if _, ok := mem.Bytes(ptrs, uint32(len(l.list))*4); !ok {
		return errnoFault
	}
	dst, ok := mem.Bytes(buf, l.size)
	if !ok {
		return errnoFault
	}
	at := 0
	for i, s := range l.list {
		mem.PutUint32(ptrs+uint32(i)*4, buf+uint32(at))
		at += copy(dst[at:], s)
		dst[at] = 0
		at++
	}
	return errnoSuccess
}

func (h *Host) argsGet(mem abi.Memory, p []uint64) Errno         { return h.args.copy(mem, p) }
func (h *Host) argsSizesGet(mem abi.Memory, p []uint64) Errno    { return h.args.sizes(mem, p) }
func (h *Host) environGet(mem abi.Memory, p []uint64) Errno      { return h.env.copy(mem, p) }
func (h *Host) environSizesGet(mem abi.Memory, p []uint64) Errno { return h.env.sizes(mem, p) }

func (h *Host) procExit(_ abi.Memory, p []uint64) error {
	return &abi.ExitError{Code: uint32(p[0])}
}

// signals maps witx signal numbers, which are the same on every host, to the
// kernel's, which differ by architecture.
var signals = [...]unix.Signal{
	1: unix.SIGHUP, 2: unix.SIGINT, 3: unix.SIGQUIT, 4: unix.SIGILL, 5: unix.SIGTRAP,
	6: unix.SIGABRT, 7: unix.SIGBUS, 8: unix.SIGFPE, 9: unix.SIGKILL, 10: unix.SIGUSR1,
	11: unix.SIGSEGV, 12: unix.SIGUSR2, 13: unix.SIGPIPE, 14: unix.SIGALRM, 15: unix.SIGTERM,
	16: unix.SIGCHLD, 17: unix.SIGCONT, 18: unix.SIGSTOP, 19: unix.SIGTSTP, 20: unix.SIGTTIN,
	21: unix.SIGTTOU, 22: unix.SIGURG, 23: unix.SIGXCPU, 24: unix.SIGXFSZ, 25: unix.SIGVTALRM,
	26: unix.SIGPROF, 27: unix.SIGWINCH, 28: unix.SIGPOLL, 29: unix.SIGPWR, 30: unix.SIGSYS,
}

// procRaise does what the signal does to a program that handles none, for a
// preview1 guest has no way to install a handler (signal(7), "Standard
// signals"). A fatal signal ends the guest with the status that a shell, and
// so a container runtime, gives a native program killed by it.
func (h *Host) procRaise(_ abi.Memory, p []uint64) error {
	n := uint32(p[0])
	if n >= uint32(len(signals)) {
		p[0] = uint64(errnoInval)
		return nil
	}
	p[0] = uint64(errnoSuccess)
	switch sig := signals[n]; sig {
	case 0, unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH:
	case unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		p[0] = uint64(errnoOf(h.raise(sig)))
	default:
		return &abi.ExitError{Code: 128 + uint32(sig)}
	}
	return nil
}

// raiseSelf leaves it to the kernel whether this process stops: the first
// process of a pid namespace does not, and neither does a native program there.
func raiseSelf(sig unix.Signal) error { return unix.Kill(unix.Getpid(), sig) }

func (h *Host) schedYield(abi.Memory, []uint64) Errno {
	_, _, n := unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	return fromUnix(n)
}

// randomChunk bounds one getrandom: the kernel fills a few hundred MB a second,
// and a request of 4 GiB must not keep the process from being stopped.
const randomChunk = 1 << 20

func (h *Host) randomGet(mem abi.Memory, p []uint64) Errno {
	buf, ok := mem.Bytes(uint32(p[0]), uint32(p[1]))
	if !ok {
		return errnoFault
	}
	for len(buf) > 0 {
		n, err := unix.Getrandom(buf[:min(len(buf), randomChunk)], 0)
		// A signal may cut a request of more than 256 bytes short.
		if err != nil && err != unix.EINTR {
			return errnoOf(err)
		}
		buf = buf[max(n, 0):]
	}
	return errnoSuccess
}
