package integration

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func needSystemd(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		t.Skip("no systemd here; `make vm` runs this row with one")
	}
}

// scoped asks systemd for the container's cgroup, in a scope of its own.
func (b *box) scoped() {
	b.global = append(b.global, "--systemd-cgroup")
	b.Spec.Linux.CgroupsPath = "system.slice:runw-test:" + strings.TrimPrefix(b.id, "runw-test-")
	b.cgroup = "/system.slice/" + b.unit()
}

func (b *box) unit() string { return b.id + ".scope" }

// properties are the unit's, as systemd tells them.
func (b *box) properties(names ...string) map[string]string {
	b.t.Helper()
	got := map[string]string{}
	for line := range strings.Lines(command(b.t, "systemctl", "show", "--property", strings.Join(names, ","), b.unit())) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		got[key] = value
	}
	return got
}

func (b *box) wantProperties(want map[string]string) {
	b.t.Helper()
	var names []string
	for name := range want {
		names = append(names, name)
	}
	if got := b.properties(names...); !maps.Equal(got, want) {
		b.t.Errorf("%s has %v, want %v", b.unit(), got, want)
	}
}

// The container is a transient scope with what config.json says as its properties, so that
// systemd does not set something else some day.
func TestSystemdScope(t *testing.T) {
	needSystemd(t)
	both(t, func(t *testing.T, guest string) {
		b := host(t, guest, func(b *box) {
			b.scoped()
			b.addDisk("r")
			b.Spec.Annotations = map[string]string{
				"org.systemd.property.TimeoutStopUSec": "uint64 7000000",
				"org.systemd.property.CollectMode":     "'inactive-or-failed'",
			}
			devices := b.Spec.Linux.Resources.Devices
			b.limit(specs.LinuxResources{
				Memory:  &specs.LinuxMemory{Limit: pointer(int64(128 << 20)), Reservation: pointer(int64(64 << 20))},
				Pids:    &specs.LinuxPids{Limit: pointer(int64(200))},
				CPU:     &specs.LinuxCPU{Quota: pointer(int64(200000)), Period: pointer(uint64(100000)), Cpus: "0-1"},
				Unified: map[string]string{"memory.high": "100663296"},
			})
			b.Spec.Linux.Resources.Devices = devices
		})
		b.wantProperties(map[string]string{
			"ActiveState": "active", "Slice": "system.slice", "Delegate": "yes", "TimeoutStopUSec": "7s", "CollectMode": "inactive-or-failed",
			"MemoryMax": "134217728", "MemoryLow": "67108864", "MemoryHigh": "100663296", "TasksMax": "200", "CPUQuotaPerSecUSec": "2s", "AllowedCPUs": "0-1",
			"Description": "libcontainer container " + strings.TrimPrefix(b.id, "runw-test-"),
		})
		b.holds(map[string]string{
			"memory.max": "134217728", "memory.low": "67108864", "memory.high": "100663296", "pids.max": "200", "cpu.max": "200000 100000", "cpuset.cpus": "0-1",
			"cgroup.procs": fmt.Sprintf("-%d", b.init),
		})
		b.wantDisk(guest, true, false)
		b.quiet("update", "--memory", "120m", "--pids-limit", "150", "--cpu-quota", "100000", b.id).ok()
		// A reload makes systemd write all properties again, as it does by itself at times.
		command(t, "systemctl", "daemon-reload")
		b.wantProperties(map[string]string{"MemoryMax": "125829120", "TasksMax": "150", "CPUQuotaPerSecUSec": "1s"})
		b.holds(map[string]string{"memory.max": "125829120", "pids.max": "150", "cpu.max": "100000 100000"})
		b.wantDisk(guest, true, false)
		b.quiet("pause", b.id).ok()
		b.holds(map[string]string{"cgroup.events": "-frozen 1"})
		b.want("paused")
		b.quiet("resume", b.id).ok()
		b.holds(map[string]string{"cgroup.events": "-frozen 0"})
		if list := events(t, b.quiet("events", "--stats", b.id).ok().stdout); len(list) != 1 || list[0].Data.Pids.Limit != 150 {
			t.Errorf("events --stats: %+v", list)
		}
		b.end()
		b.goneUnit()
	})
}

// goneUnit waits until systemd has forgotten the unit and the kernel the cgroup.
func (b *box) goneUnit() {
	b.t.Helper()
	gone := func() bool {
		_, err := os.Stat(filepath.Join(cgroupRoot, b.cgroup))
		return err != nil && b.properties("ActiveState")["ActiveState"] == "inactive"
	}
	if !eventually(10*time.Second, gone) {
		b.t.Errorf("%s is left: %v", b.unit(), b.properties("ActiveState", "SubState"))
	}
}

// The limits bite as they do without systemd.
func TestSystemdLimits(t *testing.T) {
	needSystemd(t)
	if rt.name == "runw" {
		newBox(t, "c/probe", "hello").run().ok() // compiles without a limit
	}
	l := int64(96 << 20)
	b := newBox(t, "busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=300M", "count=1")
	b.scoped()
	b.limit(specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &l, Swap: &l}})
	b.run().exits(137)
	b.goneUnit()
	if rt.name != "runw" {
		return
	}
	b = newBox(t, "c/probe", "grow")
	b.scoped()
	b.limit(specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &l, Swap: &l}})
	res := b.run().ok()
	var mib int
	if _, err := fmt.Sscanf(res.stdout, "grown %d MiB", &mib); err != nil || mib < 30 || mib > 96 {
		t.Errorf("within 96 MiB: %v", res)
	}
	b.goneUnit()
}

// What systemd cannot do is an error that names it, and leaves no unit behind.
func TestSystemdRefusals(t *testing.T) {
	needSystemd(t)
	needRunw(t)
	rows := []struct {
		name, path, annotation, value, want string
	}{
		{"a property that is none", "", "org.systemd.property.NoSuch", "1", "NoSuch"},
		{"a value that is none", "", "org.systemd.property.TimeoutStopUSec", "soon", "TimeoutStopUSec"},
		{"a path that is a file's", "/runw-test", "", "", "cgroupsPath"},
		{"a slice that is none", "nosuch:runw-test:x", "", "", "nosuch"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			both(t, func(t *testing.T, guest string) {
				b := newBox(t, guest, "hello")
				b.scoped()
				if row.path != "" {
					b.Spec.Linux.CgroupsPath = row.path
				}
				if row.annotation != "" {
					b.Spec.Annotations = map[string]string{row.annotation: row.value}
				}
				b.run().exits(1).warns(row.want)
				b.goneUnit()
			})
		})
	}
}
