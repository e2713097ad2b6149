// Package bundle makes OCI bundles: a rootfs with a Wasm module or busybox in it, and a
// config.json like the ones that container managers write.
package bundle

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Bundle is one bundle on disk. Change Spec, then Write it.
type Bundle struct {
	Dir  string
	Spec *specs.Spec
}

// Busybox is the statically linked busybox of Debian's busybox-static.
const Busybox = "/bin/busybox"

// Wasm makes a bundle whose rootfs holds nothing but the module, as "app.wasm", mode 0644.
func Wasm(dir, module string, args ...string) (*Bundle, error) {
	b := &Bundle{Dir: dir, Spec: Spec(append([]string{"/app.wasm"}, args...)...)}
	if err := os.MkdirAll(b.Path(), 0o755); err != nil {
		return nil, err
	}
	return b, b.Add(module, "app.wasm", 0o644)
}

// Native makes a bundle with busybox as every command that it knows and the directories of
// a small root.
func Native(dir string, args ...string) (*Bundle, error) {
	b := &Bundle{Dir: dir, Spec: Spec(args...)}
	for _, sub := range []string{"bin", "dev", "etc", "proc", "sys", "tmp", "mnt"} {
		if err := os.MkdirAll(b.Path(sub), 0o755); err != nil {
			return nil, err
		}
	}
	if err := b.Add(Busybox, "bin/busybox", 0o755); err != nil {
		return nil, err
	}
	for _, name := range []string{"sh", "true", "cat", "echo", "sleep", "env", "ls", "dd", "id", "mount", "stat", "grep", "tty", "kill", "readlink", "touch", "wc", "seq", "hostname"} {
		if err := os.Symlink("busybox", b.Path("bin", name)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Path returns the host's path of a file in the rootfs.
func (b *Bundle) Path(parts ...string) string {
	return filepath.Join(append([]string{b.Dir, "rootfs"}, parts...)...)
}

// Add copies a file of the host into the rootfs.
func (b *Bundle) Add(from, to string, mode os.FileMode) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(b.Path(to)), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(b.Path(to), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
	}()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

// Write writes config.json.
func (b *Bundle) Write() error {
	content, err := json.MarshalIndent(b.Spec, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.Dir, "config.json"), content, 0o644)
}

// Spec returns a configuration that every runtime from 2023 on accepts: five namespaces,
// Docker's capabilities and masked paths, and no limit. It has no cgroupsPath: each caller
// sets one of its own, for a container without one nests below its caller's cgroup.
func Spec(args ...string) *specs.Spec {
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"}
	return &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Args: args,
			Cwd:  "/",
			Env:  []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			Capabilities: &specs.LinuxCapabilities{
				Bounding: caps, Effective: caps, Permitted: caps,
			},
			NoNewPrivileges: true,
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
			},
			MaskedPaths:   []string{"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/scsi", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			Resources: &specs.LinuxResources{
				Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
			},
		},
	}
}
