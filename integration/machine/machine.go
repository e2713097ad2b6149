// Package machine keeps the machine as it was while containers are started on it: the
// tests and the benchmark run in a mount namespace of their own, with a null device of
// their own, and adopt the containers' processes.
package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideEnv marks the copy that runs in a mount namespace of its own.
const insideEnv = "RUNW_TEST_INSIDE"

// Reexec runs this program again in a private mount namespace and returns its exit code:
// whatever a failing runtime leaves mounted goes away with it, and is never walked by
// anybody's rm. In the copy, and without root, done is false and the program goes on.
func Reexec() (code int, done bool) {
	if os.Geteuid() != 0 || os.Getenv(insideEnv) != "" {
		return 0, false
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1), true
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// Prepare makes this process adopt the containers' processes, so that it can wait for
// them, and binds a null device in tmp over /dev/null: crun 1.8.1 chowns the caller's. With
// crun it also mounts the cgroup v1 controller that crun 1.8.1 asks a hybrid hierarchy for.
func Prepare(tmp string, crun bool) (undo func(), err error) {
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
	if !crun || !Hybrid() {
		return undo, nil
	}
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

// Hybrid tells whether cgroup v1 controllers are mounted.
func Hybrid() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type != unix.CGROUP2_SUPER_MAGIC
}
