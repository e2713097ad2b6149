package main

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/runw/runw/pkg/aot"
	"golang.org/x/sys/unix"
)

// What the engine process itself needs, found by lowering each limit until a
// module of 96 bytes did not start, with some room above. Below it the Go
// runtime ends with a dump of its own, after `start`, where only the
// container's stderr is left to tell anybody.
const (
	engineTasks        = 8         // threads; 5 were enough
	engineMemory       = 6 << 20   // bytes of anonymous memory; 5 MiB were enough
	engineAddressSpace = 1 << 30   // bytes; 768 MiB were enough
	engineData         = 192 << 20 // bytes of private writable memory; 128 MiB were enough
	engineStack        = 512 << 10 // bytes of a thread's stack, half of it the guest's
)

// wasmPage is the unit of a linear memory's size in bytes (core spec 4.2.8).
const wasmPage = 64 << 10

// guestLimits are what bounds a guest and its engine together.
type guestLimits struct {
	pids    int64  // threads, 0 or less for no limit
	memory  uint64 // bytes, 0 for no limit
	process *specs.Process
}

// containerLimits reads those of a bundle.
func containerLimits(spec *specs.Spec) guestLimits {
	l := guestLimits{process: spec.Process}
	if spec.Linux == nil || spec.Linux.Resources == nil {
		return l
	}
	r := spec.Linux.Resources
	if r.Pids != nil && r.Pids.Limit != nil {
		l.pids = *r.Pids.Limit
	}
	if r.Memory != nil && r.Memory.Limit != nil {
		l.memory = uint64(max(*r.Memory.Limit, 0)) // -1 is "unlimited"
	}
	return l
}

// check refuses limits that leave no room for the engine and for the memory
// that the module has from its start.
func (l *guestLimits) check(info *aot.Info) error {
	if l.pids > 0 && l.pids < engineTasks {
		return fmt.Errorf("linux.resources.pids.limit is %d, the engine needs %d", l.pids, engineTasks)
	}
	need := uint64(engineMemory)
	if info.HasMemory {
		need += info.MemoryMin * wasmPage
	}
	if l.memory > 0 && l.memory < need {
		return fmt.Errorf("linux.resources.memory.limit is %d bytes, module and engine need %d", l.memory, need)
	}
	for i, r := range l.process.Rlimits {
		if least := engineRlimit(r.Type, l.process.User.UID); r.Soft < least {
			return fmt.Errorf("process.rlimits[%d]: %s is %d, the engine needs %d", i, r.Type, r.Soft, least)
		}
	}
	return nil
}

// addressSpace is the RLIMIT_AS that the engine process will have, 0 for none.
// Without one of its own it inherits this process's.
func (l *guestLimits) addressSpace() uint64 {
	soft := uint64(unix.RLIM_INFINITY)
	var own unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_AS, &own) == nil {
		soft = own.Cur
	}
	for _, r := range l.process.Rlimits {
		if r.Type == "RLIMIT_AS" {
			soft = r.Soft
		}
	}
	if soft == unix.RLIM_INFINITY {
		return 0
	}
	return soft
}

// engineRlimit is the least soft limit of a kind; 0 means any.
func engineRlimit(kind string, uid uint32) uint64 {
	switch kind {
	case "RLIMIT_AS":
		return engineAddressSpace
	case "RLIMIT_DATA":
		return engineData
	case "RLIMIT_STACK":
		return engineStack
	case "RLIMIT_NPROC":
		if uid != 0 { // root may go beyond it (setrlimit(2))
			return engineTasks
		}
	}
	return 0
}
