package clients

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// machineConf is what this kind of machine needs beside the drop-in: no systemd, and hard
// limits below podman's defaults; soft and hard alike, for podman 4.3 swaps the two for an
// infra container. --network says more where a row needs more.
const machineConf = `[containers]
default_ulimits = ["nofile=%d:%[1]d", "nproc=%d:%[2]d"]
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
`

// podmanReady installs the drop-in and loads the images, once for root.
var podmanReady = sync.OnceValue(func() error {
	const dir = "/etc/containers/containers.conf.d"
	if err := install(filepath.Join(rootdir, "integration/clients/dropin/podman/containers.conf"), dir+"/50-runw.conf", 0o644); err != nil {
		return err
	}
	var files, processes unix.Rlimit
	if err := errors.Join(unix.Getrlimit(unix.RLIMIT_NOFILE, &files), unix.Getrlimit(unix.RLIMIT_NPROC, &processes)); err != nil {
		return err
	}
	conf := fmt.Sprintf(machineConf, min(files.Max, 65536), min(processes.Max, 65536))
	return os.WriteFile(dir+"/00-machine.conf", []byte(conf), 0o644)
})

var podmanLoaded = map[string]bool{}

// podman returns root's podman with the images loaded.
func podman(t *testing.T) client {
	t.Helper()
	need(t, "podman", "conmon")
	must(t, podmanReady())
	c := client{t: t, argv: []string{"podman"}}
	podmanLoad(c)
	return c
}

func podmanLoad(c client) {
	c.t.Helper()
	key := fmt.Sprint(c.cred)
	for _, path := range images(c.t) {
		if !podmanLoaded[key] {
			c.run("load", "--input", path).ok()
		}
	}
	podmanLoaded[key] = true
}

// each runs the row with both workloads.
func each(t *testing.T, row func(t *testing.T, w workload)) {
	t.Helper()
	for _, w := range workloads {
		t.Run(w.name, func(t *testing.T) { row(t, w) })
	}
}

// begun starts a container that sleeps, and removes it with the test.
func begun(c client, w workload, flags ...string) string {
	c.t.Helper()
	args := append([]string{"run", "--detach"}, flags...)
	id := c.run(append(args, w.image, "sleep", "3600")...).ok().text()
	c.t.Cleanup(func() { c.run("rm", "--force", "--time", "0", id) })
	await(c.t, "the container's first words", func() bool { return strings.Contains(c.run("logs", id).out, "asleep") })
	return id
}

// The drop-in file is the whole configuration: runw is the runtime of each image.
func TestPodmanDropIn(t *testing.T) {
	c := podman(t)
	c.run("info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}").ok().says("runw /usr/local/sbin/runw")
	for _, w := range workloads {
		c.run("run", "--rm", w.image).ok().says(w.hello)
		c.run("--runtime", "/usr/local/sbin/runw", "run", "--rm", w.image).ok().says(w.hello)
	}
}

// With another default, the image's platform leads to runw.
func TestPodmanPlatform(t *testing.T) {
	c := podman(t)
	path, err := exec.LookPath("podman")
	must(t, err)
	program, err := os.ReadFile(path)
	must(t, err)
	if !strings.Contains(string(program), "platform_to_oci_runtime") {
		skip(t, "this podman knows no platform_to_oci_runtime")
	}
	id := c.run("--runtime", "runc", "create", "--platform", "wasi/wasm", wasmImage).ok().text()
	defer c.run("rm", id)
	c.run("inspect", "--format", "{{.OCIRuntime}}", id).ok().says("runw")
	c.run("start", "--attach", id).ok().says("hello from C")
}

func TestPodmanRun(t *testing.T) {
	c := podman(t)
	each(t, func(t *testing.T, w workload) { podmanRun(c.on(t), w) })
}

