// net.h: sockets for guests of WasmEdge's extension to WASI, whose libc has
// none, and for the same programs as native ones. Errors are -1 with errno set;
// every socket is non-blocking.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// An IPv4 (size 4) or IPv6 (size 16) address and a port in host order.
struct net_addr {
	uint8_t octets[16];
	uint32_t size;
	uint16_t port;
};

enum { NET_DGRAM = 1, NET_STREAM = 2 };

// A socket of a set, by its index, that is ready for POLLIN or POLLOUT; an error
// is for the next call on it to tell.
struct net_ready {
	uint32_t index;
	int events;
};

#ifdef __wasi__

#include <wasi/api.h>

struct net_buf {
	uint8_t *ptr;
	uint32_t len;
};

#define IMPORT(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))

IMPORT(sock_open) int32_t wasi_sock_open(int32_t family, int32_t type, int32_t *fd);
IMPORT(sock_bind) int32_t wasi_sock_bind(int32_t fd, struct net_buf *addr, int32_t port);
IMPORT(sock_listen) int32_t wasi_sock_listen(int32_t fd, int32_t backlog);
IMPORT(sock_accept) int32_t wasi_sock_accept(int32_t fd, int32_t flags, int32_t *connection);
IMPORT(sock_connect) int32_t wasi_sock_connect(int32_t fd, struct net_buf *addr, int32_t port);
IMPORT(sock_shutdown) int32_t wasi_sock_shutdown(int32_t fd, int32_t how);
IMPORT(sock_recv) int32_t wasi_sock_recv(int32_t fd, struct net_buf *iov, int32_t n, int32_t flags, uint32_t *done, uint16_t *oflags);
IMPORT(sock_send) int32_t wasi_sock_send(int32_t fd, struct net_buf *iov, int32_t n, int32_t flags, uint32_t *done);
IMPORT(sock_recv_from) int32_t wasi_sock_recv_from(int32_t fd, struct net_buf *iov, int32_t n, struct net_buf *addr, int32_t flags, uint32_t *port, uint32_t *done, uint16_t *oflags);
IMPORT(sock_send_to) int32_t wasi_sock_send_to(int32_t fd, struct net_buf *iov, int32_t n, struct net_buf *addr, int32_t port, int32_t flags, uint32_t *done);
IMPORT(sock_getsockopt) int32_t wasi_sock_getsockopt(int32_t fd, int32_t level, int32_t name, void *value, uint32_t *size);
IMPORT(sock_setsockopt) int32_t wasi_sock_setsockopt(int32_t fd, int32_t level, int32_t name, const void *value, uint32_t size);

static int net_fail(int32_t e) {
	errno = e; // wasi-libc's numbers are those of WASI
	return -1;
}

static inline int net_nonblock(int fd) {
	return fcntl(fd, F_SETFL, O_NONBLOCK);
}

static inline int net_open(int type, uint32_t size) {
	int32_t fd;
	int32_t e = wasi_sock_open(size == 4 ? 1 : 2, type, &fd);
	if (e)
		return net_fail(e);
	return net_nonblock(fd) ? -1 : fd;
}

static inline int net_reuse(int fd) {
	int32_t one = 1, e = wasi_sock_setsockopt(fd, 0, 0, &one, 4);
	return e ? net_fail(e) : 0;
}

static inline int net_bind(int fd, struct net_addr *a) {
	struct net_buf b = {a->octets, a->size};
	int32_t e = wasi_sock_bind(fd, &b, a->port);
	return e ? net_fail(e) : 0;
}

static inline int net_listen(int fd, int backlog) {
	int32_t e = wasi_sock_listen(fd, backlog);
	return e ? net_fail(e) : 0;
}

static inline int net_accept(int fd) {
	int32_t child, e = wasi_sock_accept(fd, 4, &child);
	return e ? net_fail(e) : child;
}

static inline int net_connect(int fd, struct net_addr *a) {
	struct net_buf b = {a->octets, a->size};
	int32_t e = wasi_sock_connect(fd, &b, a->port);
	return e ? net_fail(e) : 0;
}

