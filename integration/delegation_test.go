package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// delegated gives the box's user a part of the tree, as an administrator or systemd does
// (cgroup-v2, Delegation): the directory and the files by which to divide it. The runtime
// is called from a cgroup in there, for it must not move processes in from elsewhere.
func (b *box) delegated() {
	t := b.t
	t.Helper()
	part := "/" + b.id
	own(t, filepath.Join(cgroupRoot, part))
	own(t, filepath.Join(cgroupRoot, part, "caller"))
	b.rootless()
	b.cgroup = part + "/container"
	b.Spec.Linux.CgroupsPath = b.cgroup
	b.callFrom(filepath.Join(cgroupRoot, part, "caller"))
	b.sharedStore()
	t.Cleanup(func() {
		if t.Failed() {
			b.quiet("delete", "--force", b.id)
		}
		for _, sub := range []string{"caller", ""} {
			dir := filepath.Join(cgroupRoot, part, sub)
			if !eventually(2*time.Second, func() bool { return os.Remove(dir) == nil }) {
				t.Errorf("%s: %v", dir, os.Remove(dir))
			}
		}
	})
}

// sharedStore keeps the native code for the user's next container.
func (b *box) sharedStore() {
	b.t.Helper()
	store := filepath.Join(rt.tmp, "aot-rootless")
	must(b.t, os.MkdirAll(store, 0o700))
	must(b.t, os.Chown(store, nobodys, nobodys))
	b.env = append(b.env, "RUNW_AOT_DIR="+store)
}

func own(t *testing.T, dir string) {
	t.Helper()
	must(t, os.Mkdir(dir, 0o755))
	for _, name := range []string{"", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} {
		must(t, os.Chown(filepath.Join(dir, name), nobodys, nobodys))
	}
}

// callFrom makes the runtime's processes start in a cgroup.
func (b *box) callFrom(dir string) {
	b.t.Helper()
	file, err := os.Open(dir)
	must(b.t, err)
	b.t.Cleanup(func() { b.caller = nil; file.Close() })
	b.caller = file
}

// rootlessLimits are what a user may give to containers in what was delegated.
func rootlessLimits() *specs.LinuxResources {
	return &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: pointer(int64(96 << 20)), Swap: pointer(int64(96 << 20))},
		Pids:   &specs.LinuxPids{Limit: pointer(int64(40))},
		CPU:    &specs.LinuxCPU{Quota: pointer(int64(180000)), Period: pointer(uint64(100000))},
	}
}

// A user's container with limits, from create to delete.
func TestDelegatedCgroup(t *testing.T) {
	needV2(t)
	both(t, func(t *testing.T, guest string) {
		b := host(t, guest, func(b *box) {
			b.delegated()
			b.Spec.Linux.Resources = rootlessLimits()
		})
		b.holds(map[string]string{"memory.max": "100663296", "memory.swap.max": "0", "pids.max": "40", "cpu.max": "180000 100000"})
		processes := fmt.Sprintf("-%d", b.init)
		b.holds(map[string]string{"cgroup.procs": processes})
		b.quiet("pause", b.id).ok()
		b.holds(map[string]string{"cgroup.events": "-frozen 1"})
		b.quiet("resume", b.id).ok()
		b.quiet("update", "--pids-limit", "50", "--memory", "80m", b.id).ok()
		b.holds(map[string]string{"memory.max": "83886080", "pids.max": "50"})
		if list := events(t, b.quiet("events", "--stats", b.id).ok().stdout); len(list) != 1 || list[0].Data.Memory.Usage.Limit != 80<<20 {
			t.Errorf("events --stats: %+v", list)
		} else if w := list[0].Data.Wasm; (w != nil) != (guest != "busybox") {
			t.Errorf("events --stats of %s: %+v", guest, w)
		}
		if guest == "busybox" {
			b.exec("cat", "/proc/self/cgroup").ok().says("0::")
		} else {
			b.exec("/app.wasm", "hello").ok().says("hello from C")
		}
		b.end()
		if _, err := os.Stat(filepath.Join(cgroupRoot, b.cgroup)); err == nil {
			t.Errorf("%s is left", b.cgroup)
		}
	})
}

// And the limits bite.
func TestDelegatedLimits(t *testing.T) {
	needV2(t)
	run := func(guest string, args ...string) result {
		b := newBox(t, guest, args...)
		b.delegated()
		b.Spec.Linux.Resources = rootlessLimits()
		return b.run()
	}
	run("busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=300M", "count=1").exits(137)
	run("busybox", "sh", "-c", "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; echo forked $i").warns("can't fork").says("!forked 60")
	needRunw(t)
	grown := run("c/probe", "grow").ok()
	var mib int
	if _, err := fmt.Sscanf(grown.stdout, "grown %d MiB", &mib); err != nil || mib < 30 || mib > 96 {
		t.Errorf("within 96 MiB: %v", grown)
	}
}

// session is the user's systemd, which has to be there for TestSystemdUser.
func session(t *testing.T) (runtimeDir, slice string) {
	t.Helper()
	needSystemd(t)
	runtimeDir = fmt.Sprintf("/run/user/%d", nobodys)
	if _, err := os.Stat(runtimeDir + "/bus"); err != nil {
		t.Fatalf("no session of the user %d: %v", nobodys, err)
	}
	return runtimeDir, fmt.Sprintf("/user.slice/user-%d.slice/user@%[1]d.service", nobodys)
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A user's own systemd makes the cgroup.
func TestSystemdUser(t *testing.T) {
	runtimeDir, part := session(t)
	both(t, func(t *testing.T, guest string) {
		caller := filepath.Join(cgroupRoot, part, "runw-caller")
		own(t, caller)
		defer func() {
			if !eventually(2*time.Second, func() bool { return os.Remove(caller) == nil }) {
				t.Errorf("%s is left", caller)
			}
		}()
		b := host(t, guest, func(b *box) {
			b.rootless()
			b.env = append(b.env, "XDG_RUNTIME_DIR="+runtimeDir, "DBUS_SESSION_BUS_ADDRESS=unix:path="+runtimeDir+"/bus")
			b.global = []string{"--systemd-cgroup"}
			b.callFrom(caller)
			b.sharedStore()
			b.Spec.Linux.Resources = rootlessLimits()
			b.Spec.Linux.CgroupsPath = "user.slice:runw-test:" + strings.TrimPrefix(b.id, "runw-test-")
			b.cgroup = part + "/user.slice/" + b.id + ".scope"
		})
		b.holds(map[string]string{"memory.max": "100663296", "pids.max": "40", "cpu.max": "180000 100000", "cgroup.procs": fmt.Sprintf("-%d", b.init)})
		b.quiet("update", "--pids-limit", "50", b.id).ok()
		b.holds(map[string]string{"pids.max": "50"})
		b.quiet("pause", b.id).ok()
		b.holds(map[string]string{"cgroup.events": "-frozen 1"})
		b.quiet("resume", b.id).ok()
		b.end()
		if !eventually(5*time.Second, func() bool { _, err := os.Stat(filepath.Join(cgroupRoot, b.cgroup)); return err != nil }) {
			t.Errorf("%s is left", b.cgroup)
		}
	})
}
