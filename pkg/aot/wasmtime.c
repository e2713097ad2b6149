//go:build wasmtime

#define _GNU_SOURCE // pthread_getattr_np
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

#include "wasmtime_shim.h"

extern int32_t runwHostCall(uintptr_t guest, uint32_t index, uint64_t *stack, uint32_t slots, uint8_t *memory, size_t size);

wasm_engine_t *runw_engine_new(size_t stack, uint64_t growth, bool parallel) {
  wasm_config_t *c = wasm_config_new();
  wasmtime_config_wasm_simd_set(c, true);
  wasmtime_config_wasm_relaxed_simd_set(c, true);
  wasmtime_config_wasm_bulk_memory_set(c, true);
  wasmtime_config_wasm_multi_value_set(c, true);
  wasmtime_config_wasm_reference_types_set(c, true);
  wasmtime_config_wasm_function_references_set(c, true);
  wasmtime_config_wasm_tail_call_set(c, true);
  wasmtime_config_wasm_gc_set(c, true);
  wasmtime_config_wasm_exceptions_set(c, true);
  wasmtime_config_wasm_threads_set(c, true);
  wasmtime_config_shared_memory_set(c, true);
  wasmtime_config_wasm_memory64_set(c, true);
  wasmtime_config_wasm_multi_memory_set(c, true);
  wasmtime_config_wasm_wide_arithmetic_set(c, true);
  wasmtime_config_parallel_compilation_set(c, parallel);
  wasmtime_config_cranelift_opt_level_set(c, WASMTIME_OPT_LEVEL_SPEED);
  // Only for C++ exceptions and debuggers that walk through guest frames; it
  // is registered at each start.
  wasmtime_config_native_unwind_info_set(c, false);
  wasmtime_config_max_wasm_stack_set(c, stack);
  if (growth != 0) {
    // No reservation of 4 GiB per memory: bounds are checked in code instead.
    wasmtime_config_memory_reservation_set(c, 0);
    wasmtime_config_memory_guard_size_set(c, 0);
    wasmtime_config_memory_reservation_for_growth_set(c, growth);
    wasmtime_config_memory_may_move_set(c, true);
  }
  return wasm_engine_new_with_config(c);
}

// The C API opens an artifact by path only. The engine process has no path to
// it, and where the container has no /proc not even /proc/self/fd. So the
// linker sends open64, which only Rust's standard library uses, through here
// (-Wl,--wrap), and the thread that loads an artifact gets its descriptor.
static __thread int artifact_fd = -1;

int __real_open64(const char *path, int flags, mode_t mode);

int __wrap_open64(const char *path, int flags, mode_t mode) {
  if (artifact_fd >= 0)
    return fcntl(artifact_fd, F_DUPFD_CLOEXEC, 3);
  return __real_open64(path, flags, mode);
}

wasmtime_error_t *runw_deserialize_fd(wasm_engine_t *engine, int fd, wasmtime_module_t **module) {
  artifact_fd = fd;
  wasmtime_error_t *error = wasmtime_module_deserialize_file(engine, "artifact", module);
  artifact_fd = -1;
  return error;
}

typedef struct {
  runw_guest *guest;
  uint32_t index;
  int32_t (*native)(void *env, uint8_t *memory, size_t size, uint64_t *stack);
  void *env;
} runw_func;

static uint8_t *memory_of(runw_guest *g, wasmtime_caller_t *caller, size_t *size) {
  if (!g->looked) {
    g->looked = true;
    if (!wasmtime_caller_export_get(caller, RUNW_MEMORY_EXPORT, strlen(RUNW_MEMORY_EXPORT), &g->memory))
      g->memory.kind = WASMTIME_EXTERN_FUNC; // any kind but the two below
  }
  switch (g->memory.kind) {
  case WASMTIME_EXTERN_MEMORY:
    *size = wasmtime_memory_data_size(g->context, &g->memory.of.memory);
    return wasmtime_memory_data(g->context, &g->memory.of.memory);
  case WASMTIME_EXTERN_SHAREDMEMORY:
    *size = wasmtime_sharedmemory_data_size(g->memory.of.sharedmemory);
    return wasmtime_sharedmemory_data(g->memory.of.sharedmemory);
  default:
    *size = 0;
    return NULL;
  }
}

