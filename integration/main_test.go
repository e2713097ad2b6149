package integration

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/runw/runw/integration/guests"
)

// insideEnv marks the copy of the test binary that runs in a mount namespace of its own.
const insideEnv = "RUNW_TEST_INSIDE"

// rt is the runtime under test; TestMain sets it before any test runs.
var rt *runtimeUnderTest

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Geteuid() == 0 && os.Getenv(insideEnv) == "" {
		os.Exit(reexec())
	}
	code, err := inside(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		code = 1
	}
	os.Exit(code)
}

// reexec runs this binary again in a private mount namespace: whatever a failing runtime
// leaves mounted goes away with it and is never walked by anybody's rm.
func reexec() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	var exit *exec.ExitError
	switch err := cmd.Run(); {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	return 0
}

func inside(m *testing.M) (int, error) {
	tmp, err := os.MkdirTemp("", "runw-test-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(tmp)
	// Rootless containers run below it.
	if err := os.Chmod(tmp, 0o755); err != nil {
		return 0, err
	}
	if rt, err = findRuntime(tmp); err != nil {
		return 0, err
	}
	if os.Geteuid() == 0 {
		undo, err := prepareMachine(tmp)
		if err != nil {
			return 0, err
		}
		defer undo()
	}
	return m.Run(), nil
}

// prepareMachine makes the test adopt the containers' processes, so that it can wait for
// them, and gives them a null device of their own: crun 1.8.1 chowns the caller's.
func prepareMachine(tmp string) (undo func(), err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become a subreaper: %w", err)
	}
	null := filepath.Join(tmp, "null")
	if err := unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		return nil, fmt.Errorf("make a null device: %w", err)
	}
	if err := os.Chmod(null, 0o666); err != nil {
		return nil, err
	}
	if err := unix.Mount(null, "/dev/null", "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("bind a null device: %w", err)
	}
	undo = func() { _ = unix.Unmount("/dev/null", unix.MNT_DETACH) }
	if rt.name != "crun" || !hybrid() {
		return undo, nil
	}
	// crun 1.8.1 asks a hybrid hierarchy for every v1 controller that the kernel has.
	const hugetlb = "/sys/fs/cgroup/hugetlb"
	if err := os.Mkdir(hugetlb, 0o755); errors.Is(err, os.ErrExist) {
		return undo, nil
	} else if err != nil {
		return nil, err
	}
	if err := unix.Mount("cgroup", hugetlb, "cgroup", 0, "hugetlb"); err != nil {
		return nil, errors.Join(fmt.Errorf("mount hugetlb for crun: %w", err), os.Remove(hugetlb))
	}
	return func() {
		_ = unix.Unmount(hugetlb, 0)
		_ = os.Remove(hugetlb)
		_ = unix.Unmount("/dev/null", unix.MNT_DETACH)
	}, nil
}

// hybrid tells whether cgroup v1 controllers are mounted.
func hybrid() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type != unix.CGROUP2_SUPER_MAGIC
}

// findRuntime resolves RUNTIME (a name in PATH or a path) or bin/runw.
func findRuntime(tmp string) (*runtimeUnderTest, error) {
	path := os.Getenv("RUNTIME")
	if path == "" {
		root, err := guests.Root()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(root, "bin", "runw")
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%w: run `make build`", err)
		}
	}
	path, err := exec.LookPath(path)
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(filepath.Base(path), "-")
	return &runtimeUnderTest{path: path, name: name, tmp: tmp}, nil
}
