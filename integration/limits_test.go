package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/runw/runw/integration/machine"
)

func (b *box) limit(r specs.LinuxResources) {
	r.Devices = b.Spec.Linux.Resources.Devices
	b.Spec.Linux.Resources = &r
}

// cgroupFile finds the container's file in cgroup v1's hierarchy of the controller or in
// the one hierarchy of v2.
func (b *box) cgroupFile(controller, v1, v2 string) string {
	b.t.Helper()
	path := filepath.Join("/sys/fs/cgroup", controller, b.cgroup, v1)
	if !machine.Hybrid() {
		path = filepath.Join("/sys/fs/cgroup", b.cgroup, v2)
	}
	content, err := os.ReadFile(path)
	must(b.t, err)
	return strings.TrimSpace(string(content))
}

// Memory bites: a native program is killed, a module is told -1 by memory.grow and lives.
func TestMemoryLimit(t *testing.T) {
	const limit = 96 << 20
	memory := func(b *box) {
		l := int64(limit)
		b.limit(specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &l, Swap: &l}})
	}
	t.Run("busybox", func(t *testing.T) {
		b := newBox(t, "busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=300M", "count=1")
		memory(b)
		b.run().exits(137)
	})
	t.Run("C", func(t *testing.T) {
		b := newBox(t, "c/probe", "grow")
		memory(b)
		res := b.run().ok()
		var mib int
		if _, err := fmt.Sscanf(res.stdout, "grown %d MiB", &mib); err != nil {
			t.Fatalf("%v: %v", err, res)
		}
		t.Logf("grown %d MiB of %d", mib, limit>>20)
		// A module that may have little of its limit would be a module that wastes it.
		if mib < limit>>20/3 || mib >= limit>>20 {
			t.Errorf("grown %d MiB within %d", mib, limit>>20)
		}
	})
	t.Run("C without a limit", func(t *testing.T) {
		b := newBox(t, "c/probe", "grow", "1000")
		b.run().ok().says("grown 1000 MiB\n")
	})
}

// Little address space is a limit like any other: the module is told -1, and the engine lives.
func TestAddressSpaceLimit(t *testing.T) {
	const limit = 2 << 30
	b := newBox(t, "c/probe", "grow")
	b.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_AS", Soft: limit, Hard: limit}}
	res := b.run().ok()
	var mib int
	if _, err := fmt.Sscanf(res.stdout, "grown %d MiB", &mib); err != nil || mib < limit>>20/8 || mib >= limit>>20 {
		t.Errorf("%v: %v", err, res)
	}
	b.Spec.Process.Args = []string{"app.wasm", "fault"}
	b.run().exits(134).warns("out of bounds memory access", "\tread_nowhere")
}

func TestPidsLimit(t *testing.T) {
	t.Run("busybox", func(t *testing.T) {
		b := newBox(t, "busybox", "sh", "-c", "i=0; while [ $i -lt 50 ]; do sleep 5 & i=$((i+1)); done; echo forked $i")
		b.limit(specs.LinuxResources{Pids: &specs.LinuxPids{Limit: pointer(int64(20))}})
		res := b.piped(nil, "run", "--bundle", b.Dir, b.id)
		res.warns("can't fork").says("!forked 50")
	})
	t.Run("C", func(t *testing.T) {
		b := newBox(t, "c/probe", "sleep", "3600")
		b.limit(specs.LinuxResources{Pids: &specs.LinuxPids{Limit: pointer(int64(32))}})
		b.begin()
		b.await("asleep")
		if got := b.cgroupFile("pids", "pids.max", "pids.max"); got != "32" {
			t.Errorf("pids.max %s, want 32", got)
		}
		current, err := strconv.Atoi(b.cgroupFile("pids", "pids.current", "pids.current"))
		must(t, err)
		t.Logf("an idle module has %d threads", current)
		if current > 32 {
			t.Errorf("%d threads", current)
		}
		b.quiet("delete", "--force", b.id).ok()
		b.wait()
	})
	// Fewer than the engine's threads: refused before there is a container.
	t.Run("C with one", func(t *testing.T) {
		b := newBox(t, "c/probe", "hello")
		b.limit(specs.LinuxResources{Pids: &specs.LinuxPids{Limit: pointer(int64(1))}})
		if res := b.run(); res.code != 1 || !strings.Contains(res.stderr, "linux.resources.pids.limit is 1") {
			t.Errorf("want a refusal that names the limit: %v", res)
		}
	})
}

func pointer[T any](v T) *T { return &v }

// A tenth of a processor is a tenth, for a module as for a program.
func TestCPULimit(t *testing.T) {
	rows := []workload{
		{"busybox", "busybox", func(string, string) []string { return []string{"sh", "-c", "while :; do :; done"} }},
		{"C", "c/probe", func(string, string) []string { return []string{"spin", "3600000"} }},
	}
	for _, w := range rows {
		t.Run(w.name, func(t *testing.T) {
			b := newBox(t, w.guest, w.argv("", "")...)
			b.limit(specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: pointer(int64(10_000)), Period: pointer(uint64(100_000))}})
			b.begin()
			throttled := func() int {
				for line := range strings.Lines(b.cgroupFile("cpu", "cpu.stat", "cpu.stat")) {
					if n, ok := strings.CutPrefix(line, "nr_throttled "); ok {
						count, _ := strconv.Atoi(strings.TrimSpace(n))
						return count
					}
				}
				return 0
			}
			before, begin := cpuTime(t, b.init), time.Now()
			time.Sleep(1500 * time.Millisecond)
			share := (cpuTime(t, b.init) - before).Seconds() / time.Since(begin).Seconds()
			t.Logf("throttled %d times, %.0f %% of a processor", throttled(), share*100)
			if throttled() < 5 || share > 0.25 {
				t.Errorf("throttled %d times, %.0f %% of a processor, want 10", throttled(), share*100)
			}
			b.quiet("delete", "--force", b.id).ok()
			b.wait()
		})
	}
}

// cpuTime reads a process's user and system time, in ticks of 10 ms (proc(5)).
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	_, rest, _ := strings.Cut(string(content), ") ")
	fields := strings.Fields(rest)
	user, err := strconv.Atoi(fields[11])
	must(t, err)
	system, err := strconv.Atoi(fields[12])
	must(t, err)
	return time.Duration(user+system) * 10 * time.Millisecond
}
