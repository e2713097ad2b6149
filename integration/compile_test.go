package integration

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/runw/runw/integration/machine"
)

// wasmSection frames what a section of a module holds.
func wasmSection(id byte, content []byte) []byte {
	return append(binary.AppendUvarint([]byte{id}, uint64(len(content))), content...)
}

// wasmFunctions is a module whose first function, _start, does nothing and whose second
// one has a thousand locals and the given code.
func wasmFunctions(code []byte) []byte {
	body := append([]byte{1, 0xe8, 0x07, 0x7f}, append(code, 0x0b)...)
	content := append([]byte{2, 2, 0, 0x0b}, append(binary.AppendUvarint(nil, uint64(len(body))), body...)...)
	out := append([]byte("\x00asm\x01\x00\x00\x00"), wasmSection(1, []byte{1, 0x60, 0, 0})...)
	out = append(out, wasmSection(3, []byte{2, 0, 0})...)
	out = append(out, wasmSection(7, []byte("\x01\x06_start\x00\x00"))...)
	return append(out, wasmSection(10, content)...)
}

// endless is 27 kB that keep each engine busy for minutes: loops in loops, and a thousand
// locals that change in all of them.
func endless() []byte {
	const depth = 2000
	var code []byte
	for range depth {
		code = append(code, 0x03, 0x40)
	}
	for i := range depth {
		local := binary.AppendUvarint(nil, uint64(i%1000))
		code = append(append(code, 0x20), local...)
		code = append(append(code, 0x41, 1, 0x6a, 0x22), local...)
		code = append(code, 0x0d, 0, 0x0b)
	}
	return wasmFunctions(code)
}

// huge is one function of 4 MB: what an engine knows about it takes a hundred times that.
func huge() []byte {
	var code []byte
	for i := range 500_000 {
		code = append(code, 0x20, byte(i%100), 0x41, 3, 0x6c, 0x21, byte(i*7%100))
	}
	return wasmFunctions(code)
}

// module gives the box another module, for a cache of its own.
func (b *box) module(content []byte) {
	b.t.Helper()
	must(b.t, os.WriteFile(b.Path("app.wasm"), content, 0o644))
}

// ownStore keeps the box's native code apart.
func (b *box) ownStore() string {
	store := filepath.Join(b.dir, "aot")
	b.env = append(b.env, "RUNW_AOT_DIR="+store)
	return store
}

// storeIsSound fails if there is an entry that is not whole.
func (b *box) storeIsSound() {
	b.t.Helper()
	b.quiet("aot", "verify").ok()
}

// eachUser runs a row as root and as a user without rights.
func eachUser(t *testing.T, row func(t *testing.T, b *box)) {
	needRunw(t)
	for _, user := range []string{"root", "rootless"} {
		t.Run(user, func(t *testing.T) {
			b := newBox(t, "c/probe", "sleep", "3600")
			if user == "rootless" {
				b.rootless()
			}
			row(t, b)
		})
	}
}

func TestCompileTimeout(t *testing.T) {
	eachUser(t, func(_ *testing.T, b *box) {
		b.module(endless())
		b.global = []string{"--aot-timeout", "1s"}
		res := b.create().exits(1).warns("app.wasm", "not compiled after 1s (--aot-timeout)")
		if res.took > 20*time.Second {
			b.t.Errorf("it took %v", res.took)
		}
	})
}

// The memory of a compilation is the container's, and the container of an exec survives it.
func TestCompileMemory(t *testing.T) {
	needRunw(t)
	limit := int64(64 << 20)
	memory := specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &limit}}
	says := fmt.Sprintf("more memory than the container's limit of %d bytes", limit)
	t.Run("create", func(t *testing.T) {
		b := newBox(t, "c/probe", "hello")
		b.module(huge())
		b.limit(memory)
		b.create().exits(1).warns("app.wasm", says)
		b.create().exits(1).warns(says) // nothing is left in the way
	})
	t.Run("exec", func(t *testing.T) {
		b := newBox(t, "busybox", "sh", "-c", "echo asleep; exec sleep 3600")
		b.limit(memory)
		must(t, os.WriteFile(b.Path("huge.wasm"), huge(), 0o644))
		b.begin()
		b.await("asleep")
		b.quiet("exec", b.id, "/huge.wasm").exits(255).warns("huge.wasm", says)
		b.want(specs.StateRunning)
		b.quiet("delete", "--force", b.id).ok()
		b.wait()
	})
}

// The least that a container may have is enough for its compiler too.
func TestCompileTasks(t *testing.T) {
	needRunw(t)
	b := newBox(t, "go/probe", "exit", "7")
	b.ownStore()
	tasks := int64(8)
	b.limit(specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &tasks}})
	b.run().exits(7)
}

