// What the processes share that take their own rights away before Go.

#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "confine_linux.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#else
#error "which architecture does seccomp_data name, and are its arguments little-endian?"
#endif

void runw_fail(const char *what)
{
	dprintf(2, "%s: %s\n", what, strerror(errno));
	_exit(CONFINE_FAILED);
}

// /proc serves as a directory that is there.
void runw_new_root(unsigned long flags, const char *options)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		runw_fail("make mounts private");
	if (mount("runw", "/proc", "tmpfs", flags, options) != 0)
		runw_fail("mount an empty root");
	if (chdir("/proc") != 0)
		runw_fail("enter the empty root");
}

// The old tree goes with everything mounted in it.
void runw_enter_root(unsigned long flags)
{
	if (syscall(SYS_pivot_root, ".", ".") != 0) {
		// The root of an initramfs cannot be exchanged, see pivot_root(2).
		if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0)
			runw_fail("exchange the root");
	} else if (umount2(".", MNT_DETACH) != 0) {
		runw_fail("leave the old root");
	}
	if (chdir("/") != 0 || mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | flags, NULL) != 0)
		runw_fail("make the root read-only");
}

void runw_limit(int what, uint64_t most)
{
	struct rlimit l;

	if (getrlimit(what, &l) != 0)
		runw_fail("getrlimit");
	if (l.rlim_max > most)
		l.rlim_max = most;
	l.rlim_cur = l.rlim_max;
	if (setrlimit(what, &l) != 0)
		runw_fail("setrlimit");
}

void runw_drop_rights(const struct runw_ids *ids)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };
	int cap;

	for (cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
			runw_fail("drop the bounding set");
	if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |
		  SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED, 0, 0, 0) != 0)
		runw_fail("securebits");
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (ids != NULL) {
		// A user namespace that an unprivileged user made has no
		// setgroups(2): the groups stay that user's own.
		if (setgroups(ids->count, ids->groups) != 0 && errno != EPERM)
			runw_fail("become another user's groups");
		if (setresgid(ids->gid, ids->gid, ids->gid) != 0 || setresuid(ids->uid, ids->uid, ids->uid) != 0)
			runw_fail("become another user");
	}
	if (syscall(SYS_capset, &head, none) != 0)
		runw_fail("drop capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		runw_fail("no_new_privs");
}

void runw_emit(struct runw_filter *f, unsigned short op, unsigned int k, unsigned char yes, unsigned char no)
{
	f->code[f->length++] = (struct sock_filter){ op, yes, no, k };
}

void runw_load(struct runw_filter *f, unsigned int at)
{
	runw_emit(f, BPF_LD | BPF_W | BPF_ABS, at, 0, 0);
}

void runw_equal(struct runw_filter *f, unsigned int k, unsigned char no)
{
	runw_emit(f, BPF_JMP | BPF_JEQ | BPF_K, k, 0, no);
}

void runw_answer(struct runw_filter *f, unsigned int action)
{
	runw_emit(f, BPF_RET | BPF_K, action, 0, 0);
}

void runw_begin_filter(struct runw_filter *f)
{
	runw_load(f, offsetof(struct seccomp_data, arch));
	runw_emit(f, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
	runw_answer(f, DEATH);
	runw_load(f, offsetof(struct seccomp_data, nr));
}

void runw_each(struct runw_filter *f, const int *calls, size_t n, unsigned int action)
{
	size_t i;

	for (i = 0; i < n; i++) {
		runw_equal(f, calls[i], 1);
		runw_answer(f, action);
	}
}

void runw_only(struct runw_filter *f, int nr, int arg, const unsigned int *values, int n)
{
	int i;

	runw_equal(f, nr, 2 + 2 * n);
	runw_load(f, ARG(arg));
	for (i = 0; i < n; i++) {
		runw_equal(f, values[i], 1);
		runw_answer(f, ALLOW);
	}
	runw_answer(f, REFUSE(EPERM));
}

// The new ones, a pointer of two words, are null.
void runw_read_limits(struct runw_filter *f)
{
	runw_equal(f, SYS_prlimit64, 6);
	runw_load(f, ARG(2));
	runw_equal(f, 0, 3);
	runw_load(f, ARG(2) + 4);
	runw_equal(f, 0, 1);
	runw_answer(f, ALLOW);
	runw_answer(f, REFUSE(EPERM));
}

int runw_install_filter(struct runw_filter *f)
{
	struct sock_fprog program = { f->length, f->code };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}
