package hostfuncs

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// Config says what one guest is given.
type Config struct {
	// Args are argv; Args[0] is the program's name.
	Args []string
	// Env is the guest's environment, "KEY=value" each.
	Env []string
	// Stdio are the descriptors behind the guest's fds 0, 1 and 2; -1 leaves a
	// number unused. A guest may close them: whoever still wants to print
	// to stderr then holds a duplicate.
	Stdio [3]int
	// Inherited are descriptors that appear in the guest from fd 3 on, in this
	// order: listening sockets first ($LISTEN_FDS), then --preserve-fds.
	Inherited []int
	// Preopens follow after Inherited. The order matters: wasi-libc takes the
	// last of several preopens that match equally well.
	Preopens []Preopen
	// MaxFDs bounds the guest's descriptor table; 0 means the process's
	// RLIMIT_NOFILE.
	MaxFDs int
	// Net is what the guest may do on the network.
	Net NetPolicy
	// NN is what the guest may compute on.
	NN NN
	// Trace, if not nil, gets one line per call of the guest.
	Trace io.Writer
}

// Preopen is one directory the guest may start a path from.
type Preopen struct {
	// Name is what fd_prestat_dir_name answers, such as "/" or ".".
	Name string
	// Path is the directory in the container.
	Path string
	// ReadOnly refuses every operation below it that would write.
	ReadOnly bool
}

// Host answers the calls of one guest. It is not safe for concurrent use: a
// guest has one thread.
type Host struct {
	args, env stringList
	files     table
	fs        filesystem
	clock     clock
	poll      poller
	watches   [watches]watch
	msg       message
	sock      sockets
	nn        neural
	native    native
	trace     io.Writer
	// raise sends a stop signal to this process; a fuzz target that stopped
	// itself would hang.
	raise func(unix.Signal) error
}

// ErrUnknownImport is what Check and Link wrap when a module asks for a
// function that nothing here offers, or asks for it with another type.
var ErrUnknownImport = errors.New("unknown import")

// New builds the guest's world. The descriptors and the inference of c
// belong to the Host from then on and Close closes them; if New fails they stay
// the caller's.
func New(c Config) (*Host, error) {
	h := &Host{trace: c.Trace, poll: poller{timer: -1}, raise: raiseSelf}
	var err error
	if h.args, err = newStringList(c.Args); err != nil {
		return nil, fmt.Errorf("args: %w", err)
	}
	if h.env, err = newStringList(c.Env); err != nil {
		return nil, fmt.Errorf("env: %w", err)
	}
	if h.files.max, err = maxFDs(c.MaxFDs); err != nil {
		return nil, err
	}
	if n := len(c.Stdio) + len(c.Inherited) + len(c.Preopens); n > h.files.max {
		return nil, fmt.Errorf("%d descriptors for a table of %d: %w", n, h.files.max, unix.EMFILE)
	}
	h.files.left, h.files.changed = h.forget, h.native.update
	h.watches = [watches]watch{watchLevel: {epfd: -1}, watchEdge: {epfd: -1, edge: unix.EPOLLET, index: watchEdge}}
	h.clock = newClock()
	h.sock.policy = c.Net
	h.nn.NN = c.NN
	if err = h.takeOver(slices.Concat(c.Stdio[:], c.Inherited)); err != nil {
		return nil, err
	}
	preopens, err := openPreopens(c.Preopens)
	if err != nil {
		return nil, err
	}
	for i, e := range preopens {
		h.files.put(len(c.Stdio)+len(c.Inherited)+i, e)
	}
	h.fs.guard = newProcGuard()
	return h, nil
}

// takeOver puts descriptors of the host at the same places of the guest's
// table; -1 leaves a gap in stdio. The same descriptor twice would leave one
// entry behind with a number that the other has closed.
func (h *Host) takeOver(fds []int) error {
	for i, fd := range fds {
		stdio := i < len(Config{}.Stdio)
		if fd == -1 && stdio {
			continue
		}
		if fd >= 0 && slices.Contains(fds[:i], fd) {
			return fmt.Errorf("guest fd %d: descriptor %d is given twice: %w", i, fd, unix.EINVAL)
		}
		e, err := newEntry(fd, true)
		if err != nil {
			return fmt.Errorf("guest fd %d: %w", i, err)
		}
		e.inherited = !stdio
		h.files.put(i, e)
	}
	return nil
}

// maxFDs settles Config.MaxFDs.
func maxFDs(n int) (int, error) {
	if n != 0 {
		return n, nil
	}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, fmt.Errorf("rlimit nofile: %w", err)
	}
	return int(min(lim.Cur, math.MaxInt32)), nil
}

// Close gives back every descriptor of the guest. It reports the first failure
// and goes on.
func (h *Host) Close() error {
	var first error
	for fd, e := range h.files.entries {
		if e == nil {
			continue
		}
		if errno := h.files.close(uint32(fd)); errno != errnoSuccess && first == nil {
			first = fmt.Errorf("guest fd %d: %s", fd, errno)
		}
	}
	h.native.close()
	h.poll.close()
	for i := range h.watches {
		h.watches[i].close()
	}
	h.fs.guard.close()
	if h.nn.Inference != nil {
		if err := h.nn.Inference.Close(); err != nil && first == nil {
			first = fmt.Errorf("inference: %w", err)
		}
	}
	return first
}

