package integration

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/runw/runw/integration/guests"
)

// oneThread is the metadata for a machine that does other things as well: threads that wait
// for each other by spinning take seconds there.
const oneThread = `{"threads":1,"threads-batch":1,"ctx-size":256}`

var llmModels sync.Map // by the arguments of mkgguf: the path

// llmModel makes a model whose text is known, unless args of mkgguf ask for another.
func llmModel(t *testing.T, args ...string) string {
	t.Helper()
	key := strings.Join(args, " ")
	if path, ok := llmModels.Load(key); ok {
		return path.(string)
	}
	root, err := guests.Root()
	must(t, err)
	dir, err := os.MkdirTemp(rt.tmp, "gguf-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "model.gguf")
	cmd := exec.Command("go", append([]string{"run", "./pkg/accel/ggml/gguf/mkgguf", "-o", path}, args...)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	must(t, os.Chmod(path, 0o644))
	llmModels.Store(key, path)
	return path
}

// newLLM makes a box with a module, the model that goes on with the alphabet as
// /models/abc.gguf and by the name "default", and llama.cpp.
func newLLM(t *testing.T, args ...string) *box {
	t.Helper()
	b := newInference(t, args...)
	b.env = append(b.env, "RUNW_ACCEL_LIBS="+accelLibs(t, "ggml"))
	must(t, b.Add(llmModel(t), "models/abc.gguf", 0o644))
	b.Spec.Process.Env = append(b.Spec.Process.Env, "WASMEDGE_WASINN_PRELOAD=default:GGML:CPU:/models/abc.gguf")
	b.Spec.Annotations = map[string]string{}
	return b
}

// visibleLibs binds the libraries to where every user can read them.
func (b *box) visibleLibs(names ...string) {
	b.t.Helper()
	var dirs []string
	for _, name := range names {
		dir := mkdir(b.t, filepath.Join(rt.tmp, "libs-"+filepath.Base(b.dir), name))
		must(b.t, unix.Mount(accelLibs(b.t, name), dir, "", unix.MS_BIND, ""))
		b.t.Cleanup(func() { must(b.t, unix.Unmount(dir, unix.MNT_DETACH)) })
		dirs = append(dirs, dir)
	}
	b.env = append(b.env, "RUNW_ACCEL_LIBS="+strings.Join(dirs, ":"))
}

const alphabet = "defghijklmnopqrstuvwxyz\nended: 100\n"

// The text of a model of which it is known, by each way to a model and to a user.
func TestLLMText(t *testing.T) {
	rows := []struct {
		name    string
		args    []string
		prepare func(b *box)
	}{
		{"variable", nil, func(*box) {}},
		{"annotation", []string{"generate", "other", "abc", oneThread}, func(b *box) {
			b.Spec.Process.Env = b.Spec.Process.Env[:1]
			b.Spec.Annotations["run.runw.nn-preload"] = "other:ggml:auto:/models/abc.gguf"
		}},
		{"mounted", nil, func(b *box) {
			must(b.t, os.Remove(b.Path("models", "abc.gguf")))
			b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{
				Destination: "/models", Type: "bind", Source: filepath.Dir(llmModel(b.t)), Options: []string{"bind", "ro"},
			})
			b.Spec.Process.Env[1] = "WASMEDGE_WASINN_PRELOAD=default:GGML:CPU:/models/model.gguf"
		}},
		{"user", nil, func(b *box) {
			b.Spec.Process.User = specs.User{UID: 1234, GID: 1234}
			must(b.t, os.Chown(b.Path("models", "abc.gguf"), 1234, 1234))
			must(b.t, os.Chmod(b.Path("models", "abc.gguf"), 0o400))
		}},
		{"user namespace", nil, func(b *box) { b.mapped() }},
		{"host's pid namespace", nil, func(b *box) { b.without(specs.PIDNamespace) }},
		{"rootless", nil, func(b *box) { b.rootless(); b.withHelper(); b.visibleLibs("ggml") }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			args := row.args
			if args == nil {
				args = []string{"generate", "default", "abc", oneThread}
			}
			b := newLLM(t, args...)
			row.prepare(b)
			if res := b.run().ok(); res.stdout != alphabet {
				t.Errorf("%v", res)
			}
		})
	}
}

