// How much memory and address space glibc's malloc takes in each process of a
// start.

#include <malloc.h>
#include <string.h>

#include "worker_linux.h"

// Every thread that first calls malloc or free gets an arena of its own: four
// system calls, two pages and 64 MiB of address space, six times in an idle
// engine, which hardly ever calls malloc. Only a compiler's threads do.
__attribute__((constructor)) static void one_arena(int argc, char **argv)
{
#ifdef M_ARENA_MAX
	if (argc < 2 || strcmp(argv[1], WORKER_COMMAND) != 0)
		mallopt(M_ARENA_MAX, 1);
#endif
}
