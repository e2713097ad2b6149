// What the helper for inference does before it executes its program: it runs as
// the only thread, so namespaces of every kind can be joined.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "accel_linux.h"
#include "confine_linux.h"

// Linux 5.12; not in the headers of Debian 12's glibc for every architecture.
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

struct attributes {
	uint64_t set, clear, propagation, userns_fd;
};
#define READ_ONLY 1 // MOUNT_ATTR_RDONLY and so on
#define NO_SUID 2
#define NO_DEV 4
#define NO_EXEC 8

#define MAX_ORDER (1 << 20)
#define MAX_STRINGS 4096

static struct accel_order order;

static void read_all(int fd, void *to, size_t size)
{
	char *at = to;
	ssize_t n;

	while (size != 0) {
		do
			n = read(fd, at, size);
		while (n < 0 && errno == EINTR);
		if (n <= 0) {
			errno = EINVAL;
			runw_fail("started by 'runw create', not by hand");
		}
		at += n;
		size -= n;
	}
}

// The strings are taken one after the other.
static const char *next_string(char **rest, size_t *left)
{
	size_t n = strnlen(*rest, *left);
	char *s = *rest;

	if (n == *left) {
		errno = EINVAL;
		runw_fail("order");
	}
	*rest += n + 1;
	*left -= n + 1;
	return s;
}

static int attributes(const char *path, unsigned int flags, uint64_t set)
{
	struct attributes a = { .set = set };

	return syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &a, sizeof(a));
}

static void make_dirs(const char *path, mode_t mode)
{
	char part[4096];
	char *slash = part;

	if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part)) {
		errno = ENAMETOOLONG;
		runw_fail(path);
	}
	while ((slash = strchr(slash + 1, '/')) != NULL) {
		*slash = 0;
		if (mkdir(part, 0755) != 0 && errno != EEXIST)
			runw_fail(part);
		*slash = '/';
	}
	if (mkdir(part, mode) != 0 && errno != EEXIST)
		runw_fail(part);
}

// Something to mount a file on.
static void make_file(const char *path)
{
	char dir[4096];
	char *slash;
	int fd;

	snprintf(dir, sizeof(dir), "%s", path);
	if ((slash = strrchr(dir, '/')) != NULL) {
		*slash = 0;
		make_dirs(dir, 0755);
	}
	fd = open(path, O_CREAT | O_RDONLY | O_CLOEXEC, 0644);
	if (fd < 0)
		runw_fail(path);
	close(fd);
}

static void bind_read_only(const char *target, const char *source)
{
	struct stat st;

	if (stat(source, &st) != 0)
		runw_fail(source);
	if (S_ISDIR(st.st_mode))
		make_dirs(target, 0755);
	else
		make_file(target);
	if (mount(source, target, NULL, MS_BIND | MS_REC, NULL) != 0)
		runw_fail(source);
	if (attributes(target, AT_RECURSIVE, READ_ONLY | NO_SUID | NO_DEV) == 0)
		return;
	// Before Linux 5.12 what is mounted below would stay writable; only in a
	// mount namespace of lesser rights it cannot be left out.
	if (errno != ENOSYS || umount2(target, MNT_DETACH) != 0 ||
	    (mount(source, target, NULL, MS_BIND, NULL) != 0 && mount(source, target, NULL, MS_BIND | MS_REC, NULL) != 0) ||
	    mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) != 0)
		runw_fail(source);
}

static void make_node(const struct accel_step *s, const char *target, const char *source)
{
	dev_t dev = makedev(s->major, s->minor);
	struct stat st;

	make_file(target);
	unlink(target);
	if (mknod(target, S_IFCHR | s->mode, dev) == 0) {
		if (chown(target, s->uid, s->gid) != 0 || chmod(target, s->mode) != 0)
			runw_fail(target);
		return;
	}
	// In a user namespace nodes cannot be made, only bound.
	if (errno != EPERM)
		runw_fail(target);
	make_file(target);
	if (mount(source, target, NULL, MS_BIND, NULL) != 0 || stat(target, &st) != 0)
		runw_fail(source);
	if (!S_ISCHR(st.st_mode) || st.st_rdev != dev) {
		errno = ENODEV;
		runw_fail(source);
	}
	if (attributes(target, 0, NO_SUID | NO_EXEC) != 0 && errno != ENOSYS)
		runw_fail(target);
}

static void make_proc(const char *target)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

	make_dirs(target, 0555);
	// Where the process shares the host's pid namespace it sees its own
	// processes only.
	if (mount("proc", target, "proc", flags, "hidepid=2") != 0 && mount("proc", target, "proc", flags, NULL) != 0)
		runw_fail("mount /proc");
	// User 0 may write sysctls without any capability.
	if (mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | flags, NULL) != 0)
		runw_fail("make /proc read-only");
}

static void take_step(const struct accel_step *s, const char *target, const char *source)
{
	const unsigned long flags = MS_NOSUID | MS_NOEXEC;

	switch (s->kind) {
	case ACCEL_DIR:
		make_dirs(target, s->mode);
		return;
	case ACCEL_BIND:
		bind_read_only(target, source);
		return;
	case ACCEL_LINK:
		if (symlink(source, target) != 0)
			runw_fail(target);
		return;
	case ACCEL_NODE:
		make_node(s, target, source);
		return;
	case ACCEL_TMPFS:
		make_dirs(target, 0755);
		if (mount("runw", target, "tmpfs", flags, source) != 0)
			runw_fail(target);
		return;
	case ACCEL_PROC:
		make_proc(target);
		return;
	}
	errno = EINVAL;
	runw_fail("order");
}