// net_error is the error that a connecting socket has come to, 0 for none.
static inline int net_error(int fd) {
	int32_t value = 0;
	uint32_t size = sizeof value;
	int32_t e = wasi_sock_getsockopt(fd, 0, 2, &value, &size);
	return e ? e : value;
}

// net_shutdown ends what this side has to say.
static inline int net_shutdown(int fd) {
	int32_t e = wasi_sock_shutdown(fd, 2);
	return e ? net_fail(e) : 0;
}

static inline ssize_t net_recv(int fd, void *p, size_t n) {
	struct net_buf b = {p, n};
	uint32_t done;
	uint16_t flags;
	int32_t e = wasi_sock_recv(fd, &b, 1, 0, &done, &flags);
	return e ? net_fail(e) : (ssize_t)done;
}

static inline ssize_t net_send(int fd, const void *p, size_t n) {
	struct net_buf b = {(uint8_t *)p, n};
	uint32_t done;
	int32_t e = wasi_sock_send(fd, &b, 1, 0, &done);
	return e ? net_fail(e) : (ssize_t)done;
}

// The subscriptions are kept as the host takes them, and only changed where a
// socket comes, goes or wants something else, as mio does it.
struct net_set {
	__wasi_subscription_t *subs;
	__wasi_event_t *events;
};

static inline int net_set_grow(struct net_set *s, size_t room) {
	s->subs = realloc(s->subs, room * sizeof *s->subs);
	s->events = realloc(s->events, room * sizeof *s->events);
	return s->subs && s->events ? 0 : -1;
}

static inline void net_set_put(struct net_set *s, size_t i, int fd, short events) {
	memset(&s->subs[i], 0, sizeof s->subs[i]);
	s->subs[i].userdata = i;
	s->subs[i].u.tag = events == POLLOUT ? __WASI_EVENTTYPE_FD_WRITE : __WASI_EVENTTYPE_FD_READ;
	s->subs[i].u.u.fd_read.file_descriptor = fd;
}

static inline int net_set_wait(struct net_set *s, size_t first, size_t count, struct net_ready *ready) {
	size_t n;
	int e = __wasi_poll_oneoff(s->subs + first, s->events, count - first, &n);
	if (e)
		return net_fail(e);
	for (size_t k = 0; k < n; k++)
		ready[k] = (struct net_ready){s->events[k].userdata, s->events[k].type == __WASI_EVENTTYPE_FD_WRITE ? POLLOUT : POLLIN};
	return n;
}

static inline ssize_t net_recv_from(int fd, void *p, size_t n, struct net_addr *from) {
	struct net_buf b = {p, n}, a = {from->octets, from->size};
	uint32_t done, port = 0;
	uint16_t flags;
	int32_t e = wasi_sock_recv_from(fd, &b, 1, &a, 0, &port, &done, &flags);
	if (e)
		return net_fail(e);
	from->port = port;
	return done;
}

static inline ssize_t net_send_to(int fd, const void *p, size_t n, struct net_addr *to) {
	struct net_buf b = {(uint8_t *)p, n}, a = {to->octets, to->size};
	uint32_t done;
	int32_t e = wasi_sock_send_to(fd, &b, 1, &a, to->port, 0, &done);
	return e ? net_fail(e) : (ssize_t)done;
}

#else

#include <netinet/in.h>
#include <sys/socket.h>

static socklen_t net_kernel(struct net_addr *a, struct sockaddr_storage *s) {
	memset(s, 0, sizeof *s);
	if (a->size == 4) {
		struct sockaddr_in *in = (struct sockaddr_in *)s;
		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->octets, 4);
		return sizeof *in;
	}
	struct sockaddr_in6 *in = (struct sockaddr_in6 *)s;
	in->sin6_family = AF_INET6;
	in->sin6_port = htons(a->port);
	memcpy(&in->sin6_addr, a->octets, 16);
	return sizeof *in;
}

