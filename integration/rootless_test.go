package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// nobodys is a user id that the machine has no account for: a single mapping needs none,
// and no newuidmap.
const nobodys = 54321

// rootless turns the box into an unprivileged user's: its files, its directories, a user
// namespace, and no cgroup.
func (b *box) rootless() {
	t := b.t
	t.Helper()
	probe := exec.Command("unshare", "--user", "true")
	probe.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobodys, Gid: nobodys}}
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("the kernel gives unprivileged users no user namespace: %s", out)
	}
	own := func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobodys, nobodys)
	}
	runtime := mkdir(t, filepath.Join(b.dir, "xdg"))
	must(t, filepath.WalkDir(b.dir, own))
	must(t, os.Chmod(runtime, 0o700))
	b.cred = &syscall.Credential{Uid: nobodys, Gid: nobodys}
	b.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "XDG_RUNTIME_DIR=" + runtime, "TMPDIR=" + filepath.Join(b.dir, "tmp")}
	b.binary = b.readable()

	spec := b.Spec
	spec.Linux.CgroupsPath, spec.Linux.Resources = "", nil
	ids := func() []specs.LinuxIDMapping { return []specs.LinuxIDMapping{{HostID: nobodys, Size: 1}} }
	spec.Linux.UIDMappings, spec.Linux.GIDMappings = ids(), ids()
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	for i, mount := range spec.Mounts {
		if mount.Type == "devpts" {
			// gid 5, the terminals' group, is not mapped.
			spec.Mounts[i].Options = []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
		}
	}
}

// readable copies the runtime to where every user can execute it.
func (b *box) readable() string {
	b.t.Helper()
	path := filepath.Join(rt.tmp, filepath.Base(rt.path))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	content, err := os.ReadFile(rt.path)
	must(b.t, err)
	must(b.t, os.WriteFile(path, content, 0o755))
	return path
}

func TestRootlessRun(t *testing.T) {
	each(t, "hello", "", func(t *testing.T, w workload, b *box) {
		b.rootless()
		b.run().ok().says("hello from " + w.name)
	})
}

func TestRootlessLifecycle(t *testing.T) {
	each(t, "sleep", "3600", func(t *testing.T, _ workload, b *box) {
		b.rootless()
		b.begin()
		b.await("asleep")
		b.want(specs.StateRunning)
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.init))
		must(t, err)
		if uid := fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", nobodys); !strings.Contains(string(content), uid) {
			t.Errorf("not the user's: %s", content)
		}
		b.quiet("kill", b.id, "KILL").ok()
		if code := b.wait(); code != 137 {
			t.Errorf("exit status %d, want 137", code)
		}
		b.quiet("delete", b.id).ok()
	})
}

// Without --root the state is below XDG_RUNTIME_DIR, and the native code below the user's
// cache directory.
func TestRootlessDirectories(t *testing.T) {
	needRunw(t)
	b := newBox(t, "wat/probe", "sleep", "3600")
	b.rootless()
	b.root = ""
	b.begin()
	b.await("asleep")
	for _, path := range []string{filepath.Join(b.dir, "xdg", "runw", b.id, "state.json"), filepath.Join(b.dir, ".cache", "runw", "aot")} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	b.quiet("delete", "--force", b.id).ok()
	b.wait()
}

// What `spec --rootless` writes, the same user runs.
func TestSpecRootless(t *testing.T) {
	notOn(t, "crun", "1.8.1 writes a terminal's group that is not mapped")
	b := newBox(t, "busybox", "true")
	b.rootless()
	dir := mkdir(t, filepath.Join(b.dir, "spec"))
	must(t, os.Chown(dir, nobodys, nobodys))
	b.quiet("spec", "--rootless", "--bundle", dir).ok()
	content, err := os.ReadFile(filepath.Join(dir, "config.json"))
	must(t, err)
	text := strings.Replace(string(content), `"terminal": true`, `"terminal": false`, 1)
	text = strings.Replace(text, `"sh"`, `"echo", "hello from spec"`, 1)
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o644))
	must(t, os.Rename(b.Path(), filepath.Join(dir, "rootfs")))
	b.quiet("run", "--bundle", dir, b.id).ok().says("hello from spec")
}
