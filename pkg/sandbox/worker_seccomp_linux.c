// The system calls of a process that computes: memory, threads, time, and the
// descriptors it has.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker_linux.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#else
#error "which architecture does seccomp_data name, and are its arguments little-endian?"
#endif

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

// The most frequent ones come first.
static const int allowed[] = {
	SYS_futex, SYS_nanosleep, SYS_clock_nanosleep, SYS_sched_yield, SYS_madvise,
	SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_brk,
	SYS_tgkill, SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_sigaltstack,
	SYS_gettid, SYS_getpid, SYS_clock_gettime, SYS_clock_getres, SYS_gettimeofday, SYS_getrandom,
	SYS_set_robust_list, SYS_set_tid_address, SYS_sched_getaffinity, SYS_restart_syscall, SYS_exit, SYS_exit_group,
	SYS_read, SYS_write, SYS_pread64, SYS_pwrite64, SYS_lseek, SYS_fstat, SYS_ftruncate, SYS_close,
	SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_eventfd2, SYS_uname, SYS_sysinfo, SYS_getrusage,
#ifdef SYS_rseq
	SYS_rseq,
#endif
#ifdef SYS_membarrier
	SYS_membarrier, // code for other threads on arm64
#endif
#ifdef SYS_epoll_wait
	SYS_epoll_wait,
#endif
#ifdef SYS_getrlimit
	SYS_getrlimit, // the stack of a guest depends on RLIMIT_STACK
#endif
#ifdef SYS_time
	SYS_time,
#endif
#ifdef SYS_riscv_flush_icache
	SYS_riscv_flush_icache,
#endif
};

// Nothing in a compiler asks for these, so whoever does has taken it over.
static const int deadly[] = {
	SYS_execve, SYS_execveat, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev,
	SYS_socket, SYS_socketpair, SYS_connect, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot,
	SYS_setns, SYS_unshare, SYS_bpf, SYS_perf_event_open, SYS_keyctl, SYS_add_key, SYS_request_key,
	SYS_open_by_handle_at, SYS_init_module, SYS_finit_module, SYS_setresuid, SYS_setresgid, SYS_capset,
#ifdef SYS_fork
	SYS_fork, SYS_vfork,
#endif
#ifdef SYS_userfaultfd
	SYS_userfaultfd,
#endif
#ifdef SYS_io_uring_setup
	SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
#endif
#ifdef SYS_pidfd_getfd
	SYS_pidfd_getfd,
#endif
#ifdef SYS_open_tree
	SYS_open_tree, SYS_move_mount, SYS_fsopen, SYS_fsmount,
#endif
};

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define ARG(i) (offsetof(struct seccomp_data, args[i]))
#define ALLOW SECCOMP_RET_ALLOW
#define REFUSE(e) (SECCOMP_RET_ERRNO | (e))
#define DEATH SECCOMP_RET_KILL_PROCESS

static struct sock_filter code[2 * (LENGTH(allowed) + LENGTH(deadly)) + 64];
static unsigned short length;

static void emit(unsigned short op, unsigned int k, unsigned char yes, unsigned char no)
{
	code[length++] = (struct sock_filter){ op, yes, no, k };
}

static void load(unsigned int at) { emit(BPF_LD | BPF_W | BPF_ABS, at, 0, 0); }
static void equal(unsigned int k, unsigned char no) { emit(BPF_JMP | BPF_JEQ | BPF_K, k, 0, no); }
static void answer(unsigned int action) { emit(BPF_RET | BPF_K, action, 0, 0); }

// Of the calls of nr, those with one of the values in the first word of an
// argument are allowed. Each block ends in an answer, so the next one finds the
// number still loaded.
static void only(int nr, int arg, const unsigned int *values, int n)
{
	int i;

	equal(nr, 2 + 2 * n);
	load(ARG(arg));
	for (i = 0; i < n; i++) {
		equal(values[i], 1);
		answer(ALLOW);
	}
	answer(REFUSE(EPERM));
}

int runw_worker_filter(void)
{
	static const unsigned int names[] = { PR_SET_NAME, PR_GET_NAME, PR_SET_VMA };
	static const unsigned int flags[] = { F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC };
	struct sock_fprog program;
	size_t i;

	load(offsetof(struct seccomp_data, arch));
	emit(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
	answer(DEATH);
	load(offsetof(struct seccomp_data, nr));
	for (i = 0; i < LENGTH(allowed); i++) {
		equal(allowed[i], 1);
		answer(ALLOW);
	}
	for (i = 0; i < LENGTH(deadly); i++) {
		equal(deadly[i], 1);
		answer(DEATH);
	}
	// Threads, and no processes. clone3 keeps its flags where no filter sees
	// them; ENOSYS makes glibc use clone.
	equal(SYS_clone, 4);
	load(ARG(0));
	emit(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1);
	answer(ALLOW);
	answer(DEATH);
	// Limits can be read: the new ones, a pointer of two words, are null.
	equal(SYS_prlimit64, 6);
	load(ARG(2));
	equal(0, 3);
	load(ARG(2) + 4);
	equal(0, 1);
	answer(ALLOW);
	answer(REFUSE(EPERM));
	only(SYS_prctl, 0, names, LENGTH(names));
	only(SYS_fcntl, 1, flags, LENGTH(flags));
	// Whatever a runtime tries besides, it can do without: as on an old kernel.
	answer(REFUSE(ENOSYS));

	program = (struct sock_fprog){ length, code };
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}
