// http: an HTTP/1.1 server on one thread with poll: keep-alive, pipelining, as
// many connections as there are descriptors.
//
//	http ADDRESS       see net_parse
//
//	GET /          a short text
//	GET /bytes/N   N bytes
//	POST /sink     reads the body, says how long it was
//	GET /open      the number of open connections
#include "net.h"

struct conn {
	int fd;
	short waits; // for POLLIN or POLLOUT
	uint8_t *in; // what is left of an incomplete request
	uint32_t have;
	uint32_t outat, outlen;
	char *out;       // a head that did not fit the socket's buffer
	uint64_t left;   // bytes of the body still to send
	uint64_t sink;   // bytes of the request's body still to read
	uint64_t sunk;   // its length
	uint8_t closing; // after the response
	uint8_t missing; // what was asked for
};

// SLACK is what the comparisons in request may look at behind a short one.
enum { MAX_HEAD = 16384, SCRATCH = 65536, SLACK = 16 };

static struct net_set set; // by the same index as conns; [0] is the listener
static struct conn *conns;
static struct net_ready *ready; // what a wait has found
static uint32_t *gone;          // connections to drop after that
static size_t count, room;
static int full; // no room for another connection
static uint8_t scratch[SCRATCH + MAX_HEAD + SLACK];
static char filler[65536];

static void grow(void) {
	room = room ? room * 2 : 64;
	conns = realloc(conns, room * sizeof *conns);
	ready = realloc(ready, room * sizeof *ready);
	gone = realloc(gone, room * sizeof *gone);
	if (!conns || !ready || !gone || net_set_grow(&set, room)) {
		fprintf(stderr, "no memory for %zu connections\n", room);
		exit(1);
	}
}

static void add(int fd) {
	if (count == room)
		grow();
	conns[count] = (struct conn){.fd = fd, .waits = POLLIN};
	net_set_put(&set, count, fd, POLLIN);
	count++;
}

static void wait_for(size_t i, short events) {
	if (conns[i].waits == events)
		return;
	conns[i].waits = events;
	net_set_put(&set, i, conns[i].fd, events);
}

static void drop(size_t i) {
	close(conns[i].fd);
	free(conns[i].in);
	free(conns[i].out);
	count--;
	full = 0;
	if (i == count)
		return;
	conns[i] = conns[count];
	net_set_put(&set, i, conns[i].fd, conns[i].waits);
}

// flush sends what is due; -1 if the connection is to be dropped.
static int flush(size_t i) {
	struct conn *c = &conns[i];
	while (c->outat < c->outlen || c->left) {
		ssize_t n;
		if (c->outat < c->outlen) {
			n = net_send(c->fd, c->out + c->outat, c->outlen - c->outat);
			if (n > 0)
				c->outat += n;
		} else {
			n = net_send(c->fd, filler, c->left < sizeof filler ? c->left : sizeof filler);
			if (n > 0)
				c->left -= n;
		}
		if (n < 0 && errno == EAGAIN) {
			wait_for(i, POLLOUT);
			return 0;
		}
		if (n < 0)
			return -1;
	}
	free(c->out);
	c->out = NULL;
	c->outat = c->outlen = 0;
	wait_for(i, POLLIN);
	return c->closing ? -1 : 0;
}

// decimal writes a number and gives the end.
static char *decimal(char *p, uint64_t n) {
	char digits[20];
	int i = 0;
	do
		digits[i++] = '0' + n % 10;
	while (n /= 10);
	while (i)
		*p++ = digits[--i];
	return p;
}

static char *copy(char *p, const char *text, size_t n) {
	memcpy(p, text, n);
	return p + n;
}

#define COPY(p, literal) copy(p, literal, sizeof literal - 1)

// respond sends a head, and body bytes of text if there is one, else of filler.
static int respond(size_t i, const char *text, uint64_t body) {
	struct conn *c = &conns[i];
	char head[512], *p = head;
	p = c->missing ? COPY(p, "HTTP/1.1 404 Not Found\r\n") : COPY(p, "HTTP/1.1 200 OK\r\n");
	p = COPY(p, "Content-Type: text/plain\r\nContent-Length: ");
	p = decimal(p, body);
	p = c->closing ? COPY(p, "\r\nConnection: close\r\n\r\n") : COPY(p, "\r\n\r\n");
	if (text)
		p = copy(p, text, body);
	ssize_t n = p - head, sent = net_send(c->fd, head, n);
	if (sent < 0 && errno != EAGAIN)
		return -1;
	if (sent < 0)
		sent = 0;
	c->left = text ? 0 : body;
	if (sent < n) {
		c->outlen = n - sent;
		c->out = malloc(c->outlen);
		if (!c->out)
			return -1;
		memcpy(c->out, head + sent, c->outlen);
	}
	if (sent == n && !c->left)
		return c->closing ? -1 : 0;
	return flush(i);
}

static int sunk(size_t i) {
	char text[64], *p = decimal(text, conns[i].sunk);
	return respond(i, text, COPY(p, " bytes\n") - text);
}

// is says whether the bytes at p are a header's name, in any case.
static int is(const uint8_t *p, const uint8_t *end, const char *lower) {
	for (; *lower; p++, lower++)
		if (p == end || (*p | 0x20) != (*lower | 0x20))
			return 0;
	return 1;
}

