package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/runw/runw/integration/machine"
)

// host is a started container that sleeps, for processes to be executed in.
func host(t *testing.T, guest string, change ...func(*box)) *box {
	t.Helper()
	args := plain("sleep", "3600")
	if guest == "busybox" {
		args = shell("sleep", "3600")
	}
	b := newBox(t, guest, args...)
	for _, f := range change {
		f(b)
	}
	b.begin()
	b.await("asleep")
	return b
}

// end removes the container.
func (b *box) end() {
	b.t.Helper()
	b.quiet("delete", "--force", b.id).ok()
	b.wait()
}

// exec is `exec FLAGS ID args...`, flags and arguments parted by "--".
func (b *box) exec(args ...string) result {
	b.t.Helper()
	return b.piped(strings.NewReader("from stdin\n"), b.execArgs(args)...)
}

func (b *box) execArgs(args []string) []string {
	full := []string{"exec"}
	for i, arg := range args {
		if arg == "--" {
			full, args = append(full, args[:i]...), args[i+1:]
			break
		}
	}
	return append(append(full, b.id), args...)
}

// addModule puts a guest into the rootfs.
func addModule(guest, to string) func(*box) {
	return func(b *box) {
		b.t.Helper()
		needRunw(b.t)
		must(b.t, b.Add(build(b.t, guest), to, 0o644))
	}
}

func addBusybox(b *box) {
	b.t.Helper()
	must(b.t, b.Add("/bin/busybox", "bin/busybox", 0o755))
}

func TestExecNative(t *testing.T) {
	notOn(t, "crun", "1.8.1 takes the PATH that is its own when --env is given")
	b := host(t, "busybox", func(b *box) {
		b.Spec.Process.Env = append(b.Spec.Process.Env, "FOO=of the container")
		b.Spec.Process.NoNewPrivileges = false
	})
	rows := []struct {
		name string
		args []string
		code int
		want string // stdout has it
	}{
		{"output", []string{"echo", "a b"}, 0, "a b\n"},
		{"exit code", []string{"sh", "-c", "exit 7"}, 7, ""},
		{"highest exit code", []string{"sh", "-c", "exit 254"}, 254, ""},
		{"signal", []string{"sh", "-c", "kill -9 $$"}, 137, ""},
		{"stdin", []string{"cat"}, 0, "from stdin\n"},
		{"flags are the command's", []string{"sh", "-c", "echo $0", "--cwd"}, 0, "--cwd\n"},
		{"environment", []string{"sh", "-c", "echo $FOO"}, 0, "of the container\n"},
		{"--env", []string{"-e", "FOO=1,2", "-e", "BAR=x y", "--", "sh", "-c", "echo $FOO $BAR"}, 0, "1,2 x y\n"},
		{"--cwd", []string{"--cwd", "/tmp", "--", "busybox", "pwd"}, 0, "/tmp\n"},
		{"--user", []string{"--user", "1000", "--", "id", "-u"}, 0, "1000\n"},
		{"--user with group", []string{"-u", "1000:2000", "-g", "3000", "-g", "3001", "--", "id"}, 0, "uid=1000 gid=2000 groups=3000,3001\n"},
		{"--no-new-privs", []string{"--no-new-privs", "--", "grep", "NoNewPrivs", "/proc/self/status"}, 0, "\t1\n"},
		{"without it", []string{"grep", "NoNewPrivs", "/proc/self/status"}, 0, "\t0\n"},
		{"--cap", []string{"--cap", "CAP_SYS_TIME", "--", "grep", "CapBnd", "/proc/self/status"}, 0, "00000000aa0425fb\n"},
		{"in its pid namespace", []string{"sh", "-c", "kill -0 1 && echo $$"}, 0, "\n"},
		{"--tty is off", []string{"sh", "-c", "[ -t 0 ] || echo none"}, 0, "none\n"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { b.exec(row.args...).exits(row.code).says(row.want).warns("!level=error") })
	}
	b.end()
}

