// What wasmtime.c and wasmtime_unsafe.go share: wasmtime's C API with the few
// calls that cannot be made from Go one by one.
#ifndef RUNW_WASMTIME_SHIM_H
#define RUNW_WASMTIME_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wasmtime.h>

// The most parameters or results that a host function may have.
#define RUNW_MAX_SLOTS 32

// One running guest. Go knows it by id: the address of a Go object must not be
// kept in C memory.
typedef struct {
  uintptr_t id;
  wasmtime_context_t *context;
  bool looked; // whether the guest's memory has been looked for
  wasmtime_extern_t memory;
  uint64_t *counters; // host calls and bytes of memory; Go's Counters
  uint64_t unread[2]; // where counters points to if nobody wants to know
} runw_guest;

// The name under which compiled modules export the memory that host functions
// see; Go's memoryExport.
#define RUNW_MEMORY_EXPORT "runw.memory"

// Makes an engine whose guests have stack bytes of stack. growth is 0, or what
// a memory that grows reserves at a time, where address space is scarce. With
// parallel, compiling takes as many threads as RAYON_NUM_THREADS says.
wasm_engine_t *runw_engine_new(size_t stack, uint64_t growth, bool parallel);

// Maps an artifact's file from its start; fd stays open.
wasmtime_error_t *runw_deserialize_fd(wasm_engine_t *engine, int fd, wasmtime_module_t **module);

// abi.Func.Native: the address of a C function and its first parameter, or 0.
typedef struct {
  uintptr_t call, env;
} runw_native;

// Makes the host function that tries native, if there is one, and calls
// runwHostCall with the guest's id and index. kinds has a wasm_valkind_t per
// parameter, then per result.
void runw_func_new(runw_guest *guest, uint32_t index, runw_native native, const uint8_t *kinds, size_t params,
                   size_t results, wasmtime_extern_t *out);

wasmtime_error_t *runw_func_call(wasmtime_context_t *context, const wasmtime_func_t *func, size_t results,
                                 wasm_trap_t **trap);

// The stack that the calling thread has below this call, 0 if unknown.
size_t runw_stack_left(void);

#endif
