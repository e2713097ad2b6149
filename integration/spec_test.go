package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"
)

// proc reads a file of the container's first process.
func (b *box) proc(name string) string {
	b.t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", b.init, name))
	must(b.t, err)
	return string(content)
}

// What config.json says about the process is what the kernel tells of it, program or module.
func TestProcessAttributes(t *testing.T) {
	rows := []struct {
		name  string
		peers bool // runc 1.1.5 and crun 1.8.1 know it
		spec  func(*specs.Spec)
		got   func(b *box) string
		want  string
	}{
		{
			name: "oomScoreAdj", peers: true,
			spec: func(s *specs.Spec) { s.Process.OOMScoreAdj = pointer(500) },
			got:  func(b *box) string { return b.proc("oom_score_adj") },
			want: "500\n",
		},
		{
			name: "personality",
			spec: func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32} },
			got:  func(b *box) string { return b.proc("personality") },
			want: "00000008\n", // PER_LINUX32, personality(2)
		},
		{
			name: "ioPriority",
			spec: func(s *specs.Spec) {
				s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
			},
			got: func(b *box) string {
				const process = 1 // IOPRIO_WHO_PROCESS
				value, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, process, uintptr(b.init), 0)
				return fmt.Sprintf("class %d, priority %d, %v", value>>13, value&0x1fff, errno)
			},
			want: fmt.Sprintf("class 2, priority 6, %v", syscall.Errno(0)),
		},
		{
			name: "scheduler",
			spec: func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 7} },
			got: func(b *box) string {
				attr, err := unix.SchedGetAttr(b.init, 0)
				must(b.t, err)
				return fmt.Sprintf("policy %d, nice %d", attr.Policy, attr.Nice)
			},
			want: fmt.Sprintf("policy %d, nice 7", unix.SCHED_BATCH),
		},
		{
			name: "time namespace",
			spec: func(s *specs.Spec) {
				s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
				s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: 7337, Nanosecs: 3}, "boottime": {Secs: 1234}}
			},
			got: func(b *box) string {
				return strings.Join(strings.Fields(b.proc("timens_offsets")), " ") + fmt.Sprint(namespace(b.t, b.init, "time") == namespace(b.t, os.Getpid(), "time"))
			},
			want: "monotonic 7337 3 boottime 1234 0false",
		},
		{
			name: "domainname",
			spec: func(s *specs.Spec) { s.Hostname, s.Domainname = "box", "example.test" },
			got: func(b *box) string {
				return command(b.t, "nsenter", fmt.Sprintf("--uts=/proc/%d/ns/uts", b.init), "cat", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname")
			},
			want: "box\nexample.test\n",
		},
		{
			name: "umask", peers: true,
			spec: func(s *specs.Spec) { s.Process.User.Umask = pointer(uint32(0o27)) },
			got: func(b *box) string {
				_, rest, _ := strings.Cut(b.proc("status"), "Umask:\t")
				umask, _, _ := strings.Cut(rest, "\n")
				return umask
			},
			want: "0027",
		},
		{
			name: "memoryPolicy",
			spec: func(s *specs.Spec) {
				s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolInterleave, Nodes: "0"}
			},
			got: func(b *box) string {
				// Each mapping's policy is that of the process, but where it has one of its own.
				maps := b.proc("numa_maps")
				return fmt.Sprint(strings.Contains(maps, " interleave:0 ") && strings.Contains(maps, "stack"))
			},
			want: "true",
		},
		{
			name: "rootfsPropagation", // runc 1.1.5 leaves the root private
			spec: func(s *specs.Spec) { s.Linux.RootfsPropagation = "shared" },
			got: func(b *box) string {
				first, _, _ := strings.Cut(b.proc("mountinfo"), "\n")
				for line := range strings.Lines(b.proc("mountinfo")) {
					if strings.Fields(line)[4] == "/" {
						first = line
					}
				}
				return fmt.Sprint(strings.Contains(first, " shared:"))
			},
			want: "true",
		},
		{
			name: "devices", peers: true,
			spec: func(s *specs.Spec) {
				s.Linux.Devices = []specs.LinuxDevice{{
					Path: "/dev/box/null", Type: "c", Major: 1, Minor: 3, FileMode: pointer(os.FileMode(0o640)), UID: pointer(uint32(7)), GID: pointer(uint32(8)),
				}}
			},
			got: func(b *box) string {
				var st unix.Stat_t
				must(b.t, unix.Stat(fmt.Sprintf("/proc/%d/root/dev/box/null", b.init), &st))
				return fmt.Sprintf("%o %d:%d, %d:%d", st.Mode, unix.Major(st.Rdev), unix.Minor(st.Rdev), st.Uid, st.Gid)
			},
			want: "20640 1:3, 7:8",
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if rt.name != "runw" && !row.peers {
				t.Skipf("RUNTIME=%s: older than %s", rt.name, row.name)
			}
			both(t, func(t *testing.T, guest string) {
				b := host(t, guest, func(b *box) { row.spec(b.Spec) })
				if got := row.got(b); got != row.want {
					t.Errorf("got %q, want %q", got, row.want)
				}
				b.end()
			})
		})
	}
}

