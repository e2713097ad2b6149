package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// newInference makes a box whose module asks for inference.
func newInference(t *testing.T, args ...string) *box {
	t.Helper()
	needRunw(t)
	return newBox(t, "c/inference", args...)
}

// children lists the processes whose parent is the given one.
func childrenOf(pid int) []int {
	var list []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range tasks {
		content, _ := os.ReadFile(path)
		for _, field := range strings.Fields(string(content)) {
			if n, err := strconv.Atoi(field); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}

// helpers are the processes of runw-accel in the same cgroup as pid that are executed with
// the command, "serve" or "worker".
func helpers(t *testing.T, pid int, command string) []int {
	t.Helper()
	var list []int
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	must(t, err)
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, path := range all {
		line, _ := os.ReadFile(path)
		args := strings.Split(string(line), "\x00")
		if len(args) < 2 || args[0] != "/run/runw-accel" || args[1] != command {
			continue
		}
		cgroup, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cgroup"))
		if n, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && string(cgroup) == string(own) {
			list = append(list, n)
		}
	}
	return list
}

// helper is the supervisor of a box that runs.
func (b *box) helper() int {
	b.t.Helper()
	list := helpers(b.t, b.init, "serve")
	if len(list) != 1 {
		b.t.Fatalf("%d helpers beside %d, want 1", len(list), b.init)
	}
	return list[0]
}

// gone waits for the end of a process, which may become a zombie of the test's.
func gone(t *testing.T, pid int) {
	t.Helper()
	ended := eventually(5*time.Second, func() bool {
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		return unix.Kill(pid, 0) != nil
	})
	if !ended {
		t.Errorf("process %d still runs", pid)
	}
}

func statusLine(t *testing.T, pid int, key string) string {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %s in the status of %d", key, pid)
	return ""
}

// The helper has the container's cgroup, pid namespace and user, namespaces of its own else,
// no rights, nothing of the container's, and no other part of the host than it needs.
func TestAccelConfined(t *testing.T) {
	b := newInference(t, "idle")
	b.Spec.Process.User = specs.User{UID: 1234, GID: 2345, AdditionalGids: []uint32{3456}}
	b.Spec.Process.Env = append(b.Spec.Process.Env, "LD_PRELOAD=/nonexistent.so", "GGML_BACKEND_PATH=/nonexistent.so")
	b.begin()
	b.await("asleep")
	pid := b.helper()
	for key, want := range map[string]string{
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
		"CapBnd": "0000000000000000", "CapAmb": "0000000000000000",
		"NoNewPrivs": "1", "Seccomp": "2", "PPid": strconv.Itoa(b.init),
		"Uid": "1234\t1234\t1234\t1234", "Gid": "2345\t2345\t2345\t2345", "Groups": "3456",
	} {
		if got := statusLine(t, pid, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if namespace(t, pid, "pid") != namespace(t, b.init, "pid") {
		t.Error("not in the container's pid namespace")
	}
	for _, name := range []string{"mnt", "net", "ipc", "uts"} {
		if ns := namespace(t, pid, name); ns == namespace(t, b.init, name) || ns == namespace(t, os.Getpid(), name) {
			t.Errorf("shares its %s namespace", name)
		}
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	must(t, err)
	if strings.Contains(string(environ), "nonexistent") {
		t.Errorf("has the container's environment: %q", environ)
	}
	b.checkView(pid)
	if out := b.quiet("ps", b.id).ok().stdout; !strings.Contains(out, "runw-accel serve") {
		t.Errorf("ps does not show it: %s", out)
	}
	b.quiet("delete", "--force", b.id).ok()
	b.wait()
	gone(t, pid)
}

// checkView looks at the helper's root, mounts and descriptors.
func (b *box) checkView(pid int) {
	t := b.t
	t.Helper()
	root := fmt.Sprintf("/proc/%d/root", pid)
	names := func(dir string) []string {
		entries, err := os.ReadDir(root + dir)
		must(t, err)
		var list []string
		for _, e := range entries {
			list = append(list, e.Name())
		}
		return list
	}
	if got := names("/dev"); !slices.Equal(got, []string{"full", "null", "random", "shm", "urandom", "zero"}) {
		t.Errorf("/dev has %q", got)
	}
	for _, name := range names("/") {
		if !slices.Contains([]string{"dev", "etc", "lib", "lib32", "lib64", "libx32", "nix", "opt", "proc", "run", "sys", "tmp", "usr"}, name) {
			t.Errorf("sees /%s", name)
		}
	}
	for _, path := range []string{"/etc/passwd", "/etc/shadow", "/usr/bin", "/root", "/var", "/sys/fs/cgroup", "/run/runw"} {
		if _, err := os.Lstat(root + path); err == nil {
			t.Errorf("sees %s", path)
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		at, options := fields[4], strings.Split(fields[5], ",")
		if !slices.Contains(options, "nosuid") || !slices.Contains([]string{"/tmp", "/dev", "/dev/shm"}, at) && !slices.Contains(options, "ro") {
			t.Errorf("%s is mounted %s", at, fields[5])
		}
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	must(t, err)
	for _, path := range fds {
		to, err := os.Readlink(path)
		must(t, err)
		if to != "/dev/null" && !strings.HasPrefix(to, "socket:") && !strings.HasPrefix(to, "anon_inode:") {
			t.Errorf("descriptor %s is %s", filepath.Base(path), to)
		}
	}
}

// A module that asks for nothing gets nothing.
func TestAccelNotAsked(t *testing.T) {
	needRunw(t)
	b := newBox(t, "c/probe", "sleep", "3600")
	b.global = []string{"--accel-helper", "/nonexistent"}
	b.begin()
	b.await("asleep")
	if list := helpers(t, b.init, "serve"); len(list) != 0 {
		t.Errorf("helpers %v", list)
	}
	b.quiet("delete", "--force", b.id).ok()
	b.wait()
}

// However a container ends, its helper does.
func TestAccelEnds(t *testing.T) {
	ways := []struct {
		name string
		end  func(b *box)
	}{
		{"kill", func(b *box) { b.quiet("kill", b.id, "KILL").ok(); b.wait(); b.quiet("delete", b.id).ok() }},
		{"term", func(b *box) { b.quiet("kill", b.id, "TERM").ok(); b.wait(); b.quiet("delete", b.id).ok() }},
		{"delete --force", func(b *box) { b.quiet("delete", "--force", b.id).ok(); b.wait() }},
		{"from outside", func(b *box) { must(b.t, unix.Kill(b.init, unix.SIGKILL)); b.wait(); b.quiet("delete", b.id).ok() }},
		{"paused", func(b *box) {
			b.quiet("pause", b.id).ok()
			if state := statusLine(b.t, b.helper(), "State"); !strings.HasPrefix(state, "D") && !strings.Contains(state, "frozen") {
				b.t.Errorf("the helper of a paused container is in state %q", state)
			}
			b.quiet("delete", "--force", b.id).ok()
			b.wait()
		}},
	}
	kinds := []struct {
		name    string
		prepare func(b *box)
	}{
		{"own pid namespace", func(*box) {}},
		{"host's pid namespace", func(b *box) { b.without(specs.PIDNamespace) }},
		{"user namespace", func(b *box) { b.mapped() }},
		{"rootless", func(b *box) { b.rootless(); b.withHelper() }},
	}
	for _, kind := range kinds {
		for _, way := range ways {
			t.Run(kind.name+"/"+way.name, func(t *testing.T) {
				b := newInference(t, "idle")
				kind.prepare(b)
				if kind.name == "rootless" && way.name == "paused" {
					t.Skip("a rootless container has no cgroup here")
				}
				b.begin()
				b.await("asleep")
				var pid int
				if kind.name == "rootless" {
					pid = childrenOf(b.init)[0]
				} else {
					pid = b.helper()
				}
				way.end(b)
				gone(t, pid)
			})
		}
	}
}

// withHelper puts the helper beside the copy of runw that every user can execute.
func (b *box) withHelper() {
	b.t.Helper()
	content, err := os.ReadFile(filepath.Join(filepath.Dir(rt.path), "runw-accel"))
	must(b.t, err)
	path := filepath.Join(filepath.Dir(b.binary), "runw-accel")
	if _, err := os.Stat(path); err != nil {
		must(b.t, os.WriteFile(path, content, 0o755))
	}
}

// A container that was created and never started, and a guest that ends by itself.
func TestAccelShortLives(t *testing.T) {
	b := newInference(t, "idle")
	b.create().ok()
	pid := b.helper()
	b.quiet("delete", b.id).ok()
	b.wait()
	gone(t, pid)
	b = newInference(t, "nonsense")
	b.run().exits(2).says("nonsense: unknown verb")
}

// What create refuses, with a reason and nothing left.
func TestAccelRefused(t *testing.T) {
	open := mkdir(t, filepath.Join(t.TempDir(), "open"))
	must(t, os.Chmod(open, 0o777))
	limit := int64(12)
	rows := []struct {
		name    string
		prepare func(b *box)
		want    string
	}{
		{"no helper", func(b *box) { b.global = []string{"--accel-helper", "/nonexistent/runw-accel"} }, "helper for inference: stat /nonexistent/runw-accel: no such file or directory (--accel-helper, RUNW_ACCEL_HELPER, or helper in /etc/runw/accel.json)"},
		{"no program", func(b *box) { b.global = []string{"--accel-helper", b.Path("app.wasm")} }, "helper for inference: execute the helper: "},
		{"library directory", func(b *box) { b.global = []string{"--accel-lib-dir", open} }, "refused, others than root could change it"},
		{"limits", func(b *box) { b.Spec.Annotations = map[string]string{"run.runw.nn-limits": "graphs=none"} }, `graphs="none"`},
		{"pids", func(b *box) { b.Spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: &limit} }, "linux.resources.pids.limit 12 leaves no room for inference"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newInference(t, "idle")
			row.prepare(b)
			b.create().exits(1).warns(`runw: container "`+b.id+`": create: `, row.want)
		})
	}
}

// An exec has a helper of its own, which goes with it, in a native container too.
func TestAccelExec(t *testing.T) {
	for _, guest := range []string{"busybox", "c/inference"} {
		t.Run(guest, func(t *testing.T) {
			args := []string{"sleep", "3600"}
			if guest != "busybox" {
				args = []string{"idle"}
			}
			needRunw(t)
			b := newBox(t, guest, args...)
			must(t, b.Add(build(t, "c/inference"), "lib/exec.wasm", 0o644))
			b.begin()
			before := len(helpers(t, b.init, "serve"))
			res := b.quiet("exec", b.id, "/lib/exec.wasm", "nonsense").exits(2).says("unknown verb")
			if res.stderr != "" {
				t.Errorf("stderr %q", res.stderr)
			}
			if !eventually(5*time.Second, func() bool { return len(helpers(t, b.init, "serve")) == before }) {
				t.Errorf("%d helpers, want %d", len(helpers(t, b.init, "serve")), before)
			}
			cmd := b.command("exec", b.id, "/lib/exec.wasm", "idle")
			must(t, cmd.Start())
			if !eventually(commandTimeout, func() bool { return len(helpers(t, b.init, "serve")) == before+1 }) {
				t.Error("no helper for an exec")
			}
			b.quiet("delete", "--force", b.id).ok()
			_ = cmd.Wait()
			b.wait()
		})
	}
}

// Whenever create is killed, delete --force leaves no helper either.
func TestAccelCreateKilled(t *testing.T) {
	newInference(t, "nonsense").run().exits(2)
	for i := range *kills / 3 {
		moment := time.Duration(i+1) * 90 * time.Millisecond / time.Duration(*kills/3)
		t.Run(moment.String(), func(t *testing.T) {
			b := newInference(t, "idle")
			if i%2 == 1 {
				b.without(specs.PIDNamespace)
			}
			must(t, b.Write())
			cmd := b.command("create", "--bundle", b.Dir, b.id)
			must(t, cmd.Start())
			time.Sleep(moment)
			must(t, cmd.Process.Kill())
			_ = cmd.Wait()
			b.deleteAdopted()
			if left, _ := os.ReadDir(b.root); len(left) != 0 {
				t.Errorf("%s survives delete --force", left[0].Name())
			}
			// Processes, cgroups and mounts: the box looks for them.
		})
	}
}

// The container's streams end with its process: the helper does not hold them.
func TestAccelStreams(t *testing.T) {
	b := newInference(t, "idle")
	must(t, b.Write())
	cmd := b.command("create", "--bundle", b.Dir, "--pid-file", filepath.Join(b.dir, "pid"), b.id)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	must(t, waitOnly(cmd))
	b.init = b.readPid("pid")
	pid := b.helper()
	b.quiet("start", b.id).ok()
	must(t, unix.Kill(pid, unix.SIGSTOP)) // it cannot end before the stream has
	must(t, unix.Kill(b.init, unix.SIGKILL))
	ended := make(chan error, 1)
	go func() {
		b := make([]byte, 512)
		for {
			if _, err := out.Read(b); err != nil {
				ended <- err
				return
			}
		}
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("stdout stays open")
	}
	out.Close()
	b.wait()
	b.quiet("delete", b.id).ok()
	gone(t, pid)
}

// waitOnly is Wait without closing the pipes.
func waitOnly(cmd *exec.Cmd) error {
	state, err := cmd.Process.Wait()
	if err == nil && !state.Success() {
		err = fmt.Errorf("%s: %v", cmd, state)
	}
	return err
}

func TestAccelList(t *testing.T) {
	b := newInference(t, "idle")
	b.quiet("accel", "list").ok().says("BACKEND", "helper: ")
	res := b.quiet("accel", "list", "--format", "json").ok()
	if !strings.HasPrefix(res.stdout, `{"helper":"/`) || !strings.Contains(res.stdout, `"backends":[`) {
		t.Errorf("list: %v", res)
	}
	b.quiet("accel", "list", "--format", "xml").exits(1).warns("accel list: invalid format option")
	b.rootless()
	b.withHelper()
	b.quiet("accel", "list").ok().says("BACKEND")
}
