package sandbox

/*
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <unistd.h>

static struct sigaction before[NSIG];
static int forward_to = -1;

// A fault of this very process is for the handler that was there, Go's.
static int own_fault(int sig, const siginfo_t *info)
{
	switch (sig) {
	case SIGABRT:
		return info->si_pid == getpid();
	case SIGSEGV: case SIGBUS: case SIGFPE: case SIGILL: case SIGTRAP: case SIGSYS:
		return info->si_code > 0;
	default:
		return 0;
	}
}

static void forward(int sig, siginfo_t *info, void *context)
{
	unsigned char number = (unsigned char)sig;
	int saved = errno;

	if (own_fault(sig, info)) {
		if ((before[sig].sa_flags & SA_SIGINFO) != 0)
			before[sig].sa_sigaction(sig, info, context);
	} else if (write(forward_to, &number, 1) < 0) {
		number = 0; // full: as many signals are on their way as anybody needs
	}
	errno = saved;
}

static void forward_signals(int fd)
{
	struct sigaction sa = { .sa_sigaction = forward, .sa_flags = SA_ONSTACK | SA_SIGINFO | SA_RESTART };
	int sig;

	forward_to = fd;
	sigfillset(&sa.sa_mask);
	for (sig = 1; sig <= SIGRTMAX; sig++) {
		// Go preempts and profiles with two, ends on a third when its output
		// is gone, and glibc has those below SIGRTMIN for itself.
		if (sig == SIGKILL || sig == SIGSTOP || sig == SIGURG || sig == SIGPROF || sig == SIGPIPE ||
		    (sig > SIGSYS && sig < SIGRTMIN))
			continue;
		sigaction(sig, &sa, &before[sig]);
	}
}
*/
import "C"

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// watchSignals catches all signals that can be passed on. It must be called
// before the process exists, or its SIGCHLD could be missed.
//
// The handlers are in C: os/signal hands each of the sixty signals to a thread
// of its own and back, a tenth of the time that a whole start takes.
func watchSignals() (<-chan os.Signal, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("signals: %w", err)
	}
	c := make(chan os.Signal, 2048)
	// Writing to a closed stdout raises it: the program is told, not killed.
	signal.Notify(c, unix.SIGPIPE)
	C.forward_signals(C.int(p[1]))
	go func() {
		r := os.NewFile(uintptr(p[0]), "signals")
		numbers := make([]byte, 64)
		for {
			n, err := r.Read(numbers)
			if err != nil {
				return
			}
			for _, number := range numbers[:n] {
				c <- unix.Signal(number)
			}
		}
	}()
	return c, nil
}