// What fails before there is a process has the code 255, which is nobody's exit code.
func TestExecFailures(t *testing.T) {
	notOn(t, "crun", "1.8.1 has other exit codes and texts")
	b := host(t, "busybox", func(b *box) { must(b.t, os.WriteFile(b.Path("plain"), []byte("#!/bin/sh"), 0o644)) })
	rows := []struct {
		name, want string
		args       []string
	}{
		{"not found", `exec: "nosuch": executable file not found in $PATH`, []string{"nosuch"}},
		{"no such file", `no such file or directory`, []string{"/nosuch"}},
		{"not executable", `exec: "/plain": permission denied`, []string{"/plain"}},
		{"no command", "exec args cannot be empty", nil},
		{"bad uid", "bad uid", []string{"--user", "root", "--", "true"}},
		{"bad gid", "bad gid", []string{"--user", "0:x", "--", "true"}},
		{"no process.json", "no such file", []string{"--process", "/nosuch", "--"}},
		{"console socket without a terminal", "cannot use console socket", []string{"--console-socket", "/nosuch", "--", "true"}},
		{"terminal for nobody", "cannot allocate tty", []string{"--detach", "--tty", "--", "true"}},
		{"relative cwd", "Cwd must be an absolute path", []string{"--cwd", "tmp", "--", "true"}},
		{"cgroup without a controller", "missing <controller>: prefix", []string{"--cgroup", "a", "--cgroup", "b", "--", "true"}},
		{"cgroup twice", "specified multiple times", []string{"--cgroup", "memory:a", "--cgroup", "memory:b", "--", "true"}},
		{"cgroup that is not there", "no such file", []string{"--cgroup", "/nosuch", "--", "true"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if rt.name == "runc" && strings.HasPrefix(row.name, "cgroup that") {
				t.Skip("RUNTIME=runc: 1.1.5 makes no error of it")
			}
			res := b.exec(row.args...).exits(255)
			if rt.name == "runw" { // others word and quote it in their own ways
				res.warns(row.want)
			}
		})
	}
	b.quiet("exec").exits(1)
	b.quiet("kill", b.id, "KILL").ok()
	b.wait()
	b.exec("true").exits(255).warns("cannot exec in a stopped container")
	b.quiet("delete", b.id).ok()
	b.exec("true").exits(255).warns("does not exist")
}

// A container that was only created can be executed in.
func TestExecCreated(t *testing.T) {
	b := newBox(t, "busybox", "true")
	b.create().ok()
	b.exec("echo", "early").ok().says("early\n")
	b.end()
}

func TestExecPaused(t *testing.T) {
	notOn(t, "crun", "1.8.1 has another exit code and text, and no --ignore-paused")
	b := host(t, "busybox")
	b.quiet("pause", b.id).ok()
	b.exec("true").exits(255).warns("cannot exec in a paused container (use --ignore-paused to override)")
	cmd := b.command(b.execArgs([]string{"--ignore-paused", "--", "sh", "-c", "exit 5"})...)
	must(t, cmd.Start())
	// It joins the frozen cgroup and waits there.
	time.Sleep(100 * time.Millisecond)
	b.quiet("resume", b.id).ok()
	if code := exitCode(t, cmd.Wait()); code != 5 {
		t.Errorf("exit code %d after resume, want 5", code)
	}
	b.end()
}

// process writes a process.json made of the container's process.
func (b *box) processFile(change func(*specs.Process)) string {
	b.t.Helper()
	content, err := json.Marshal(b.Spec.Process)
	must(b.t, err)
	var p specs.Process
	must(b.t, json.Unmarshal(content, &p))
	change(&p)
	content, err = json.Marshal(p)
	must(b.t, err)
	return b.write("process.json", string(content))
}

