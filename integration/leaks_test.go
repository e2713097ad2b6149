package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// inventory is what a container may leave behind.
type inventory struct {
	mounts  []string // in the test's own mount namespace
	cgroups []string // of this test process, in every hierarchy
	pids    []int    // children of the test
	fds     int      // of the test itself: consoles and sockets that it was sent
}

func take() inventory {
	var inv inventory
	content, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			inv.mounts = append(inv.mounts, fields[4])
		}
	}
	slices.Sort(inv.mounts)
	own := fmt.Sprintf("runw-test-%d-*", os.Getpid())
	for _, pattern := range []string{own, "*/" + own, "*/*/" + own} {
		found, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", pattern))
		inv.cgroups = append(inv.cgroups, found...)
	}
	inv.pids = children()
	fds, _ := os.ReadDir("/proc/self/fd")
	inv.fds = len(fds)
	return inv
}

// close removes the box's container, if a failing test has left it, and reports what is
// there now and was not before.
func (b *box) close(before inventory) {
	b.t.Helper()
	left, _ := os.ReadDir(b.root)
	for _, entry := range left {
		if !b.t.Failed() && b.init == 0 {
			b.t.Errorf("state directory %s left behind", entry.Name())
		}
		// A create that was killed leaves a note beside the directory, ID@cgroup.
		id, _, _ := strings.Cut(entry.Name(), "@")
		b.quiet("delete", "--force", id)
	}
	if left, _ := os.ReadDir(b.root); len(left) != 0 {
		b.t.Errorf("state directory %s survives delete --force", left[0].Name())
	}
	for _, pid := range orphans(before.pids) {
		b.t.Errorf("process %d left behind", pid)
	}
	if files, _ := os.ReadDir(filepath.Join(b.dir, "tmp")); len(files) != 0 {
		b.t.Errorf("temporary file %s left behind", files[0].Name())
	}
	// cgroup v1 removes a directory a moment after its last process.
	var after inventory
	eventually(2*time.Second, func() bool { after = take(); return len(after.cgroups) <= len(before.cgroups) })
	if !slices.Equal(after.mounts, before.mounts) {
		b.t.Errorf("mounts before: %v\nafter: %v", before.mounts, after.mounts)
	}
	for _, path := range after.cgroups {
		if !slices.Contains(before.cgroups, path) {
			b.t.Errorf("cgroup %s left behind", path)
			_ = os.Remove(path)
		}
	}
	if after.fds > before.fds {
		b.t.Errorf("%d open files before, %d after", before.fds, after.fds)
	}
	if err := os.RemoveAll(b.dir); err != nil {
		b.t.Error(err)
	}
}

// orphans reaps the test's ended children (it is their subreaper) but the given ones, and
// returns the pids of those that still run, after killing them.
func orphans(known []int) []int {
	var alive []int
	eventually(2*time.Second, func() bool {
		alive = nil
		for _, pid := range children() {
			if slices.Contains(known, pid) {
				continue
			}
			var status unix.WaitStatus
			if got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil); got == 0 && err == nil {
				alive = append(alive, pid)
			}
		}
		return len(alive) == 0
	})
	for _, pid := range alive {
		if err := unix.Kill(pid, unix.SIGKILL); err == nil || !errors.Is(err, unix.ESRCH) {
			_, _ = unix.Wait4(pid, nil, 0, nil)
		}
	}
	return alive
}

func children() []int {
	var pids []int
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, path := range tasks {
		content, _ := os.ReadFile(path)
		for _, field := range strings.Fields(string(content)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
