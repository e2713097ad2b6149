package main

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From linux/seccomp.h: what x/sys/unix lacks.
const (
	seccompSetModeFilter = 1
	seccompFlagTsync     = 1
	seccompNumber        = 0  // offsets of struct seccomp_data
	seccompArg0          = 16 // its low word: the machines are little-endian
)

// denied are the calls that a worker needs no more: to become another program,
// and to touch another process.
var denied = []uint32{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_KILL, unix.SYS_TKILL,
	unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_SECCOMP, unix.SYS_SETPGID, unix.SYS_SETSID,
}

// tighten adds a filter to the one that the process was started with, for all
// its threads. What it denies fails with EPERM: a driver that looks for a
// program to start goes on without it.
func tighten() error {
	code := workerFilter(uint32(os.Getpid()))
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, seccompSetModeFilter, seccompFlagTsync, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(code)
	if errno != 0 {
		return errno
	}
	return nil
}

func workerFilter(pid uint32) []unix.SockFilter {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	jump := func(op uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | op, K: k, Jt: yes, Jf: no}
	}
	answer := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	const allow, refuse = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	code := []unix.SockFilter{load(seccompNumber)}
	for _, nr := range denied {
		code = append(code, jump(unix.BPF_JEQ, nr, 0, 1), answer(refuse))
	}
	return append(code,
		// Threads, and no processes.
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 4),
		load(seccompArg0),
		jump(unix.BPF_JSET, unix.CLONE_THREAD, 0, 1),
		answer(allow),
		answer(refuse),
		// abort(3) signals its own process.
		jump(unix.BPF_JEQ, unix.SYS_TGKILL, 0, 4),
		load(seccompArg0),
		jump(unix.BPF_JEQ, pid, 0, 1),
		answer(allow),
		answer(refuse),
		answer(allow),
	)
}
