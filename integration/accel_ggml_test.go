package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/runw/runw/integration/guests"
)

var ggmlModels struct {
	once sync.Once
	path string
	err  error
}

// ggmlModel is the path of a language model of which each next token is known; the
// repository's own command makes it.
func ggmlModel(t *testing.T) string {
	t.Helper()
	m := &ggmlModels
	m.once.Do(func() {
		var root string
		if root, m.err = guests.Root(); m.err != nil {
			return
		}
		m.path = filepath.Join(rt.tmp, "successor.gguf")
		cmd := exec.Command("go", "run", "./pkg/accel/ggml/gguf/mkgguf", "-o", m.path)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			m.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	must(t, m.err)
	return m.path
}

// newGGML makes a box with a guest and the model at /models/model.gguf.
func newGGML(t *testing.T, guest string, args ...string) *box {
	t.Helper()
	b := newBox(t, guest, args...)
	b.env = append(b.env, "RUNW_ACCEL_LIBS="+accelLibs(t, "ggml"))
	must(t, b.Add(ggmlModel(t), "models/model.gguf", 0o644))
	b.Spec.Annotations = map[string]string{}
	return b
}

// preload names the model "default" the way crun's users do.
func preload(b *box) {
	b.Spec.Process.Env = append(b.Spec.Process.Env, "WASMEDGE_WASINN_PRELOAD=default:GGML:AUTO:/models/model.gguf")
}

// One thread: several wait for each other by spinning, for seconds on a busy machine.
const (
	ggmlConfig = `{"threads":1,"temp":0,"n-predict":4}`
	chatted    = "d|e|f|g|100 (4 4 0)\n2|3|4|5|100 (10 4 7)\n"
)

// Two turns of a chat by each way to a model. The second knows the tokens of the first.
func TestGGMLChat(t *testing.T) {
	turns := []string{ggmlConfig, "abc", "x1"}
	tests := []struct {
		name, guest, model, target string
		prepare                    func(b *box)
		want, stderr               string
	}{
		{"bytes", "c/ggml_chat", "/models/model.gguf", "cpu", nil, chatted, ""},
		{"auto without a GPU", "c/ggml_chat", "/models/model.gguf", "auto", nil, chatted, "target AUTO: the CPU: no GPU to compute on: granted: none"},
		{"variable", "c/ggml_chat", "default", "", preload, chatted, "target AUTO: the CPU"},
		{"annotation", "c/ggml_chat", "letters", "", func(b *box) {
			b.Spec.Annotations["run.runw.nn-preload"] = "letters:ggml:cpu:/models/model.gguf"
		}, chatted, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newGGML(t, test.guest, append([]string{test.model, test.target}, turns...)...)
			if test.prepare != nil {
				test.prepare(b)
			}
			res := b.run().ok()
			if res.stdout != test.want || !strings.Contains(res.stderr, test.stderr) || test.stderr == "" && res.stderr != "" {
				t.Errorf("%v", res)
			}
		})
	}
}

// The crate that WasmEdge's programs use finds what it expects.
func TestGGMLCrate(t *testing.T) {
	b := newGGML(t, "rust/chat", "default", ggmlConfig, "abc", "x1")
	preload(b)
	res := b.run().ok()
	const want = "d|e|f|g|\n2|3|4|5|\n" + `{"input_tokens":10,"output_tokens":4,"cached_tokens":7,`
	if !strings.HasPrefix(res.stdout, want) || !strings.Contains(res.stdout, `"llama_commit":"`) {
		t.Errorf("%v", res)
	}
}

func TestGGMLEmbed(t *testing.T) {
	b := newGGML(t, "c/ggml_embed", "/models/model.gguf", "aab", "aba", "abb", "xyz")
	b.run().ok().says("aba: 1.000\nabb: 0.833\nxyz: 0.204\n")
}

func TestGGMLErrors(t *testing.T) {
	tests := []struct {
		name, target, config, text string
		prepare                    func(b *box)
		status                     int
		want                       string // of either stream
	}{
		{"GPU that is not granted", "gpu", "{}", "a", nil, 1, "no GPU to compute on: granted: none"},
		{"metadata of a wrong type", "cpu", `{"temp":"hot"}`, "a", nil, 1, `metadata key "temp": wrong type`},
		{"prompt too long", "cpu", `{"threads":1,"ctx-size":64}`, strings.Repeat("a", 60), nil, 0, "102\n"},
		{"context full", "cpu", `{"threads":1,"temp":0,"ctx-size":8}`, "012", nil, 0, "3|4|5|6|7|101 (4 5 0)\n"},
		{"missing library", "cpu", "{}", "a", func(b *box) {
			b.env = append(b.env, "RUNW_ACCEL_LIBS="+mkdir(b.t, filepath.Join(b.dir, "libs")))
		}, 1, "libllama.so not found in "},
		{"truncated model", "cpu", "{}", "a", func(b *box) {
			content, err := os.ReadFile(ggmlModel(b.t))
			must(b.t, err)
			must(b.t, b.Add(b.write("short.gguf", string(content[:len(content)/2])), "models/model.gguf", 0o644))
		}, 1, "not a valid GGUF file: tensor "},
		{"no model", "cpu", "{}", "a", func(b *box) {
			must(b.t, b.Add(b.write("text.gguf", "a text"), "models/model.gguf", 0o644))
		}, 1, "not a valid GGUF file: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newGGML(t, "c/ggml_chat", "/models/model.gguf", test.target, test.config, test.text)
			if test.prepare != nil {
				test.prepare(b)
			}
			res := b.run().exits(test.status)
			if !strings.Contains(res.stdout+res.stderr, test.want) {
				t.Errorf("want %q: %v", test.want, res)
			}
		})
	}
}
