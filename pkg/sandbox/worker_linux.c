// What a compile process does before Go: it runs as the only thread, so that
// ids, capabilities and the seccomp filter hold for every thread there will be.

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "confine_linux.h"
#include "worker_linux.h"

struct worker_order runw_worker_order;

// The parent writes once this process is in its cgroup. The end of the file
// says that there is no parent any more.
static void take_order(int fd)
{
	struct worker_order *o = &runw_worker_order;
	ssize_t n;

	do
		n = read(fd, o, sizeof(*o));
	while (n < 0 && errno == EINTR);
	if (n != sizeof(*o) || o->magic != WORKER_MAGIC || getpid() != 1) {
		errno = EINVAL;
		runw_fail("started by 'runw create', not by hand");
	}
}

static void limits(void)
{
	const struct worker_order *o = &runw_worker_order;

	runw_limit(RLIMIT_CORE, 0);
	runw_limit(RLIMIT_NOFILE, 32);
	runw_limit(RLIMIT_MEMLOCK, 0);
	runw_limit(RLIMIT_MSGQUEUE, 0);
	runw_limit(RLIMIT_DATA, o->data);
	runw_limit(RLIMIT_FSIZE, o->fsize);
	runw_limit(RLIMIT_CPU, o->cpu);
	// Before Linux 5.14 other processes of a shared user would count.
	if (o->user != 0)
		runw_limit(RLIMIT_NPROC, 1024);
}

// A change of ids forgets PR_SET_PDEATHSIG, so it comes after it; what may have
// happened before is seen by the pipe's other end.
static void die_with_parent(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
		runw_fail("PR_SET_PDEATHSIG");
	if (poll(&p, 1, 0) != 0)
		_exit(CONFINE_FAILED);
	close(fd);
}

__attribute__((constructor)) static void confine(int argc, char **argv)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	struct runw_ids ids = { 0 };
	int fd;

	if (argc != 3 || strcmp(argv[1], WORKER_COMMAND) != 0)
		return;
	fd = atoi(argv[2]);
	take_order(fd);
	// Only now: its root is where the process is at this moment.
	if (unshare(CLONE_NEWCGROUP) != 0 && errno != EINVAL)
		runw_fail("cgroup namespace");
	runw_new_root(flags, "nr_inodes=1,mode=0555");
	runw_enter_root(flags);
	limits();
	// In a user namespace of its own there is one user, and no setgroups(2).
	ids.uid = ids.gid = runw_worker_order.user;
	runw_drop_rights(ids.uid != 0 ? &ids : NULL);
	die_with_parent(fd);
	if (runw_worker_filter() != 0)
		runw_fail("seccomp");
}
