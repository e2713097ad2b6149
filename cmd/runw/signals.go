package main

import (
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// catchSignals gives every signal that ends a program by default this effect
// here too. A guest cannot have handlers, and the kernel drops such a signal
// for pid 1 of a pid namespace unless somebody handles it (pid_namespaces(7)):
// `kubectl delete` would wait for its whole grace period.
func catchSignals() {
	// The guest's native code has no points where Go could preempt it: with
	// one P, or with a garbage collection waiting for the guest's thread, the
	// goroutine below would never run. pkg/aot collects at host calls instead.
	debug.SetGCPercent(-1)
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2)
	}
	pid1 := os.Getpid() == 1
	c := make(chan os.Signal, 16)
	signal.Notify(c, fatalSignals(pid1)...)
	go func() {
		for s := range c {
			if s == unix.SIGCHLD {
				reapOrphans()
				continue
			}
			if n, ok := s.(unix.Signal); ok {
				unix.Exit(128 + int(n))
			}
		}
	}()
}

// fatalSignals lists what signal(7) gives the action Term or Core, without the
// ones that stand for an error of this very process, and SIGCHLD for pid 1,
// which inherits orphans: programs that were executed into the container.
func fatalSignals(pid1 bool) []os.Signal {
	list := []os.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGUSR1, unix.SIGUSR2,
		unix.SIGALRM, unix.SIGTERM, unix.SIGSTKFLT, unix.SIGXCPU, unix.SIGXFSZ,
		unix.SIGVTALRM, unix.SIGIO, unix.SIGPWR,
	}
	// 32 and 33 belong to the C library's threads.
	for n := unix.Signal(34); n <= 64; n++ {
		list = append(list, n)
	}
	if pid1 {
		list = append(list, unix.SIGCHLD)
	}
	return list
}

func reapOrphans() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}
