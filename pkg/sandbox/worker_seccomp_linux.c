// The system calls of a process that computes: memory, threads, time, and the
// descriptors it has.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "confine_linux.h"
#include "worker_linux.h"

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

int runw_worker_filter(void)
{
	static const unsigned int names[] = { PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_SET_TIMERSLACK, PR_GET_TIMERSLACK };
	static const unsigned int flags[] = { F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC };
	static struct runw_filter f;

	runw_begin_filter(&f);
	runw_each(&f, allowed, LENGTH(allowed), ALLOW);
	runw_each(&f, deadly, LENGTH(deadly), DEATH);
	// Threads, and no processes. clone3 keeps its flags where no filter sees
	// them; ENOSYS makes glibc use clone.
	runw_equal(&f, SYS_clone, 4);
	runw_load(&f, ARG(0));
	runw_emit(&f, BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1);
	runw_answer(&f, ALLOW);
	runw_answer(&f, DEATH);
	runw_read_limits(&f);
	runw_only(&f, SYS_prctl, 0, names, LENGTH(names));
	runw_only(&f, SYS_fcntl, 1, flags, LENGTH(flags));
	// Whatever a runtime tries besides, it can do without: as on an old kernel.
	runw_answer(&f, REFUSE(ENOSYS));
	return runw_install_filter(&f);
}