// An id that cannot be is refused at once, not after a compilation.
func TestCompileAfterID(t *testing.T) {
	needRunw(t)
	b := newBox(t, "c/probe", "sleep", "3600")
	b.begin()
	b.module(endless())
	for id, says := range map[string]string{b.id: "already exists", "a/b": "invalid container ID"} {
		if res := b.quiet("create", "--bundle", b.Dir, id).exits(1).warns(says); res.took > 20*time.Second {
			t.Errorf("it took %v", res.took)
		}
	}
	b.quiet("delete", "--force", b.id).ok()
	b.wait()
}

// startCreate runs create in the background, without streams.
func (b *box) startCreate() *exec.Cmd {
	b.t.Helper()
	must(b.t, b.Write())
	cmd := b.command("create", "--bundle", b.Dir, "--pid-file", filepath.Join(b.dir, "pid"), b.id)
	must(b.t, cmd.Start())
	return cmd
}

// compilerOf waits for the compile process of a create, 0 if that has ended before.
func compilerOf(parent int) int {
	found := 0
	eventually(commandTimeout, func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
		for _, path := range tasks {
			content, _ := os.ReadFile(path)
			for _, field := range strings.Fields(string(content)) {
				line, _ := os.ReadFile("/proc/" + field + "/cmdline")
				if strings.HasPrefix(string(line), "runw\x00compile\x00") {
					found, _ = strconv.Atoi(field)
				}
			}
		}
		state, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", parent))
		return found != 0 || len(state) == 0 || strings.Contains(string(state), ") Z ")
	})
	return found
}

// statusOf reads /proc/PID/status.
func statusOf(pid int) map[string]string {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	fields := map[string]string{}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

// What the machine itself says about a process that compiles.
func TestCompileConfined(t *testing.T) {
	eachUser(t, func(t *testing.T, b *box) {
		b.module(endless())
		cmd := b.startCreate()
		pid := compilerOf(cmd.Process.Pid)
		if pid == 0 || !eventually(commandTimeout, func() bool { return statusOf(pid)["Seccomp"] == "2" }) {
			t.Fatalf("no compile process under seccomp: %d, %v", pid, statusOf(pid))
		}
		b.checkRights(pid)
		b.checkSurroundings(pid)
		// Whoever interrupts a create interrupts the compiler.
		must(t, cmd.Process.Signal(unix.SIGTERM))
		if code := exitCode(t, cmd.Wait()); code != 1 {
			t.Errorf("exit %d after SIGTERM", code)
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			t.Errorf("compile process %d is left", pid)
		}
	})
}

func (b *box) checkRights(pid int) {
	b.t.Helper()
	status := statusOf(pid)
	const none = "0000000000000000"
	for field, want := range map[string]string{
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none, "NoNewPrivs": "1", "Seccomp": "2",
	} {
		if status[field] != want {
			b.t.Errorf("%s is %q, want %q", field, status[field], want)
		}
	}
	id := nobodys // in a user namespace of its own
	if b.cred == nil {
		id = 0x70000000 + pid
		if status["Groups"] != "" {
			b.t.Errorf("groups %s", status["Groups"])
		}
	}
	want := strings.TrimSpace(strings.Repeat(strconv.Itoa(id)+" ", 4))
	if status["Uid"] != want || status["Gid"] != want {
		b.t.Errorf("uid %s, gid %s, want %s", status["Uid"], status["Gid"], want)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	must(b.t, err)
	for _, name := range []string{"Max core file size", "Max data size", "Max file size", "Max open files", "Max cpu time"} {
		_, rest, _ := strings.Cut(string(limits), name)
		if line, _, _ := strings.Cut(rest, "\n"); strings.Contains(line, "unlimited") || line == "" {
			b.t.Errorf("%s: %s", name, line)
		}
	}
}

func (b *box) checkSurroundings(pid int) {
	b.t.Helper()
	kinds := []string{"mnt", "net", "ipc", "uts", "pid", "cgroup"}
	if b.cred != nil {
		kinds = append(kinds, "user")
	}
	for _, kind := range kinds {
		own, err := os.Readlink("/proc/self/ns/" + kind)
		must(b.t, err)
		if its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)); err != nil || its == own {
			b.t.Errorf("namespace %s: %s, %v", kind, its, err)
		}
	}
	root := fmt.Sprintf("/proc/%d/root", pid)
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 0 {
		b.t.Errorf("its root: %v, %v", entries, err)
	}
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o644); err == nil {
		b.t.Error("its root is writable")
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	must(b.t, err)
	if strings.Count(string(mounts), "\n") != 1 {
		b.t.Errorf("its mounts: %s", mounts)
	}
	if environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err != nil || string(environ) != "GODEBUG=containermaxprocs=1\x00" {
		b.t.Errorf("its environment: %q, %v", environ, err)
	}
	if b.cred != nil {
		return
	}
	cgroups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	must(b.t, err)
	if want := ":memory:" + b.cgroup + "\n"; machine.Hybrid() && !strings.Contains(string(cgroups), want) {
		b.t.Errorf("its cgroups lack %q: %s", want, cgroups)
	} else if !machine.Hybrid() && !strings.Contains(string(cgroups), "0::"+b.cgroup) {
		b.t.Errorf("its cgroup: %s", cgroups)
	}
}

