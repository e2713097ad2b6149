#ifndef RUNW_CONFINE_H
#define RUNW_CONFINE_H

#include <stddef.h>
#include <stdint.h>
#include <linux/filter.h>

// How a process that runs before Go, as the only thread, gives up its rights;
// what fails is told on stderr and ends it.

// The exit code of a process that could not take its rights away.
#define CONFINE_FAILED 125

void runw_fail(const char *what) __attribute__((noreturn));

// A tmpfs that lies over /proc and is the working directory; then the root.
void runw_new_root(unsigned long flags, const char *options);
void runw_enter_root(unsigned long flags);

// An inherited limit that is lower stays.
void runw_limit(int what, uint64_t most);

struct runw_ids {
	uint32_t uid, gid, count;
	const uint32_t *groups;
};

// No capability, no user but the given one (NULL keeps it), no_new_privs.
void runw_drop_rights(const struct runw_ids *ids);

// A seccomp filter in the making. Each block ends in an answer, so that the
// next one finds the number of the call still loaded.
struct runw_filter {
	struct sock_filter code[1024];
	unsigned short length;
};

void runw_emit(struct runw_filter *f, unsigned short op, unsigned int k, unsigned char yes, unsigned char no);
void runw_load(struct runw_filter *f, unsigned int at);
void runw_equal(struct runw_filter *f, unsigned int k, unsigned char no);
void runw_answer(struct runw_filter *f, unsigned int action);
// The head: the architecture, and the number loaded.
void runw_begin_filter(struct runw_filter *f);
void runw_each(struct runw_filter *f, const int *calls, size_t n, unsigned int action);
// Of the calls of nr, those with one of the values in the first word of an
// argument are allowed.
void runw_only(struct runw_filter *f, int nr, int arg, const unsigned int *values, int n);
// Limits can be read.
void runw_read_limits(struct runw_filter *f);
int runw_install_filter(struct runw_filter *f);

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define ARG(i) (offsetof(struct seccomp_data, args[i]))
#define ALLOW SECCOMP_RET_ALLOW
#define REFUSE(e) (SECCOMP_RET_ERRNO | (e))
#define DEATH SECCOMP_RET_KILL_PROCESS

#endif