// podmanRun is what holds for root and for every other user.
func podmanRun(c client, w workload) {
	t := c.t
	t.Helper()
	run := func(args ...string) result { t.Helper(); return c.run(append([]string{"run", "--rm"}, args...)...) }
	run(w.image).ok().says(w.hello)
	run(w.image, "exit", "7").exits(7)
	c.in("from stdin\n").run("run", "--rm", "-i", w.image, "cat").ok().says("from stdin")
	c.in("typed\n").run("run", "--rm", "-it", w.image, "terminal").ok().says("fd 0 is a terminal", "fd 2 is a terminal", "read typed")
	run(w.image, "terminal").says("fd 1 is no terminal")
	run(w.image, "args", "a b", "c").ok().says("2=a b", "3=c")
	run("--env", "COLOUR=blue", w.image, "env").ok().says("COLOUR=blue", "GREETING=good day")
	dir := shared(t)
	write(t, filepath.Join(dir, "note"), "from the host", 0o666)
	run("--volume", dir+":/mnt", w.image, "read", "/mnt/note").ok().says("from the host")
	run("--volume", dir+":/mnt", w.image, "write", "/mnt/answer", "from inside").ok().says("written")
	if answer, err := os.ReadFile(filepath.Join(dir, "answer")); string(answer) != "from inside" {
		t.Errorf("%q, %v", answer, err)
	}
	run("--volume", dir+":/mnt:ro", w.image, "write", "/mnt/answer", "x").exits(1)
	run("--read-only", w.image, "write", "/answer", "x").exits(1)
	run("--tmpfs", "/scratch", w.image, "write", "/scratch/answer", "x").ok()
	run("--workdir", "/mnt", "--volume", dir+":/mnt", w.image, "read", "/mnt/note").ok()
	run("--entrypoint", "/missing", w.image).exits(127).says("/missing")
	run("--preserve-fds", "0", w.image).ok()
	c.run("run", "--name", "twice", w.image, "exit", "3").exits(3)
	c.run("start", "--attach", "twice").exits(3)
	c.run("rm", "twice").ok()
}

func TestPodmanVolume(t *testing.T) {
	c := podman(t)
	c.run("volume", "create", "shelf").ok()
	defer func() { c.run("volume", "rm", "--force", "shelf").ok() }()
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		c.run("run", "--rm", "--volume", "shelf:/shelf", w.image, "write", "/shelf/"+w.name, "kept by "+w.name).ok()
		for _, reader := range workloads {
			c.run("run", "--rm", "--volume", "shelf:/shelf:ro", reader.image, "read", "/shelf/"+w.name).ok().says("kept by " + w.name)
		}
	})
}

func TestPodmanUser(t *testing.T) {
	c := podman(t)
	dir := shared(t)
	write(t, filepath.Join(dir, "secret"), "of root", 0o600)
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		c.run("run", "--rm", "--volume", dir+":/mnt", w.image, "read", "/mnt/secret").ok().says("of root")
		c.run("run", "--rm", "--user", "1000:1000", "--cap-drop", "all", "--volume", dir+":/mnt", w.image, "read", "/mnt/secret").exits(1)
		id := begun(c, w, "--user", "1000:1000")
		pid := c.run("inspect", "--format", "{{.State.Pid}}", id).ok().text()
		status, err := os.ReadFile("/proc/" + pid + "/status")
		must(t, err)
		if !strings.Contains(string(status), "Uid:\t1000\t1000\t1000\t1000\n") {
			t.Errorf("not uid 1000: %s", status)
		}
		c.run("run", "--rm", "--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000", w.image).ok().says(w.hello)
	})
}

func TestPodmanExec(t *testing.T) {
	c := podman(t)
	each(t, func(t *testing.T, w workload) { podmanExec(c.on(t), w) })
}

func podmanExec(c client, w workload) {
	t := c.t
	t.Helper()
	id := begun(c, w)
	c.run("exec", id, w.program, "hello").ok().says(w.hello)
	c.run("exec", id, w.program, "exit", "9").exits(9)
	c.in("through exec\n").run("exec", "-i", id, w.program, "cat").ok().says("through exec")
	c.in("typed\n").run("exec", "-it", id, w.program, "terminal").ok().says("fd 1 is a terminal", "read typed")
	c.run("exec", "--env", "COLOUR=red", "--workdir", "/", id, w.program, "env").ok().says("COLOUR=red")
	c.run("exec", "--user", "1000", id, w.program, "hello").ok().says(w.hello)
	c.run("exec", "--detach", id, w.program, "write", "/left", "behind").ok()
	await(t, "the detached exec", func() bool { return c.run("exec", id, w.program, "read", "/left").code == 0 })
	c.run("exec", id, "/missing").exits(127)
}

// FROM scratch there is no shell, and the error says so.
func TestPodmanExecScratch(t *testing.T) {
	c := podman(t)
	id := begun(c, workloads[1])
	c.run("exec", id, "/bin/sh", "-c", "true").exits(127).says("/bin/sh")
}

func TestPodmanAttachAndLogs(t *testing.T) {
	c := podman(t)
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		id := c.run("create", "--interactive", w.image, "cat").ok().text()
		defer func() { c.run("rm", "--force", id) }()
		c.in("through attach\n").run("start", "--attach", "--interactive", id).ok().says("through attach")
		c.run("logs", id).ok().says("through attach")
		// A container that runs already is attached to.
		id = c.run("run", "--detach", "--interactive", w.image, "cat").ok().text()
		defer func() { c.run("rm", "--force", "--time", "0", id) }()
		c.in("to the running one\n").run("attach", id).ok().says("to the running one")
		c.run("wait", id).ok().says("0")
	})
}
