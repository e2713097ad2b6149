package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/runw/runw/integration/guests"
)

// accelLibs is a directory of the libraries that `make accel-libs` fetches.
func accelLibs(t *testing.T, name string) string {
	t.Helper()
	root, err := guests.Root()
	must(t, err)
	dir, err := filepath.EvalSymlinks(filepath.Join(root, "build", "accel", name))
	if err != nil {
		t.Skipf("%v: run `make accel-libs`", err)
	}
	return dir
}

var onnxModels struct {
	once sync.Once
	dir  string
	err  error
}

// onnxModel is the path of a model with known results, which the repository's own command makes.
func onnxModel(t *testing.T, name string) string {
	t.Helper()
	m := &onnxModels
	m.once.Do(func() {
		var root string
		if root, m.err = guests.Root(); m.err != nil {
			return
		}
		if m.dir, m.err = os.MkdirTemp(rt.tmp, "onnx-"); m.err != nil {
			return
		}
		cmd := exec.Command("go", "run", "./pkg/accel/onnx/model/make", m.dir)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			m.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	must(t, m.err)
	return filepath.Join(m.dir, name)
}

// newONNX makes a box with a guest and ONNX models below /models.
func newONNX(t *testing.T, guest string, models []string, args ...string) *box {
	t.Helper()
	b := newBox(t, guest, args...)
	b.env = append(b.env, "RUNW_ACCEL_LIBS="+accelLibs(t, "onnx"))
	for _, name := range models {
		must(t, b.Add(onnxModel(t, name), "models/"+name, 0o644))
	}
	b.Spec.Annotations = map[string]string{}
	return b
}

const classified = "class 0: 0.4879 0.4879 0.0243 (1 1 -2)\n" +
	"class 1: 0.0180 0.9811 0.0009 (0 4 -3)\n" +
	"class 0: 0.7311 0.0000 0.2689 (200 1 199)\n"

// The classifier's numbers, by each way to a model.
func TestONNXClassify(t *testing.T) {
	rows := []string{"1,0,0,0", "0,0,1,0", "0,0,0,200"}
	tests := []struct {
		name, model, target string
		prepare             func(b *box)
		stderr              string
	}{
		{"bytes", "/models/classifier.onnx", "cpu", nil, ""},
		{"annotation", "irises", "cpu", func(b *box) {
			b.Spec.Annotations["run.runw.nn-preload"] = "other:onnx:cpu:/models/none irises:ONNX:CPU:/models/classifier.onnx"
		}, ""},
		{"variable", "irises", "cpu", func(b *box) {
			b.Spec.Process.Env = append(b.Spec.Process.Env, "WASMEDGE_WASINN_PRELOAD=irises:onnx:cpu:/models/classifier.onnx")
		}, ""},
		{"rootless", "/models/classifier.onnx", "cpu", func(b *box) { b.rootless(); b.withHelper(); b.visibleLibs("onnx") }, ""},
		{"auto without a GPU", "/models/classifier.onnx", "auto", nil, "target AUTO: the CPU computes: no GPU is granted"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newONNX(t, "c/onnx_classify", []string{"classifier.onnx"}, append([]string{test.model, test.target}, rows...)...)
			if test.prepare != nil {
				test.prepare(b)
			}
			res := b.run().ok()
			if res.stdout != classified || !strings.Contains(res.stderr, test.stderr) || test.stderr == "" && res.stderr != "" {
				t.Errorf("%v", res)
			}
		})
	}
}

// What is missing is said to the guest by a code and to people in words.
func TestONNXErrors(t *testing.T) {
	tests := []struct {
		name    string
		args    []string
		prepare func(b *box)
		code    string
		text    string
	}{
		{"GPU that is not granted", []string{"/models/classifier.onnx", "gpu", "1,0,0,0"}, nil, "error 6", "no GPU is granted"},
		{"unknown name", []string{"nobody", "cpu", "1,0,0,0"}, nil, "error ", ""},
		{"missing library", []string{"/models/classifier.onnx", "cpu", "1,0,0,0"}, func(b *box) {
			b.env = append(b.env, "RUNW_ACCEL_LIBS="+mkdir(b.t, filepath.Join(b.dir, "libs")))
		}, "error ", "libonnxruntime.so.1"},
		{"no model", []string{"/dev/zero.onnx", "cpu", "1,0,0,0"}, nil, "error ", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newONNX(t, "c/onnx_classify", []string{"classifier.onnx"}, test.args...)
			if test.prepare != nil {
				test.prepare(b)
			}
			res := b.run().exits(1)
			if !strings.Contains(res.stderr, test.code) || !strings.Contains(res.stderr, test.text) {
				t.Errorf("want %q and %q: %v", test.code, test.text, res)
			}
		})
	}
}

