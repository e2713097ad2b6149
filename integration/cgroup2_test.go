package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/runw/runw/integration/machine"
)

const cgroupRoot = "/sys/fs/cgroup"

// needV2 skips where controllers are cgroup v1's; `make vm` has a machine with v2.
func needV2(t *testing.T) {
	t.Helper()
	if machine.Hybrid() {
		t.Skip("cgroup v1 here; `make vm` runs this row on v2")
	}
}

// both runs the row for a program and for a module.
func both(t *testing.T, row func(t *testing.T, guest string)) {
	t.Helper()
	for _, guest := range []string{"busybox", "c/probe"} {
		t.Run(guest, func(t *testing.T) { row(t, guest) })
	}
}

// v2 reads a file of the container's cgroup.
func (b *box) v2(name string) string {
	b.t.Helper()
	return b.cgroupFile("", "", name)
}

// holds fails unless each file of the container's cgroup has the text; "-" is for a line
// among others.
func (b *box) holds(want map[string]string) {
	b.t.Helper()
	for name, value := range want {
		got := b.v2(name)
		if line, among := strings.CutPrefix(value, "-"); among && strings.Contains("\n"+got+"\n", "\n"+line+"\n") {
			continue
		}
		if got != value {
			b.t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
}

// disk is the device below the bundle's root filesystem.
func (b *box) disk() (major, minor int64) {
	b.t.Helper()
	var st unix.Stat_t
	must(b.t, unix.Stat(b.Dir, &st))
	return int64(unix.Major(st.Dev)), int64(unix.Minor(st.Dev))
}

// Everything that linux.resources can say is in the files that the kernel has for it.
func TestV2Limits(t *testing.T) {
	needV2(t)
	both(t, func(t *testing.T, guest string) {
		var major, minor int64
		b := host(t, guest, func(b *box) {
			major, minor = b.disk()
			rate := func(n uint64) []specs.LinuxThrottleDevice {
				return []specs.LinuxThrottleDevice{{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: major, Minor: minor}, Rate: n}}
			}
			b.limit(specs.LinuxResources{
				Memory: &specs.LinuxMemory{Limit: pointer(int64(128 << 20)), Reservation: pointer(int64(64 << 20)), Swap: pointer(int64(160 << 20))},
				CPU:    &specs.LinuxCPU{Quota: pointer(int64(150000)), Period: pointer(uint64(100000)), Cpus: "1", Mems: "0"},
				Pids:   &specs.LinuxPids{Limit: pointer(int64(200))},
				BlockIO: &specs.LinuxBlockIO{
					Weight:                pointer(uint16(500)),
					ThrottleReadBpsDevice: rate(3 << 20), ThrottleWriteBpsDevice: rate(2 << 20),
					ThrottleReadIOPSDevice: rate(3000), ThrottleWriteIOPSDevice: rate(2000),
				},
				HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}},
			})
			if rt.name == "runw" { // runc 1.1.5 has another formula, and no burst
				b.Spec.Linux.Resources.CPU.Shares, b.Spec.Linux.Resources.CPU.Burst = pointer(uint64(1024)), pointer(uint64(20000))
			}
		})
		b.holds(map[string]string{
			"memory.max": "134217728", "memory.low": "67108864", "memory.swap.max": "33554432",
			"cpu.max": "150000 100000", "cpuset.cpus": "1", "cpuset.mems": "0", "pids.max": "200",
			"io.bfq.weight":   "default 500",
			"io.max":          fmt.Sprintf("%d:%d rbps=3145728 wbps=2097152 riops=3000 wiops=2000", major, minor),
			"hugetlb.2MB.max": "4194304",
		})
		if rt.name == "runw" {
			b.holds(map[string]string{"cpu.weight": "100", "cpu.max.burst": "20000"})
		}
		b.end()
	})
}

// What has no other name goes by the file's own.
func TestV2Unified(t *testing.T) {
	needV2(t)
	notOn(t, "runc", "1.1.5 takes cpu.weight from cpu.shares alone")
	both(t, func(t *testing.T, guest string) {
		b := host(t, guest, func(b *box) {
			b.limit(specs.LinuxResources{Unified: map[string]string{
				"memory.max": "134217728", "memory.high": "100663296", "memory.oom.group": "1",
				"cpu.weight": "77", "pids.max": "64",
			}})
		})
		b.holds(map[string]string{"memory.max": "134217728", "memory.high": "100663296", "memory.oom.group": "1", "cpu.weight": "77", "pids.max": "64"})
		b.quiet("update", "-r", b.write("unified.json", `{"unified":{"memory.high":"104857600","pids.max":"70"}}`), b.id).ok()
		b.holds(map[string]string{"memory.max": "134217728", "memory.high": "104857600", "pids.max": "70"})
		b.quiet("update", "-r", b.write("unified.json", `{"unified":{"memory.nosuch":"1"}}`), b.id).exits(1).warns("memory.nosuch")
		b.end()
	})
}

