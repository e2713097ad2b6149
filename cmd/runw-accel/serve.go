package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/runw/runw/pkg/accel/wire"
	"golang.org/x/sys/unix"
)

const (
	workerCommand = "worker"
	// The descriptors on which the processes find what they talk over: the
	// supervisor's end of the engine's pair, the worker's of its own, and the
	// memory shared with the engine.
	engineFD  = 3
	segmentFD = 4
	// readyLine is what runw waits for (pkg/sandbox.AccelReady).
	readyLine = "ready\n"
)

// serve is the supervisor: it returns when the engine is gone.
func serve(o *options) error {
	// The kernel's PR_SET_PDEATHSIG is about the thread that started a worker.
	runtime.LockOSThread()
	unix.CloseOnExec(engineFD)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_DUMPABLE: %w", err)
	}
	if err := ready(); err != nil {
		return err
	}
	return wire.Supervise(wire.SuperviseArgs{Conn: engineFD, Limits: o.limits, Spawn: o.spawn})
}

// ready tells runw that the supervisor serves, and lets go of the pipe on which
// it does: what was its stderr is nobody's from here on.
func ready() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	if _, err := os.Stderr.WriteString(readyLine); err != nil {
		return err
	}
	for fd := range 3 {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return err
		}
	}
	return nil
}

// spawn starts a worker with its two descriptors.
func (o *options) spawn(conn, segment *os.File) (*os.Process, error) {
	cmd := exec.Command("/proc/self/exe", append([]string{workerCommand}, o.args...)...)
	cmd.Args[0] = os.Args[0]
	// The supervisor has two processors, as it only waits. A worker has all of its
	// container's: it starts the libraries' threads by them.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GOMAXPROCS=") })
	cmd.ExtraFiles = []*os.File{conn, segment}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The worker inherits it, by fork and execve: see patient.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, monitorSlack, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("PR_SET_TIMERSLACK: %w", err)
	}
	defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) }()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd.Process, nil
}

const (
	// monitorSlack is how late Go's monitor thread may look in a worker, in
	// nanoseconds: as late as it does when nothing happens.
	monitorSlack = 10_000_000
	// usualSlack is the kernel's own.
	usualSlack = 50_000
)

// patient leaves the slack to the monitor thread, which exists by now, and takes it
// from the caller's thread and those that it will start. The monitor looks up to
// 4,000 times a second while a library computes, each time in the place of one of
// the library's threads, for which the others wait: see RATIONALE.md.
func patient() error {
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, usualSlack, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_TIMERSLACK: %w", err)
	}
	return nil
}

// work is a worker: it returns when the engine or the supervisor has let go of
// it.
func work(o *options) error {
	unix.CloseOnExec(engineFD)
	unix.CloseOnExec(segmentFD)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_DUMPABLE: %w", err)
	}
	if err := patient(); err != nil {
		return err
	}
	if err := tighten(); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return wire.Serve(wire.ServeArgs{
		Conn: engineFD, Segment: segmentFD, Limits: o.limits, Backends: o.serving(), Exit: exitNow,
	})
}