static void join(int fd, int kind, const char *what)
{
	if (setns(fd, kind) != 0)
		runw_fail(what);
}

// The process that goes on is in the pid namespace; this one is not.
static void enter_pid_namespace(void)
{
	int status;
	pid_t child;

	join(ACCEL_PID_NS, CLONE_NEWPID, "join the container's pid namespace");
	child = fork();
	if (child < 0)
		runw_fail("fork");
	if (child == 0 && (order.flags & ACCEL_ADOPTED)) {
		// An orphan of a pid namespace becomes a child of its first
		// process, with which it ends; a child of somebody outside would
		// keep the namespace until that one has waited for it.
		child = fork();
		if (child < 0)
			runw_fail("fork");
		if (child > 0)
			_exit(0);
		return;
	}
	if (child == 0)
		return;
	// What the child has open is not to be held open here.
	syscall(SYS_close_range, 0, ~0u, 0);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	_exit(0);
}

static void limits(void)
{
	runw_limit(RLIMIT_CORE, 0);
	runw_limit(RLIMIT_NOFILE, 4096);
	runw_limit(RLIMIT_MSGQUEUE, 0);
}

static void execute(const char **strings, uint32_t n)
{
	const char *args[64], *env[64];
	uint32_t i;

	if (n != order.args + order.env || order.args == 0 || order.args >= LENGTH(args) || order.env >= LENGTH(env)) {
		errno = E2BIG;
		runw_fail("order");
	}
	for (i = 0; i < order.args; i++)
		args[i] = strings[i];
	args[order.args] = NULL;
	for (i = 0; i < order.env; i++)
		env[i] = strings[order.args + i];
	env[order.env] = NULL;
	// The engine must see the end of the socket when this process ends, and the
	// container's descriptors are none of the helper's.
	if (dup2(ACCEL_SOCKET, 3) != 3 || syscall(SYS_close_range, 4u, ~0u, 0) != 0)
		runw_fail("close descriptors");
	execve(args[0], (char *const *)args, (char *const *)env);
	runw_fail("execute the helper");
}

__attribute__((constructor)) static void confine(int argc, char **argv)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	struct runw_ids ids = { 0 };
	const struct accel_step *steps;
	const char *strings[MAX_STRINGS];
	size_t left, fixed;
	uint32_t i, n = 0;
	char *body, *rest;

	if (argc != 2 || strcmp(argv[1], ACCEL_COMMAND) != 0)
		return;
	// Nobody in the container may look at it, nor at the file it executes,
	// before it is another program (CVE-2016-9962, CVE-2019-5736).
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		runw_fail("PR_SET_DUMPABLE");
	read_all(ACCEL_ORDER, &order, sizeof(order));
	fixed = order.groups * sizeof(uint32_t) + order.steps * sizeof(*steps);
	if (order.magic != ACCEL_MAGIC || order.size > MAX_ORDER || order.groups > MAX_ORDER || order.steps > MAX_STRINGS ||
	    fixed > order.size || (body = malloc(order.size)) == NULL) {
		errno = EINVAL;
		runw_fail("order");
	}
	read_all(ACCEL_ORDER, body, order.size);
	ids = (struct runw_ids){ order.uid, order.gid, order.groups, (const uint32_t *)body };
	steps = (const struct accel_step *)(body + order.groups * sizeof(uint32_t));
	rest = body + fixed;
	left = order.size - fixed;

	if ((order.flags & ACCEL_JOIN_USER) && (order.flags & ACCEL_USER_FIRST))
		join(ACCEL_USER_NS, CLONE_NEWUSER, "join the container's user namespace");
	if (order.flags & ACCEL_JOIN_PID)
		enter_pid_namespace();
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0)
		runw_fail("namespaces");
	// Only now: its root is where the process is at this moment.
	if (unshare(CLONE_NEWCGROUP) != 0 && errno != EINVAL)
		runw_fail("cgroup namespace");
	runw_new_root(flags, "mode=0755,size=1m");
	for (i = 0; i < order.steps; i++) {
		const char *target = next_string(&rest, &left);

		take_step(&steps[i], target, next_string(&rest, &left));
	}
	while (left != 0 && n < MAX_STRINGS)
		strings[n++] = next_string(&rest, &left);
	runw_enter_root(flags);
	if ((order.flags & ACCEL_JOIN_USER) && !(order.flags & ACCEL_USER_FIRST))
		join(ACCEL_USER_NS, CLONE_NEWUSER, "join the container's user namespace");
	limits();
	runw_drop_rights(order.flags & ACCEL_SET_IDS ? &ids : NULL);
	// A change of ids forgets it. Who is adopted has no such parent.
	if ((order.flags & (ACCEL_JOIN_PID | ACCEL_ADOPTED)) == ACCEL_JOIN_PID && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
		runw_fail("PR_SET_PDEATHSIG");
	if (runw_accel_filter() != 0)
		runw_fail("seccomp");
	execute(strings, n);
}