static inline int net_open(int type, uint32_t size) {
	return socket(size == 4 ? AF_INET : AF_INET6, (type == NET_STREAM ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
}

static inline int net_reuse(int fd) {
	int one = 1;
	return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
}

static inline int net_bind(int fd, struct net_addr *a) {
	struct sockaddr_storage s;
	socklen_t n = net_kernel(a, &s);
	return bind(fd, (struct sockaddr *)&s, n);
}

static inline int net_listen(int fd, int backlog) {
	return listen(fd, backlog);
}

static inline int net_accept(int fd) {
	return accept4(fd, NULL, NULL, SOCK_NONBLOCK);
}

static inline int net_connect(int fd, struct net_addr *a) {
	struct sockaddr_storage s;
	socklen_t n = net_kernel(a, &s);
	return connect(fd, (struct sockaddr *)&s, n);
}

static inline int net_error(int fd) {
	int value = 0;
	socklen_t n = sizeof value;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &n) ? errno : value;
}

static inline int net_shutdown(int fd) {
	return shutdown(fd, SHUT_WR);
}

static inline ssize_t net_recv(int fd, void *p, size_t n) {
	return recv(fd, p, n, 0);
}

static inline ssize_t net_send(int fd, const void *p, size_t n) {
	return send(fd, p, n, MSG_NOSIGNAL);
}

struct net_set {
	struct pollfd *fds;
};

// net_set_grow makes room for so many sockets; -1 if there is none.
static inline int net_set_grow(struct net_set *s, size_t room) {
	s->fds = realloc(s->fds, room * sizeof *s->fds);
	return s->fds ? 0 : -1;
}

// net_set_put says what is waited for at an index: POLLIN or POLLOUT.
static inline void net_set_put(struct net_set *s, size_t i, int fd, short events) {
	s->fds[i] = (struct pollfd){.fd = fd, .events = events};
}

// net_set_wait waits for those from first to count, and gives the number of
// those that are ready.
static inline int net_set_wait(struct net_set *s, size_t first, size_t count, struct net_ready *ready) {
	int left = poll(s->fds + first, count - first, -1), n = 0;
	for (size_t i = first; i < count && left > 0; i++)
		if (s->fds[i].revents) {
			left--;
			ready[n++] = (struct net_ready){i, s->fds[i].events};
		}
	return left < 0 ? -1 : n;
}

static inline ssize_t net_recv_from(int fd, void *p, size_t n, struct net_addr *from) {
	struct sockaddr_storage s;
	socklen_t len = sizeof s;
	ssize_t done = recvfrom(fd, p, n, 0, (struct sockaddr *)&s, &len);
	if (done < 0)
		return done;
	if (s.ss_family == AF_INET) {
		memcpy(from->octets, &((struct sockaddr_in *)&s)->sin_addr, 4);
		from->port = ntohs(((struct sockaddr_in *)&s)->sin_port);
	} else {
		memcpy(from->octets, &((struct sockaddr_in6 *)&s)->sin6_addr, 16);
		from->port = ntohs(((struct sockaddr_in6 *)&s)->sin6_port);
	}
	return done;
}

static inline ssize_t net_send_to(int fd, const void *p, size_t n, struct net_addr *to) {
	struct sockaddr_storage s;
	socklen_t len = net_kernel(to, &s);
	return sendto(fd, p, n, MSG_NOSIGNAL, (struct sockaddr *)&s, len);
}

#endif

// net_parse reads "1.2.3.4:80", or "PORT" for every address, or "6:PORT" for
// every address of both families.
static inline int net_parse(const char *s, struct net_addr *a) {
	unsigned o[4], port;
	memset(a, 0, sizeof *a);
	a->size = 4;
	if (sscanf(s, "%u.%u.%u.%u:%u", &o[0], &o[1], &o[2], &o[3], &port) == 5) {
		for (int i = 0; i < 4; i++)
			a->octets[i] = o[i];
	} else if (sscanf(s, "6:%u", &port) == 1 && strchr(s, ':')) {
		a->size = 16;
	} else if (sscanf(s, "%u", &port) != 1) {
		return -1;
	}
	a->port = port;
	return 0;
}

// net_server opens a listener or a bound datagram socket, or ends the program.
static inline int net_server(int type, struct net_addr *a, int backlog) {
	int fd = net_open(type, a->size);
	if (fd < 0 || net_reuse(fd) || net_bind(fd, a) || (type == NET_STREAM && net_listen(fd, backlog))) {
		fprintf(stderr, "port %u: errno %d\n", a->port, errno);
		exit(1);
	}
	return fd;
}
