// build: -Wl,-z,stack-size=8388608
// proxy: carries TCP connections on to another server, many at once, as an API
// gateway does.
//
//	proxy ADDRESS TARGET
#include "net.h"

// A side is one end of a carried connection. The two ends lie behind each
// other: the peer of side i is i^1, and sides begin at 2.
struct side {
	int fd;
	uint8_t buf[16384]; // read here, to be written to the peer
	uint32_t at, have;
	uint8_t ended;      // nothing more comes
	uint8_t shut;       // and the peer knows
	uint8_t connecting;
};

// [0] is the listener, [1] unused; -1 stands for what is not waited for:
// WASI has no way to wait for nothing.
static struct pollfd *fds;
static int listener;
static struct side **sides;
static size_t count = 2, room;

static int grow(void) {
	if (count + 2 <= room)
		return 0;
	size_t more = room ? room * 2 : 64;
	void *f = realloc(fds, more * sizeof *fds), *s = realloc(sides, more * sizeof *sides);
	if (f)
		fds = f;
	if (s)
		sides = s;
	if (!f || !s)
		return -1;
	room = more;
	return 0;
}

static void add(int fd, int connecting) {
	sides[count] = calloc(1, sizeof **sides);
	if (!sides[count]) {
		fprintf(stderr, "no memory\n");
		exit(1);
	}
	sides[count]->fd = fd;
	sides[count]->connecting = connecting;
	count++;
}

static void drop(size_t i) {
	i &= ~(size_t)1;
	for (int k = 0; k < 2; k++) {
		close(sides[i + k]->fd);
		free(sides[i + k]);
		fds[i + k] = fds[count - 2 + k];
		sides[i + k] = sides[count - 2 + k];
	}
	count -= 2;
	fds[0].fd = listener;
}

// want sets what to wait for on one side.
static void want(size_t i) {
	struct side *s = sides[i], *peer = sides[i ^ 1];
	short events = 0;
	if (s->connecting || peer->at < peer->have)
		events |= POLLOUT;
	if (!s->connecting && !s->ended && s->at == s->have)
		events |= POLLIN;
	fds[i] = (struct pollfd){.fd = events ? s->fd : -1, .events = events};
}

// carry moves what side i has read to its peer; -1 drops both.
static int carry(size_t i) {
	struct side *s = sides[i];
	if (sides[i ^ 1]->connecting)
		return 0;
	while (s->at < s->have) {
		ssize_t n = net_send(sides[i ^ 1]->fd, s->buf + s->at, s->have - s->at);
		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		s->at += n;
	}
	s->at = s->have = 0;
	if (s->ended && !s->shut) {
		s->shut = 1;
		net_shutdown(sides[i ^ 1]->fd);
	}
	return s->shut && sides[i ^ 1]->shut ? -1 : 0;
}

static int step(size_t i, short got) {
	struct side *s = sides[i];
	if (s->connecting) {
		if (!(got & (POLLOUT | POLLHUP | POLLERR)))
			return 0;
		if (net_error(s->fd))
			return -1;
		s->connecting = 0;
		return carry(i ^ 1);
	}
	if (got & POLLOUT && carry(i ^ 1))
		return -1;
	if (!s->ended && s->at == s->have) {
		ssize_t n = net_recv(s->fd, s->buf, sizeof s->buf);
		if (n < 0 && errno != EAGAIN)
			return -1;
		if (n == 0)
			s->ended = 1;
		s->at = 0;
		s->have = n > 0 ? n : 0;
		return carry(i);
	}
	return 0;
}

static void accept_all(struct net_addr *target) {
	for (;;) {
		if (grow())
			return;
		int fd = net_accept(listener);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE)
				fds[0].fd = -1;
			return;
		}
		int out = net_open(NET_STREAM, target->size);
		if (out < 0) {
			close(fd);
			fds[0].fd = -1;
			return;
		}
		int connecting = net_connect(out, target) != 0;
		if (connecting && errno != EINPROGRESS) {
			close(fd);
			close(out);
			continue;
		}
		add(fd, 0);
		add(out, connecting);
		want(count - 2);
		want(count - 1);
	}
}

int main(int argc, char **argv) {
	struct net_addr a, target;
	if (argc != 3 || net_parse(argv[1], &a) || net_parse(argv[2], &target)) {
		fprintf(stderr, "usage: proxy ADDRESS TARGET\n");
		return 2;
	}
	if (grow())
		return 1;
	listener = net_server(NET_STREAM, &a, 4096);
	fds[0] = (struct pollfd){.fd = listener, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = -1};
	printf("listening\n");
	fflush(stdout);
	for (;;) {
		int n = poll(fds, count, -1);
		if (n < 0) {
			fprintf(stderr, "poll: errno %d\n", errno);
			return 1;
		}
		// Pairs backwards: a dropped pair is replaced by one that was seen.
		for (size_t pair = count - 2; pair >= 2; pair -= 2) {
			int gone = 0, any = 0;
			for (size_t i = pair; i < pair + 2 && !gone; i++)
				if (fds[i].revents) {
					any = 1;
					gone = step(i, fds[i].revents);
				}
			if (gone)
				drop(pair);
			else if (any) {
				want(pair);
				want(pair + 1);
			}
		}
		if (fds[0].revents)
			accept_all(&target);
	}
}
