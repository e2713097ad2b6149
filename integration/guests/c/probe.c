// The probe: one verb per run, each of them something a sandbox has to answer for.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int fail(const char *what) {
	printf("%s: %s\n", what, strerror(errno));
	return 1;
}

static int copy(int from, int to) {
	static char buf[1 << 16];
	ssize_t n;
	while ((n = read(from, buf, sizeof buf)) > 0)
		for (ssize_t done = 0; done < n;) {
			ssize_t w = write(to, buf + done, n - done);
			if (w < 0)
				return fail("write");
			done += w;
		}
	return n < 0 ? fail("read") : 0;
}

static int cat(const char *path) {
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return fail(path);
	return copy(fd, 1);
}

static int put(const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		return fail(path);
	if (write(fd, text, strlen(text)) < 0)
		return fail(path);
	printf("%s: written\n", path);
	return close(fd) < 0 ? fail(path) : 0;
}

static int list(const char *path) {
	DIR *dir = opendir(path);
	if (!dir)
		return fail(path);
	for (struct dirent *e; (e = readdir(dir));)
		printf("%s\n", e->d_name);
	closedir(dir);
	return 0;
}

// Reports each path that opens, in any way, and each that does not.
static int try(int count, char **paths) {
	static const struct { const char *name; int flags; } ways[] = {
		{"read", O_RDONLY}, {"write", O_WRONLY}, {"readwrite", O_RDWR}, {"directory", O_RDONLY | O_DIRECTORY},
	};
	for (int i = 0; i < count; i++)
		for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
			int fd = open(paths[i], ways[w].flags);
			if (fd < 0) {
				printf("refused %s %s: %s\n", ways[w].name, paths[i], strerror(errno));
				continue;
			}
			char buf[256];
			ssize_t n = read(fd, buf, sizeof buf);
			printf("OPENED %s %s: read %zd\n", ways[w].name, paths[i], n);
			close(fd);
		}
	return 0;
}

// Grows by 1 MiB and touches every page until the engine says no, or there are enough.
static int grow(unsigned most) {
	unsigned mib = 0;
	for (; mib < most; mib++) {
		size_t old = __builtin_wasm_memory_grow(0, 16);
		if (old == (size_t)-1)
			break;
		for (size_t i = 0; i < 1 << 20; i += 4096)
			((volatile char *)(old << 16))[i] = 1;
	}
	printf("grown %u MiB\n", mib);
	return 0;
}

static int many(const char *path) {
	int count = 0;
	while (count < 4096 && open(path, O_RDONLY) >= 0)
		count++;
	printf("opened %d then %s\n", count, count < 4096 ? strerror(errno) : "gave up");
	return 0;
}

static int spin(long ms) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	int64_t end = t.tv_sec * 1000LL + t.tv_nsec / 1000000 + ms;
	volatile uint64_t rounds = 0;
	do {
		for (int i = 0; i < 100000; i++)
			rounds++;
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while (t.tv_sec * 1000LL + t.tv_nsec / 1000000 < end);
	printf("rounds %llu\n", (unsigned long long)rounds);
	return 0;
}

// Never calls anything: only a signal ends it.
static _Noreturn void loop(void) {
	printf("looping\n");
	for (volatile uint64_t rounds = 0;;)
		rounds++;
}

// Functions of their own, for a backtrace to name.
static __attribute__((noinline)) int read_nowhere(void) { return *(volatile char *)0xfffffff0u; }
static __attribute__((noinline)) int divide_by(int n) { return 1000 / n; }

// Takes one connection on the inherited listener and sends back what it says.
static int serve(int listener) {
	int fd = accept(listener, NULL, NULL);
	if (fd < 0)
		return fail("accept");
	char buf[256];
	ssize_t n = recv(fd, buf, sizeof buf, 0);
	if (n < 0)
		return fail("recv");
	if (send(fd, buf, n, 0) < 0)
		return fail("send");
	shutdown(fd, SHUT_RDWR);
	printf("served %zd bytes\n", n);
	return 0;
}

static int flood(long mib) {
	static char block[1 << 16];
	memset(block, 'x', sizeof block);
	for (long left = mib << 20; left > 0;) {
		// A signal may cut a write short, also the last one.
		ssize_t n = write(1, block, left < (long)sizeof block ? (size_t)left : sizeof block);
		if (n < 0)
			return fail("write");
		left -= n;
	}
	return 0;
}

