// Measures what a host call costs, from the inside: nanoseconds a call, one line each.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

#define MEASURE(name, rounds, call) do { \
	int64_t begin = now(); \
	for (int i = 0; i < (rounds); i++) \
		failed |= call; \
	printf("%s %.1f\n", name, (double)(now() - begin) / (rounds)); \
} while (0)

int main(void) {
	__wasi_fdstat_t stat;
	__wasi_timestamp_t stamp;
	__wasi_size_t n, count;
	uint8_t byte = 0;
	int failed = 0;
	int null = open("/dev/null", O_WRONLY);
	int zero = open("/dev/zero", O_RDONLY);
	if (null < 0 || zero < 0)
		return 1;
	__wasi_ciovec_t out = {.buf = &byte, .buf_len = 1};
	__wasi_iovec_t in = {.buf = &byte, .buf_len = 1};
	MEASURE("sched_yield", 200000, __wasi_sched_yield());
	MEASURE("args_sizes_get", 2000000, __wasi_args_sizes_get(&n, &count));
	MEASURE("clock_time_get", 1000000, __wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &stamp));
	MEASURE("fd_fdstat_get", 300000, __wasi_fd_fdstat_get(null, &stat));
	MEASURE("fd_write", 300000, __wasi_fd_write(null, &out, 1, &n));
	MEASURE("fd_read", 300000, __wasi_fd_read(zero, &in, 1, &n));
	return failed;
}
