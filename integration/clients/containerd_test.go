package clients

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const containerdSocket = "/run/containerd/containerd.sock"

// generation is a containerd with its own form of configuration. What this kind of machine
// needs beside the drop-in: no AppArmor, no CAP_SYS_RESOURCE, an image that no registry has,
// and the plugins where Debian puts them.
type generation struct {
	dropin  string
	place   string // where the drop-in goes; machine is appended to the main file
	machine string
}

const mainConfig = "/etc/containerd/config.toml"

var (
	debian = generation{"config-v2.toml", mainConfig, `
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + pauseImage + `"
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
`}
	newest = generation{"config-v3.toml", "/etc/containerd/conf.d/runw.toml", `
version = 3
imports = ["/etc/containerd/conf.d/*.toml"]
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "` + pauseImage + `"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
`}
)

// network is the pods' own: a bridge in the network namespace of this run.
const network = `{
	"cniVersion": "0.4.0", "name": "runw-test",
	"plugins": [{"type": "bridge", "bridge": "runw-test0", "isGateway": true, "ipMasq": false,
		"ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]
}`

var containerdReady = sync.OnceValue(startContainerd)

// startContainerd starts Debian's, or the containerd 2 in the directory CONTAINERD, with the
// drop-in as its configuration. It ends with the run.
func startContainerd() error {
	version := debian
	if dir := os.Getenv("CONTAINERD"); dir != "" {
		version = newest
		// containerd finds its shim in PATH.
		if err := os.Setenv("PATH", dir+":"+os.Getenv("PATH")); err != nil {
			return err
		}
	}
	if err := install(filepath.Join(rootdir, "integration/clients/dropin/containerd", version.dropin), version.place, 0o644); err != nil {
		return err
	}
	config, err := os.OpenFile(mainConfig, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if version.place != mainConfig {
		err = config.Truncate(0) // Debian's is of version 2
	}
	_, werr := config.WriteString(version.machine)
	if err := errors.Join(err, werr, config.Close()); err != nil {
		return err
	}
	if err := os.MkdirAll("/etc/cni/net.d", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile("/etc/cni/net.d/10-runw-test.conflist", []byte(network), 0o644); err != nil {
		return err
	}
	return runContainerd()
}

// containerd is the running daemon.
var containerd *exec.Cmd

func runContainerd() (err error) {
	if containerd, err = daemon("containerd", "containerd"); err != nil {
		return err
	}
	return answers("containerd", "ctr", "version")
}

// daemon starts a daemon, with its output in a file.
func daemon(name string, argv ...string) (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(tmp, name+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = tmp, log, log
	return cmd, cmd.Start()
}

// answers waits until the daemon does.
func answers(name string, argv ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	for {
		out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			log, _ := os.ReadFile(filepath.Join(tmp, name+".log"))
			return fmt.Errorf("%s does not answer: %w: %s\n%s", name, err, out, log)
		}
	}
}

var ctrLoaded = map[string]bool{}

// ctr returns the client of a containerd namespace with the images in it.
func ctr(t *testing.T, namespace string) client {
	t.Helper()
	need(t, "containerd", "ctr", "containerd-shim-runc-v2")
	must(t, containerdReady())
	c := client{t: t, argv: []string{"ctr", "--namespace", namespace}}
	for name, path := range images(t) {
		if ctrLoaded[namespace] {
			break
		}
		platform := "wasi/wasm"
		if name == nativeImage || name == pauseImage {
			platform = "linux/amd64"
		}
		args := []string{"images", "import", "--platform", platform}
		if os.Getenv("CONTAINERD") != "" {
			// The transfer service, which else does it, unpacks for the platforms of its configuration.
			args = append(args, "--local")
		}
		c.run(append(args, path)...).ok()
	}
	ctrLoaded[namespace] = true
	return c
}

// platform returns the flags with which `ctr run` takes the workload's image.
func (w workload) platform() []string {
	if w.name == "wasm" {
		return []string{"--platform", "wasi/wasm"}
	}
	return nil
}

func TestCtrRun(t *testing.T) {
	c := ctr(t, cgroupPrefix)
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		run := func(flags []string, args ...string) result {
			t.Helper()
			argv := append([]string{"run", "--rm", "--runc-binary", runw}, w.platform()...)
			argv = append(append(argv, flags...), w.image, "once", w.program)
			return c.run(append(argv, args...)...)
		}
		run(nil, "hello").ok().says(w.hello)
		run(nil, "exit", "7").exits(7)
		run([]string{"--env", "COLOUR=blue"}, "env").ok().says("COLOUR=blue")
		run([]string{"--read-only"}, "write", "/x", "y").exits(1)
		run([]string{"--mount", "type=bind,src=/etc,dst=/mnt,options=rbind:ro"}, "read", "/mnt/hostname").ok()
		run([]string{"--memory-limit", "100000000"}, "hello").ok().says(w.hello)
		run([]string{"--annotation", "run.oci.handler=nothing"}, "hello").exits(1).says("run.oci.handler")
	})
}

func TestCtrTask(t *testing.T) {
	c := ctr(t, cgroupPrefix)
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		argv := append([]string{"run", "--detach", "--runc-binary", runw}, w.platform()...)
		c.run(append(argv, w.image, w.name, w.program, "sleep", "3600")...).ok()
		defer c.run("containers", "delete", w.name)
		defer c.run("tasks", "delete", "--force", w.name)
		status := func(want string) {
			t.Helper()
			for _, line := range strings.Split(c.run("tasks", "list").ok().out, "\n") {
				if strings.HasPrefix(line, w.name+" ") && !strings.Contains(line, want) {
					t.Errorf("not %s: %s", want, line)
				}
			}
		}
		status("RUNNING")
		c.run("tasks", "exec", "--exec-id", "one", w.name, w.program, "exit", "5").exits(5)
		c.in("word\n").run("tasks", "exec", "--exec-id", "two", w.name, w.program, "cat").ok().says("word")
		c.run("tasks", "ps", w.name).ok().says("PID")
		if seesCgroups(t) {
			c.run("tasks", "metrics", w.name).ok().says("memory.usage_in_bytes")
		}
		c.run("tasks", "pause", w.name).ok()
		status("PAUSED")
		c.run("tasks", "resume", w.name).ok()
		status("RUNNING")
		c.run("tasks", "kill", "--signal", "SIGTERM", w.name).ok()
		await(t, "the task's end", func() bool { return strings.Contains(c.run("tasks", "list").out, "STOPPED") })
	})
}

// seesCgroups tells whether containerd can read any metrics: it reads none of a process
// that is in a hierarchy which is not mounted where containerd is. crun's tests have one
// mounted for themselves, and every process of the machine is in it.
func seesCgroups(t *testing.T) bool {
	t.Helper()
	controllers := unseen()
	if len(controllers) > 0 {
		fmt.Printf("skipped: %s: metrics: somebody has mounted the cgroup hierarchy %v for himself\n", t.Name(), controllers)
	}
	return len(controllers) == 0
}
