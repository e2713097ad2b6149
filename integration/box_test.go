package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/runw/runw/integration/bundle"
	"github.com/runw/runw/integration/guests"
)

// commandTimeout ends a runtime that hangs. A cold compile of a 6 MB module under load
// takes about 10 s; an emulated processor has RUNW_TEST_TIMEOUT.
var commandTimeout = timeout(os.Getenv("RUNW_TEST_TIMEOUT"))

func timeout(text string) time.Duration {
	if d, err := time.ParseDuration(text); err == nil {
		return d
	}
	return 60 * time.Second
}

type runtimeUnderTest struct {
	path string // absolute
	name string // runw, runc, crun
	tmp  string // below it: everything of this run
}

// needRunw skips a row that is about Wasm or about runw's own texts.
func needRunw(t *testing.T) {
	t.Helper()
	if rt.name != "runw" {
		t.Skipf("RUNTIME=%s: this row is about runw", rt.name)
	}
}

// notOn skips a row on one of the peers.
func notOn(t *testing.T, name, reason string) {
	t.Helper()
	if rt.name == name {
		t.Skipf("RUNTIME=%s: %s", name, reason)
	}
}

// box is one container with its bundle, and a directory for what the runtime writes.
type box struct {
	*bundle.Bundle
	t      *testing.T
	id     string
	cgroup string // cgroupsPath; "" leaves it to the runtime
	root   string // the runtime's --root, "" for its default
	binary string // the runtime
	dir    string // of this test: bundle, state, logs
	env    []string
	stdin  string
	extra  []*os.File // fds from 3 on
	cred   *syscall.Credential
	caller *os.File // the cgroup that the runtime is called from, nil for the test's
	global []string // flags before the command
	init   int      // pid of the container's first process, from the pid file
}

var boxes atomic.Int64

// newBox makes a bundle with the guest, "busybox" or LANGUAGE/NAME, and its arguments. At
// the test's end the container is removed, and the machine must be as it was.
func newBox(t *testing.T, guest string, args ...string) *box {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts, cgroups and devices")
	}
	n := boxes.Add(1)
	b := &box{t: t, id: fmt.Sprintf("runw-test-%d-%d", os.Getpid(), n), binary: rt.path}
	b.dir = filepath.Join(rt.tmp, strconv.FormatInt(n, 10))
	b.root = filepath.Join(b.dir, "state")
	b.cgroup = "/" + b.id
	b.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TMPDIR=" + filepath.Join(b.dir, "tmp"),
		"RUNW_AOT_DIR=" + filepath.Join(rt.tmp, "aot"),
	}
	if engine := os.Getenv("RUNW_ENGINE"); engine != "" {
		b.env = append(b.env, "RUNW_ENGINE="+engine)
	}
	mkdir(t, filepath.Join(b.dir, "tmp"))
	before := take()
	var err error
	if guest == "busybox" {
		b.Bundle, err = bundle.Native(filepath.Join(b.dir, "bundle"), args...)
	} else {
		needRunw(t)
		b.Bundle, err = bundle.Wasm(filepath.Join(b.dir, "bundle"), build(t, guest), args...)
	}
	must(t, err)
	b.Spec.Linux.CgroupsPath = b.cgroup
	t.Cleanup(func() { b.close(before) })
	return b
}

// build compiles a guest or ends the test.
func build(t *testing.T, guest string) string {
	t.Helper()
	path, err := guests.Build(guest)
	must(t, err)
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) string {
	t.Helper()
	must(t, os.MkdirAll(path, 0o755))
	return path
}

// write puts a file of the test's directory and returns its path.
func (b *box) write(name, content string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	must(b.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(b.t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

// result is what one call of the runtime gave.
type result struct {
	t              *testing.T
	what           string
	code           int
	stdout, stderr string
	took           time.Duration
}

// command prepares RUNTIME --root ROOT args..., with the box's globals between.
func (b *box) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	b.t.Cleanup(cancel)
	var full []string
	if b.root != "" {
		full = []string{"--root", b.root}
	}
	full = append(append(full, b.global...), args...)
	cmd := exec.CommandContext(ctx, b.binary, full...)
	cmd.Dir = b.dir
	cmd.Env = b.env
	cmd.ExtraFiles = b.extra
	cmd.WaitDelay = time.Second
	if b.cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.cred}
	}
	if b.caller != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(b.caller.Fd())
	}
	return cmd
}

// call runs the runtime to its end. The streams are files, for `create` leaves them open
// in the container: stdin stays readable, and output() reads what a container wrote later.
func (b *box) call(args ...string) result {
	b.t.Helper()
	must(b.t, b.Write())
	cmd := b.command(args...)
	in, err := os.Open(b.write("stdin", b.stdin))
	must(b.t, err)
	defer in.Close()
	out, errs := b.stream("stdout"), b.stream("stderr")
	defer out.Close()
	defer errs.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errs
	begin := time.Now()
	code := exitCode(b.t, cmd.Run())
	res := result{b.t, strings.Join(args, " "), code, b.output("stdout"), b.output("stderr"), time.Since(begin)}
	return res
}

