package sandbox

/*
#include <signal.h>
#include <string.h>

// For pid 1 of a pid namespace the kernel drops a signal that has no handler
// yet, and Go's own handlers, which are there before main, end the process with
// status 2. A blocked signal waits instead, until os/signal unblocks it. Runs
// before the Go runtime, which passes the mask on to all of its threads.
__attribute__((constructor)) static void hold_signals(int argc, char **argv)
{
	sigset_t set;

	if (argc < 2 || strcmp(argv[1], "engine") != 0)
		return;
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
}
*/
import "C"
