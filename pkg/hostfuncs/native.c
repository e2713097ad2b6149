// The calls that a server makes for each request, without Go: see RATIONALE.md.
// Each takes the plain case, in which nothing is refused and nothing has to be
// remembered, and passes on everything else before it has done anything.

#define _GNU_SOURCE // ppoll
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "native.h"

// The layouts of WASI: iovec, subscription and event.
enum { IOVEC = 8, SUBSCRIPTION = 48, EVENT = 32 };
enum { CLOCK, FD_READ, FD_WRITE };

// MANY is how many buffers a transfer here has at most.
enum { MANY = 16, FEW = NATIVE_FEW, MOST = NATIVE_MOST };

// A list of more than FEW is a crowd until, over WAITS waits or more, less than one in
// SHARE of it was ready. Then it is sparse for TRIAL waits, and for twice as many
// after each time that it is found so again, up to TRIALS times.
enum { SHARE = 32, WAITS = 16, TRIAL = 1024, TRIALS = 6 };

// A wait may look for LONGEST microseconds before it sleeps, EARNED for each event
// of the past. After more than PATIENCE looks in vain, one after another, the next
// 2, 4, up to 2^(MISSES-PATIENCE) waits sleep at once. PAUSES are the processor's,
// between two looks.
enum { EARNED = 2, LONGEST = 200, PATIENCE = 4, MISSES = 14, PAUSES = 20 };

typedef struct native_guest guest;

static uint32_t load32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static uint64_t load64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

// inside gives the n bytes at ptr, NULL if they are not all in the memory.
static uint8_t *inside(uint8_t *memory, size_t size, uint32_t ptr, uint64_t n) {
  return (uint64_t)ptr + n <= size ? memory + ptr : NULL;
}

static const struct native_file *file_of(const guest *g, uint32_t fd, uint32_t flags) {
  if (fd >= g->nfiles || (g->files[fd].flags & flags) != flags)
    return NULL;
  return &g->files[fd];
}

// The buffers of one transfer.
typedef struct {
  const struct native_file *file;
  struct iovec v[MANY];
  uint32_t n;
} transfer;

// gather finds the guest's buffers; false for what Go has to look at.
static bool gather(transfer *t, const guest *g, uint8_t *memory, size_t size, const uint64_t *stack) {
  uint32_t count = (uint32_t)stack[2];
  t->file = file_of(g, (uint32_t)stack[0], NATIVE_SOCKET | NATIVE_STREAM);
  if (t->file == NULL || count == 0 || count > MANY)
    return false;
  const uint8_t *list = inside(memory, size, (uint32_t)stack[1], count * IOVEC);
  if (list == NULL)
    return false;
  t->n = 0;
  for (; count > 0; count--, list += IOVEC) {
    uint32_t n = load32(list + 4);
    uint8_t *p = inside(memory, size, load32(list), n);
    if (p == NULL)
      return false;
    if (n > 0)
      t->v[t->n++] = (struct iovec){p, n};
  }
  return t->n > 0;
}

// move transfers, by the kernel's shorter way if there is one buffer only, and
// gives the number of bytes or -1. A socket that blocks waits in the kernel,
// which also knows its timeouts.
static ssize_t move(transfer *t, bool out) {
  int flags = (t->file->flags & NATIVE_NONBLOCK ? MSG_DONTWAIT : 0) | (out ? MSG_NOSIGNAL : 0);
  struct msghdr m = {.msg_iov = t->v, .msg_iovlen = t->n};
  ssize_t n;
  do {
    if (t->n > 1)
      n = out ? sendmsg(t->file->fd, &m, flags) : recvmsg(t->file->fd, &m, flags);
    else if (out)
      n = send(t->file->fd, t->v[0].iov_base, t->v[0].iov_len, flags);
    else
      n = recv(t->file->fd, t->v[0].iov_base, t->v[0].iov_len, flags);
  } while (n < 0 && errno == EINTR);
  return n;
}

