package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPodmanTopAndStats(t *testing.T) {
	c := podman(t)
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		id := begun(c, w, "--memory", "128m")
		c.run("top", id, "pid", "user", "state", "args").ok().says(w.program)
		var stats []struct {
			Memory string `json:"mem_usage"`
			PIDs   string `json:"pids"`
		}
		must(t, json.Unmarshal([]byte(c.run("stats", "--no-stream", "--format", "json", id).ok().out), &stats))
		if len(stats) != 1 || stats[0].PIDs == "0" || !strings.Contains(stats[0].Memory, "/ 134.2MB") || strings.HasPrefix(stats[0].Memory, "0B") {
			t.Errorf("%+v", stats)
		}
	})
}

func TestPodmanPause(t *testing.T) {
	c := podman(t)
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		id := begun(c, w)
		state := func(want string) {
			t.Helper()
			c.run("inspect", "--format", "{{.State.Status}}", id).ok().says(want)
		}
		c.run("pause", id).ok()
		state("paused")
		c.run("unpause", id).ok()
		state("running")
		c.run("exec", id, w.program, "hello").ok().says(w.hello)
	})
}

func TestPodmanUpdate(t *testing.T) {
	c := podman(t)
	if c.run("update", "--help").code != 0 {
		skip(t, "podman has no update: it came with 4.4")
	}
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		id := begun(c, w, "--memory", "64m")
		c.run("update", "--memory", "96m", "--cpus", "0.7", id).ok()
		pid := c.run("inspect", "--format", "{{.State.Pid}}", id).ok().text()
		if memory, quota := cgroupFile(t, pid, "memory", "memory.limit_in_bytes"), cgroupFile(t, pid, "cpu", "cpu.cfs_quota_us"); memory != "100663296" || quota != "70000" {
			t.Errorf("memory %s, quota %s", memory, quota)
		}
	})
}

func TestPodmanHealthcheck(t *testing.T) {
	c := podman(t)
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		check := func(args ...string) string {
			words, err := json.Marshal(append([]string{w.program}, args...))
			must(t, err)
			return string(words)
		}
		// No systemd, no timer: the check runs when it is asked for.
		id := begun(c, w, "--health-interval", "disable", "--health-cmd", check("exit", "0"))
		c.run("healthcheck", "run", id).ok()
		c.run("inspect", "--format", "{{.State.Health.Status}}", id).ok().says("healthy")
		id = begun(c, w, "--health-interval", "disable", "--health-retries", "1", "--health-cmd", check("exit", "1"))
		c.run("healthcheck", "run", id).exits(1)
		c.run("inspect", "--format", "{{.State.Health.Status}}", id).ok().says("unhealthy")
	})
}

func TestPodmanStopAndKill(t *testing.T) {
	c := podman(t)
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		id := begun(c, w)
		begin := time.Now()
		c.run("stop", "--time", "30", id).ok()
		// The stop's own patience would be over after 30 s.
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("SIGTERM was not heard: stopped after %v", took)
		}
		c.run("inspect", "--format", "{{.State.ExitCode}}", id).ok().says("143")
		c.run("start", id).ok()
		c.run("kill", id).ok()
		c.run("wait", id).ok().says("137")
		c.run("restart", "--time", "0", id).ok()
		c.run("rm", "--force", "--time", "0", id).ok()
		c.run("container", "exists", id).exits(1)
	})
}

func TestPodmanLimits(t *testing.T) {
	c := podman(t)
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		id := begun(c, w, "--memory", "96m", "--pids-limit", "77", "--cpus", "0.5")
		for file, want := range map[string]string{
			"memory/memory.limit_in_bytes": "100663296", "pids/pids.max": "77", "cpu/cpu.cfs_quota_us": "50000",
		} {
			controller, name, _ := strings.Cut(file, "/")
			if got := cgroupFile(t, c.run("inspect", "--format", "{{.State.Pid}}", id).ok().text(), controller, name); got != want {
				t.Errorf("%s is %q, want %s", file, got, want)
			}
		}
	})
	// More than the limit: the module is told, the program is killed.
	c.run("run", "--rm", "--memory", "96m", wasmImage, "grow").ok().says("grown ")
	c.run("run", "--rm", "--memory", "32m", nativeImage, "dd", "x").exits(64)
	c.run("run", "--rm", "--memory", "32m", "--memory-swap", "32m", "--entrypoint", "/bin/dd", nativeImage, "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1").exits(137)
}

// cgroupFile reads a file of the process's cgroup in a v1 hierarchy.
func cgroupFile(t *testing.T, pid, controller, name string) string {
	t.Helper()
	content, err := os.ReadFile("/proc/" + pid + "/cgroup")
	must(t, err)
	for _, line := range strings.Split(string(content), "\n") {
		if fields := strings.SplitN(line, ":", 3); len(fields) == 3 && fields[1] == controller {
			value, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", controller, fields[2], name))
			must(t, err)
			return strings.TrimSpace(string(value))
		}
	}
	skip(t, "no cgroup v1 hierarchy %s", controller)
	return ""
}

// A program is checkpointed where CRIU knows the kernel, and goes on where it was; a module
// is not, and the refusal says why and leaves it running.
func TestPodmanCheckpoint(t *testing.T) {
	c := podman(t)
	need(t, "criu")
	id := begun(c, workloads[1])
	c.run("container", "checkpoint", id).exits(125).says("WebAssembly")
	c.run("exec", id, workloads[1].program, "hello").ok().says(workloads[1].hello)

	id = begun(c, workloads[0])
	if r := c.run("container", "checkpoint", id); r.code != 0 {
		c.run("exec", id, workloads[0].program, "hello").ok().says(workloads[0].hello)
		lines := strings.Split(strings.TrimSpace(r.err), "\n")
		skip(t, "CRIU: %s", lines[max(len(lines)-2, 0)])
	}
	c.run("container", "restore", id).ok()
	c.run("exec", id, workloads[0].program, "hello").ok().says(workloads[0].hello)
}