func TestV2UnifiedRefused(t *testing.T) {
	needV2(t)
	needRunw(t)
	rows := []struct{ guest, key, value string }{
		{"busybox", "nosuch.max", "1"}, {"busybox", "../memory.max", "1"},
		{"c/probe", "memory.nosuch", "1"}, {"c/probe", "pids.max", "many"},
	}
	for _, row := range rows {
		b := newBox(t, row.guest, "hello")
		b.limit(specs.LinuxResources{Unified: map[string]string{row.key: row.value}})
		b.run().exits(1).warns(row.key)
	}
}

// Written are 4 MiB, and with a limit of 512 KiB/s they take 8 seconds. The kernel counts
// who made a page dirty, so that this holds for buffered writes, which modules make.
func TestV2IOLimit(t *testing.T) {
	needV2(t)
	both(t, func(t *testing.T, guest string) {
		write := func(rate uint64) time.Duration {
			args := []string{"fill", "/big", "4"}
			if guest == "busybox" {
				args = []string{"sh", "-c", `read a _ </proc/uptime; dd if=/dev/zero of=/big bs=64k count=64 conv=fsync
					read b _ </proc/uptime; echo $((${b%.*} - ${a%.*})) seconds`}
			}
			b := newBox(t, guest, args...)
			major, minor := b.disk()
			if rate != 0 {
				b.limit(specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{ThrottleWriteBpsDevice: []specs.LinuxThrottleDevice{
					{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: major, Minor: minor}, Rate: rate},
				}}})
			}
			// The runtime's own time is another matter, on a slow machine most of it.
			res := b.run().ok()
			m := regexp.MustCompile(`([0-9.]+) seconds`).FindStringSubmatch(res.stdout)
			if m == nil {
				t.Fatalf("no time: %v", res)
			}
			took, err := time.ParseDuration(m[1] + "s")
			must(t, err)
			return took
		}
		free, bound := write(0), write(512<<10)
		t.Logf("4 MiB in %v, at 512 KiB/s in %v", free, bound)
		if bound < 6*time.Second || bound < free+4*time.Second {
			t.Errorf("4 MiB at 512 KiB/s in %v, without a limit in %v", bound, free)
		}
	})
}

// Two files of two huge pages each are too many for a limit of three pages.
func TestV2Hugetlb(t *testing.T) {
	needV2(t)
	const pages = "/proc/sys/vm/nr_hugepages"
	before, err := os.ReadFile(pages)
	must(t, err)
	must(t, os.WriteFile(pages, []byte("16"), 0o644))
	defer func() { must(t, os.WriteFile(pages, before, 0o644)) }()
	both(t, func(t *testing.T, guest string) {
		args := []string{"allocate", "/huge", "4194304"}
		if guest == "busybox" {
			args = []string{"sh", "-c", "i=0; while busybox fallocate -l 4194304 /huge/$i; do i=$((i+1)); done; echo allocated $i then none"}
		}
		b := newBox(t, guest, args...)
		b.limit(specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 6 << 20}}})
		b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Type: "hugetlbfs", Source: "hugetlbfs", Destination: "/huge", Options: []string{"pagesize=2M"}})
		b.run().ok().says("allocated 1 then ")
	})
}

// The kernel says where the process may run, whatever it is.
func TestV2CPUSet(t *testing.T) {
	needV2(t)
	both(t, func(t *testing.T, guest string) {
		b := host(t, guest, func(b *box) { b.limit(specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "1"}}) })
		allowed := func() string {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.init))
			must(t, err)
			_, rest, _ := strings.Cut(string(status), "Cpus_allowed_list:")
			list, _, _ := strings.Cut(rest, "\n")
			return strings.TrimSpace(list)
		}
		if got := allowed(); got != "1" {
			t.Errorf("runs on %s, want 1", got)
		}
		b.quiet("update", "--cpuset-cpus", "0", b.id).ok()
		if got := allowed(); got != "0" {
			t.Errorf("runs on %s after update, want 0", got)
		}
		b.end()
	})
}

func TestV2Freezer(t *testing.T) {
	needV2(t)
	both(t, func(t *testing.T, guest string) {
		b := host(t, guest)
		b.holds(map[string]string{"cgroup.freeze": "0", "cgroup.events": "-frozen 0"})
		b.quiet("pause", b.id).ok()
		b.holds(map[string]string{"cgroup.freeze": "1", "cgroup.events": "-frozen 1"})
		b.want("paused")
		b.quiet("resume", b.id).ok()
		b.holds(map[string]string{"cgroup.freeze": "0", "cgroup.events": "-frozen 0"})
		b.want(specs.StateRunning)
		b.end()
	})
}

// The disk's node is in the root filesystem; whether it opens is the cgroup's program's
// decision, at the start and after an update, which must not change it.
func TestV2Devices(t *testing.T) {
	needV2(t)
	rows := []struct {
		name, access string // of the rule; "" for none
		read, write  bool
	}{
		{"not allowed", "", false, false},
		{"read", "r", true, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			both(t, func(t *testing.T, guest string) {
				b := host(t, guest, func(b *box) { b.addDisk(row.access) })
				b.wantDisk(guest, row.read, row.write)
				if row.read {
					b.quiet("update", "--pids-limit", "150", b.id).ok()
					b.wantDisk(guest, row.read, row.write)
				}
				b.end()
			})
		})
	}
}