// finish puts the length where the guest wants it, or gives the error.
static int32_t finish(const guest *g, uint64_t *stack, ssize_t n, uint8_t *length) {
  if (n < 0) {
    uint32_t known = (uint32_t)errno < g->nerrnos ? g->errnos[errno] : 0;
    stack[0] = known != 0 ? known : g->errnos[EIO];
    return NATIVE_DONE;
  }
  uint32_t done = (uint32_t)n;
  memcpy(length, &done, sizeof done);
  stack[0] = 0;
  return NATIVE_DONE;
}

int32_t runw_native_sock_recv(void *env, uint8_t *memory, size_t size, uint64_t *stack) {
  guest *g = env;
  transfer t;
  uint32_t at = (uint32_t)stack[4], flags_at = (uint32_t)stack[5];
  uint8_t *length = inside(memory, size, at, 4), *flags = inside(memory, size, flags_at, 2);
  if ((uint32_t)stack[3] != 0 || length == NULL || flags == NULL || at % 4 != 0 || flags_at % 2 != 0 ||
      !gather(&t, g, memory, size, stack))
    return NATIVE_PASS;
  int32_t done = finish(g, stack, move(&t, false), length);
  if (stack[0] == 0)
    memset(flags, 0, 2);
  return done;
}

int32_t runw_native_sock_send(void *env, uint8_t *memory, size_t size, uint64_t *stack) {
  guest *g = env;
  transfer t;
  uint32_t at = (uint32_t)stack[4];
  uint8_t *length = inside(memory, size, at, 4);
  if ((uint32_t)stack[3] != 0 || length == NULL || at % 4 != 0 || !gather(&t, g, memory, size, stack))
    return NATIVE_PASS;
  return finish(g, stack, move(&t, true), length);
}

static int32_t file_transfer(guest *g, uint8_t *memory, size_t size, uint64_t *stack, bool out) {
  transfer t;
  uint8_t *length = inside(memory, size, (uint32_t)stack[3], 4);
  if (length == NULL || !gather(&t, g, memory, size, stack))
    return NATIVE_PASS;
  return finish(g, stack, move(&t, out), length);
}

int32_t runw_native_fd_read(void *env, uint8_t *memory, size_t size, uint64_t *stack) {
  return file_transfer(env, memory, size, stack, false);
}

int32_t runw_native_fd_write(void *env, uint8_t *memory, size_t size, uint64_t *stack) {
  return file_transfer(env, memory, size, stack, true);
}

// A call of poll_oneoff.
typedef struct {
  const uint8_t *subs;
  uint8_t *events;
  uint32_t n;
  // clock says that there is one, so that waiting is Go's; foreign that there is
  // what ppoll here cannot ask for.
  bool clock, foreign;
} waiting;

