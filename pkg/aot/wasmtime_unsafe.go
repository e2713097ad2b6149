//go:build wasmtime

package aot

/*
#cgo CFLAGS: -I${SRCDIR}/../../build/wasmtime/include
#cgo LDFLAGS: -L${SRCDIR}/../../build/wasmtime/lib -lwasmtime -lm -Wl,--wrap=open64
#include <stdlib.h>
#include "wasmtime_shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

const wasmtimeVersion = C.WASMTIME_VERSION

// wasmtimeMaxSlots is the most parameters or results of a host function.
const wasmtimeMaxSlots = C.RUNW_MAX_SLOTS

// wasmtimeBinary is a compiled module and the engine it belongs to.
type wasmtimeBinary struct {
	engine *C.wasm_engine_t
	module *C.wasmtime_module_t
}

// newWasmtime makes an engine; the numbers are bytes, growth is 0 where address
// space is plenty.
func newWasmtime(stack, growth uint64, parallel bool) *wasmtimeBinary {
	return &wasmtimeBinary{engine: C.runw_engine_new(C.size_t(stack), C.uint64_t(growth), C.bool(parallel))}
}

func (b *wasmtimeBinary) close() {
	if b.module != nil {
		C.wasmtime_module_delete(b.module)
	}
	C.wasm_engine_delete(b.engine)
	b.module, b.engine = nil, nil
}

func (b *wasmtimeBinary) compile(wasm []byte) error {
	return wasmtimeError(C.wasmtime_module_new(b.engine, bytesOf(wasm), C.size_t(len(wasm)), &b.module))
}

func (b *wasmtimeBinary) validate(wasm []byte) error {
	return wasmtimeError(C.wasmtime_module_validate(b.engine, bytesOf(wasm), C.size_t(len(wasm))))
}

// serialize gives the native code as an ELF file.
func (b *wasmtimeBinary) serialize() ([]byte, error) {
	var v C.wasm_byte_vec_t
	if err := wasmtimeError(C.wasmtime_module_serialize(b.module, &v)); err != nil {
		return nil, err
	}
	defer C.wasm_byte_vec_delete(&v)
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(v.data)), int(v.size))...), nil
}

// deserialize copies native code into memory of the engine's.
func (b *wasmtimeBinary) deserialize(elf []byte) error {
	return wasmtimeError(C.wasmtime_module_deserialize(b.engine, bytesOf(elf), C.size_t(len(elf)), &b.module))
}

// deserializeFile maps native code that begins where the file begins.
func (b *wasmtimeBinary) deserializeFile(f *os.File) error {
	err := wasmtimeError(C.runw_deserialize_fd(b.engine, C.int(f.Fd()), &b.module))
	runtime.KeepAlive(f)
	return err
}

// wasmtimeStackLeft is the native stack that the calling thread has, 0 if
// unknown.
func wasmtimeStackLeft() uint64 { return uint64(C.runw_stack_left()) }

// wasmtimeStore is one instance of a module.
type wasmtimeStore struct {
	store    *C.wasmtime_store_t
	context  *C.wasmtime_context_t
	guest    *C.runw_guest
	instance C.wasmtime_instance_t
	info     *Info
	call     *wasmtimeCall
}

// newStore makes the place for an instance whose memories have at most limit
// bytes each; 0 is no limit. wasmtime does not ask the limiter about shared
// memories, for they can belong to several stores.
func (b *wasmtimeBinary) newStore(info *Info, limit uint64, counters *Counters) *wasmtimeStore {
	s := &wasmtimeStore{info: info, store: C.wasmtime_store_new(b.engine, nil, nil)}
	s.context = C.wasmtime_store_context(s.store)
	memory := C.int64_t(-1)
	if limit != 0 {
		memory = C.int64_t(min(limit, 1<<62))
	}
	C.wasmtime_store_limiter(s.store, memory, wasmtimeMaxTable, -1, -1, -1)
	s.guest = (*C.runw_guest)(C.calloc(1, C.sizeof_runw_guest))
	s.guest.context = s.context
	s.guest.counters = &s.guest.unread[0]
	if counters != nil { // mapped, so that C may keep the pointer
		s.guest.counters = (*C.uint64_t)(unsafe.Pointer(counters))
	}
	return s
}

func (s *wasmtimeStore) close() {
	if s.guest.looked && s.guest.memory.kind == C.WASMTIME_EXTERN_SHAREDMEMORY {
		C.wasmtime_extern_delete(&s.guest.memory)
	}
	C.wasmtime_store_delete(s.store)
	C.free(unsafe.Pointer(s.guest))
	if s.call != nil {
		wasmtimeCalls.remove(s.call)
	}
}

// instantiate gives the module its imports, in order, and runs its start
// section. The error is the guest's end or of the engine.
func (s *wasmtimeStore) instantiate(b *wasmtimeBinary, funcs []abi.Func) error {
	s.call = &wasmtimeCall{funcs: funcs}
	s.guest.id = C.uintptr_t(wasmtimeCalls.add(s.call))
	imports := make([]C.wasmtime_extern_t, len(funcs)+1)
	for i, f := range funcs {
		kinds := make([]byte, 0, 2*wasmtimeMaxSlots+1)
		for _, v := range f.Sig.Params {
			kinds = append(kinds, byte(abi.I32-v))
		}
		for _, v := range f.Sig.Results {
			kinds = append(kinds, byte(abi.I32-v))
		}
		var native C.runw_native
		if f.Native != nil {
			call, env := f.Native()
			native = C.runw_native{call: C.uintptr_t(call), env: C.uintptr_t(env)}
		}
		C.runw_func_new(s.guest, C.uint32_t(i), native, bytesOf(kinds[:cap(kinds)]), C.size_t(len(f.Sig.Params)), C.size_t(len(f.Sig.Results)), &imports[i])
	}
	var trap *C.wasm_trap_t
	err := C.wasmtime_instance_new(s.context, b.module, &imports[0], C.size_t(len(funcs)), &s.instance, &trap)
	return s.ended(err, trap)
}

// run calls an exported function without parameters.
func (s *wasmtimeStore) run(name string, results int) error {
	var item C.wasmtime_extern_t
	ok := C.wasmtime_instance_export_get(s.context, &s.instance, (*C.char)(unsafe.Pointer(unsafe.StringData(name))), C.size_t(len(name)), &item)
	if !ok || item.kind != C.WASMTIME_EXTERN_FUNC {
		return fmt.Errorf("module exports no function %q", name)
	}
	var trap *C.wasm_trap_t
	err := C.runw_func_call(s.context, (*C.wasmtime_func_t)(unsafe.Pointer(&item.of)), C.size_t(results), &trap)
	return s.ended(err, trap)
}

// ended turns what a call into the guest gave into the errors of this package,
// and frees it.
func (s *wasmtimeStore) ended(failed *C.wasmtime_error_t, trap *C.wasm_trap_t) error {
	cause := s.call.err
	s.call.err = nil
	var frames C.wasm_frame_vec_t
	switch {
	case failed != nil:
		defer C.wasmtime_error_delete(failed)
		C.wasmtime_error_wasm_trace(failed, &frames)
	case trap != nil:
		defer C.wasm_trap_delete(trap)
		C.wasm_trap_trace(trap, &frames)
	default:
		return nil
	}
	defer C.wasm_frame_vec_delete(&frames)
	var exit *abi.ExitError
	if errors.As(cause, &exit) {
		return exit
	}
	t := &TrapError{Err: cause}
	if frames.size > 0 {
		plain := demangled(endText(failed, trap), int(frames.size))
		for i, f := range unsafe.Slice(frames.data, int(frames.size)) {
			t.Backtrace = append(t.Backtrace, s.frame(f, plain[i]))
		}
	}
	var code C.wasmtime_trap_code_t
	switch {
	case cause != nil:
		t.Reason = cause.Error()
	case bool(C.wasmtime_context_has_exception(s.context)): // it has no trap code
		t.Reason = "uncaught exception"
	case failed != nil && len(t.Backtrace) == 0:
		return errors.New(errorText(failed)) // no guest has run
	case failed != nil:
		t.Reason = rootCause(errorText(failed))
	case bool(C.wasmtime_trap_code(trap, &code)):
		t.Reason = wasmtimeReason(uint8(code))
	}
	if t.Reason == "" {
		t.Reason = rootCause(endText(failed, trap))
	}
	return t
}

// endText is all that wasmtime has to say about the end of a guest.
func endText(failed *C.wasmtime_error_t, trap *C.wasm_trap_t) string {
	if failed != nil {
		return errorText(failed)
	}
	var text C.wasm_byte_vec_t
	C.wasm_trap_message(trap, &text)
	return takeText(&text)
}

// frame names a function, by its export if it has no name, and the offset in it. plain
// is the name as its source has it, "" if unknown.
func (s *wasmtimeStore) frame(f *C.wasm_frame_t, plain string) string {
	index := uint32(C.wasm_frame_func_index(f))
	name := fmt.Sprintf("func[%d]", index)
	if n := C.wasmtime_frame_func_name(f); n != nil && n.size > 0 {
		name = C.GoStringN(n.data, C.int(min(n.size, maxFrameName)))
		if strings.HasPrefix(name, "_") && plain != "" {
			name = plain[:min(len(plain), maxFrameName)]
		}
	} else if e, ok := s.info.exportOf(index); ok {
		name = e.Name
	}
	if at := C.wasm_frame_func_offset(f); at != ^C.size_t(0) {
		name = fmt.Sprintf("%s +%#x", name, uint64(at))
	}
	return name
}

// wasmtimeError takes the text of an error and frees it; nil stays nil.
func wasmtimeError(e *C.wasmtime_error_t) error {
	if e == nil {
		return nil
	}
	defer C.wasmtime_error_delete(e)
	return errors.New(errorText(e))
}

func errorText(e *C.wasmtime_error_t) string {
	var text C.wasm_byte_vec_t
	C.wasmtime_error_message(e, &text)
	return takeText(&text)
}

// takeText copies a text of wasmtime's, without the zero that some end with,
// and frees it.
func takeText(v *C.wasm_byte_vec_t) string {
	defer C.wasm_byte_vec_delete(v)
	if v.size == 0 {
		return ""
	}
	return strings.TrimRight(C.GoStringN(v.data, C.int(min(v.size, maxErrorText))), "\x00")
}

func bytesOf(b []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(b))) }

// runwHostCall is called by wasmtime.c on the guest's thread. Anything but 0
// ends the guest.
//
//export runwHostCall
func runwHostCall(id C.uintptr_t, index C.uint32_t, stack *C.uint64_t, slots C.uint32_t, memory *C.uint8_t, size C.size_t) (failed C.int32_t) {
	c := wasmtimeCalls.get(uintptr(id))
	return C.int32_t(c.host(int(index), unsafe.Slice((*byte)(unsafe.Pointer(memory)), int(size)), unsafe.Slice((*uint64)(unsafe.Pointer(stack)), int(slots))))
}