// addDisk makes a node of the disk in the root filesystem and a rule for it.
func (b *box) addDisk(access string) {
	b.t.Helper()
	major, minor := b.disk()
	must(b.t, unix.Mknod(b.Path("disk"), unix.S_IFBLK|0o600, int(unix.Mkdev(uint32(major), uint32(minor)))))
	if access != "" {
		b.Spec.Linux.Resources.Devices = append(b.Spec.Linux.Resources.Devices,
			specs.LinuxDeviceCgroup{Allow: true, Type: "b", Major: &major, Minor: &minor, Access: access})
	}
}

// wantDisk opens the disk from inside. Nothing is written to it.
func (b *box) wantDisk(guest string, read, write bool) {
	b.t.Helper()
	if guest != "busybox" {
		words := map[bool]string{true: "OPENED", false: "refused"}
		b.exec("/app.wasm", "try", "/disk").ok().says(words[read]+" read /disk", words[write]+" write /disk", words[read && write]+" readwrite /disk")
		return
	}
	code := map[bool]int{true: 0, false: 1}
	both := "dd if=/disk of=/dev/null bs=512 count=1; echo read $?; dd if=/dev/null of=/disk count=0 conv=notrunc; echo write $?"
	b.exec("sh", "-c", both).ok().says(fmt.Sprintf("read %d\nwrite %d\n", code[read], code[write]))
}

// Each flag of update is tested by TestUpdate; here are the files of v2.
func TestV2Update(t *testing.T) {
	needV2(t)
	needRunw(t)
	both(t, func(t *testing.T, guest string) {
		b := host(t, guest, func(b *box) {
			l := int64(128 << 20)
			b.limit(specs.LinuxResources{
				Memory: &specs.LinuxMemory{Limit: &l, Swap: &l},
				CPU:    &specs.LinuxCPU{Quota: pointer(int64(50000)), Period: pointer(uint64(100000)), Shares: pointer(uint64(1024))},
			})
		})
		b.holds(map[string]string{"memory.swap.max": "0", "cpu.idle": "0", "cpu.max.burst": "0"})
		b.quiet("update", "--memory", "120m", "--memory-reservation", "48m", "--memory-swap", "184m", "--cpu-share", "2048", "--cpu-burst", "10000",
			"--cpu-quota", "60000", "--cpuset-cpus", "1", "--pids-limit", "150", "--blkio-weight", "300", b.id).ok()
		after := map[string]string{
			"memory.max": "125829120", "memory.low": "50331648", "memory.swap.max": "67108864", "cpu.weight": "174", "cpu.max": "60000 100000",
			"cpu.max.burst": "10000", "cpuset.cpus": "1", "pids.max": "150", "io.bfq.weight": "default 300",
		}
		b.holds(after)
		// One value that cannot be: all of the old ones stay.
		b.quiet("update", "--memory", "110m", "--pids-limit", "130", "--cpuset-cpus", "4095", b.id).exits(1).warns("cpuset")
		b.holds(after)
		b.quiet("update", "--memory", "-1", "--cpu-idle", "1", "--pids-limit", "-1", b.id).ok()
		b.holds(map[string]string{"memory.max": "max", "cpu.idle": "1", "pids.max": "max"})
		b.quiet("update", "--cpu-idle", "0", "--cpu-quota", "-1", b.id).ok()
		b.holds(map[string]string{"cpu.idle": "0", "cpu.max": "max 100000"})
		b.want(specs.StateRunning)
		b.end()
	})
}

// There is one hierarchy, so that a path below the container's is all that can be said.
func TestV2ExecCgroup(t *testing.T) {
	needV2(t)
	both(t, func(t *testing.T, guest string) {
		b := host(t, guest, func(b *box) {
			if guest != "busybox" {
				addBusybox(b)
			}
		})
		sub := filepath.Join(cgroupRoot, b.cgroup, "sub")
		must(t, os.Mkdir(sub, 0o755))
		b.exec("--cgroup", "sub", "--", "/bin/busybox", "cat", "/proc/self/cgroup").ok().says("0::" + b.cgroup + "/sub\n")
		b.exec("/bin/busybox", "cat", "/proc/self/cgroup").ok().says("0::" + b.cgroup + "\n")
		b.exec("--cgroup", "../..", "--", "/bin/busybox", "true").exits(255).warns("sub cgroup path")
		b.exec("--cgroup", "nosuch", "--", "/bin/busybox", "true").exits(255).warns("nosuch")
		if guest != "busybox" {
			b.exec("--cgroup", "sub", "--", "/app.wasm", "hello").ok().says("hello from C")
		}
		must(t, os.Remove(sub))
		b.end()
	})
}
