package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
	b := newBox(t, "busybox", "sh", "-c", "n=0; while :; do n=$((n+1)); echo $n >/tmp/n; sleep 0.05; done")
	images := filepath.Join(b.dir, "images", "first")
	b.withPipes("create", "--bundle", b.Dir, "--pid-file", filepath.Join(b.dir, "pid"), b.id)
	b.init = b.readPid("pid")
	b.quiet("checkpoint", "--image-path", images, b.id).exits(1).warns("cannot be checkpointed in created state")
	b.quiet("start", b.id).ok()
	b.counts()
	res := b.quiet("checkpoint", "--image-path", images, "--work-path", filepath.Join(b.dir, "work"), b.id)
	if res.code != 0 {
		// The way that ends here: an error that names the cause, and a container that runs.
		res.exits(1).warns("criu failed: ", "dump.log")
		content, err := os.ReadFile(filepath.Join(b.dir, "work", "dump.log"))
		must(t, err)
		t.Logf("criu cannot dump on this machine: %s", lastLines(string(content), "Error"))
		b.want(specs.StateRunning)
		b.counts()
		b.end()
		return
	}
	b.wait()
	b.quiet("state", b.id).exits(1).warns("does not exist")
	before := b.count()
	b.withPipes("restore", "--detach", "--bundle", b.Dir, "--image-path", images, "--pid-file", filepath.Join(b.dir, "pid"), b.id)
	b.init = b.readPid("pid")
	b.want(specs.StateRunning)
	b.counts()
	if after := b.count(); after < before {
		t.Errorf("counted to %d before and %d after: started again and not restored", before, after)
	}
	b.exec("cat", "/tmp/n").ok()
	b.quiet("checkpoint", "--leave-running", "--image-path", filepath.Join(b.dir, "images", "second"), b.id).ok()
	b.want(specs.StateRunning)
	b.counts()
	b.end()
	t.Log("checkpointed and restored")
}

// withPipes gives the container pipes, of which CRIU knows that they come from outside: it
// opens files by names that are valid in the container.
func (b *box) withPipes(args ...string) {
	b.t.Helper()
	must(b.t, b.Write())
	cmd := b.command(args...)
	for i := range 3 {
		r, w, err := os.Pipe()
		must(b.t, err)
		b.t.Cleanup(func() { r.Close(); w.Close() })
		switch i {
		case 0:
			cmd.Stdin = r
		case 1:
			cmd.Stdout = w
		case 2:
			cmd.Stderr = w
		}
	}
	errs := b.write("log", "")
	cmd.Args = append(append(cmd.Args[:1:1], "--log", errs), cmd.Args[1:]...)
	if code := exitCode(b.t, cmd.Run()); code != 0 {
		b.t.Fatalf("%v: exit %d: %s", args, code, b.output("log"))
	}
}

// count is how far the container has counted in its file.
func (b *box) count() int {
	content, _ := os.ReadFile(b.Path("tmp", "n"))
	n, _ := strconv.Atoi(strings.TrimSpace(string(content)))
	return n
}

// counts fails unless the container goes on.
func (b *box) counts() {
	b.t.Helper()
	before := b.count()
	if !eventually(commandTimeout, func() bool { return b.count() > before }) {
		b.t.Fatalf("stands still at %d", before)
	}
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
