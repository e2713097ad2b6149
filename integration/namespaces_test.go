package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// neighbour starts a process in namespaces of its own and returns its pid.
func neighbour(t *testing.T, flags uintptr) int {
	t.Helper()
	cmd := exec.Command("sleep", "3600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

func namespace(t *testing.T, pid int, name string) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
	must(t, err)
	return link
}

func (b *box) join(kind specs.LinuxNamespaceType, path string) {
	for i, ns := range b.Spec.Linux.Namespaces {
		if ns.Type == kind {
			b.Spec.Linux.Namespaces[i].Path = path
		}
	}
}

func (b *box) without(kind specs.LinuxNamespaceType) {
	b.Spec.Linux.Namespaces = slices.DeleteFunc(b.Spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == kind })
}

var sleepers = []workload{workloads[0], workloads[1]}

func TestNewNamespaces(t *testing.T) {
	for _, w := range sleepers {
		t.Run(w.name, func(t *testing.T) {
			b := newBox(t, w.guest, w.argv("sleep", "3600")...)
			b.Spec.Hostname = "box"
			b.begin()
			b.await("asleep")
			for _, name := range []string{"pid", "net", "ipc", "uts", "mnt"} {
				if namespace(t, b.init, name) == namespace(t, os.Getpid(), name) {
					t.Errorf("shares the %s namespace of its caller", name)
				}
			}
			b.quiet("delete", "--force", b.id).ok()
			b.wait()
		})
	}
}

func TestJoinedNamespaces(t *testing.T) {
	rows := []struct {
		name string
		kind specs.LinuxNamespaceType
		flag uintptr
	}{
		{"net", specs.NetworkNamespace, unix.CLONE_NEWNET},
		{"ipc", specs.IPCNamespace, unix.CLONE_NEWIPC},
		{"uts", specs.UTSNamespace, unix.CLONE_NEWUTS},
		{"pid", specs.PIDNamespace, unix.CLONE_NEWPID},
	}
	for _, w := range sleepers {
		for _, row := range rows {
			t.Run(w.name+"/"+row.name, func(t *testing.T) {
				pid := neighbour(t, row.flag)
				b := newBox(t, w.guest, w.argv("sleep", "3600")...)
				b.join(row.kind, fmt.Sprintf("/proc/%d/ns/%s", pid, row.name))
				b.begin()
				b.await("asleep")
				if got, want := namespace(t, b.init, row.name), namespace(t, pid, row.name); got != want {
					t.Errorf("in namespace %s, want %s", got, want)
				}
				// As no pid 1, SIGTERM has its default action even unhandled; a module's
				// status is the same either way.
				b.quiet("kill", b.id, "TERM").ok()
				if code := b.wait(); code != 143 {
					t.Errorf("exit status %d, want 143", code)
				}
				b.quiet("delete", b.id).ok()
			})
		}
	}
}

// Without a pid namespace `kill --all` and delete reach every process of the cgroup.
func TestHostPidNamespace(t *testing.T) {
	for _, w := range sleepers {
		t.Run(w.name, func(t *testing.T) {
			b := newBox(t, w.guest, w.argv("sleep", "3600")...)
			b.without(specs.PIDNamespace)
			b.begin()
			b.await("asleep")
			b.quiet("kill", "--all", b.id, "KILL").ok()
			if code := b.wait(); code != 137 {
				t.Errorf("exit status %d, want 137", code)
			}
			b.quiet("delete", b.id).ok()
		})
	}
}

// The caller's network reaches a guest that is given no namespace of its own, and sysctls
// reach only a new one.
func TestSysctl(t *testing.T) {
	rules(t, []rule{{
		name: "in a new network namespace",
		spec: func(b *box) {
			b.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_default_ttl": "77"}
		},
		native: []string{"cat", "/proc/sys/net/ipv4/ip_default_ttl"},
		says:   []string{"77"},
		after: func(t *testing.T, _ *box) {
			content, err := os.ReadFile("/proc/sys/net/ipv4/ip_default_ttl")
			must(t, err)
			if strings.TrimSpace(string(content)) == "77" {
				t.Error("the sysctl reached the caller's namespace")
			}
		},
	}})
	t.Run("module", func(t *testing.T) {
		b := newBox(t, "c/probe", "sleep", "3600")
		b.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_default_ttl": "77"}
		b.begin()
		b.await("asleep")
		out, err := exec.Command("nsenter", "--net=/proc/"+fmt.Sprint(b.init)+"/ns/net", "cat", "/proc/sys/net/ipv4/ip_default_ttl").Output()
		must(t, err)
		if strings.TrimSpace(string(out)) != "77" {
			t.Errorf("sysctl in the module's namespace: %q", out)
		}
		b.quiet("delete", "--force", b.id).ok()
		b.wait()
	})
}

