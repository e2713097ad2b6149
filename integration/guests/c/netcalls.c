// build: -Wl,-z,stack-size=8388608
// netcalls: what a call on a socket costs, in nanoseconds; one line for each.
#include "net.h"

#include <time.h>

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void die(const char *what) {
	fprintf(stderr, "%s: errno %d\n", what, errno);
	exit(1);
}

enum { ROUNDS = 20000, MANY = 1000 };

static struct pollfd fds[MANY];

static void waiting(const char *name, int n) {
	int rounds = ROUNDS / (n > 8 ? 20 : 1);
	double begin = now();
	for (int i = 0; i < rounds; i++)
		if (poll(fds, n, -1) != 1)
			die("poll");
	printf("%s %.0f\n", name, (now() - begin) / rounds);
}

int main(void) {
	struct net_addr a;
	net_parse("127.0.0.1:8899", &a);
	int listener = net_server(NET_STREAM, &a, 16), out = net_open(NET_STREAM, 4);
	if (net_connect(out, &a) && errno != EINPROGRESS)
		die("connect");
	struct pollfd p = {.fd = listener, .events = POLLIN};
	poll(&p, 1, -1);
	int in = net_accept(listener);
	if (in < 0)
		die("accept");

	double begin = now();
	for (int i = 0; i < ROUNDS; i++)
		if (net_error(in))
			die("getsockopt");
	printf("getsockopt %.0f\n", (now() - begin) / ROUNDS);

	char byte = 'x', got;
	begin = now();
	for (int i = 0; i < ROUNDS; i++)
		if (net_send(out, &byte, 1) != 1 || net_recv(in, &got, 1) != 1)
			die("transfer");
	printf("send+recv %.0f\n", (now() - begin) / ROUNDS);

	begin = now();
	for (int i = 0; i < ROUNDS; i++)
		if (net_recv(in, &got, 1) != -1 || errno != EAGAIN)
			die("recv");
	printf("recv-nothing %.0f\n", (now() - begin) / ROUNDS);

	// One of them has something to say.
	if (net_send(out, &byte, 1) != 1)
		die("send");
	fds[0] = (struct pollfd){.fd = in, .events = POLLIN};
	for (int i = 1; i < MANY; i++) {
		fds[i] = (struct pollfd){.fd = net_open(NET_DGRAM, 4), .events = POLLIN};
		if (fds[i].fd < 0)
			die("socket");
	}
	waiting("poll-1", 1);
	waiting("poll-8", 8);
	waiting("poll-100", 100);
	waiting("poll-1000", MANY);
	return 0;
}