// mapped gives the box a user namespace of its own, with root's files.
func (b *box) mapped() {
	b.t.Helper()
	const first = 100000
	ids := []specs.LinuxIDMapping{{HostID: first, Size: 65536}}
	b.Spec.Linux.Namespaces = append(b.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	b.Spec.Linux.UIDMappings, b.Spec.Linux.GIDMappings = ids, ids
	must(b.t, filepath.WalkDir(b.Path(), func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, first, first)
	}))
}

// worker is the process that has the models.
func (b *box) worker() int {
	b.t.Helper()
	var list []int
	if !eventually(commandTimeout, func() bool { list = helpers(b.t, b.init, "worker"); return len(list) == 1 }) {
		b.t.Fatalf("%d workers, want 1: stdout %q, stderr %q", len(list), b.output("stdout"), b.output("stderr"))
	}
	return list[0]
}

// A worker has all processors of its container, and its monitor thread the slack that
// no other thread has.
func TestLLMThreads(t *testing.T) {
	b := newLLM(t, "idle", "default")
	b.begin()
	b.await("asleep")
	pid := b.worker()
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	must(t, err)
	if !strings.Contains(string(environ), "HOME=/tmp") || strings.Contains(string(environ), "GOMAXPROCS") {
		t.Errorf("environment %q", environ)
	}
	got := slacks(t, pid)
	if got["50000"] == 0 || got["10000000"] == 0 {
		t.Errorf("slacks of timers, and threads that have them: %v", got)
	}
	b.quiet("delete", "--force", b.id).ok()
	b.wait()
}

// Kill what computes in the middle of a text: the guest is told, and goes on.
func TestLLMKilled(t *testing.T) {
	rows := []struct {
		name string
		kill func(b *box) int
		then string
	}{
		{"worker", func(b *box) int { return b.worker() }, "ended: 5\ncompute: 1\n" + alphabet + "alive\n"},
		{"helper", func(b *box) int { return b.helper() }, "ended: 5\ncompute: 1\nbegin: 5\nalive\n"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newLLM(t, "survive", "default", "0", `{"threads":1,"ctx-size":4096}`)
			b.begin()
			pid := row.kill(b)
			b.await("123456") // digits go on for as long as there is context
			must(t, unix.Kill(pid, unix.SIGKILL))
			b.await("alive\n")
			if _, text, _ := strings.Cut(b.output("stdout"), "\n"); text != row.then {
				t.Errorf("stdout ends %q, want %q; stderr %q", text, row.then, b.output("stderr"))
			}
			b.want(specs.StateRunning)
			gone(t, pid)
			b.quiet("kill", b.id, "KILL").ok()
			b.wait()
			b.quiet("delete", b.id).ok()
		})
	}
}

// What is no model, or lies about itself, ends in a code; the container lives.
func TestLLMCorrupt(t *testing.T) {
	whole, err := os.ReadFile(llmModel(t))
	must(t, err)
	table := strings.Index(string(whole), "token_embd.weight")
	dims := table + len("token_embd.weight") + 4
	change := func(at int, value uint64) []byte {
		b := append([]byte{}, whole...)
		binary.LittleEndian.PutUint64(b[at:], value)
		return b
	}
	rows := []struct {
		name  string
		model []byte
	}{
		{"empty", nil},
		{"text", []byte("GGUF is what this is not")},
		{"header alone", whole[:24]},
		{"cut in the metadata", whole[:2000]},
		{"cut in the data", whole[:len(whole)-100000]},
		{"most tensors", change(8, 1<<60)},
		{"most pairs", change(16, 1<<60)},
		{"long dimension", change(dims, 1<<62)},
		{"no dimension", change(dims, 0)},
		{"another dimension", change(dims, 385)},
		{"offset outside", change(dims+8+8+4, 1<<50)},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newLLM(t, "load", "6", "0", "/models/bad.gguf", oneThread)
			must(t, os.WriteFile(b.Path("models", "bad.gguf"), row.model, 0o644))
			res := b.run().ok()
			if !strings.HasPrefix(res.stdout, "load: ") || res.stdout == "load: 0\n" || !strings.Contains(res.stderr, "wasi-nn: load: ") {
				t.Errorf("%v", res)
			}
		})
	}
}

