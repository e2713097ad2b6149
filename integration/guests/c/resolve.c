// resolve: asks for a name's addresses as WasmEdge's guests do, and prints what
// the host has filled in; one line for each answer, or the error.
//
//	resolve NODE [SERVICE [FAMILY [FLAGS]]]
#include "net.h"

struct addrinfo_wasi {
	uint16_t flags;
	uint8_t family, socktype;
	uint32_t protocol;
	uint32_t addrlen;
	struct sockaddr_wasi *addr;
	char *canonname;
	uint32_t canonname_len;
	struct addrinfo_wasi *next;
};

struct sockaddr_wasi {
	uint32_t family;
	uint32_t len;
	uint8_t *data;
};

IMPORT(sock_getaddrinfo) int32_t wasi_sock_getaddrinfo(const char *node, uint32_t node_len, const char *service, uint32_t service_len,
	struct addrinfo_wasi *hints, struct addrinfo_wasi **res, uint32_t max, uint32_t *n);

enum { MAX = 16 };

int main(int argc, char **argv) {
	static struct addrinfo_wasi list[MAX];
	static struct sockaddr_wasi addrs[MAX];
	static uint8_t data[MAX][26];
	static char names[MAX][64];
	if (argc < 2)
		return 2;
	for (int i = 0; i < MAX; i++) {
		addrs[i].data = data[i];
		list[i].addr = &addrs[i];
		list[i].canonname = names[i];
		list[i].canonname_len = sizeof names[i];
		list[i].next = i + 1 < MAX ? &list[i + 1] : NULL;
	}
	const char *service = argc > 2 ? argv[2] : "";
	struct addrinfo_wasi hints = {.family = argc > 3 ? atoi(argv[3]) : 0, .socktype = NET_STREAM, .flags = argc > 4 ? atoi(argv[4]) : 0};
	struct addrinfo_wasi *first = list;
	uint32_t n = 0;
	int32_t e = wasi_sock_getaddrinfo(argv[1], strlen(argv[1]) + 1, service, strlen(service) + 1, &hints, &first, MAX, &n);
	if (e) {
		printf("error %d\n", e);
		return 1;
	}
	struct addrinfo_wasi *a = first;
	for (uint32_t i = 0; i < n; i++, a = a->next) {
		uint8_t *d = a->addr->data;
		printf("family %d type %d protocol %u port %u length %u address ", a->family, a->socktype, a->protocol, d[0] << 8 | d[1], a->addrlen);
		if (a->family == 1)
			printf("%u.%u.%u.%u", d[2], d[3], d[4], d[5]);
		else
			for (int k = 0; k < 16; k++)
				printf("%02x%s", d[6 + k], k % 2 && k < 15 ? ":" : "");
		printf(a->canonname_len ? " name %.*s\n" : "\n", (int)a->canonname_len, a->canonname);
	}
	return 0;
}