func (b *box) stream(name string) *os.File {
	b.t.Helper()
	file, err := os.OpenFile(filepath.Join(b.dir, name), os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o666)
	must(b.t, err)
	// A rootless container's user reopens it.
	must(b.t, file.Chmod(0o666))
	return file
}

func (b *box) output(name string) string {
	b.t.Helper()
	content, err := os.ReadFile(filepath.Join(b.dir, name))
	must(b.t, err)
	return string(content)
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			return 128 + int(status.Signal())
		}
		return exit.ExitCode()
	}
	must(t, err)
	return 0
}

// piped runs the runtime with pipes, as a shell's pipeline does.
func (b *box) piped(stdin io.Reader, args ...string) result {
	b.t.Helper()
	must(b.t, b.Write())
	cmd := b.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	begin := time.Now()
	code := exitCode(b.t, cmd.Run())
	return result{b.t, strings.Join(args, " "), code, out.String(), errs.String(), time.Since(begin)}
}

// run is `run --bundle BUNDLE ID`.
func (b *box) run(flags ...string) result {
	b.t.Helper()
	return b.call(append(append([]string{"run", "--bundle", b.Dir}, flags...), b.id)...)
}

// create is `create --bundle BUNDLE --pid-file FILE ID`.
func (b *box) create(flags ...string) result {
	b.t.Helper()
	pidFile := filepath.Join(b.dir, "pid")
	res := b.call(append(append([]string{"create", "--bundle", b.Dir, "--pid-file", pidFile}, flags...), b.id)...)
	if res.code == 0 {
		b.init = b.readPid("pid")
	}
	return res
}

// begin creates and starts a container that must come up.
func (b *box) begin(flags ...string) {
	b.t.Helper()
	b.create(flags...).ok()
	b.quiet("start", b.id).ok()
}

// quiet calls the runtime without touching the container's streams.
func (b *box) quiet(args ...string) result {
	b.t.Helper()
	return b.piped(nil, args...)
}

func (b *box) readPid(name string) int {
	b.t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(b.output(name)))
	must(b.t, err)
	return pid
}

// state is `state ID`, decoded.
func (b *box) state() specs.State {
	b.t.Helper()
	res := b.quiet("state", b.id)
	res.ok()
	var state specs.State
	must(b.t, json.Unmarshal([]byte(res.stdout), &state))
	return state
}

// want fails unless the container's status is the given one.
func (b *box) want(status specs.ContainerState) {
	b.t.Helper()
	if got := b.state().Status; got != status {
		b.t.Fatalf("status %s, want %s", got, status)
	}
}

// await waits until the container's output has the text.
func (b *box) await(text string) {
	b.t.Helper()
	if !eventually(commandTimeout, func() bool { return strings.Contains(b.output("stdout"), text) }) {
		b.t.Fatalf("no %q in stdout %q, stderr %q", text, b.output("stdout"), b.output("stderr"))
	}
}

func eventually(limit time.Duration, done func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return done()
}

// wait reaps the container's first process and returns its status as a shell would say it.
func (b *box) wait() int {
	b.t.Helper()
	var status unix.WaitStatus
	ended := eventually(commandTimeout, func() bool {
		pid, err := unix.Wait4(b.init, &status, unix.WNOHANG, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			b.t.Fatalf("wait for %d: %v", b.init, err)
		}
		return pid == b.init
	})
	if !ended {
		b.t.Fatalf("container's process %d has not ended", b.init)
	}
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

func (r result) String() string {
	return fmt.Sprintf("%s %s: exit %d after %v\nstdout: %.4000s\nstderr: %.4000s", rt.name, r.what, r.code, r.took.Round(time.Millisecond), r.stdout, r.stderr)
}

func (r result) ok() result {
	r.t.Helper()
	return r.exits(0)
}

func (r result) exits(code int) result {
	r.t.Helper()
	if r.code != code {
		r.t.Fatalf("want exit %d: %v", code, r)
	}
	return r
}

// says fails unless stdout has each text; a text that begins with "!" must be absent.
func (r result) says(texts ...string) result {
	r.t.Helper()
	r.check("stdout", r.stdout, texts)
	return r
}

func (r result) warns(texts ...string) result {
	r.t.Helper()
	r.check("stderr", r.stderr, texts)
	return r
}

func (r result) check(stream, got string, texts []string) {
	r.t.Helper()
	for _, text := range texts {
		absent, wanted := strings.CutPrefix(text, "!")
		if wanted {
			if strings.Contains(got, absent) {
				r.t.Errorf("%s has %q: %v", stream, absent, r)
			}
		} else if !strings.Contains(got, text) {
			r.t.Errorf("%s lacks %q: %v", stream, text, r)
		}
	}
}
