#include <stdint.h>

#define WORKER_COMMAND "compile"
#define WORKER_MAGIC 0x726f7765726b7721u

// What the parent tells the process, in the byte order of the machine.
struct worker_order {
	uint64_t magic;
	uint64_t user;   // uid and gid; 0 in a user namespace of its own
	uint64_t data;   // RLIMIT_DATA in bytes
	uint64_t fsize;  // RLIMIT_FSIZE in bytes
	uint64_t cpu;    // RLIMIT_CPU in seconds
	uint64_t memory; // the cgroup's limit in bytes, 0 for none
	uint64_t tasks;  // the cgroup's limit of threads, 0 for none
};

extern struct worker_order runw_worker_order;

int runw_worker_filter(void);