static wasm_trap_t *host_call(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *slots, size_t n) {
  runw_func *f = env;
  uint64_t stack[RUNW_MAX_SLOTS];
  for (size_t i = 0; i < n; i++)
    stack[i] = (uint64_t)slots[i].i64;
  size_t size;
  uint8_t *memory = memory_of(f->guest, caller, &size);
  // Another process may read them at any time; only this thread writes.
  uint64_t *counters = f->guest->counters;
  __atomic_store_n(&counters[0], counters[0] + 1, __ATOMIC_RELAXED);
  __atomic_store_n(&counters[1], size, __ATOMIC_RELAXED);
  if ((f->native == NULL || f->native(f->env, memory, size, stack) != 0) &&
      runwHostCall(f->guest->id, f->index, stack, (uint32_t)n, memory, size) != 0)
    return wasmtime_trap_new("host", 4); // Go keeps the error itself
  for (size_t i = 0; i < n; i++)
    slots[i].i64 = (int64_t)stack[i];
  return NULL;
}

static void valtypes(wasm_valtype_vec_t *out, const uint8_t *kinds, size_t n) {
  wasm_valtype_t *types[RUNW_MAX_SLOTS];
  for (size_t i = 0; i < n; i++)
    types[i] = wasm_valtype_new(kinds[i]);
  wasm_valtype_vec_new(out, n, types);
}

void runw_func_new(runw_guest *guest, uint32_t index, runw_native native, const uint8_t *kinds, size_t params,
                   size_t results, wasmtime_extern_t *out) {
  wasm_valtype_vec_t p, r;
  valtypes(&p, kinds, params);
  valtypes(&r, kinds + params, results);
  wasm_functype_t *type = wasm_functype_new(&p, &r);
  runw_func *f = malloc(sizeof *f);
  if (f == NULL)
    abort();
  *f = (runw_func){guest, index, (void *)native.call, (void *)native.env};
  out->kind = WASMTIME_EXTERN_FUNC;
  wasmtime_func_new_unchecked(guest->context, type, host_call, f, free, &out->of.func);
  wasm_functype_delete(type);
}

wasmtime_error_t *runw_func_call(wasmtime_context_t *context, const wasmtime_func_t *func, size_t results,
                                 wasm_trap_t **trap) {
  wasmtime_val_raw_t *slots = calloc(results + 1, sizeof *slots);
  if (slots == NULL)
    abort();
  wasmtime_error_t *error = wasmtime_func_call_unchecked(context, func, slots, results, trap);
  free(slots);
  return error;
}

// The main thread's stack grows until RLIMIT_STACK is used up. glibc looks for
// its end in /proc/self/maps, but neither a compile process nor every container
// has a /proc. The name of the executable is what the kernel puts on top of it.
static size_t main_stack_left(const char *here) {
  struct rlimit limit;
  const char *top = (const char *)getauxval(AT_EXECFN);
  if (top == NULL || top < here || getrlimit(RLIMIT_STACK, &limit) != 0)
    return 0;
  size_t used = (size_t)(top - here) + strlen(top) + (size_t)sysconf(_SC_PAGESIZE);
  if (limit.rlim_cur == RLIM_INFINITY)
    return SIZE_MAX / 2;
  return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

size_t runw_stack_left(void) {
  pthread_attr_t attr;
  void *low;
  size_t size;
  char here;
  if (getpid() == gettid())
    return main_stack_left(&here);
  if (pthread_getattr_np(pthread_self(), &attr) != 0)
    return 0;
  int bad = pthread_attr_getstack(&attr, &low, &size);
  pthread_attr_destroy(&attr);
  if (bad != 0 || (char *)low > &here)
    return 0;
  return (size_t)(&here - (char *)low);
}
