// What a compile process does before Go: it runs as the only thread, so that
// ids, capabilities and the seccomp filter hold for every thread there will be.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker_linux.h"

struct worker_order runw_worker_order;

static void fail(const char *what)
{
	dprintf(2, "%s: %s\n", what, strerror(errno));
	_exit(WORKER_UNCONFINED);
}

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
		fail("started by 'runw create', not by hand");
	}
}

// /proc serves as a directory that is there; the old tree goes with everything
// mounted in it.
static void empty_root(void)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		fail("make mounts private");
	if (mount("runw", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "nr_inodes=1,mode=0555") != 0)
		fail("mount an empty root");
	if (chdir("/proc") != 0)
		fail("enter the empty root");
	if (syscall(SYS_pivot_root, ".", ".") != 0) {
		// The root of an initramfs cannot be exchanged, see pivot_root(2).
		if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0)
			fail("exchange the root");
	} else if (umount2(".", MNT_DETACH) != 0) {
		fail("leave the old root");
	}
	if (chdir("/") != 0 || mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
		fail("make the empty root read-only");
}

// An inherited limit that is lower stays.
static void limit(int what, uint64_t most)
{
	struct rlimit l;

	if (getrlimit(what, &l) != 0)
		fail("getrlimit");
	if (l.rlim_max > most)
		l.rlim_max = most;
	l.rlim_cur = l.rlim_max;
	if (setrlimit(what, &l) != 0)
		fail("setrlimit");
}

static void limits(void)
{
	const struct worker_order *o = &runw_worker_order;

	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NOFILE, 32);
	limit(RLIMIT_MEMLOCK, 0);
	limit(RLIMIT_MSGQUEUE, 0);
	limit(RLIMIT_DATA, o->data);
	limit(RLIMIT_FSIZE, o->fsize);
	limit(RLIMIT_CPU, o->cpu);
	// Before Linux 5.14 other processes of a shared user would count.
	if (o->user != 0)
		limit(RLIMIT_NPROC, 1024);
}

static void drop_rights(void)
{
	const struct worker_order *o = &runw_worker_order;
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };
	int cap;

	for (cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
			fail("drop the bounding set");
	if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |
		  SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED, 0, 0, 0) != 0)
		fail("securebits");
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	// In a user namespace of its own there is one user, and no setgroups(2).
	if (o->user != 0) {
		if (setgroups(0, NULL) != 0 || setresgid(o->user, o->user, o->user) != 0 ||
		    setresuid(o->user, o->user, o->user) != 0)
			fail("become another user");
	}
	if (syscall(SYS_capset, &head, none) != 0)
		fail("drop capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		fail("no_new_privs");
}

// A change of ids forgets PR_SET_PDEATHSIG, so it comes after it; what may have
// happened before is seen by the pipe's other end.
static void die_with_parent(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
		fail("PR_SET_PDEATHSIG");
	if (poll(&p, 1, 0) != 0)
		_exit(WORKER_UNCONFINED);
	close(fd);
}

__attribute__((constructor)) static void confine(int argc, char **argv)
{
	int fd;

	if (argc != 3 || strcmp(argv[1], WORKER_COMMAND) != 0)
		return;
	fd = atoi(argv[2]);
	take_order(fd);
	// Only now: its root is where the process is at this moment.
	if (unshare(CLONE_NEWCGROUP) != 0 && errno != EINVAL)
		fail("cgroup namespace");
	empty_root();
	limits();
	drop_rights();
	die_with_parent(fd);
	if (runw_worker_filter() != 0)
		fail("seccomp");
}
