package clients

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runw/runw/integration/guests"
	"github.com/runw/runw/integration/machine"
)

// cgroupPrefix begins the name of each cgroup that the tests name themselves.
const cgroupPrefix = "runw-test-clients"

// insideEnv holds the directory of the run, in the copy that runs in its own namespaces.
const insideEnv = "RUNW_TEST_CLIENTS"

// Set by TestMain before any test runs.
var (
	runw    string // the binary under test
	tmp     string // for everything that the clients write
	rootdir string // of the repository
)

func TestMain(m *testing.M) {
	flag.Parse()
	var code int
	var err error
	if tmp = os.Getenv(insideEnv); tmp == "" {
		code, err = outside()
	} else if err = furnish(); err == nil {
		code = m.Run()
		err = left()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		code = 1
	}
	os.Exit(code)
}

// outside runs this program again in namespaces of its own, and afterwards removes what
// namespaces cannot hide: the cgroups and the files.
func outside() (code int, err error) {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: the clients' tests need root")
		return 0, nil
	}
	dir, err := os.MkdirTemp("", "runw-test-clients-")
	if err != nil {
		return 0, err
	}
	// A mount would have gone with the namespace; the tree is this file system's alone.
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	before := known()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideEnv+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// The first process of the new namespaces is a child of the unsharing one, and with
		// it each daemon and container ends.
		Cloneflags:   unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC,
		Unshareflags: unix.CLONE_NEWNS,
		Pdeathsig:    unix.SIGKILL,
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code, err = max(exit.ExitCode(), 1), nil
	}
	return code, errors.Join(err, before.remove())
}

// furnish makes the namespaces a machine: the processes of the new namespace in /proc,
// loopback up, and private copies of the directories that the clients write into.
func furnish() error {
	root, err := guests.Root()
	if err != nil {
		return err
	}
	rootdir = root
	if runw = os.Getenv("RUNW"); runw == "" {
		runw = filepath.Join(root, "bin", "runw")
	}
	if _, err := os.Stat(runw); err != nil {
		return fmt.Errorf("%w: run `make build`", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount proc: %w", err)
	}
	for dir, mode := range map[string]string{"/run": "0755", "/dev/shm": "1777", "/var/lib": "0755"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode="+mode); err != nil {
			return fmt.Errorf("mount an own %s: %w", dir, err)
		}
	}
	settle()
	if err := errors.Join(overlay("/etc"), overlay("/usr/local/sbin")); err != nil {
		return err
	}
	// Where the drop-in files say that it is.
	if err := install(runw, "/usr/local/sbin/runw", 0o755); err != nil {
		return err
	}
	runw = "/usr/local/sbin/runw"
	if _, err := machine.Prepare(tmp, false); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("loopback: %w: %s", err, out)
	}
	for _, name := range []string{"XDG_RUNTIME_DIR", "DOCKER_HOST", "CONTAINER_HOST", "CONTAINERD_ADDRESS", "CONTAINERD_NAMESPACE"} {
		os.Unsetenv(name)
	}
	return errors.Join(os.Setenv("HOME", tmp), os.Setenv("TMPDIR", tmp))
}

// settle lets cgroup v1 hierarchies go that nobody has mounted. The kernel keeps one whose
// last cgroup was still dying at its unmount, until the next one, and as long as every
// process is in a hierarchy that it cannot see, containerd reads no metrics at all.
func settle() {
	dir := filepath.Join(tmp, "hierarchy")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return
	}
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		controllers := unseen()
		if len(controllers) == 0 {
			return
		}
		for _, controller := range controllers {
			if unix.Mount("cgroup", dir, "cgroup", 0, controller) == nil {
				_ = unix.Unmount(dir, 0)
			}
		}
	}
}

// unseen lists the controllers of this process's cgroup v1 hierarchies that are not mounted
// where programs look for them.
func unseen() []string {
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	var list []string
	for line := range strings.Lines(string(content)) {
		_, rest, _ := strings.Cut(line, ":")
		controllers, _, _ := strings.Cut(rest, ":")
		if controllers == "" || strings.HasPrefix(controllers, "name=") {
			continue
		}
		first, _, _ := strings.Cut(controllers, ",")
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", first, "cgroup.procs")); err != nil {
			list = append(list, controllers)
		}
	}
	return list
}

// left names what runw has left behind of the containers that the tests have removed: its
// state, for whichever client, and its processes. Clients remove some after the fact.
func left() error {
	var found []string
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		found = nil
		for _, pattern := range []string{
			"/run/runw/*", "/run/user/*/runw/*", // podman, buildah
			"/run/containerd/runc/*/*", "/run/docker/runtime-*/*/*",
		} {
			paths, _ := filepath.Glob(pattern)
			found = append(found, paths...)
		}
		// A file below /usr/local/sbin, the same sealed in a file system of its own, or a memfd.
		executables, _ := filepath.Glob("/proc/[0-9]*/exe")
		for _, path := range executables {
			if program, err := os.Readlink(path); err == nil && strings.Contains(filepath.Base(program), "runw") {
				found = append(found, path+" -> "+program)
			}
		}
		if len(found) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("left behind: %s", strings.Join(found, ", "))
		}
	}
}

// overlay makes dir writable for this run alone. What is written is on the run's own /run,
// for an overlay does not go on top of another, which a container's / often is.
func overlay(dir string) error {
	var parts []string
	for _, part := range []string{"upper", "work"} {
		path := filepath.Join("/run/runw-test", dir, part)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		parts = append(parts, part+"dir="+path)
	}
	if err := unix.Mount("overlay", dir, "overlay", 0, "lowerdir="+dir+","+strings.Join(parts, ",")); err != nil {
		return fmt.Errorf("make an own %s: %w", dir, err)
	}
	return nil
}

// install copies a file, as a package manager would, with the directories above it.
func install(from, to string, mode os.FileMode) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, content, mode)
}

// cgroups are those that the machine had, below the ones where the clients make theirs.
type cgroups map[string]bool

// tops are the cgroups under which the clients make theirs, and which they leave behind.
func tops() []string {
	hierarchies, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if !machine.Hybrid() {
		hierarchies = []string{"/sys/fs/cgroup/cgroup.procs"}
	}
	var list []string
	for _, procs := range hierarchies {
		for _, name := range []string{"libpod_parent", cgroupPrefix} {
			list = append(list, filepath.Join(filepath.Dir(procs), name))
		}
	}
	return list
}

// walk visits the cgroups of tops, each before those above it.
func walk(visit func(path string) error) error {
	for _, top := range tops() {
		var found []string
		_ = filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				found = append(found, path)
			}
			return nil // gone meanwhile, or never there
		})
		for _, path := range slices.Backward(found) {
			if err := visit(path); err != nil {
				return err
			}
		}
	}
	return nil
}

func known() cgroups {
	c := cgroups{}
	_ = walk(func(path string) error { c[path] = true; return nil })
	return c
}

// remove removes the others. It waits for the last processes to be gone: the kernel kills
// those of a process namespace when its first ends, but buries them later.
func (c cgroups) remove() error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := walk(func(path string) error {
			if c[path] {
				return nil
			}
			if err := unix.Rmdir(path); err != nil {
				return fmt.Errorf("remove cgroup %s: %w", path, err)
			}
			return nil
		})
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