// ahead says that the clock of a subscription is one of the usual ones and not
// due yet.
static bool ahead(const uint8_t *sub) {
  uint32_t id = load32(sub + 16), flags = sub[40] | (uint32_t)sub[41] << 8;
  uint64_t timeout = load64(sub + 24);
  if (id > 1 || flags > 1)
    return false;
  if (flags == 0)
    return timeout > 0;
  struct timespec now;
  clock_gettime(id == 0 ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
  return timeout > (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// amount is what can be read or written at once; see readable and writable in
// poll_event.go.
static uint64_t amount(int fd, uint32_t flags, int kind) {
  int n, size;
  socklen_t length = sizeof size;
  if (kind == FD_READ)
    return !(flags & NATIVE_STREAM) && ioctl(fd, FIONREAD, &n) == 0 ? (uint32_t)n : 1;
  if (!(flags & NATIVE_SOCKET) || getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &length) != 0 || ioctl(fd, SIOCOUTQ, &n) != 0)
    return 1;
  return size > n ? (uint64_t)(size - n) : 0;
}

// tell writes the event of a ready descriptor and gives what is behind it.
static uint8_t *tell(uint8_t *event, const uint8_t *sub, int fd, uint32_t flags) {
  uint64_t bytes = amount(fd, flags, sub[8]);
  memset(event, 0, EVENT);
  memcpy(event, sub, 8);
  event[10] = sub[8];
  memcpy(event + 16, &bytes, sizeof bytes);
  return event + EVENT;
}

// put adds a subscription to the list of n for ppoll and gives its place there; MOST
// for what this list cannot have. A descriptor's file remembers its place, which
// counts if it is there.
static uint32_t put(const guest *g, const uint8_t *sub, struct pollfd *fds, uint32_t *whose, uint32_t *n) {
  uint32_t fd = load32(sub + 16);
  const struct native_file *f = file_of(g, fd, NATIVE_SOCKET);
  short mask = sub[8] == FD_READ ? POLLIN : POLLOUT;
  if (f == NULL || sub[8] > FD_WRITE)
    return MOST;
  uint32_t at = g->files[fd].listed;
  if (at >= *n || whose[at] != fd) {
    at = g->files[fd].listed = (*n)++;
    whose[at] = fd;
    fds[at] = (struct pollfd){.fd = f->fd};
  }
  if (fds[at].events & mask)
    return MOST;
  fds[at].events |= mask;
  return at;
}

// listed waits with ppoll and tells in the order of the subscriptions. The number of
// events; 0 if Go has to do it.
static uint32_t listed(guest *g, waiting *w) {
  static const struct timespec now;
  struct pollfd fds[MOST];
  uint32_t n = 0, of[MOST], whose[MOST];
  for (uint32_t i = 0; i < w->n; i++) {
    const uint8_t *sub = w->subs + i * SUBSCRIPTION;
    if (sub[8] == CLOCK) {
      of[i] = MOST;
      w->clock = true;
      if (!ahead(sub))
        return 0;
    } else if ((of[i] = put(g, sub, fds, whose, &n)) == MOST) {
      w->foreign = true;
      return 0;
    }
  }
  int ready;
  do
    ready = n == 0 ? 0 : ppoll(fds, n, w->clock ? &now : NULL, NULL);
  while (ready < 0 && errno == EINTR);
  if (ready <= 0)
    return 0;
  for (uint32_t i = 0; i < n; i++)
    if (fds[i].revents & ~(POLLIN | POLLOUT))
      return 0;
  uint8_t *event = w->events;
  for (uint32_t i = 0; i < w->n; i++) {
    const uint8_t *sub = w->subs + i * SUBSCRIPTION;
    if (of[i] < MOST && fds[of[i]].revents & (sub[8] == FD_READ ? POLLIN : POLLOUT))
      event = tell(event, sub, fds[of[i]].fd, g->files[whose[of[i]]].flags);
  }
  return (uint32_t)(event - w->events) / EVENT;
}

// thin makes the list that the guest waits for a sparse one.
static void thin(guest *g) {
  g->sparse = 1;
  g->density = 0;
  g->waits = (uint32_t)TRIAL << g->trials;
  g->trials += g->trials < TRIALS;
}

// crowd waits for a list in which there is much to tell: what the list costs is paid
// by many, and the watch would cost each client more: see RATIONALE.md.
static uint32_t crowd(guest *g, waiting *w) {
  uint32_t told = listed(g, w);
  int32_t bound = WAITS * (int32_t)w->n;
  g->density += SHARE * (int32_t)told - (int32_t)w->n;
  if (w->foreign || g->density <= -bound) {
    thin(g);
  } else if (g->density >= bound) {
    g->density = bound;
    g->trials = 0;
  }
  return told;
}

// same says that the guest asks for what it asked for the last time. This is
// all that an idle socket costs.
static bool same(guest *g, waiting *w) {
  if (g->nkeys != w->n)
    return false;
  const uint8_t *sub = w->subs;
  for (uint32_t i = 0; i < w->n; i++, sub += SUBSCRIPTION) {
    uint64_t key = (uint64_t)sub[8] << 32 | load32(sub + 16);
    if (key == g->keys[i] && sub[8] != CLOCK)
      continue;
    if (sub[8] != CLOCK || g->keys[i] != (uint64_t)1 << 40 || !ahead(sub))
      return false;
    w->clock = true;
  }
  return true;
}

static uint64_t microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// watched asks the watch for its events.
static int watched(guest *g, int timeout) {
  int ready;
  do
    ready = epoll_pwait(g->epfd, g->events, (int)g->nevents, timeout, NULL);
  while (ready < 0 && errno == EINTR);
  return ready;
}

// look finds events without sleeping, 0 if there are none. A client pays for
// waking a server that sleeps, with its own time: see RATIONALE.md. So a busy
// server goes on looking for a while, which its past events pay for; one that
// looks in vain does it ever less often.
static int look(guest *g) {
  if (g->skip > 0) {
    g->skip--;
    return 0;
  }
  int ready = watched(g, 0);
  if (ready != 0 || g->credit == 0)
    return ready;
  uint64_t start = microseconds(), spent;
  do {
    for (int i = 0; i < PAUSES; i++)
      relax();
    ready = watched(g, 0);
    spent = microseconds() - start;
  } while (ready == 0 && spent < g->credit);
  g->credit -= spent < g->credit ? (uint32_t)spent : g->credit;
  g->misses = ready != 0 ? 0 : g->misses + (g->misses < MISSES);
  if (g->misses > PATIENCE)
    g->skip = (uint32_t)1 << (g->misses - PATIENCE);
  return ready;
}

// many waits with the watch, whose events are level-triggered: what was looked
// at and not told is found again. As listed.
static uint32_t many(guest *g, waiting *w) {
  if (!same(g, w))
    return 0;
  if (w->n <= MOST && --g->waits == 0) {
    g->sparse = 0; // and Go forgets the watch
    return 0;
  }
  int ready = w->clock ? watched(g, 0) : look(g);
  if (ready == 0 && !w->clock)
    ready = watched(g, -1);
  for (int i = 0; i < ready && g->credit < LONGEST; i++)
    g->credit += EARNED;
  for (int i = 0; i < ready; i++)
    if (g->events[i].data.u32 >= g->nslots || g->events[i].events & ~(uint32_t)(EPOLLIN | EPOLLOUT))
      return 0;
  uint8_t *event = w->events;
  for (int i = 0; i < ready; i++) {
    const struct native_slot *s = &g->slots[g->events[i].data.u32];
    uint32_t is = g->events[i].events & s->asked;
    if (is & EPOLLIN && s->at[0] < w->n)
      event = tell(event, w->subs + (size_t)s->at[0] * SUBSCRIPTION, s->fd, s->flags);
    if (is & EPOLLOUT && s->at[1] < w->n)
      event = tell(event, w->subs + (size_t)s->at[1] * SUBSCRIPTION, s->fd, s->flags);
  }
  return (uint32_t)(event - w->events) / EVENT;
}

int32_t runw_native_poll_oneoff(void *env, uint8_t *memory, size_t size, uint64_t *stack) {
  guest *g = env;
  uint32_t n = (uint32_t)stack[2];
  uint64_t subs_size = (uint64_t)n * SUBSCRIPTION, events_size = (uint64_t)n * EVENT;
  uint8_t *subs = inside(memory, size, (uint32_t)stack[0], subs_size);
  uint8_t *events = inside(memory, size, (uint32_t)stack[1], events_size);
  uint8_t *count = inside(memory, size, (uint32_t)stack[3], 4);
  if (g->nfiles == 0 || n == 0 || subs == NULL || events == NULL || count == NULL ||
      (subs < events + events_size && events < subs + subs_size))
    return NATIVE_PASS;
  waiting w = {.subs = subs, .events = events, .n = n};
  uint32_t told = n <= FEW ? listed(g, &w) : n <= MOST && !g->sparse ? crowd(g, &w) : many(g, &w);
  if (told == 0)
    return NATIVE_PASS;
  memcpy(count, &told, sizeof told);
  stack[0] = 0;
  return NATIVE_DONE;
}

int32_t runw_native_try(uintptr_t call, uintptr_t env, uint8_t *memory, size_t size, uint64_t *stack) {
  int32_t (*function)(void *, uint8_t *, size_t, uint64_t *) = (void *)call;
  return function((void *)env, memory, size, stack);
}
