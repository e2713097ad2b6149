//go:build wasmtime

package aot

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

type wasmtimeModule struct {
	bin  *wasmtimeBinary
	info *Info
}

func (m *wasmtimeModule) Imports() []abi.Import { return m.info.Imports }

// Close implements Module.
func (m *wasmtimeModule) Close() error {
	m.bin.close()
	return nil
}

// Run implements Module. The guest runs in a call out of Go, so that neither
// the scheduler nor the garbage collector waits for it.
func (m *wasmtimeModule) Run(_ context.Context, a RunArgs) error {
	if err := checkMemory(m.info, math.MaxUint64, a.MemoryLimit); err != nil {
		return err
	}
	if err := checkEntry(m.info, a.Entry); err != nil {
		return err
	}
	funcs, err := bindAll(m.info, a.Funcs)
	if err != nil {
		return err
	}
	if err := enoughStack(); err != nil {
		return err
	}
	a.Counters.start(m.info)
	s := m.bin.newStore(m.info, a.MemoryLimit, a.Counters)
	defer s.close()
	if err := s.instantiate(m.bin, funcs); err != nil {
		if guestEnd(err) {
			return err
		}
		return fmt.Errorf("instantiate: %w", err)
	}
	for _, name := range entries(m.info, a.Entry) {
		e, _ := m.info.Export(name)
		if err := s.run(name, len(e.Sig.Results)); err != nil {
			return err
		}
	}
	return nil
}

// guestEnd tells a trap or an exit from a failure of the engine.
func guestEnd(err error) bool {
	var trap *TrapError
	var exit *abi.ExitError
	return errors.As(err, &trap) || errors.As(err, &exit)
}

// bindAll gives a host function for each import, in the module's order.
// wasmtime takes imports by position, so that a module may import one name
// with two types.
func bindAll(i *Info, funcs []abi.Func) ([]abi.Func, error) {
	if err := onlyFunctions(i); err != nil {
		return nil, err
	}
	out := make([]abi.Func, 0, len(i.Imports))
	for _, imp := range i.Imports {
		f, err := findFunc(funcs, imp)
		if err != nil {
			return nil, err
		}
		if len(f.Sig.Params) > wasmtimeMaxSlots || len(f.Sig.Results) > wasmtimeMaxSlots {
			return nil, fmt.Errorf("%w: %q.%q of type %s: more than %d parameters or results", ErrLink, imp.Module, imp.Name, f.Sig, wasmtimeMaxSlots)
		}
		out = append(out, f)
	}
	return out, nil
}

// wasmtimeCall is the Go side of a running guest.
type wasmtimeCall struct {
	id    uintptr
	funcs []abi.Func
	err   error // what the last host function ended the guest with
}

// host calls a host function; a panic in it ends the guest, for it must not
// unwind through frames that are not Go's.
func (c *wasmtimeCall) host(index int, memory abi.Memory, stack []uint64) (failed int) {
	defer func() {
		if c.err != nil {
			failed = 1
		}
	}()
	defer recovered(&c.err)
	c.err = c.funcs[index].Call(memory, stack)
	return 0
}

// callTable finds a guest by the number that C knows it by. Looking up takes
// no lock: it happens in each host call.
type callTable struct {
	mu   sync.Mutex
	list atomic.Pointer[[]*wasmtimeCall]
}

var wasmtimeCalls callTable

func (t *callTable) get(id uintptr) *wasmtimeCall { return (*t.list.Load())[id] }

// add numbers a guest; numbers are used again.
func (t *callTable) add(c *wasmtimeCall) uintptr {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*wasmtimeCall
	if old := t.list.Load(); old != nil {
		list = append(list, *old...)
	}
	at := 0
	for at < len(list) && list[at] != nil {
		at++
	}
	if at == len(list) {
		list = append(list, nil)
	}
	c.id, list[at] = uintptr(at), c
	t.list.Store(&list)
	return c.id
}

func (t *callTable) remove(c *wasmtimeCall) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := append([]*wasmtimeCall(nil), *t.list.Load()...)
	list[c.id] = nil
	t.list.Store(&list)
}
