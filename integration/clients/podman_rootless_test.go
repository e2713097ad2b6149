package clients

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The user of the rootless rows, who exists in this run's /etc alone.
const (
	userName = "runw-user"
	userID   = 54321
	subIDs   = 2000000 // the first of 65536
)

// errTun says why there is no network for the user's containers.
var errTun error

var addUser = sync.OnceValue(func() error {
	for name, line := range map[string]string{
		"passwd": fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", userName, userID, userID, userHome()),
		"group":  fmt.Sprintf("%s:x:%d:\n", userName, userID),
		"subuid": fmt.Sprintf("%s:%d:65536\n", userName, subIDs),
		"subgid": fmt.Sprintf("%s:%d:65536\n", userName, subIDs),
	} {
		file, err := os.OpenFile("/etc/"+name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		if _, err := file.WriteString(line); err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(userRuntime()), 0o755); err != nil {
		return err
	}
	// Before the user's first podman, whose mount namespace is a copy.
	errTun = openTun()
	for _, dir := range []string{userHome(), userRuntime()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chown(dir, userID, userID); err != nil {
			return err
		}
	}
	return nil
})

func userHome() string    { return filepath.Join(tmp, "home") }
func userRuntime() string { return fmt.Sprintf("/run/user/%d", userID) }

// rootless returns an unprivileged user's podman with the images loaded.
func rootless(t *testing.T) client {
	t.Helper()
	need(t, "podman", "conmon", "newuidmap")
	must(t, podmanReady())
	must(t, addUser())
	c := client{t: t, argv: []string{"podman"}, cred: &syscall.Credential{Uid: userID, Gid: userID}}
	c.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + userHome(), "XDG_RUNTIME_DIR=" + userRuntime(), "TMPDIR=" + userHome()}
	podmanLoad(c)
	return c
}

func TestRootlessPodmanRun(t *testing.T) {
	c := rootless(t)
	c.run("info", "--format", "{{.Host.OCIRuntime.Path}} {{.Host.Security.Rootless}}").ok().says("/usr/local/sbin/runw true")
	each(t, func(t *testing.T, w workload) { podmanRun(c.on(t), w) })
}

func TestRootlessPodmanExec(t *testing.T) {
	c := rootless(t)
	each(t, func(t *testing.T, w workload) { podmanExec(c.on(t), w) })
}

// The container's root is the user, and its other users are the user's subordinate ids.
func TestRootlessPodmanUser(t *testing.T) {
	c := rootless(t)
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		for flag, want := range map[string]int{"0": userID, "1000": subIDs + 999} {
			id := begun(c, w, "--user", flag)
			pid := c.run("inspect", "--format", "{{.State.Pid}}", id).ok().text()
			status, err := os.ReadFile("/proc/" + pid + "/status")
			must(t, err)
			if line := fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", want); !strings.Contains(string(status), line) {
				t.Errorf("--user %s: want %q in %s", flag, line, status)
			}
		}
		id := begun(c, w, "--userns", "keep-id")
		c.run("top", id, "args").ok().says(w.program)
	})
}

func TestRootlessPodmanLifecycle(t *testing.T) {
	c := rootless(t)
	each(t, func(t *testing.T, w workload) {
		c := c.on(t)
		id := begun(c, w, "--health-interval", "disable", "--health-cmd", fmt.Sprintf(`[%q, "exit", "0"]`, w.program))
		c.run("healthcheck", "run", id).ok()
		c.run("stop", "--time", "60", id).ok()
		c.run("inspect", "--format", "{{.State.ExitCode}}", id).ok().says("143")
		c.run("start", id).ok()
		c.run("kill", id).ok()
		c.run("wait", id).ok().says("137")
	})
}

// openTun puts a node that every user can open over /dev/net/tun, which not every machine
// has as open as Debian does.
func openTun() error {
	node := filepath.Join(tmp, "tun")
	if err := unix.Mknod(node, unix.S_IFCHR, int(unix.Mkdev(10, 200))); err != nil {
		return err
	}
	return errors.Join(os.Chmod(node, 0o666), unix.Mount(node, "/dev/net/tun", "", unix.MS_BIND, ""))
}

// The network of a user's containers is a process of the user's: slirp4netns, here with a
// port of the server's on the host's loopback.
func TestRootlessPodmanNetwork(t *testing.T) {
	c := rootless(t)
	need(t, "slirp4netns")
	if errTun != nil {
		skip(t, "slirp4netns: %v", errTun)
	}
	id := c.run("run", "--detach", "--network", "slirp4netns", "--publish", "127.0.0.1:18080:8080", httpImage, "8080").ok().text()
	defer c.run("rm", "--force", "--time", "0", id)
	await(t, "the module's answer on the host", func() bool {
		answer, err := http.Get("http://127.0.0.1:18080/")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

func TestRootlessPodmanPod(t *testing.T) {
	c := rootless(t)
	need(t, "catatonit")
	podmanPod(c)
	podStop(c)
}
