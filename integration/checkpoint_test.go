package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// CRIU dumps what the machine's kernel lets it dump: Debian's 3.17 cannot parse the vdso of
// newer kernels. Either the container comes back as it was, or it has not noticed anything.
func TestCheckpoint(t *testing.T) {
	notOn(t, "crun", "1.8.1 links libcriu and has other texts")
	if _, err := exec.LookPath("criu"); err != nil {
		t.Skipf("no criu: %v", err)
	}
	b := newBox(t, "busybox", "sh", "-c", "echo asleep; n=0; while :; do n=$((n+1)); echo $n >/tmp/n; sleep 0.05; done")
	// Its streams must be files that criu finds again.
	null := func(args ...string) result { return b.call(args...) }
	b.create().ok()
	images := filepath.Join(b.dir, "images", "first")
	null("checkpoint", "--image-path", images, b.id).exits(1).warns("cannot be checkpointed in created state")
	b.quiet("start", b.id).ok()
	b.await("asleep")
	res := b.quiet("checkpoint", "--image-path", images, "--work-path", filepath.Join(b.dir, "work"), b.id)
	if res.code != 0 {
		// The way that ends here: an error that names the cause, and a container that runs.
		res.exits(1).warns("criu failed: ", "dump.log")
		content, err := os.ReadFile(filepath.Join(b.dir, "work", "dump.log"))
		must(t, err)
		t.Logf("criu cannot dump on this machine: %s", lastLines(string(content), "Error"))
		b.want(specs.StateRunning)
		before := b.exec("cat", "/tmp/n").ok().stdout
		if !eventually(commandTimeout, func() bool { return b.exec("cat", "/tmp/n").ok().stdout != before }) {
			t.Error("the container stands still after a failed checkpoint")
		}
		b.end()
		return
	}
	b.wait()
	b.quiet("state", b.id).exits(1).warns("does not exist")
	b.call("restore", "--detach", "--bundle", b.Dir, "--image-path", images, "--pid-file", filepath.Join(b.dir, "pid"), b.id).ok()
	b.init = b.readPid("pid")
	b.want(specs.StateRunning)
	if b.exec("cat", "/tmp/n").ok().stdout == "1\n" {
		t.Error("started again and not restored")
	}
	b.quiet("checkpoint", "--leave-running", "--image-path", filepath.Join(b.dir, "images", "second"), b.id).ok()
	b.want(specs.StateRunning)
	b.end()
}

// lastLines are the lines of a log that have the word.
func lastLines(log, word string) string {
	var found []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, word) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, "; ")
}

func TestCheckpointRefusals(t *testing.T) {
	needRunw(t)
	b := newBox(t, "c/probe", "sleep", "3600")
	b.begin()
	b.await("asleep")
	images := filepath.Join(b.dir, "images")
	b.quiet("checkpoint", "--image-path", images, b.id).exits(1).warns("a WebAssembly module runs in the container")
	if _, err := os.Stat(images); err == nil {
		t.Error("made a directory for a checkpoint that it refused")
	}
	b.want(specs.StateRunning)
	b.end()

	mkdir(t, images)
	b.call("restore", "--bundle", b.Dir, "--image-path", images, b.id).exits(1).warns("module /app.wasm: there are no checkpoints")
	native := newBox(t, "busybox", "true")
	native.call("restore", "--bundle", native.Dir, "--image-path", filepath.Join(native.dir, "absent"), native.id).exits(1).warns("--image-path: ", "no such file or directory")
	if _, err := exec.LookPath("criu"); err != nil {
		t.Logf("no criu: what it says about empty images is not tested (%v)", err)
		return
	}
	// What fails half-way leaves no state, mount or cgroup: the box checks.
	native.call("restore", "--bundle", native.Dir, "--image-path", mkdir(t, filepath.Join(native.dir, "empty")), native.id).exits(1).warns("restore: ")
}

// A machine without criu says so.
func TestCheckpointWithoutCRIU(t *testing.T) {
	needRunw(t)
	b := host(t, "busybox")
	b.env = append(b.env, "PATH=/nonexistent")
	b.quiet("checkpoint", "--image-path", filepath.Join(b.dir, "images"), b.id).exits(1).warns(`"criu": executable file not found in $PATH`)
	b.want(specs.StateRunning)
	b.end()
}
