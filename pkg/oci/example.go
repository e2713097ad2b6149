package oci

import (
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Example returns the specification that `runw spec` writes: field for field what
// runc offers as a start.
func Example() *specs.Spec {
	caps := []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	return &specs.Spec{
		Version:  specs.Version,
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Process:  exampleProcess(caps, "sh"),
		Hostname: "runc",
		Mounts: []specs.Mount{
			mountProc(),
			mountDev(),
			mountPts(),
			fsMount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
			fsMount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
			fsMount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
			fsMount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
		},
		Linux: exampleLinux(),
	}
}

// ExampleWasm returns the specification that `runw spec --wasm` writes for the
// module at path inside the container. Namespaces and masked paths are Example's.
// It differs where a Wasm guest needs less: no terminal, the one capability that a
// server on a low port uses, and no mount but /proc (the engine opens descriptors
// through it), /dev (libcontainer would make device nodes in the image otherwise)
// and /dev/pts (for who sets process.terminal).
func ExampleWasm(path string) *specs.Spec {
	spec := Example()
	spec.Process = exampleProcess([]string{"CAP_NET_BIND_SERVICE"}, path)
	spec.Process.Terminal = false
	spec.Process.Env = spec.Process.Env[:1] // no TERM without a terminal
	spec.Hostname = "runw"
	spec.Mounts = []specs.Mount{mountProc(), mountDev(), mountPts()}
	return spec
}

// ExampleRootless rewrites spec for a caller without privileges, as
// `runc spec --rootless` does: a user namespace that maps the caller to root, the
// host's network and /sys, no cgroup limits, no owners in mount options.
func ExampleRootless(spec *specs.Spec) {
	if spec.Linux == nil {
		spec.Linux = &specs.Linux{}
	}
	l := spec.Linux
	l.Namespaces = slices.DeleteFunc(l.Namespaces, func(ns specs.LinuxNamespace) bool {
		return ns.Type == specs.NetworkNamespace || ns.Type == specs.UserNamespace
	})
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	l.UIDMappings = []specs.LinuxIDMapping{{HostID: uint32(os.Geteuid()), Size: 1}}
	l.GIDMappings = []specs.LinuxIDMapping{{HostID: uint32(os.Getegid()), Size: 1}}
	l.Resources = nil

	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		// The kernel refuses a fresh sysfs to who does not own the network
		// namespace.
		if path.Clean(m.Destination) == "/sys" {
			*m = fsMount("/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro")
			continue
		}
		m.Options = slices.DeleteFunc(m.Options, func(o string) bool {
			return strings.HasPrefix(o, "gid=") || strings.HasPrefix(o, "uid=")
		})
	}
}

func exampleProcess(caps []string, args ...string) *specs.Process {
	return &specs.Process{
		Terminal: true,
		Args:     args,
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TERM=xterm",
		},
		Cwd:             "/",
		NoNewPrivileges: true,
		Capabilities: &specs.LinuxCapabilities{
			Bounding:  caps,
			Permitted: slices.Clone(caps),
			Effective: slices.Clone(caps),
		},
		Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
	}
}

func exampleLinux() *specs.Linux {
	l := &specs.Linux{
		MaskedPaths: []string{
			"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
			"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
		},
		ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		Resources: &specs.LinuxResources{
			Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
		},
		Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
			{Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
		},
	}
	// A cgroup namespace only where there is one hierarchy: on cgroup v1 runc
	// leaves it out as well.
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return l
}

func fsMount(dest, fstype, source string, options ...string) specs.Mount {
	return specs.Mount{Destination: dest, Type: fstype, Source: source, Options: options}
}

func mountProc() specs.Mount { return fsMount("/proc", "proc", "proc") }

func mountDev() specs.Mount {
	return fsMount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k")
}

func mountPts() specs.Mount {
	return fsMount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
}
