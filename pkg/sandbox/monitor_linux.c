// How often the Go runtime's monitor wakes up.

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>

#include "engine_linux.h"

// In nanoseconds, what the kernel may add to a sleep (PR_SET_TIMERSLACK). Odd, for
// it is also how the monitor is known. The engine has longer: its guest may wait
// for a helper thousands of times a second, and of what its own start waits for
// nothing needs the monitor.
enum { PATIENCE = 1000003, ENGINE_PATIENCE = 10000003 };

static int patience = PATIENCE;

__attribute__((constructor)) static void choose_patience(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], ENGINE_COMMAND) == 0)
		patience = ENGINE_PATIENCE;
}

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

// The runtime's first thread is its monitor (sysmon). While anything happens it
// sleeps for 20 microseconds at a time, which the kernel makes 70: hundreds of
// wake-ups in a start, thousands a second in an engine that waits for its
// helper. A millisecond is soon enough for what it looks after. Only the monitor
// is to be so patient. A thread has its slack from the one that makes it, and a
// program from the thread that starts it: both are others.
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	static bool monitored;
	static int usual;
	int result, next, own = prctl(PR_GET_TIMERSLACK);

	next = own;
	if (!monitored) {
		monitored = true;
		usual = own;
		// More than that is the caller's wish; less than nothing an error.
		if (own >= 0 && own < patience)
			next = patience;
	} else if (own == patience) {
		next = usual;
	}
	if (next == own)
		return __real_pthread_create(thread, attr, start, arg);
	prctl(PR_SET_TIMERSLACK, next);
	result = __real_pthread_create(thread, attr, start, arg);
	prctl(PR_SET_TIMERSLACK, own);
	return result;
}