// What conmon does: a process.json, detached, with a pid file.
func TestExecProcessFile(t *testing.T) {
	notOn(t, "crun", "1.8.1 has another exit code for a bad file")
	b := host(t, "busybox")
	path := b.processFile(func(p *specs.Process) {
		p.Args, p.Cwd, p.User.UID = []string{"sh", "-c", "echo $A $PWD; id -u; exit 3"}, "/tmp", 77
		p.Env = append(p.Env, "A=from the file")
	})
	b.piped(nil, "exec", "--process", path, b.id).exits(3).says("from the file /tmp\n77\n")

	pidFile := filepath.Join(b.dir, "exec-pid")
	b.call("exec", "--detach", "--pid-file", pidFile, "-p", path, b.id).ok()
	first := b.init
	b.init = b.readPid("exec-pid")
	if code := b.wait(); code != 3 {
		t.Errorf("exit code %d of the detached process, want 3", code)
	}
	b.init = first
	if out := b.output("stdout"); !strings.Contains(out, "from the file") {
		t.Errorf("stdout of the detached process: %q", out)
	}
	for content, want := range map[string]string{
		"": "EOF", "{": "EOF", `{"args":["x"]}`: "Cwd property must not be empty",
		`{"cwd":"/"}`: "args must not be empty", `{"cwd":"/","args":7}`: "", "null": "",
	} {
		if rt.name == "runw" && content == "" {
			want = "empty file"
		}
		b.piped(nil, "exec", "-p", b.write("bad.json", content), b.id).exits(255).warns(want)
	}
	if rt.name == "runw" {
		bad := b.write("bad.json", `{"cwd":"/","args":["true"],"env":["A=1","B"]}`)
		b.piped(nil, "exec", "-p", bad, b.id).exits(255).warns(bad + ": env[1]: invalid environment variable")
	}
	b.end()
}

func TestExecPreserveFds(t *testing.T) {
	notOn(t, "crun", "1.8.1 takes a count that is too high")
	b := host(t, "busybox")
	file, err := os.Open(b.write("three", "three\n"))
	must(t, err)
	defer file.Close()
	b.extra = []*os.File{file}
	b.exec("--preserve-fds", "1", "--", "sh", "-c", "cat <&3").ok().says("three\n")
	b.exec("sh", "-c", "cat <&3").exits(1).says("!three")
	b.exec("--preserve-fds", "9", "--", "true").exits(255).warns("unable to stat preserved-fd")
	b.end()
}

// Sub-cgroups by controller are cgroup v1's.
func TestExecCgroup(t *testing.T) {
	notOn(t, "crun", "1.8.1 knows no controllers in --cgroup")
	if !machine.Hybrid() {
		t.Skip("cgroup v2: one hierarchy has no controllers to name")
	}
	b := host(t, "busybox")
	sub := filepath.Join("/sys/fs/cgroup/pids", b.cgroup, "sub")
	must(t, os.Mkdir(sub, 0o755))
	in := b.exec("--cgroup", "pids:sub", "--", "grep", ":pids:", "/proc/self/cgroup").ok()
	in.says(b.cgroup + "/sub\n")
	b.exec("grep", ":pids:", "/proc/self/cgroup").ok().says(b.cgroup + "\n")
	b.exec("--cgroup", "pids:../..", "--", "true").exits(255).warns("sub cgroup path")
	b.exec("--cgroup", "nosuch:sub", "--", "true").exits(255).warns("unknown controller nosuch")
	must(t, os.Remove(sub))
	b.end()
}

// The signals that the caller gets go to the process.
func TestExecSignals(t *testing.T) {
	rows := []struct {
		name, guest string
		args        []string
	}{
		{"native", "busybox", []string{"sh", "-c", "trap 'kill $!; exit 143' TERM; sleep 3600 & echo asleep; wait"}},
		{"module", "busybox", []string{"/app.wasm", "sleep", "3600"}},
		{"module beside a module", "c/probe", []string{"/app.wasm", "sleep", "3600"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var change []func(*box)
			if row.guest == "busybox" && row.name == "module" {
				needRunw(t)
				change = append(change, addModule("c/probe", "app.wasm"))
			}
			b := host(t, row.guest, change...)
			cmd := b.command(b.execArgs(row.args)...)
			out := b.stream("exec-stdout")
			defer out.Close()
			cmd.Stdout = out
			must(t, cmd.Start())
			if !eventually(30*time.Second, func() bool { return b.output("exec-stdout") == "asleep\n" }) {
				t.Fatalf("said %q", b.output("exec-stdout"))
			}
			must(t, cmd.Process.Signal(unix.SIGTERM))
			if row.name == "native" {
				// A shell between its echo and its wait may sleep through a trap.
				again := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
				defer again.Stop()
			}
			if code := exitCode(t, cmd.Wait()); code != 143 {
				t.Errorf("exit code %d, want 143", code)
			}
			b.want(specs.StateRunning)
			b.end()
		})
	}
}
