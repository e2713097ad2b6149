package aot

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// Run implements Module.
func (m *wazeroModule) Run(ctx context.Context, a RunArgs) error {
	mem := &linearMemory{limit: a.MemoryLimit, image: m.image}
	defer mem.Free()
	if err := checkMemory(m.info, wazeroMaxMemory, a.MemoryLimit); err != nil {
		return err
	}
	if err := checkEntry(m.info, a.Entry); err != nil {
		return err
	}
	if a.Counters == nil {
		a.Counters = new(Counters)
	}
	a.Counters.start(m.info)
	mem.counters = a.Counters
	gc := startCollector()
	defer gc.stop()
	hosts, err := m.bind(ctx, a.Funcs, mem, gc)
	defer func() {
		for _, h := range hosts {
			h.Close(ctx)
		}
	}()
	if err != nil {
		return err
	}
	inst, err := m.instantiate(ctx, mem)
	if err != nil {
		return err
	}
	defer inst.Close(ctx)
	for _, name := range entries(m.info, a.Entry) {
		if err := guestError(callEntry(ctx, inst, name), m.info); err != nil {
			return err
		}
	}
	return nil
}

// instantiate makes the instance and runs its start section. wazero slices
// what the allocator gave without looking at it, hence the recover.
func (m *wazeroModule) instantiate(ctx context.Context, mem *linearMemory) (inst api.Module, err error) {
	ctx = experimental.WithMemoryAllocator(ctx, mem)
	err = func() (err error) {
		defer func() {
			if mem.err != nil && mem.buf == nil {
				_ = recover()
				err = mem.err
				return
			}
			recovered(&err)
		}()
		inst, err = m.bin.rt.InstantiateModule(ctx, m.bin.mod, wazero.NewModuleConfig().WithName("").WithStartFunctions())
		return err
	}()
	if err != nil {
		if ge := guestError(err, m.info); ge != err {
			return nil, ge
		}
		return nil, fmt.Errorf("instantiate: %w", err)
	}
	return inst, nil
}

func callEntry(ctx context.Context, inst api.Module, name string) (err error) {
	defer recovered(&err)
	f := inst.ExportedFunction(name)
	if f == nil {
		return fmt.Errorf("module exports no function %q", name)
	}
	_, err = f.Call(ctx)
	return err
}

// bind builds one wazero host module per import module name, with the imported
// functions only.
func (m *wazeroModule) bind(ctx context.Context, funcs []abi.Func, mem *linearMemory, gc *collector) ([]api.Module, error) {
	if err := onlyFunctions(m.info); err != nil {
		return nil, err
	}
	builders := map[string]wazero.HostModuleBuilder{}
	bound := map[[2]string]abi.Signature{}
	var order []string
	for _, imp := range m.info.Imports {
		id := [2]string{imp.Module, imp.Name}
		if sig, ok := bound[id]; ok {
			if sig.Equal(imp.Sig) {
				continue
			}
			// wazero resolves imports by name alone.
			return nil, fmt.Errorf("%w: %q.%q is imported as %s and as %s: engine wazero holds one type per name", ErrLink, imp.Module, imp.Name, sig, imp.Sig)
		}
		f, err := findFunc(funcs, imp)
		if err != nil {
			return nil, err
		}
		bound[id] = imp.Sig
		b := builders[imp.Module]
		if b == nil {
			b = m.bin.rt.NewHostModuleBuilder(imp.Module)
			builders[imp.Module], order = b, append(order, imp.Module)
		}
		call := &hostFunc{call: f.Call, mem: mem, gc: gc}
		b.NewFunctionBuilder().WithGoModuleFunction(call, apiTypes(imp.Sig.Params), apiTypes(imp.Sig.Results)).Export(imp.Name)
	}
	var hosts []api.Module
	for _, name := range order {
		h, err := builders[name].Instantiate(ctx)
		if err != nil {
			return hosts, fmt.Errorf("host module %q: %w", name, err)
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

func apiTypes(vs []abi.ValueType) []api.ValueType {
	out := make([]api.ValueType, len(vs))
	for i, v := range vs {
		out[i] = api.ValueType(v)
	}
	return out
}

// hostFunc is a host function as wazero calls it. The memory comes from our
// own allocator: asking wazero for it costs three calls.
type hostFunc struct {
	call func(abi.Memory, []uint64) error
	mem  *linearMemory
	gc   *collector
}

// Call implements api.GoModuleFunction.
func (f *hostFunc) Call(_ context.Context, _ api.Module, stack []uint64) {
	f.gc.hostCall()
	atomic.StoreUint64(&f.mem.counters.HostCalls, f.mem.counters.HostCalls+1)
	if err := f.call(abi.Memory(f.mem.buf), stack); err != nil {
		panic(err)
	}
}

// guestError turns the end of a guest into the errors of this package. wazero
// has no types for traps; the text is its only interface.
func guestError(err error, info *Info) error {
	if err == nil {
		return nil
	}
	var exit *abi.ExitError
	if errors.As(err, &exit) {
		return exit
	}
	const (
		trap  = "wasm error: "
		trace = "\nwasm stack trace:\n"
		host  = " (recovered by wazero)"
	)
	text, frames, traced := strings.Cut(err.Error(), trace)
	if text == "stack overflow" {
		return &TrapError{Reason: text}
	}
	if !traced {
		return err
	}
	t := &TrapError{}
	frames, _, _ = strings.Cut(frames, "\n\n") // a Go stack may follow
	for _, f := range strings.Split(frames, "\n") {
		if f = strings.TrimSpace(f); f != "" {
			t.Backtrace = append(t.Backtrace, frameName(strings.TrimPrefix(f, "."), info))
		}
	}
	// "start function[0] failed: wasm error: unreachable"
	if i := strings.Index(text, trap); i >= 0 {
		t.Reason = text[i+len(trap):]
		return t
	}
	t.Reason = strings.TrimSuffix(text, host)
	t.Err = err
	if u := errors.Unwrap(err); u != nil {
		t.Err = u
	}
	return t
}

// frameName gives a function that has an index only, "$4(i32)", the name it is
// exported by.
func frameName(frame string, info *Info) string {
	rest, anonymous := strings.CutPrefix(frame, "$")
	if !anonymous {
		return frame
	}
	digits, sig, _ := strings.Cut(rest, "(")
	idx, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return frame
	}
	if e, ok := info.exportOf(uint32(idx)); ok {
		return e.Name + "(" + sig
	}
	return frame
}
