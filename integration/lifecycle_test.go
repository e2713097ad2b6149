package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// workload is one kind of program with its way to say a verb.
type workload struct {
	name  string
	guest string
	argv  func(verb, arg string) []string
}

func plain(verb, arg string) []string {
	if arg == "" {
		return []string{verb}
	}
	return []string{verb, arg}
}

// workloads are the five kinds that the lifecycle has to work for.
var workloads = []workload{
	{"busybox", "busybox", shell},
	{"C", "c/probe", plain},
	{"Go", "go/probe", plain},
	{"Rust", "rust/probe", plain},
	{"WAT", "wat/probe", func(verb, arg string) []string {
		if verb == "exit" {
			verb = "xit" // told by its first letter, and e is env's
		}
		return plain(verb, arg)
	}},
}

func shell(verb, arg string) []string {
	switch verb {
	case "hello":
		return []string{"echo", "hello from busybox"}
	case "exit":
		return []string{"sh", "-c", "exit " + arg}
	case "sleep":
		// A shell as pid 1 dies of SIGTERM only if it traps it.
		return []string{"sh", "-c", "trap 'exit 143' TERM; echo asleep; sleep " + arg + " & wait"}
	default:
		return plain(verb, arg)
	}
}

// each runs the row once for every workload.
func each(t *testing.T, verb, arg string, row func(*testing.T, workload, *box)) {
	for _, w := range workloads {
		t.Run(w.name, func(t *testing.T) { row(t, w, newBox(t, w.guest, w.argv(verb, arg)...)) })
	}
}

func TestRun(t *testing.T) {
	each(t, "hello", "", func(t *testing.T, w workload, b *box) {
		res := b.run().ok()
		if want := "hello from " + w.name + "\n"; res.stdout != want || res.stderr != "" {
			t.Errorf("want stdout %q and no stderr: %v", want, res)
		}
	})
}

func TestLifecycle(t *testing.T) {
	each(t, "sleep", "3600", func(t *testing.T, _ workload, b *box) {
		b.create().ok()
		state := b.state()
		if state.Status != specs.StateCreated || state.Pid != b.init || state.ID != b.id || state.Bundle != b.Dir {
			t.Errorf("state after create: %+v, want pid %d, id %s, bundle %s", state, b.init, b.id, b.Dir)
		}
		if out := b.output("stdout"); out != "" {
			t.Errorf("ran before start: %q", out)
		}
		b.quiet("start", b.id).ok()
		b.await("asleep")
		b.want(specs.StateRunning)
		// A running container is not deleted without --force.
		if res := b.quiet("delete", b.id); res.code == 0 {
			t.Errorf("deleted while running: %v", res)
		}
		b.want(specs.StateRunning)
		b.quiet("kill", b.id, "KILL").ok()
		if code := b.wait(); code != 137 {
			t.Errorf("exit status %d after SIGKILL, want 137", code)
		}
		b.want(specs.StateStopped)
		b.quiet("delete", b.id).ok()
		if res := b.quiet("state", b.id); res.code == 0 {
			t.Errorf("state after delete: %v", res)
		}
	})
}

func TestRunDetach(t *testing.T) {
	each(t, "sleep", "3600", func(t *testing.T, _ workload, b *box) {
		pidFile := filepath.Join(b.dir, "pid")
		b.run("--detach", "--pid-file", pidFile).ok()
		b.init = b.readPid("pid")
		b.await("asleep")
		b.want(specs.StateRunning)
		b.quiet("kill", b.id, "9").ok()
		b.wait()
		b.quiet("delete", b.id).ok()
	})
}

func TestRunKeep(t *testing.T) {
	if rt.name != "runw" {
		t.Skipf("RUNTIME=%s: --keep came with runc 1.1.6", rt.name)
	}
	each(t, "hello", "", func(t *testing.T, _ workload, b *box) {
		b.run("--keep").ok()
		b.want(specs.StateStopped)
		b.quiet("delete", b.id).ok()
	})
}

func TestDeleteForce(t *testing.T) {
	each(t, "sleep", "3600", func(t *testing.T, _ workload, b *box) {
		b.begin()
		b.await("asleep")
		b.quiet("delete", "--force", b.id).ok()
		if code := b.wait(); code != 137 {
			t.Errorf("exit status %d, want 137", code)
		}
		// Nothing to remove is no error with --force: container managers call it twice.
		b.quiet("delete", "--force", b.id).ok()
	})
}

