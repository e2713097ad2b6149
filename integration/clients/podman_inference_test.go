package clients

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

const inferenceImage = "localhost/runw-inference:latest"

// accelReady installs what inference needs as an administrator would: the helper, the
// libraries and the file that names their directory, for podman gives runw no environment.
var accelReady = sync.OnceValue(func() error {
	if err := install(filepath.Join(rootdir, "bin", "runw-accel"), "/usr/local/sbin/runw-accel", 0o755); err != nil {
		return err
	}
	libraries, err := filepath.Glob(filepath.Join(rootdir, "build/accel/ggml/*.so"))
	if err != nil {
		return err
	}
	dir := filepath.Join(tmp, "accel")
	for _, path := range libraries {
		if err := install(path, filepath.Join(dir, filepath.Base(path)), 0o644); err != nil {
			return err
		}
	}
	settings, err := json.Marshal(map[string]any{"library_dirs": []string{dir}})
	if err != nil {
		return err
	}
	if err := os.MkdirAll("/etc/runw", 0o755); err != nil {
		return err
	}
	return os.WriteFile("/etc/runw/accel.json", settings, 0o644)
})

// inferenceArchive is an image FROM scratch of a module and a model.
var inferenceArchive = sync.OnceValues(func() (string, error) {
	module, err := wasm("inference.wasm", "c/inference")
	if err != nil {
		return "", err
	}
	path := filepath.Join(tmp, "abc.gguf")
	cmd := exec.Command("go", "run", "./pkg/accel/ggml/gguf/mkgguf", "-o", path)
	cmd.Dir, cmd.Stderr = rootdir, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", err
	}
	model, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	out := filepath.Join(tmp, "inference.tar")
	return out, archive(out, inferenceImage, "wasi", "wasm", []string{"/inference.wasm"}, []entry{module, {name: "abc.gguf", mode: 0o600, content: model}})
})

func inference(c client) {
	t := c.t
	if _, err := os.Stat(filepath.Join(rootdir, "build/accel/ggml")); err != nil {
		skip(t, "no libraries: run `make accel-libs`")
	}
	must(t, accelReady())
	path, err := inferenceArchive()
	must(t, err)
	c.run("load", "--input", path).ok()
	const one = `{"threads":1,"threads-batch":1,"ctx-size":256}`
	run := func(flags ...string) result {
		args := append([]string{"run", "--rm", "--network", "none"}, flags...)
		return c.run(append(args, inferenceImage, "generate", "default", "abc", one)...)
	}
	run("--env", "WASMEDGE_WASINN_PRELOAD=default:GGML:AUTO:/abc.gguf").ok().says("defghijklmnopqrstuvwxyz", "ended: 100")
	run("--annotation", "run.runw.nn-preload=default:ggml:cpu:/abc.gguf").ok().says("defghijklmnopqrstuvwxyz", "ended: 100")
	id := c.run("run", "--detach", "--network", "none", inferenceImage, "idle").ok().text()
	c.run("top", id).ok().says("runw-accel serve")
	c.run("rm", "--force", "--time", "0", id).ok()
}

func TestPodmanInference(t *testing.T)         { inference(podman(t)) }
func TestRootlessPodmanInference(t *testing.T) { inference(rootless(t)) }