// Writes so many MiB, and waits until they are on the disk.
static int fill(const char *path, long mib) {
	static char block[1 << 16];
	struct timespec begin, end;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		return fail(path);
	for (long n = 0; n < mib * 16; n++)
		if (write(fd, block, sizeof block) != sizeof block)
			return fail("write");
	if (fsync(fd) < 0)
		return fail("fsync");
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%s: filled in %f seconds\n", path, end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9);
	return 0;
}

// Makes files of so many bytes until the file system refuses one.
static int allocate(const char *dir, long long bytes) {
	for (int i = 0; i < 64; i++) {
		char path[256];
		snprintf(path, sizeof path, "%s/%d", dir, i);
		int fd = open(path, O_RDWR | O_CREAT, 0644);
		if (fd < 0)
			return fail(path);
		int error = posix_fallocate(fd, 0, bytes);
		close(fd);
		if (error) {
			printf("allocated %d then %s\n", i, strerror(error));
			return 0;
		}
	}
	printf("allocated without end\n");
	return 0;
}

static int terminal(void) {
	for (int fd = 0; fd < 3; fd++)
		printf("fd %d %s\n", fd, isatty(fd) ? "is a terminal" : "is no terminal");
	fflush(stdout);
	char line[64];
	if (fgets(line, sizeof line, stdin))
		printf("read %s", line);
	return 0;
}

static int show(const char *path) {
	struct stat st;
	if (lstat(path, &st) < 0)
		return fail(path);
	printf("%s: size %lld type %o\n", path, (long long)st.st_size, (unsigned)(st.st_mode & S_IFMT));
	return 0;
}

int main(int argc, char **argv) {
	const char *verb = argc > 1 ? argv[1] : "hello", *arg = argc > 2 ? argv[2] : "";
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(verb, "hello"))
		return printf("hello from C\n") < 0;
	if (!strcmp(verb, "exit"))
		return atoi(arg);
	if (!strcmp(verb, "trap"))
		__builtin_trap();
	if (!strcmp(verb, "fault"))
		return read_nowhere();
	if (!strcmp(verb, "divide"))
		return divide_by(atoi(arg));
	if (!strcmp(verb, "sleep")) {
		printf("asleep\n");
		return sleep(atoi(arg));
	}
	if (!strcmp(verb, "cat"))
		return copy(0, 1);
	if (!strcmp(verb, "readfd"))
		return copy(atoi(arg), 1);
	if (!strcmp(verb, "args")) {
		for (int i = 0; i < argc; i++)
			printf("%d=%s\n", i, argv[i]);
		return 0;
	}
	if (!strcmp(verb, "env")) {
		for (char **e = environ; *e; e++)
			printf("%s\n", *e);
		return 0;
	}
	if (!strcmp(verb, "read"))
		return cat(arg);
	if (!strcmp(verb, "write"))
		return put(arg, argc > 3 ? argv[3] : "text");
	if (!strcmp(verb, "remove"))
		return unlink(arg) < 0 ? fail(arg) : 0;
	if (!strcmp(verb, "mkdir"))
		return mkdir(arg, 0755) < 0 ? fail(arg) : 0;
	if (!strcmp(verb, "symlink"))
		return symlink(arg, argv[3]) < 0 ? fail(arg) : 0;
	if (!strcmp(verb, "ls"))
		return list(arg);
	if (!strcmp(verb, "stat"))
		return show(arg);
	if (!strcmp(verb, "try"))
		return try(argc - 2, argv + 2);
	if (!strcmp(verb, "grow"))
		return grow(*arg ? atoi(arg) : 4000);
	if (!strcmp(verb, "hold")) {
		if (__builtin_wasm_memory_grow(0, atol(arg) * 16) == (size_t)-1)
			return printf("no memory\n");
		printf("asleep\n");
		return sleep(3600);
	}
	if (!strcmp(verb, "many"))
		return many(arg);
	if (!strcmp(verb, "spin"))
		return spin(atol(arg));
	if (!strcmp(verb, "loop"))
		loop();
	if (!strcmp(verb, "serve"))
		return serve(atoi(arg));
	if (!strcmp(verb, "flood"))
		return flood(atol(arg));
	if (!strcmp(verb, "fill"))
		return fill(arg, argc > 3 ? atol(argv[3]) : 1);
	if (!strcmp(verb, "allocate"))
		return allocate(arg, argc > 3 ? atoll(argv[3]) : 0);
	if (!strcmp(verb, "terminal"))
		return terminal();
	fprintf(stderr, "probe: no verb %s\n", verb);
	return 64;
}
