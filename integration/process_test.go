package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A module's process has what config.json says, as the kernel tells from outside.
func TestModuleProcess(t *testing.T) {
	b := newBox(t, "c/probe", "sleep", "3600")
	caps := []string{"CAP_NET_BIND_SERVICE", "CAP_CHOWN"}
	b.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	b.Spec.Process.User = specs.User{UID: 1234, GID: 2345, AdditionalGids: []uint32{3456}}
	b.Spec.Linux.Seccomp = &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Syscalls:      []specs.LinuxSyscall{{Names: []string{"sethostname"}, Action: specs.ActErrno}},
	}
	b.begin()
	b.await("asleep")
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.init))
	must(t, err)
	status := result{t: t, what: "/proc/PID/status", stdout: string(content)}
	status.says("Uid:\t1234\t1234\t1234\t1234", "Gid:\t2345\t2345\t2345\t2345", "Groups:\t3456", "NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000401", "NSpid:", "\t1\n")
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", b.init))
	must(t, err)
	// libcontainer adds the user's home.
	for pair := range strings.SplitSeq(strings.TrimSuffix(string(environ), "\x00"), "\x00") {
		if pair != "GOMAXPROCS=1" && !strings.HasPrefix(pair, "HOME=") {
			t.Errorf("the engine's environment: %q", environ)
		}
	}
	b.quiet("delete", "--force", b.id).ok()
	b.wait()
}

// The runtime's monitor sleeps longer than it asks for; no other thread of runw and nothing
// that it starts does.
func TestTimerSlack(t *testing.T) {
	const usual = "50000"
	for _, w := range []workload{workloads[0], workloads[1]} {
		t.Run(w.name, func(t *testing.T) {
			b := newBox(t, w.guest, w.argv("sleep", "3600")...)
			log := b.write("hooks", "")
			b.Spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{
				Path: "/bin/busybox", Args: []string{"sh", "-c", "cat /proc/self/timerslack_ns >>" + log},
			}}}
			b.begin()
			b.await("asleep")
			if got := b.output("hooks"); got != usual+"\n" {
				t.Errorf("a hook's slack: %q", got)
			}
			got := slacks(t, b.init)
			monitors := got["10000003"] // of an engine; runw's own have a tenth of it
			delete(got, "10000003")
			if want := map[bool]int{true: 1}[w.guest != "busybox"]; monitors != want || len(got) != 1 || got[usual] == 0 {
				t.Errorf("%d monitors, want %d; the slack of other threads, and how many have it: %v", monitors, want, got)
			}
			if w.guest == "busybox" {
				b.exec("cat", "/proc/self/timerslack_ns").ok().says(usual)
			}
			b.end()
		})
	}
}

// slacks counts a process's threads by how much longer their sleeps may be, in nanoseconds.
func slacks(t *testing.T, pid int) map[string]int {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	must(t, err)
	count := map[string]int{}
	for _, task := range tasks {
		slack, err := os.ReadFile("/proc/" + task.Name() + "/timerslack_ns")
		if err == nil { // it may have ended
			count[strings.TrimSpace(string(slack))]++
		}
	}
	return count
}

// The engine holds open what the guest was given, and nothing of the host's: not the
// store's directory, not the caller's files, not the state directory's fifo.
func TestModuleDescriptors(t *testing.T) {
	b := newBox(t, "c/probe", "sleep", "3600")
	secret, err := os.Open(b.write("secret", "secret"))
	must(t, err)
	defer secret.Close()
	b.extra = []*os.File{secret, secret, secret}
	b.begin()
	b.await("asleep")
	dir := fmt.Sprintf("/proc/%d/fd", b.init)
	entries, err := os.ReadDir(dir)
	must(t, err)
	var rootfs, errs unix.Stat_t
	must(t, unix.Stat(b.Path(), &rootfs))
	must(t, unix.Stat(filepath.Join(b.dir, "stderr"), &errs))
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		link, err := os.Readlink(path)
		must(t, err)
		var st unix.Stat_t
		must(t, unix.Stat(path, &st))
		t.Log(entry.Name(), link)
		switch {
		case entry.Name() == "0" || entry.Name() == "1" || entry.Name() == "2":
		case link == "anon_inode:[eventpoll]", link == "anon_inode:[eventfd]": // Go's own
		case link == "/" && st.Ino == rootfs.Ino && st.Dev == rootfs.Dev: // the preopens
		case link == "/" && st.Mode&unix.S_IFMT == unix.S_IFREG: // the artifact, on a mount of its own
		case link == "/memfd:runw-metrics (deleted)": // what events --stats reads
		case st.Ino == errs.Ino && st.Dev == errs.Dev: // stderr, kept for a trap's text
		case strings.HasPrefix(link, "/proc/"): // what keeps the guest out of there
		default:
			t.Errorf("fd %s is %s", entry.Name(), link)
		}
	}
	b.quiet("delete", "--force", b.id).ok()
	b.wait()
}

// Flags of create that change how the container is made, and not what it does.
func TestCreateFlags(t *testing.T) {
	for _, flags := range [][]string{{"--no-new-keyring"}, {"--no-pivot"}, {"--no-new-keyring", "--no-pivot"}} {
		for _, w := range sleepers {
			t.Run(w.name+strings.Join(flags, ""), func(t *testing.T) {
				b := newBox(t, w.guest, w.argv("hello", "")...)
				b.run(flags...).ok().says("hello from " + w.name)
			})
		}
	}
}

// However many containers start at once, a module is compiled once.
func TestStartTogether(t *testing.T) {
	needRunw(t)
	store := newStore(t)
	const many = 6
	boxes := make([]*box, many)
	for i := range boxes {
		boxes[i] = newBox(t, "rust/probe", "hello")
		boxes[i].env = append(boxes[i].env, "RUNW_AOT_DIR="+store)
		boxes[i].global = []string{"--debug", "--log", filepath.Join(boxes[i].dir, "log")}
		must(t, boxes[i].Write())
	}
	var group sync.WaitGroup
	outputs := make([][]byte, many)
	errs := make([]error, many)
	for i, b := range boxes {
		cmd := b.command("run", "--bundle", b.Dir, b.id)
		group.Go(func() { outputs[i], errs[i] = cmd.Output() })
	}
	group.Wait()
	compiled := 0
	for i, b := range boxes {
		if errs[i] != nil || !strings.Contains(string(outputs[i]), "hello from Rust") {
			t.Errorf("container %d: %v: %s %s", i, errs[i], outputs[i], b.output("log"))
		}
		compiled += strings.Count(b.output("log"), "cached: false")
	}
	if compiled != 1 {
		t.Errorf("compiled %d times", compiled)
	}
}