// head is a request without its body.
struct head {
	size_t size; // 0: not whole yet
	uint64_t length;
	int closing;
};

// parse finds the end of a head and the two headers that matter here.
static struct head parse(const uint8_t *p, size_t n) {
	struct head h = {0};
	const uint8_t *end = p + n, *at = p;
	for (;;) {
		const uint8_t *eol = memchr(at, '\n', end - at);
		if (!eol)
			return h;
		if (eol - at <= 1) {
			h.size = eol + 1 - p;
			return h;
		}
		if ((*at | 0x20) == 'c') {
			if (is(at, eol, "connection: close"))
				h.closing = 1;
			else if (is(at, eol, "content-length:"))
				h.length = strtoull((const char *)at + 15, NULL, 10);
		}
		at = eol + 1;
	}
}

static int request(size_t i, const char *line, struct head *h) {
	static const char hello[] = "Hello from a WebAssembly module or a program.\n";
	struct conn *c = &conns[i];
	c->closing = h->closing;
	c->missing = 0;
	if (!memcmp(line, "GET / ", 6))
		return respond(i, hello, sizeof hello - 1);
	if (!memcmp(line, "GET /bytes/", 11))
		return respond(i, NULL, strtoull(line + 11, NULL, 10));
	if (!memcmp(line, "GET /open ", 10)) {
		char text[32], *p = decimal(text, count - 1);
		return respond(i, text, COPY(p, "\n") - text);
	}
	if (!memcmp(line, "POST /sink ", 11)) {
		c->sink = c->sunk = h->length;
		return c->sink ? 0 : sunk(i);
	}
	c->missing = 1;
	return respond(i, "not here\n", 9);
}

// consume handles n bytes at p, all that the client has sent so far; it keeps
// what is no whole request. What is behind must be readable, up to a NUL.
static int consume(size_t i, uint8_t *p, size_t n) {
	while (n) {
		struct conn *c = &conns[i];
		if (c->sink) {
			size_t take = n < c->sink ? n : c->sink;
			p += take, n -= take, c->sink -= take;
			if (!c->sink && sunk(i))
				return -1;
			continue;
		}
		if (c->waits == POLLOUT)
			break; // one response at a time
		struct head h = parse(p, n);
		if (!h.size) {
			if (n >= MAX_HEAD)
				return -1;
			break;
		}
		if (request(i, (char *)p, &h))
			return -1;
		p += h.size, n -= h.size;
	}
	struct conn *c = &conns[i];
	if (n) {
		c->in = malloc(n);
		if (!c->in)
			return -1;
		memcpy(c->in, p, n);
	}
	c->have = n;
	return 0;
}

// again puts what is left of the last time into the scratch buffer.
static size_t again(struct conn *c) {
	size_t have = c->have;
	if (have)
		memcpy(scratch, c->in, have);
	free(c->in);
	c->in = NULL;
	c->have = 0;
	return have;
}

static int readable(size_t i) {
	size_t have = conns[i].have ? again(&conns[i]) : 0;
	ssize_t n = net_recv(conns[i].fd, scratch + have, sizeof scratch - SLACK - have);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		return -1;
	if (n < 0)
		n = 0;
	scratch[have + n] = 0;
	return consume(i, scratch, have + n);
}

// writable goes on with a response, then with what has come in meanwhile.
static int writable(size_t i) {
	if (flush(i))
		return -1;
	struct conn *c = &conns[i];
	if (c->waits == POLLOUT || !c->have)
		return 0;
	size_t have = again(c);
	scratch[have] = 0;
	return consume(i, scratch, have);
}

static void accept_all(void) {
	for (;;) {
		int fd = net_accept(conns[0].fd);
		if (fd >= 0) {
			add(fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE) {
			fprintf(stderr, "full with %zu connections\n", count - 1);
			full = 1; // until one goes
			return;
		}
		if (errno != ECONNABORTED)
			return;
	}
}

static int descending(const void *a, const void *b) {
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? 1 : -1;
}

int main(int argc, char **argv) {
	struct net_addr a;
	if (argc != 2 || net_parse(argv[1], &a)) {
		fprintf(stderr, "usage: http ADDRESS\n");
		return 2;
	}
	memset(filler, 'x', sizeof filler);
	add(net_server(NET_STREAM, &a, 4096));
	printf("listening\n");
	fflush(stdout);
	for (;;) {
		int n = net_set_wait(&set, full, count, ready), new = 0;
		if (n < 0) {
			fprintf(stderr, "poll: errno %d\n", errno);
			return 1;
		}
		size_t drops = 0;
		for (int k = 0; k < n; k++) {
			uint32_t i = ready[k].index;
			if (i == 0)
				new = 1;
			else if (ready[k].events == POLLOUT ? writable(i) : readable(i))
				gone[drops++] = i;
		}
		// The last first: dropping a connection moves the last one into its place.
		qsort(gone, drops, sizeof *gone, descending);
		for (size_t k = 0; k < drops; k++)
			drop(gone[k]);
		if (new)
			accept_all();
	}
}
