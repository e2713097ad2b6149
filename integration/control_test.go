package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/runw/runw/integration/machine"
)

func TestPs(t *testing.T) {
	notOn(t, "crun", "1.8.1 prints pids only, and passes no options on")
	each(t, "sleep", "3600", func(t *testing.T, w workload, b *box) {
		b.begin()
		b.await("asleep")
		var pids []int
		must(t, json.Unmarshal([]byte(b.quiet("ps", "--format", "json", b.id).ok().stdout), &pids))
		want := 1
		if w.guest == "busybox" {
			want = 2 // the shell and its sleep
		}
		if len(pids) != want || !slices.Contains(pids, b.init) {
			t.Errorf("ps --format json: %v, want %d with %d among them", pids, want, b.init)
		}
		table := b.quiet("ps", b.id).ok()
		if lines := strings.Count(table.stdout, "\n"); lines != 1+want {
			t.Errorf("want a title and %d lines: %v", want, table)
		}
		table.says("UID", "PID", "CMD", fmt.Sprint(b.init), "sleep")
		// What follows the id are ps's options, also those that look like runw's.
		own := b.quiet("ps", b.id, "-e", "-o", "ppid,pid").ok()
		if fields := strings.Fields(own.stdout); len(fields) != 2+2*want || fields[1] != "PID" {
			t.Errorf("ps's own options: %v", own)
		}
		b.quiet("ps", b.id, "-o", "comm").exits(1).warns("couldn't find PID field in ps output")
		b.quiet("ps", "--format", "xml", b.id).exits(1).warns("invalid format option")
		b.quiet("delete", "--force", b.id).ok()
		b.wait()
	})
}

// ticks is the processor time that a process has used (proc(5): utime and stime).
func ticks(t *testing.T, pid int) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	_, rest, ok := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		t.Fatalf("stat of %d: %q", pid, stat)
	}
	return fields[11] + "+" + fields[12]
}

func TestPauseResume(t *testing.T) {
	notOn(t, "crun", "1.8.1 pauses what is paused")
	for _, guest := range []string{"busybox", "c/probe"} {
		t.Run(guest, func(t *testing.T) {
			args := []string{"spin", "3600000"}
			if guest == "busybox" {
				args = []string{"sh", "-c", "while :; do :; done"}
			}
			b := newBox(t, guest, args...)
			b.begin()
			idle := ticks(t, b.init)
			if !eventually(30*time.Second, func() bool { return ticks(t, b.init) != idle }) {
				t.Fatal("does not run")
			}
			b.quiet("pause", b.id).ok()
			b.want("paused")
			before := ticks(t, b.init)
			time.Sleep(50 * time.Millisecond)
			if after := ticks(t, b.init); after != before {
				t.Errorf("paused, and used %s ticks, then %s", before, after)
			}
			b.quiet("pause", b.id).exits(1).warns("container not running")
			if res := b.quiet("delete", b.id); res.code == 0 {
				t.Errorf("deleted while paused: %v", res)
			}
			b.quiet("resume", b.id).ok()
			b.want(specs.StateRunning)
			if !eventually(10*time.Second, func() bool { return ticks(t, b.init) != before }) {
				t.Error("does not run after resume")
			}
			b.quiet("resume", b.id).exits(1).warns("container not paused")
			// A paused container can still be removed by force.
			b.quiet("pause", b.id).ok()
			b.quiet("delete", "--force", b.id).ok()
			b.wait()
			b.quiet("pause", b.id).exits(1).warns("does not exist")
			b.quiet("resume", b.id).exits(1).warns("does not exist")
		})
	}
}

// limits are the files of the container's cgroup that update writes.
func (b *box) limits() map[string]string {
	b.t.Helper()
	quota := b.cgroupFile("cpu", "cpu.cfs_quota_us", "cpu.max")
	if machine.Hybrid() {
		quota += " " + b.cgroupFile("cpu", "cpu.cfs_period_us", "")
	}
	return map[string]string{
		"memory": b.cgroupFile("memory", "memory.limit_in_bytes", "memory.max"),
		"pids":   b.cgroupFile("pids", "pids.max", "pids.max"),
		"cpu":    quota,
		"cpus":   b.cgroupFile("cpuset", "cpuset.cpus", "cpuset.cpus"),
	}
}

func (b *box) wantLimits(memory, pids, cpu, cpus string) {
	b.t.Helper()
	want := map[string]string{"memory": memory, "pids": pids, "cpu": cpu, "cpus": cpus}
	if got := b.limits(); !maps.Equal(got, want) {
		b.t.Errorf("limits %v, want %v", got, want)
	}
}

func TestUpdate(t *testing.T) {
	notOn(t, "crun", "1.8.1 knows no units")
	for _, guest := range []string{"busybox", "c/probe"} {
		t.Run(guest, func(t *testing.T) {
			b := host(t, guest, func(b *box) {
				b.limit(specs.LinuxResources{
					Memory: &specs.LinuxMemory{Limit: pointer(int64(128 << 20))},
					Pids:   &specs.LinuxPids{Limit: pointer(int64(200))},
					CPU:    &specs.LinuxCPU{Quota: pointer(int64(50000)), Period: pointer(uint64(100000)), Cpus: "0"},
				})
			})
			b.wantLimits("134217728", "200", "50000 100000", "0")
			b.quiet("update", "--memory", "96m", "--pids-limit", "150", b.id).ok()
			b.wantLimits("100663296", "150", "50000 100000", "0")
			b.quiet("update", b.id, "--cpu-quota", "70000").ok() // options may follow the id
			b.wantLimits("100663296", "150", "70000 100000", "0")
			b.quiet("update", "--cpu-period", "200000", "--cpu-quota", "60000", b.id).ok()
			b.wantLimits("100663296", "150", "60000 200000", "0")
			b.piped(strings.NewReader(`{"memory":{"limit":117440512},"pids":{"limit":140}}`), "update", "-r", "-", b.id).ok()
			b.wantLimits("117440512", "140", "60000 200000", "0")
			b.quiet("update", "--resources", b.write("resources.json", `{"cpu":{"quota":40000}}`), "--memory", "1", b.id).ok()
			b.wantLimits("117440512", "140", "40000 200000", "0")
			if rt.name == "runw" {
				// One value that cannot be: all of the old ones stay.
				b.quiet("update", "--memory", "100m", "--pids-limit", "130", "--cpuset-cpus", "4095", b.id).exits(1).warns("cpuset")
				b.wantLimits("117440512", "140", "40000 200000", "0")
				b.quiet("update", "-r", b.write("null.json", `{"memory":null,"cpu":null,"pids":null,"blockIO":null}`), b.id).ok()
				b.wantLimits("117440512", "140", "40000 200000", "0")
			}
			b.quiet("update", "--l3-cache-schema", "L3:0=1", b.id).exits(1).warns("Intel RDT")
			b.want(specs.StateRunning)
			b.quiet("kill", b.id, "KILL").ok()
			b.wait()
			b.quiet("update", "--pids-limit", "100", b.id).exits(1).warns("container not running")
			b.quiet("delete", b.id).ok()
		})
	}
}
