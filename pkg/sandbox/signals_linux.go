package sandbox

/*
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "engine_linux.h"

// What signal(7) gives the action Term or Core, without the signals that stand
// for an error of this very process; the real-time ones follow in a loop.
static const int fatal[] = {
	SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGSTKFLT,
	SIGXCPU, SIGXFSZ, SIGVTALRM, SIGIO, SIGPWR,
};

static void end(int sig)
{
	_exit(128 + sig);
}

// Go's signal stacks are used (SA_ONSTACK): the thread may be on a guest's.
static void end_on_fatal(void)
{
	struct sigaction sa = { .sa_handler = end, .sa_flags = SA_ONSTACK };
	size_t i;
	int sig;

	for (i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		sigaction(fatal[i], &sa, NULL);
	for (sig = SIGRTMIN; sig <= SIGRTMAX; sig++)
		sigaction(sig, &sa, NULL);
}

static void block_fatal(void)
{
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	for (i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		sigaddset(&set, fatal[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void unblock_all(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
}

// Before the Go runtime, which would end with status 2 on what is pending.
__attribute__((constructor)) static void end_on_pending(int argc, char **argv)
{
	sigset_t set;
	size_t i;

	if (argc < 2 || strcmp(argv[1], ENGINE_COMMAND) != 0 || sigpending(&set) != 0)
		return;
	for (i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		if (sigismember(&set, fatal[i]) == 1)
			_exit(128 + fatal[i]);
	end_on_fatal();
	unblock_all();
}
*/
import "C"

import "os"

// EngineCommand is the argument that makes runw the engine process; the number
// of the handoff's descriptor follows. From it the constructors in C know the process.
const EngineCommand = C.ENGINE_COMMAND

// A signal that ends a program by default has to end a Wasm container too, at
// any moment from its creation on: a guest cannot have handlers, the kernel
// drops such a signal for pid 1 of a pid namespace unless somebody handles it
// (pid_namespaces(7)), and a handler in Go has to wait for a processor, which
// a guest in a loop or a garbage collection may not leave.

// wasmInit is argv[0] of a Wasm container's init: libcontainer passes its
// caller's on. The init of a native container must not change its signals,
// because the program would inherit the mask.
const wasmInit = "runw-wasm"

// EndOnSignals lets every fatal signal n end this process with the status
// 128+n, whatever the Go runtime is doing.
func EndOnSignals() { C.end_on_fatal() }

// holdSignals prepares a Wasm container's init for the execve, which resets
// handlers but keeps what is pending: this thread, the one that will call it,
// leaves signals pending, and every other one ends the process, as befits a
// container that was created and not started.
func holdSignals() {
	if os.Args[0] == wasmInit {
		C.end_on_fatal()
		C.block_fatal()
	}
}