// A container that was created and never started is removed by --force as well.
func TestDeleteForceCreated(t *testing.T) {
	each(t, "hello", "", func(t *testing.T, _ workload, b *box) {
		b.create().ok()
		b.quiet("delete", "--force", b.id).ok()
		b.wait()
		if out := b.output("stdout"); out != "" {
			t.Errorf("ran: %q", out)
		}
	})
}

// SIGTERM ends every workload with 143, and a module at once: no pod waits for its grace
// period. By every way to write the signal.
func TestKillTerm(t *testing.T) {
	signals := []string{"TERM", "SIGTERM", "15", ""}
	each(t, "sleep", "3600", func(t *testing.T, w workload, b *box) {
		for i, signal := range signals {
			b.begin()
			b.await("asleep")
			args := []string{"kill", b.id}
			if signal != "" {
				args = append(args, signal)
			}
			ended := make(chan struct {
				code int
				at   time.Time
			}, 1)
			begin := time.Now()
			go func() {
				code := b.wait()
				ended <- struct {
					code int
					at   time.Time
				}{code, time.Now()}
			}()
			b.quiet(args...).ok()
			end := <-ended
			if end.code != 143 {
				t.Errorf("%v: exit status %d, want 143", args, end.code)
			}
			took := end.at.Sub(begin)
			t.Logf("%v: ended after %v, the command's own start included", args, took.Round(time.Millisecond))
			// The bound is 100 ms on an idle machine; a shared one stalls for longer.
			if w.guest != "busybox" && took > time.Second {
				t.Errorf("%v: took %v", args, took)
			}
			b.quiet("delete", b.id).ok()
			b.id = fmt.Sprintf("%s-%d", b.id, i)
		}
	})
}

func TestKillAll(t *testing.T) {
	each(t, "sleep", "3600", func(t *testing.T, _ workload, b *box) {
		b.begin()
		b.await("asleep")
		b.quiet("kill", "--all", b.id, "KILL").ok()
		if code := b.wait(); code != 137 {
			t.Errorf("exit status %d, want 137", code)
		}
		b.quiet("delete", b.id).ok()
	})
}

func TestKillRefusals(t *testing.T) {
	notOn(t, "crun", "1.8.1 takes an unknown signal name for 0, and has texts of its own")
	b := newBox(t, "busybox", shell("sleep", "3600")...)
	b.begin()
	b.await("asleep")
	for _, signal := range []string{"NOSUCH", "SIGNOSUCH"} {
		if res := b.quiet("kill", b.id, signal); res.code == 0 {
			t.Errorf("accepted: %v", res)
		}
	}
	b.quiet("kill", b.id, "KILL").ok()
	b.wait()
	if res := b.quiet("kill", b.id, "KILL"); res.code == 0 {
		t.Errorf("signalled a stopped container: %v", res)
	}
	b.quiet("delete", b.id).ok()
	for _, args := range [][]string{{"start", b.id}, {"kill", b.id, "KILL"}, {"delete", b.id}, {"state", b.id}} {
		res := b.quiet(args...)
		if res.code == 0 {
			t.Errorf("worked on no container: %v", res)
		}
		res.warns("does not exist")
	}
}

func TestCreateTwice(t *testing.T) {
	each(t, "sleep", "3600", func(t *testing.T, _ workload, b *box) {
		b.begin()
		b.await("asleep")
		again := b.quiet("create", "--bundle", b.Dir, b.id)
		if again.code == 0 {
			t.Errorf("created twice: %v", again)
		}
		again.warns("exist")
		b.want(specs.StateRunning)
		b.quiet("delete", "--force", b.id).ok()
		b.wait()
	})
}

func TestContainerID(t *testing.T) {
	notOn(t, "crun", "1.8.1 takes every id without a slash")
	b := newBox(t, "busybox", "true")
	for _, id := range []string{"", "..", "a/b", "../x", "a b", "ü"} {
		if res := b.call("run", "--bundle", b.Dir, id); res.code == 0 {
			t.Errorf("accepted the id %q: %v", id, res)
		}
	}
}

