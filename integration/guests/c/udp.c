// udp: sends each datagram back to where it came from.
//
//	udp ADDRESS
#include "net.h"

int main(int argc, char **argv) {
	struct net_addr a;
	if (argc != 2 || net_parse(argv[1], &a)) {
		fprintf(stderr, "usage: udp ADDRESS\n");
		return 2;
	}
	static char buf[65536];
	struct pollfd p = {.fd = net_server(NET_DGRAM, &a, 0), .events = POLLIN};
	printf("listening\n");
	fflush(stdout);
	while (poll(&p, 1, -1) >= 0) {
		struct net_addr from = {.size = a.size};
		ssize_t n = net_recv_from(p.fd, buf, sizeof buf, &from);
		if (n < 0) {
			if (errno != EAGAIN)
				fprintf(stderr, "receive: errno %d\n", errno);
			continue;
		}
		if (net_send_to(p.fd, buf, n, &from) < 0)
			fprintf(stderr, "send: errno %d\n", errno);
	}
	return 1;
}
