package main

import (
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/runw/runw/pkg/aot"
)

func TestGuestLimits(t *testing.T) {
	pids := func(n int64) *specs.Linux {
		return &specs.Linux{Resources: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &n}}}
	}
	memory := func(n int64) *specs.Linux {
		return &specs.Linux{Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &n}}}
	}
	rlimit := func(kind string, soft uint64) []specs.POSIXRlimit {
		return []specs.POSIXRlimit{{Type: kind, Soft: soft, Hard: soft}}
	}
	tenPages := &aot.Info{HasMemory: true, MemoryMin: 10}
	cases := []struct {
		name    string
		linux   *specs.Linux
		rlimits []specs.POSIXRlimit
		uid     uint32
		info    *aot.Info
		want    string
	}{
		{name: "no linux section"},
		{name: "no limits", linux: &specs.Linux{}},
		{name: "pids unlimited", linux: pids(-1)},
		{name: "pids enough", linux: pids(engineTasks)},
		{name: "pids too few", linux: pids(engineTasks - 1), want: "linux.resources.pids.limit is 7, the engine needs 8"},
		{name: "memory unlimited", linux: memory(-1), info: tenPages},
		{name: "memory just enough", linux: memory(engineMemory + 10*wasmPage), info: tenPages},
		{name: "memory too little", linux: memory(engineMemory + 10*wasmPage - 1), info: tenPages, want: "linux.resources.memory.limit is 6946815 bytes, module and engine need 6946816"},
		{name: "address space", rlimits: rlimit("RLIMIT_AS", 1<<29), want: "process.rlimits[0]: RLIMIT_AS is 536870912"},
		{name: "data", rlimits: rlimit("RLIMIT_DATA", 1<<20), want: "RLIMIT_DATA is 1048576"},
		{name: "stack", rlimits: rlimit("RLIMIT_STACK", 64<<10), want: "RLIMIT_STACK is 65536, the engine needs 524288"},
		{name: "processes of a user", rlimits: rlimit("RLIMIT_NPROC", 2), uid: 1000, want: "RLIMIT_NPROC is 2, the engine needs 8"},
		{name: "processes of root", rlimits: rlimit("RLIMIT_NPROC", 2)},
		{name: "another limit", rlimits: rlimit("RLIMIT_CPU", 0)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.info == nil {
				c.info = &aot.Info{}
			}
			spec := &specs.Spec{Linux: c.linux, Process: &specs.Process{Rlimits: c.rlimits, User: specs.User{UID: c.uid}}}
			limits := containerLimits(spec)
			err := limits.check(c.info)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}
