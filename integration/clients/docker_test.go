package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const dockerSocket = "unix:///run/docker.sock"

var dockerReady = sync.OnceValue(startDocker)

// startDocker starts dockerd with the drop-in as its configuration, without the network
// that it would make for itself. It ends with the run.
func startDocker() error {
	if err := install(filepath.Join(rootdir, "integration/clients/dropin/docker/daemon.json"), "/etc/docker/daemon.json", 0o644); err != nil {
		return err
	}
	// /var/lib is a tmpfs here, in which overlay2 works as on any file system.
	_, err := daemon("dockerd", "dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/"+cgroupPrefix, "--add-runtime", "runw-by-flag="+runw,
		"--host", dockerSocket)
	if err != nil {
		return err
	}
	return answers("dockerd", "docker", "--host", dockerSocket, "version")
}

var dockerLoaded bool

// docker returns the client of a dockerd with the images loaded.
func docker(t *testing.T) client {
	t.Helper()
	need(t, "dockerd", "docker", "containerd")
	must(t, dockerReady())
	c := client{t: t, argv: []string{"docker", "--host", dockerSocket}}
	if !dockerLoaded {
		for _, path := range images(t) {
			// dockerd 20.10 refuses the platform wasi/wasm: "unknown operating system".
			c.run("load", "--input", path+asLinux).ok()
		}
	}
	dockerLoaded = true
	return c
}

// dockerRun runs a container below runw to its end.
func dockerRun(c client, args ...string) result {
	c.t.Helper()
	return c.run(append([]string{"run", "--rm", "--runtime", "runw", "--network", "none"}, args...)...)
}

func TestDockerDropIn(t *testing.T) {
	c := docker(t)
	c.run("info", "--format", "{{json .Runtimes}}").ok().says(`"runw":`, `"runw-by-flag":`, runw)
	c.run("run", "--rm", "--runtime", "runw-by-flag", "--network", "none", wasmImage).ok().says("hello from C")
	c.run("run", "--rm", "--network", "none", nativeImage).ok().says("hello from busybox")
}

func TestDockerRun(t *testing.T) {
	c := docker(t)
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		dockerRun(c, w.image).ok().says(w.hello)
		dockerRun(c, w.image, "exit", "7").exits(7)
		dockerRun(c.in("from stdin\n"), "-i", w.image, "cat").ok().says("from stdin")
		dockerRun(c, "--env", "COLOUR=blue", w.image, "env").ok().says("COLOUR=blue", "GREETING=good day")
		dir := shared(t)
		write(t, filepath.Join(dir, "note"), "from the host", 0o666)
		dockerRun(c, "--volume", dir+":/mnt", w.image, "read", "/mnt/note").ok().says("from the host")
		dockerRun(c, "--volume", dir+":/mnt:ro", w.image, "write", "/mnt/note", "x").exits(1)
		dockerRun(c, "--read-only", w.image, "write", "/x", "y").exits(1)
		dockerRun(c, "--tmpfs", "/scratch", w.image, "write", "/scratch/x", "y").ok()
		dockerRun(c, "--user", "1000:1000", "--cap-drop", "all", w.image).ok().says(w.hello)
		if w.name == "native" {
			// An init of docker's own is a program that starts programs of the image: no module.
			dockerRun(c, "--init", w.image).ok().says(w.hello)
		}
		dockerRun(c, "--entrypoint", "/missing", w.image).exits(127).says("/missing")
	})
}