// process.execCPUAffinity is exec's alone.
func TestExecCPUAffinity(t *testing.T) {
	needRunw(t)
	b := host(t, "busybox", func(b *box) { b.Spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "1"} })
	b.exec("grep", "Cpus_allowed_list", "/proc/self/status").ok().says("Cpus_allowed_list:\t1\n")
	if status := b.proc("status"); strings.Contains(status, "Cpus_allowed_list:\t1\n") {
		t.Error("the container's first process is bound as well")
	}
	b.end()
	bad := newBox(t, "busybox", "true")
	bad.Spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Final: "x"}
	bad.run().exits(1).warns("CPUAffinity.Final")
}

// submounted is a volume with another file system in it, whose file is root's alone.
func (b *box) submounted() string {
	b.t.Helper()
	volume := mkdir(b.t, filepath.Join(b.dir, "volume"))
	sub := mkdir(b.t, filepath.Join(volume, "sub"))
	must(b.t, unix.Mount("tmpfs", sub, "tmpfs", 0, "size=1m,mode=755"))
	b.t.Cleanup(func() { must(b.t, unix.Unmount(sub, 0)) })
	must(b.t, os.WriteFile(filepath.Join(sub, "mine"), []byte("shifted"), 0o400))
	return volume
}

// Recursive mount options reach the mounts below (mount_setattr, Linux 5.12); the others
// do not.
func TestRecursiveMounts(t *testing.T) {
	notOn(t, "crun", "1.8.1 writes other texts")
	recursive := func(options ...string) func(*box) {
		return func(b *box) { b.bind(b.submounted(), "/volume", append([]string{"rbind"}, options...)...) }
	}
	ids := func() []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: 5000, Size: 1000}}
	}
	rules(t, []rule{
		{
			name: "ro is not for what is below", spec: recursive("ro"),
			native: []string{"sh", "-c", "echo text >/volume/sub/made && echo made: written"},
			wasm:   []string{"write", "/volume/sub/made"},
			says:   []string{"made: written"},
		},
		{
			name: "rro is", spec: recursive("rro"),
			native: []string{"sh", "-c", "echo text >/volume/sub/made"},
			wasm:   []string{"write", "/volume/sub/made"},
			exit:   1,
			fails:  []string{"Read-only file system"},
		},
		{
			name: "flags of a mount below", spec: recursive("rro", "rnosuid", "rnodev", "rnoexec", "rnoatime"),
			native: []string{"grep", " /volume/sub ro,nosuid,nodev,noexec,noatime ", "/proc/self/mountinfo"},
			says:   []string{"tmpfs"},
		},
		{
			name: "ridmap", spec: func(b *box) {
				b.as(5000, 5000)
				b.bind(b.submounted(), "/volume", "rbind", "ridmap")
				m := &b.Spec.Mounts[len(b.Spec.Mounts)-1]
				m.UIDMappings, m.GIDMappings = ids(), ids()
			},
			native: []string{"cat", "/volume/sub/mine"},
			wasm:   []string{"read", "/volume/sub/mine"},
			says:   []string{"shifted"},
			unable: func() string {
				var name unix.Utsname
				_ = unix.Uname(&name)
				if rt.name != "runw" {
					return "RUNTIME=" + rt.name + ": older than id-mapped mounts"
				}
				if strings.HasPrefix(unix.ByteSliceToString(name.Release[:]), "6.1.") {
					return "Linux 6.1 has no id-mapped tmpfs: it came with 6.3"
				}
				return ""
			},
		},
		{
			name: "idmap is not for what is below", spec: func(b *box) {
				b.as(5000, 5000)
				b.bind(b.submounted(), "/volume", "rbind", "idmap")
				m := &b.Spec.Mounts[len(b.Spec.Mounts)-1]
				m.UIDMappings, m.GIDMappings = ids(), ids()
			},
			native: []string{"cat", "/volume/sub/mine"},
			wasm:   []string{"read", "/volume/sub/mine"},
			exit:   1,
			says:   []string{"!shifted"},
			fails:  []string{"Permission denied"},
			unable: func() string {
				if rt.name != "runw" {
					return "RUNTIME=" + rt.name + ": older than id-mapped mounts"
				}
				return ""
			},
		},
	})
}

