// What native.c and native.go share: the layouts of both languages, which
// native_cgo_unsafe.go compares.
#ifndef RUNW_NATIVE_H
#define RUNW_NATIVE_H

#include <stddef.h>
#include <stdint.h>

struct epoll_event;

// A descriptor of the guest's. flags are 0 for what Go has to do.
struct native_file {
  int32_t fd;
  uint32_t flags;
  uint32_t listed; // C's own: its place in the list for ppoll, if it is there
};

#define NATIVE_SOCKET 1   // a socket that the guest has opened or accepted itself
#define NATIVE_STREAM 2   // of type SOCK_STREAM
#define NATIVE_NONBLOCK 4 // the guest does not want to wait

// Up to NATIVE_FEW subscriptions there is no watch, up to NATIVE_MOST one ppoll can
// ask for all.
#define NATIVE_FEW 8
#define NATIVE_MOST 1024

// A descriptor in the watch: see watched in epoll.go.
struct native_slot {
  int32_t fd;
  uint32_t asked; // EPOLLIN, EPOLLOUT
  uint32_t at[2]; // the subscription's position for each of them
  uint32_t flags; // NATIVE_SOCKET and NATIVE_STREAM, of others' sockets too
};

// What Go tells of a guest. Go changes it only during a call of the guest's that
// C has passed on to it.
struct native_guest {
  struct native_file *files;
  // The watch of poll_oneoff as the last call has left it. nkeys is 0 while there
  // is something to be brought up to date.
  const uint64_t *keys;
  const struct native_slot *slots;
  struct epoll_event *events;
  const uint32_t *errnos; // WASI's number of each of Linux's, or 0
  uint32_t nfiles, nkeys, nslots, nevents, nerrnos;
  int32_t epfd;
  // sparse says that a list of many has little to tell and is the watch's.
  uint32_t sparse;
  // C's own. See look: microseconds it may look, waits that do not, looks in vain.
  uint32_t credit, skip, misses;
  // See crowd: how far the list is from sparse, waits until the watch is given up,
  // how often that was in vain.
  int32_t density;
  uint32_t waits, trials;
};

// Each does a call of the guest's, or gives NATIVE_PASS and has done nothing.
#define NATIVE_DONE 0
#define NATIVE_PASS 1

int32_t runw_native_sock_recv(void *guest, uint8_t *memory, size_t size, uint64_t *stack);
int32_t runw_native_sock_send(void *guest, uint8_t *memory, size_t size, uint64_t *stack);
int32_t runw_native_fd_read(void *guest, uint8_t *memory, size_t size, uint64_t *stack);
int32_t runw_native_fd_write(void *guest, uint8_t *memory, size_t size, uint64_t *stack);
int32_t runw_native_poll_oneoff(void *guest, uint8_t *memory, size_t size, uint64_t *stack);

// Calls the function at an address: for tests, which cannot use C themselves.
int32_t runw_native_try(uintptr_t call, uintptr_t guest, uint8_t *memory, size_t size, uint64_t *stack);

#endif