// Whoever kills the compiler, or the create that waits for it, leaves a store that is
// right, no process, and nothing that stops the next create.
func TestCompileKilled(t *testing.T) {
	for _, victim := range []string{"compiler", "create"} {
		t.Run(victim, func(t *testing.T) {
			eachUser(t, func(t *testing.T, b *box) {
				b.ownStore()
				begin := time.Now()
				b.create().ok()
				cold := time.Since(begin)
				b.quiet("delete", "--force", b.id).ok()
				b.wait()
				for range 10 {
					b.quiet("aot", "prune", "--all").ok()
					moment := rand.N(cold)
					t.Logf("after %v", moment)
					b.killedCreate(victim, moment)
					b.storeIsSound()
				}
				b.create().ok()
				b.quiet("start", b.id).ok()
				b.await("asleep")
				b.quiet("delete", "--force", b.id).ok()
				b.wait()
			})
		})
	}
}

// killedCreate runs a create and kills it, or its compiler, at the moment.
func (b *box) killedCreate(victim string, moment time.Duration) {
	b.t.Helper()
	cmd := b.startCreate()
	pid, compiler := cmd.Process.Pid, 0
	if victim == "compiler" {
		compiler = compilerOf(pid)
		time.Sleep(moment / 4) // of the time that create takes, most is not the compiler's
		pid = compiler
	} else {
		time.Sleep(moment)
		compiler = 0
	}
	if pid != 0 {
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
	}
	var status syscall.WaitStatus
	if err := cmd.Wait(); err != nil {
		status, _ = cmd.ProcessState.Sys().(syscall.WaitStatus)
		if victim == "compiler" && status.ExitStatus() != 1 {
			b.t.Errorf("create ended with %v", err)
		}
	}
	if compiler != 0 && !eventually(time.Second, func() bool { return unix.Kill(compiler, 0) != nil }) {
		b.t.Errorf("compile process %d is left", compiler)
	}
	// What libcontainer had begun, as a container manager would remove it.
	b.quiet("delete", "--force", b.id).ok()
	for _, p := range orphans(nil) {
		b.t.Errorf("process %d left behind", p)
	}
}

// Fifty containers of one module that nobody has compiled: one compiles, all run.
func TestCompileOnce(t *testing.T) {
	needRunw(t)
	const containers = 50
	store := ""
	var list []*box
	for range containers {
		b := newBox(t, "c/probe", "sleep", "3600")
		if store == "" {
			store = b.ownStore()
		}
		b.env = append(b.env, "RUNW_AOT_DIR="+store)
		b.global = []string{"--debug", "--log", filepath.Join(b.dir, "log")}
		list = append(list, b)
	}
	var running []*exec.Cmd
	for _, b := range list {
		must(t, b.Write())
		cmd := b.command("create", "--bundle", b.Dir, "--pid-file", filepath.Join(b.dir, "pid"), b.id)
		out := b.stream("stdout")
		cmd.Stdout = out
		must(t, cmd.Start())
		out.Close()
		running = append(running, cmd)
	}
	compiled := 0
	for i, b := range list {
		if code := exitCode(t, running[i].Wait()); code != 0 {
			t.Errorf("%s: exit %d: %s", b.id, code, b.output("log"))
			continue
		}
		b.init = b.readPid("pid")
		if strings.Contains(b.output("log"), "cached: false") {
			compiled++
		}
	}
	if compiled != 1 {
		t.Errorf("%d containers compiled", compiled)
	}
	for _, b := range list {
		if b.init != 0 {
			b.quiet("start", b.id).ok()
		}
	}
	for _, b := range list {
		if b.init != 0 {
			b.await("asleep")
			b.quiet("delete", "--force", b.id).ok()
			b.wait()
		}
	}
	list[0].storeIsSound()
}