// A device of the host's becomes the container's, under another name and with its address.
func TestNetDevices(t *testing.T) {
	needRunw(t)
	name := fmt.Sprintf("rw%d", os.Getpid()%100000)
	if out, err := exec.Command("ip", "link", "add", name, "type", "dummy").CombinedOutput(); err != nil {
		t.Skipf("no dummy devices here, `make vm` has them: %s", out)
	}
	command(t, "ip", "link", "delete", name)
	both(t, func(t *testing.T, guest string) {
		command(t, "ip", "link", "add", name, "type", "dummy")
		defer func() { _ = exec.Command("ip", "link", "delete", name).Run() }()
		command(t, "ip", "address", "add", "192.0.2.7/24", "dev", name)
		b := host(t, guest, func(b *box) {
			b.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{name: {Name: "box0"}}
		})
		inside := command(t, "nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", b.init), "ip", "-o", "address", "show", "dev", "box0")
		if !strings.Contains(inside, "192.0.2.7/24") {
			t.Errorf("inside: %q", inside)
		}
		if _, err := os.Stat("/sys/class/net/" + name); err == nil {
			t.Errorf("%s is still the host's", name)
		}
		b.end()
	})
	for _, guest := range []string{"busybox", "c/probe"} {
		missing := newBox(t, guest, "hello")
		missing.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"nosuch0": {}}
		missing.run().exits(1).warns("nosuch0")
	}
}

// What the machine does not have is refused by its name, and nothing is left behind.
func TestMachineLacks(t *testing.T) {
	needRunw(t)
	rows := []struct {
		name, want string
		spec       func(*specs.Spec)
		has        string // a path: the machine has it
	}{
		{"intelRdt", "intelRdt", func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{L3CacheSchema: "L3:0=f"} }, "/sys/fs/resctrl/schemata"},
		{"AppArmor", "apparmor", func(s *specs.Spec) { s.Process.ApparmorProfile = "no-such-profile" }, ""},
		{"SELinux", "selinux", func(s *specs.Spec) { s.Process.SelinuxLabel = "system_u:system_r:container_t:s0" }, "/sys/fs/selinux/enforce"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if _, err := os.Stat(row.has); err == nil {
				t.Skipf("the machine has %s", row.has)
			}
			both(t, func(t *testing.T, guest string) {
				b := newBox(t, guest, "hello")
				row.spec(b.Spec)
				res := b.run().exits(1)
				if !strings.Contains(strings.ToLower(res.stderr), strings.ToLower(row.want)) {
					t.Errorf("want a refusal that names %s: %v", row.want, res)
				}
			})
		})
	}
}

// Everything that `features` lists is taken by create, and what it does not list is not.
func TestFeaturesMounts(t *testing.T) {
	needRunw(t)
	b := newBox(t, "busybox", "true")
	var list features.Features
	must(t, json.Unmarshal([]byte(b.quiet("features").ok().stdout), &list))
	for _, option := range []string{"ro", "rro", "idmap", "ridmap", "rbind", "noatime", "tmpcopyup"} {
		if !slices.Contains(list.MountOptions, option) {
			t.Errorf("mount option %s is not listed", option)
		}
	}
	for _, hook := range []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"} {
		if !slices.Contains(list.Hooks, hook) {
			t.Errorf("hook %s is not listed", hook)
		}
	}
	for _, kind := range list.Linux.Namespaces {
		if kind == "cgroup" || kind == "user" || kind == "time" { // the others are in each bundle
			with := newBox(t, "busybox", "readlink", "/proc/self/ns/"+kind)
			with.Spec.Linux.Namespaces = append(with.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.LinuxNamespaceType(kind)})
			if kind == "user" {
				ids := []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
				with.Spec.Linux.UIDMappings, with.Spec.Linux.GIDMappings = ids, ids
				must(t, os.Chown(with.Path(), 100000, 100000))
			}
			own, err := os.Readlink("/proc/self/ns/" + kind)
			must(t, err)
			with.run().ok().says(kind+":[", "!"+own)
		}
	}
}