// function is one host function as the family files (fs.go, clock.go, …)
// declare it: params and results spell the signature with one letter a value,
// 'i' for i32, 'I' for i64, 'f' for f32 and 'F' for f64. Exactly one of call, nn and end is set: the
// errno of call or nn becomes the i32 result, end decides itself how the guest
// goes on.
type function struct {
	module, name    string
	params, results string
	// names are the parameters as a trace shows them; see trace.go.
	names string
	call  func(h *Host, mem abi.Memory, p []uint64) Errno
	nn    func(h *Host, mem abi.Memory, p []uint64) accel.Errno
	end   func(h *Host, mem abi.Memory, p []uint64) error
}

func (f *function) signature() abi.Signature {
	return abi.Signature{Params: valueTypes(f.params), Results: valueTypes(f.results)}
}

// fits is signature().Equal(sig) without building the signature: a start
// compares every import of the module.
func (f *function) fits(sig abi.Signature) bool {
	return sameTypes(f.params, sig.Params) && sameTypes(f.results, sig.Results)
}

func sameTypes(letters string, types []abi.ValueType) bool {
	if len(letters) != len(types) {
		return false
	}
	for i, t := range types {
		if valueType(letters[i]) != t {
			return false
		}
	}
	return true
}

func valueTypes(letters string) []abi.ValueType {
	types := make([]abi.ValueType, len(letters))
	for i := range types {
		types[i] = valueType(letters[i])
	}
	return types
}

func valueType(letter byte) abi.ValueType {
	switch letter {
	case 'i':
		return abi.I32
	case 'I':
		return abi.I64
	case 'f':
		return abi.F32
	case 'F':
		return abi.F64
	}
	panic("hostfuncs: signature letter " + string(letter))
}

// Check reports the first import that Link would refuse, without needing a
// Host; `create` calls it so that a module fails before the container exists.
func Check(imports []abi.Import) error {
	for i := range imports {
		if _, err := find(&imports[i]); err != nil {
			return err
		}
	}
	return nil
}

// Link binds a function of this Host to each import, in the same order.
func (h *Host) Link(imports []abi.Import) ([]abi.Func, error) {
	funcs := make([]abi.Func, len(imports))
	for i := range imports {
		f, err := find(&imports[i])
		if err != nil {
			return nil, err
		}
		call := h.bind(f)
		if h.trace != nil {
			call = traced(h.trace, f, call)
		}
		funcs[i] = abi.Func{Import: imports[i], Call: call}
		if n := nativeCall(f); n != 0 && h.trace == nil {
			funcs[i].Native = func() (call, env uintptr) { return n, h.native.begin(&h.files) }
		}
	}
	return funcs, nil
}

func (h *Host) bind(f *function) func(abi.Memory, []uint64) error {
	if f.end != nil {
		end := f.end
		return func(mem abi.Memory, stack []uint64) error { return end(h, mem, stack) }
	}
	if f.nn != nil {
		nn := f.nn
		return func(mem abi.Memory, stack []uint64) error {
			stack[0] = uint64(nn(h, mem, stack))
			return nil
		}
	}
	call := f.call
	return func(mem abi.Memory, stack []uint64) error {
		stack[0] = uint64(call(h, mem, stack))
		return nil
	}
}

// find picks the function by module, name and type: WasmEdge's socket dialects
// share one name and differ in type only, so each import is matched by itself.
func find(im *abi.Import) (*function, error) {
	var other *function
	name := plainName(im)
	for _, family := range families {
		for i := range family {
			f := &family[i]
			// The name first: it tells functions apart, mostly by its
			// length, and the module does not.
			if f.name != name || f.module != im.Module {
				continue
			}
			if f.fits(im.Sig) && (name == im.Name || !f.firstVersion()) {
				return f, nil
			}
			other = f
		}
	}
	if f := stub(im); f != nil {
		return f, nil
	}
	return nil, unknown(im, other)
}

// unknown words the refusal of an import; other is a function of that name
// with another type, or nil.
func unknown(im *abi.Import, other *function) error {
	switch {
	case other != nil:
		return fmt.Errorf("%w: %s.%s has type %s, not %s", ErrUnknownImport,
			im.Module, im.Name, other.signature(), im.Sig)
	case im.Module == snapshot0:
		return fmt.Errorf("%w: %s.%s %s: WASI snapshot 0 is not supported, build the module for %s",
			ErrUnknownImport, im.Module, im.Name, im.Sig, preview1)
	case strings.HasPrefix(im.Module, "wasi:"):
		return fmt.Errorf("%w: %s.%s %s: a component's import in a core module",
			ErrUnknownImport, im.Module, im.Name, im.Sig)
	}
	return fmt.Errorf("%w: %s.%s %s", ErrUnknownImport, im.Module, im.Name, im.Sig)
}