func TestONNXLies(t *testing.T) {
	b := newONNX(t, "c/onnx_probe", []string{"classifier.onnx"}, "lies", "/models/classifier.onnx")
	b.run().ok().says(`compute without input: 1
right: 0
short: 1
long: 1
overflow: 1
most: 1
flat: 1
turned: 1
scalar: 1
empty: 0
whole numbers: 1
no type: 1
index: 1
dims outside: 1
data outside: 1
many dims: 1
right: 0
output before compute: 5
compute: 0
output 3: 1
output 1: 0
1 1 -2 0 4 -3
`)
}

func TestONNXCorrupt(t *testing.T) {
	b := newONNX(t, "c/onnx_probe", []string{"scalar.onnx"}, "corrupt", "/models/scalar.onnx")
	b.run().ok().says("most are refused: 0\nthe whole model loads\n")
}

// Ten thousand loads without an unload end in a code, not in the node's memory.
func TestONNXLoads(t *testing.T) {
	b := newONNX(t, "c/onnx_probe", []string{"scalar.onnx"}, "loads", "/models/scalar.onnx", "10000")
	b.Spec.Annotations["run.runw.nn-limits"] = "graphs=8"
	b.run().ok().says("8 of 10000, first code 7, last code 7\n")
}

// A computation over its time ends by a runtime error, and the guest goes on.
func TestONNXTime(t *testing.T) {
	b := newONNX(t, "c/onnx_probe", []string{"endless.onnx"}, "turns", "/models/endless.onnx", "1000000000000")
	b.Spec.Annotations["run.runw.nn-limits"] = "time=1s"
	begin := time.Now()
	b.run().ok().says("compute: 5\noutput: 5\n0\n")
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}

// Silero's voice activity detector gives the very numbers in a container that it gives
// a C program that calls the library itself.
func TestONNXVAD(t *testing.T) {
	const frames = "40"
	vad := filepath.Join(accelLibs(t, "models"), "silero_vad_v5.onnx")
	want, err := exec.Command(onnxDirect(t), "vad", filepath.Join(accelLibs(t, "onnx"), "libonnxruntime.so.1"), vad, frames).Output()
	must(t, err)
	b := newONNX(t, "c/onnx_probe", nil, "vad", "/models/vad.onnx", frames)
	must(t, b.Add(vad, "models/vad.onnx", 0o644))
	res := b.run().ok()
	if n := strings.Count(res.stdout, "\n"); n != 40 || res.stdout != string(want) {
		t.Errorf("%d frames: %v\nwant %s", n, res, want)
	}
}

// onnxDirect builds the program that calls the library without runw.
func onnxDirect(t *testing.T) string {
	t.Helper()
	root, err := guests.Root()
	must(t, err)
	path := filepath.Join(t.TempDir(), "direct")
	source := filepath.Join(root, "pkg", "accel", "onnx", "testdata", "direct.c")
	if out, err := exec.Command("cc", "-O2", "-o", path, source, "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// Two containers that use one file have its weights in memory once.
func TestONNXSharedWeights(t *testing.T) {
	const weights = 8 * 512 * 512 * 4 / 1024 // kB
	var all []*box
	for range 2 {
		b := newONNX(t, "c/onnx_probe", nil, "hold", "dense", "512", `{"prepack":false}`)
		b.Spec.Annotations["run.runw.nn-preload"] = "dense:onnx:cpu:/models/dense.onnx"
		b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: "/models", Type: "bind", Source: filepath.Dir(onnxModel(t, "dense.onnx")), Options: []string{"bind", "ro"}})
		b.begin()
		b.await("ready")
		all = append(all, b)
	}
	for _, b := range all {
		shared, private := mapped(t, b, "dense.onnx")
		if shared < weights || private > 100 {
			t.Errorf("%d kB of the model are shared and %d private, want %d and none", shared, private, weights)
		}
	}
}

// mapped sums what the container's processes have in memory of a mapped file, in kB.
func mapped(t *testing.T, b *box, file string) (shared, private int) {
	t.Helper()
	processes, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", b.cgroup, "cgroup.procs"))
	if err != nil {
		processes, err = os.ReadFile(filepath.Join("/sys/fs/cgroup/memory", b.cgroup, "cgroup.procs"))
	}
	must(t, err)
	for _, pid := range strings.Fields(string(processes)) {
		content, err := os.ReadFile("/proc/" + pid + "/smaps")
		must(t, err)
		inside := false
		for line := range strings.Lines(string(content)) {
			fields := strings.Fields(line)
			switch kind, kB := fields[0], 0; {
			case !strings.HasSuffix(kind, ":"):
				inside = strings.HasSuffix(fields[len(fields)-1], "/"+file)
			case inside && (strings.HasPrefix(kind, "Shared_") || strings.HasPrefix(kind, "Private_")):
				_, err := fmt.Sscan(fields[1], &kB)
				must(t, err)
				if strings.HasPrefix(kind, "Shared_") {
					shared += kB
				} else {
					private += kB
				}
			}
		}
	}
	return shared, private
}