func TestList(t *testing.T) {
	b := newBox(t, "busybox", shell("sleep", "3600")...)
	if rt.name == "runw" { // and newer runcs than the one of the tests
		b.quiet("list").exits(1).warns("no such file or directory")
	}
	mkdir(t, b.root)
	if res := b.quiet("list", "-q").ok(); res.stdout != "" {
		t.Errorf("list of nothing: %v", res)
	}
	b.begin()
	b.await("asleep")
	if res := b.quiet("list", "-q").ok(); res.stdout != b.id+"\n" {
		t.Errorf("want the id alone: %v", res)
	}
	table := b.quiet("list").ok()
	table.says("ID ", "PID", "STATUS", "BUNDLE", "CREATED", b.id, "running", b.Dir, fmt.Sprint(b.init))
	type row struct {
		ID, Status, Bundle string
		Pid                int
		Created            time.Time
	}
	var rows []row
	must(t, json.Unmarshal([]byte(b.quiet("list", "--format", "json").ok().stdout), &rows))
	if len(rows) != 1 || rows[0].ID != b.id || rows[0].Status != "running" || rows[0].Pid != b.init || rows[0].Bundle != b.Dir || time.Since(rows[0].Created) > commandTimeout {
		t.Errorf("list --format json: %+v", rows)
	}
	b.quiet("delete", "--force", b.id).ok()
	b.wait()
}

func TestSpec(t *testing.T) {
	b := newBox(t, "busybox", "true")
	dir := mkdir(t, filepath.Join(b.dir, "spec"))
	b.quiet("spec", "--bundle", dir).ok()
	var spec specs.Spec
	content, err := os.ReadFile(filepath.Join(dir, "config.json"))
	must(t, err)
	must(t, json.Unmarshal(content, &spec))
	if len(spec.Process.Args) == 0 || spec.Root == nil || spec.Linux == nil {
		t.Errorf("spec: %s", content)
	}
	if res := b.quiet("spec", "--bundle", dir); res.code == 0 {
		t.Errorf("overwrote config.json: %v", res)
	}
	// What `spec` writes is what `run` takes.
	spec.Process.Args, spec.Process.Terminal = []string{"echo", "from spec"}, false
	spec.Linux.CgroupsPath, spec.Process.Rlimits = b.cgroup, nil
	b.Spec = &spec
	b.run().ok().says("from spec")
}

func TestSpecWasm(t *testing.T) {
	needRunw(t)
	b := newBox(t, "c/probe")
	dir := mkdir(t, filepath.Join(b.dir, "spec"))
	module := filepath.Join(dir, "hello.wasm")
	content, err := os.ReadFile(b.Path("app.wasm"))
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(dir, "rootfs"), 0o755))
	must(t, os.WriteFile(module, content, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "rootfs", "hello.wasm"), content, 0o644))
	b.quiet("spec", "--bundle", dir, "--wasm", "hello.wasm").ok()
	var spec specs.Spec
	written, err := os.ReadFile(filepath.Join(dir, "config.json"))
	must(t, err)
	must(t, json.Unmarshal(written, &spec))
	if !strings.Contains(strings.Join(spec.Process.Args, " "), "hello.wasm") {
		t.Errorf("args %q", spec.Process.Args)
	}
	spec.Process.Terminal, spec.Linux.CgroupsPath = false, b.cgroup
	b.Dir, b.Spec = dir, &spec
	b.run().ok().says("hello from C")
}

func TestFeatures(t *testing.T) {
	needRunw(t)
	b := newBox(t, "busybox", "true")
	var features struct {
		OCIVersionMin string            `json:"ociVersionMin"`
		OCIVersionMax string            `json:"ociVersionMax"`
		Hooks         []string          `json:"hooks"`
		Annotations   map[string]string `json:"annotations"`
		Linux         struct {
			Namespaces []string `json:"namespaces"`
			Seccomp    struct {
				Enabled bool `json:"enabled"`
			} `json:"seccomp"`
		} `json:"linux"`
	}
	res := b.quiet("features").ok()
	must(t, json.Unmarshal([]byte(res.stdout), &features))
	if features.OCIVersionMin == "" || features.OCIVersionMax == "" || len(features.Hooks) < 6 || len(features.Linux.Namespaces) < 7 || !features.Linux.Seccomp.Enabled {
		t.Errorf("features: %v", res)
	}
}

func TestVersion(t *testing.T) {
	b := newBox(t, "busybox", "true")
	b.quiet("--version").ok().says(rt.name+" version ", "spec: 1.")
}
