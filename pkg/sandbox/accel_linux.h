#include <stdint.h>

#define ACCEL_COMMAND "accel-helper"
#define ACCEL_MAGIC 0x726f74736c636361u

// The descriptors of the process before it has taken its order.
#define ACCEL_ORDER 3
#define ACCEL_SOCKET 4
#define ACCEL_USER_NS 5
#define ACCEL_PID_NS 6

// accel_order.flags
#define ACCEL_JOIN_USER 1   // ACCEL_USER_NS is one to join
#define ACCEL_USER_FIRST 2  // for only there this process has any rights
#define ACCEL_JOIN_PID 4    // ACCEL_PID_NS is one to join
#define ACCEL_ADOPTED 8     // by the namespace's first process
#define ACCEL_SET_IDS 16

// What the parent tells the process, in the byte order of the machine. After it
// come the groups, the steps, and the strings, each with its NUL: a target and a
// source for each step, the arguments, the environment.
struct accel_order {
	uint64_t magic;
	uint32_t size; // bytes that follow
	uint32_t flags;
	uint32_t uid, gid, groups;
	uint32_t steps, args, env;
};

// One step of making the process's view of the file system; targets are
// relative to its root.
enum accel_kind {
	ACCEL_DIR = 1,
	ACCEL_BIND,  // read-only, with all that is mounted below
	ACCEL_LINK,
	ACCEL_NODE,  // a character device; source is where the host has it
	ACCEL_TMPFS, // source: the options
	ACCEL_PROC,
};

struct accel_step {
	uint32_t kind, mode, major, minor, uid, gid;
};

int runw_accel_filter(void);
