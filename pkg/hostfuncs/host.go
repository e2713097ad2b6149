package hostfuncs

import (
	"errors"
	"fmt"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// Config says what one guest is given. Descriptors are taken over by the Host,
// which closes them with its table.
type Config struct {
	// Args are argv; Args[0] is the program's name.
	Args []string
	// Env is the guest's environment, "KEY=value" each.
	Env []string
	// Stdio are the descriptors behind the guest's fds 0, 1 and 2; -1 leaves a
	// number unused.
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
	args, env [][]byte
	files     table
}

// ErrUnknownImport is what Check and Link wrap when a module asks for a
// function that nothing here offers, or asks for it with another type.
var ErrUnknownImport = errors.New("unknown import")

// function is one host function as the family files (fs.go, clock.go, …)
// declare it: params and results spell the signature with one letter a value,
// 'i' for i32 and 'I' for i64. Exactly one of call and end is set: call's
// errno becomes the i32 result, end decides itself how the guest goes on.
type function struct {
	module, name    string
	params, results string
	call            func(h *Host, mem abi.Memory, p []uint64) Errno
	end             func(h *Host, mem abi.Memory, p []uint64) error
}

func (f *function) signature() abi.Signature {
	return abi.Signature{Params: valueTypes(f.params), Results: valueTypes(f.results)}
}

func valueTypes(letters string) []abi.ValueType {
	var vs []abi.ValueType
	for _, l := range letters {
		switch l {
		case 'i':
			vs = append(vs, abi.I32)
		case 'I':
			vs = append(vs, abi.I64)
		default:
			panic("hostfuncs: signature letter " + string(l))
		}
	}
	return vs
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
		funcs[i] = abi.Func{Import: imports[i], Call: h.bind(f)}
	}
	return funcs, nil
}

func (h *Host) bind(f *function) func(abi.Memory, []uint64) error {
	if f.end != nil {
		end := f.end
		return func(mem abi.Memory, stack []uint64) error { return end(h, mem, stack) }
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
	for i := range functions {
		f := &functions[i]
		if f.module != im.Module || f.name != im.Name {
			continue
		}
		if f.signature().Equal(im.Sig) {
			return f, nil
		}
		other = f
	}
	if other != nil {
		return nil, fmt.Errorf("%w: %s.%s has type %s, not %s", ErrUnknownImport,
			im.Module, im.Name, other.signature(), im.Sig)
	}
	return nil, fmt.Errorf("%w: %s.%s %s", ErrUnknownImport, im.Module, im.Name, im.Sig)
}