func TestHostname(t *testing.T) {
	rules(t, []rule{{
		name: "set", spec: func(b *box) { b.Spec.Hostname = "box-77" },
		native: []string{"hostname"}, says: []string{"box-77\n"},
	}})
}

// A user namespace made by root, ids 100000 and up.
func TestUserNamespace(t *testing.T) {
	for _, w := range sleepers {
		t.Run(w.name, func(t *testing.T) {
			b := newBox(t, w.guest, w.argv("sleep", "3600")...)
			b.Spec.Linux.Namespaces = append(b.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
			b.Spec.Linux.UIDMappings, b.Spec.Linux.GIDMappings = ids, ids
			// The container's root makes the mount points.
			must(t, os.Chown(b.Path(), 100000, 100000))
			b.begin()
			b.await("asleep")
			content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.init))
			must(t, err)
			if !strings.Contains(string(content), "Uid:\t100000\t100000") {
				t.Errorf("not the mapped root: %s", content)
			}
			b.quiet("delete", "--force", b.id).ok()
			b.wait()
		})
	}
}

// Hooks run in the order that the specification gives, each with the state on its stdin.
func TestHooks(t *testing.T) {
	for _, w := range []workload{workloads[0], workloads[1]} {
		t.Run(w.name, func(t *testing.T) {
			b := newBox(t, w.guest, w.argv("hello", "")...)
			log := b.write("hooks", "")
			must(t, os.Chmod(log, 0o666))
			// startContainer alone runs after pivot_root, on the container's programs.
			b.bind(bundlePath("/bin/busybox"), "/hooks/busybox", "ro")
			b.bind(log, "/hooks/log")
			hook := func(name, shell, file string) specs.Hook {
				script := fmt.Sprintf(`read -r line; case "$line" in *%s*) echo %s >>%s;; esac`, b.id, name, file)
				return specs.Hook{Path: shell, Args: []string{"sh", "-c", script}}
			}
			host := func(name string) []specs.Hook { return []specs.Hook{hook(name, "/bin/busybox", log)} }
			contained := func(name string) []specs.Hook { return []specs.Hook{hook(name, "/hooks/busybox", "/hooks/log")} }
			b.Spec.Hooks = &specs.Hooks{
				Prestart:        host("prestart"), //nolint:staticcheck // deprecated, and in use
				CreateRuntime:   host("createRuntime"),
				CreateContainer: host("createContainer"),
				StartContainer:  contained("startContainer"),
				Poststart:       host("poststart"),
				Poststop:        host("poststop"),
			}
			b.create().ok()
			if got := b.output("hooks"); !strings.HasPrefix(got, "prestart\ncreateRuntime\ncreateContainer\n") || strings.Contains(got, "startContainer") {
				t.Errorf("hooks until create: %q", got)
			}
			b.quiet("start", b.id).ok()
			b.wait()
			b.quiet("delete", b.id).ok()
			// libcontainer runs poststart when create has ended (runc 1.5 does), not start.
			got := b.output("hooks")
			if strings.Count(got, "poststart\n") != 1 || strings.Replace(got, "poststart\n", "", 1) != "prestart\ncreateRuntime\ncreateContainer\nstartContainer\npoststop\n" {
				t.Errorf("hooks until delete: %q", got)
			}
		})
	}
}

// bundlePath follows links, for a bind mount's source.
func bundlePath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// A hook that fails makes create fail and leaves nothing.
func TestHookFails(t *testing.T) {
	for _, w := range sleepers {
		t.Run(w.name, func(t *testing.T) {
			b := newBox(t, w.guest, w.argv("hello", "")...)
			b.Spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/busybox", Args: []string{"false"}}}}
			if res := b.create(); res.code == 0 {
				t.Errorf("created in spite of its hook: %v", res)
			}
		})
	}
}