// Codes for what does not fit, and quotas.
func TestLLMCodes(t *testing.T) {
	rows := []struct {
		name   string
		args   []string
		limits string
		stdout string
		code   int
	}{
		{"prompt longer than the context", []string{"generate", "default", strings.Repeat("abc", 200), oneThread}, "", "\nended: 102\n", 1},
		{"context full", []string{"generate", "default", "0", `{"threads":1,"ctx-size":64}`}, "", "", 1},
		{"unknown name", []string{"generate", "nobody", "abc"}, "", "begin: 8\n", 1},
		{"metadata", []string{"generate", "default", "abc", `{"threads":"many"}`}, "", "begin: 1\n", 1},
		{"graphs", []string{"loads", "5", "6", "/models/abc.gguf"}, "graphs=3", "3 loads: 0\n2 loads: 7\n", 0},
		{"bytes", []string{"loads", "2", "6", "/models/abc.gguf"}, "bytes=1MiB", "2 loads: 7\n", 0},
		{"encoding", []string{"load", "0", "0", "/models/abc.gguf"}, "", "load: 2\n", 0},
		{"gpu", []string{"load", "6", "1", "/models/abc.gguf"}, "", "load: ", 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newLLM(t, row.args...)
			if row.limits != "" {
				b.Spec.Annotations["run.runw.nn-limits"] = row.limits
			}
			res := b.run().exits(row.code).says(row.stdout)
			switch row.name {
			case "context full":
				res.says("123456", "\nended: 101\n")
			case "gpu":
				res.says("!load: 0").warns("no GPU")
			}
		})
	}
}

// A call over its time ends by a runtime error.
func TestLLMTime(t *testing.T) {
	b := newLLM(t, "generate", "default", "abc", oneThread)
	must(t, b.Add(llmModel(t, "-random", "-layers", "2"), "models/abc.gguf", 0o644))
	b.Spec.Annotations["run.runw.nn-limits"] = "time=1ms"
	b.run().exits(1).says("begin: 5\n").warns("time")
}

// shared is how many bytes of a file a process has mapped, and its proportional part.
func shared(t *testing.T, pid int, file string) (rss, pss int) {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	must(t, err)
	inside := false
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); strings.Contains(fields[0], "-") {
			inside = strings.HasSuffix(strings.TrimSpace(line), file)
			continue
		}
		var n int
		if _, err := fmt.Sscanf(line, "Rss: %d kB", &n); inside && err == nil {
			rss += n << 10
		}
		if _, err := fmt.Sscanf(line, "Pss: %d kB", &n); inside && err == nil {
			pss += n << 10
		}
	}
	return rss, pss
}

// Two containers that use one file have its pages once.
func TestLLMSharedPages(t *testing.T) {
	model := llmModel(t)
	var boxes []*box
	for range 2 {
		b := newLLM(t, "idle", "default")
		must(t, os.Remove(b.Path("models", "abc.gguf")))
		b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: "/models", Type: "bind", Source: filepath.Dir(model), Options: []string{"bind", "ro"}})
		b.Spec.Process.Env[1] = "WASMEDGE_WASINN_PRELOAD=default:GGML:CPU:/models/model.gguf"
		b.begin()
		b.await("asleep")
		if out := b.output("stdout"); !strings.Contains(out, "load: 0\n") {
			t.Fatalf("stdout %q, stderr %q", out, b.output("stderr"))
		}
		boxes = append(boxes, b)
	}
	for _, b := range boxes {
		rss, pss := shared(t, b.worker(), "model.gguf")
		if rss < 1<<20 || pss > rss*6/10 {
			t.Errorf("%d bytes of the model are mapped, %d are this container's part", rss, pss)
		}
	}
	for _, b := range boxes {
		b.quiet("delete", "--force", b.id).ok()
		b.wait()
	}
}

// Loading and letting go leaves nothing in the worker or the engine.
func TestLLMLoads(t *testing.T) {
	b := newLLM(t, "loads", "300", "6", "/models/abc.gguf")
	b.Spec.Annotations["run.runw.nn-limits"] = "graphs=4"
	begin := time.Now()
	b.run().ok().says("4 loads: 0\n296 loads: 7\n")
	t.Logf("300 loads in %v", time.Since(begin))
}
