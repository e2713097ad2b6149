// The system calls of libraries that compute: files, memory, threads, time, and
// ioctl for the drivers of the devices that were granted.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "accel_linux.h"
#include "confine_linux.h"

// Newer than the headers of Debian 12.
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

// The most frequent ones come first.
static const int allowed[] = {
	SYS_futex, SYS_ioctl, SYS_nanosleep, SYS_clock_nanosleep, SYS_sched_yield, SYS_madvise,
	SYS_read, SYS_write, SYS_recvmsg, SYS_sendmsg, SYS_epoll_pwait, SYS_ppoll,
	SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_brk, SYS_mincore, SYS_msync,
	SYS_mlock, SYS_mlock2, SYS_munlock, SYS_mlockall, SYS_munlockall, SYS_fadvise64, SYS_readahead,
	SYS_mbind, SYS_get_mempolicy, SYS_set_mempolicy, SYS_membarrier, SYS_futex_waitv,
	SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigsuspend, SYS_rt_sigtimedwait,
	SYS_sigaltstack, SYS_tgkill, SYS_kill, SYS_restart_syscall, SYS_exit, SYS_exit_group,
	SYS_gettid, SYS_getpid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getgroups,
	SYS_getresuid, SYS_getresgid, SYS_getpgid, SYS_getsid, SYS_capget, SYS_getrusage, SYS_times, SYS_umask,
	SYS_clock_gettime, SYS_clock_getres, SYS_gettimeofday, SYS_getrandom, SYS_getcpu, SYS_uname, SYS_sysinfo,
	SYS_timer_create, SYS_timer_settime, SYS_timer_gettime, SYS_timer_getoverrun, SYS_timer_delete,
	SYS_setitimer, SYS_getitimer, SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime,
	SYS_set_robust_list, SYS_get_robust_list, SYS_set_tid_address,
	SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_sched_getparam, SYS_sched_setparam, SYS_sched_getscheduler,
	SYS_sched_setscheduler, SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_getpriority, SYS_setpriority,
	SYS_openat, SYS_close, SYS_pread64, SYS_pwrite64, SYS_readv, SYS_writev, SYS_preadv, SYS_pwritev, SYS_lseek,
	SYS_fstat, SYS_newfstatat, SYS_statx, SYS_fstatfs, SYS_statfs, SYS_faccessat, SYS_readlinkat, SYS_getdents64,
	SYS_getcwd, SYS_chdir, SYS_fchdir, SYS_fcntl, SYS_flock, SYS_dup, SYS_dup3, SYS_pipe2, SYS_ftruncate, SYS_truncate,
	SYS_fallocate, SYS_fsync, SYS_fdatasync, SYS_sendfile, SYS_copy_file_range, SYS_splice,
	SYS_mkdirat, SYS_unlinkat, SYS_renameat, SYS_linkat, SYS_symlinkat, SYS_fchmod, SYS_fchmodat, SYS_utimensat,
	SYS_epoll_create1, SYS_epoll_ctl, SYS_eventfd2, SYS_signalfd4, SYS_memfd_create, SYS_pselect6,
	SYS_sendto, SYS_recvfrom, SYS_shutdown, SYS_getsockopt, SYS_setsockopt, SYS_getsockname, SYS_getpeername,
	SYS_wait4, SYS_waitid, SYS_execve, SYS_setpgid, SYS_setsid,
#ifdef SYS_rseq
	SYS_rseq,
#endif
#ifdef SYS_close_range
	SYS_close_range,
#endif
#ifdef SYS_faccessat2
	SYS_faccessat2,
#endif
#ifdef SYS_renameat2
	SYS_renameat2,
#endif
#ifdef SYS_pidfd_send_signal
	SYS_pidfd_send_signal, // Go ends and awaits its children by them
#endif
#ifdef SYS_pidfd_open
	SYS_pidfd_open,
#endif
// What older architectures have besides.
#ifdef SYS_open
	SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_poll, SYS_select, SYS_pipe, SYS_dup2,
	SYS_mkdir, SYS_rmdir, SYS_unlink, SYS_rename, SYS_link, SYS_symlink, SYS_chmod, SYS_getdents,
	SYS_epoll_wait, SYS_epoll_create, SYS_eventfd, SYS_alarm, SYS_time, SYS_getpgrp, SYS_arch_prctl,
#endif
#ifdef SYS_getrlimit
	SYS_getrlimit,
#endif
#ifdef SYS_riscv_flush_icache
	SYS_riscv_flush_icache,
#endif
};

int runw_accel_filter(void)
{
	static const unsigned int names[] = {
		PR_SET_NAME, PR_GET_NAME, PR_SET_DUMPABLE, PR_GET_DUMPABLE, PR_SET_PDEATHSIG, PR_GET_PDEATHSIG,
		PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_SET_TIMERSLACK, PR_GET_TIMERSLACK, PR_SET_THP_DISABLE,
		0x53564d41 /* PR_SET_VMA */,
	};
	static const unsigned int families[] = { AF_UNIX };
	static struct runw_filter f;

	runw_begin_filter(&f);
	runw_each(&f, allowed, LENGTH(allowed), ALLOW);
	// Threads and children, and no namespaces. clone3 keeps its flags where no
	// filter sees them; ENOSYS makes glibc use clone.
	runw_equal(&f, SYS_clone, 4);
	runw_load(&f, ARG(0));
	runw_emit(&f, BPF_JMP | BPF_JSET | BPF_K, CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
		  CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE, 1, 0);
	runw_answer(&f, ALLOW);
	runw_answer(&f, REFUSE(EPERM));
	// The worker's filter comes on top of this one.
	runw_equal(&f, SYS_seccomp, 1);
	runw_answer(&f, ALLOW);
	runw_read_limits(&f);
	runw_only(&f, SYS_prctl, 0, names, LENGTH(names));
	// A pair is what the supervisor and its worker talk over; nothing can be
	// connected to.
	runw_only(&f, SYS_socketpair, 0, families, LENGTH(families));
	// What a library tries besides, it can do without: as on an old kernel.
	runw_answer(&f, REFUSE(ENOSYS));
	return runw_install_filter(&f);
}