func TestDockerLifecycle(t *testing.T) {
	c := docker(t)
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		id := c.run("run", "--detach", "--runtime", "runw", "--network", "none", "--memory", "96m", "--pids-limit", "77", w.image, "sleep", "3600").ok().text()
		defer c.run("rm", "--force", id)
		await(t, "the first words", func() bool { return strings.Contains(c.run("logs", id).out, "asleep") })
		inspect := func(format, want string) {
			t.Helper()
			if got := c.run("inspect", "--format", format, id).ok().text(); got != want {
				t.Errorf("%s is %q, want %q", format, got, want)
			}
		}
		inspect("{{.State.Status}} {{.HostConfig.Runtime}}", "running runw")
		pid := c.run("inspect", "--format", "{{.State.Pid}}", id).ok().text()
		if memory, pids := cgroupFile(t, pid, "memory", "memory.limit_in_bytes"), cgroupFile(t, pid, "pids", "pids.max"); memory != "100663296" || pids != "77" {
			t.Errorf("memory %s, pids %s", memory, pids)
		}
		c.run("exec", id, w.program, "exit", "5").exits(5)
		c.in("through exec\n").run("exec", "-i", id, w.program, "cat").ok().says("through exec")
		c.run("top", id, "-eo", "pid,args").ok().says(w.program)
		dockerStats(c, id)
		c.run("update", "--memory", "112m", "--memory-swap", "112m", id).ok()
		if memory := cgroupFile(t, pid, "memory", "memory.limit_in_bytes"); memory != "117440512" {
			t.Errorf("memory %s after the update", memory)
		}
		c.run("pause", id).ok()
		inspect("{{.State.Status}}", "paused")
		c.run("unpause", id).ok()
		begin := time.Now()
		c.run("stop", "--time", "60", id).ok()
		if took := time.Since(begin); took > 40*time.Second {
			t.Errorf("SIGTERM was not heard: stopped after %v", took)
		}
		inspect("{{.State.ExitCode}}", "143")
		c.run("start", id).ok()
		c.run("kill", id).ok()
		c.run("wait", id).ok().says("137")
	})
}

func dockerStats(c client, id string) {
	t := c.t
	t.Helper()
	if !seesCgroups(t) {
		return
	}
	var stats struct{ MemUsage, PIDs string }
	must(t, json.Unmarshal([]byte(c.run("stats", "--no-stream", "--format", "{{json .}}", id).ok().out), &stats))
	if stats.PIDs == "0" || !strings.Contains(stats.MemUsage, "/ 96MiB") || strings.HasPrefix(stats.MemUsage, "0B") {
		t.Errorf("%+v", stats)
	}
}

func TestDockerHealthcheck(t *testing.T) {
	c := docker(t)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	for _, w := range workloads {
		for code, want := range map[string]string{"0": "healthy", "1": "unhealthy"} {
			// An image's check is a command and its arguments; --health-cmd needs a shell.
			tag := "localhost/health-" + w.name + "-" + want
			write(t, dir+"/Dockerfile", "FROM "+w.image+"\nHEALTHCHECK --interval=1s --retries=1 CMD [\""+w.program+"\", \"exit\", \""+code+"\"]\n", 0o644)
			c.run("build", "--tag", tag, dir).ok()
			id := c.run("run", "--detach", "--runtime", "runw", "--network", "none", tag, "sleep", "3600").ok().text()
			await(t, w.name+" to be "+want, func() bool {
				return c.run("inspect", "--format", "{{.State.Health.Status}}", id).text() == want
			})
			c.run("rm", "--force", id).ok()
			c.run("rmi", tag).ok()
		}
	}
}

// A Wasm container joins a native one's network and process namespaces.
func TestDockerJoin(t *testing.T) {
	c := docker(t)
	sidecar := c.run("run", "--detach", "--runtime", "runw", "--network", "none", nativeImage, "sleep", "3600").ok().text()
	defer c.run("rm", "--force", sidecar)
	server := c.run("run", "--detach", "--runtime", "runw", "--network", "container:"+sidecar, httpImage, "8080").ok().text()
	defer c.run("rm", "--force", server)
	await(t, "an answer of the Wasm server", func() bool {
		return c.run("exec", sidecar, "wget", "-q", "-O", "-", "http://127.0.0.1:8080/").code == 0
	})
	together(c, server, sidecar)
}
