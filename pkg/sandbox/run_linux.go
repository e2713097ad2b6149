package sandbox

import (
	"errors"
	"os"
	"os/signal"

	"github.com/opencontainers/runc/libcontainer/system"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// RunArgs says what to run.
type RunArgs struct {
	CreateArgs
	// Detach returns as soon as the program runs.
	Detach bool
	// Keep leaves the container's state in place after its program has ended.
	Keep bool
	// NoSubreaper leaves orphans of the container to somebody else.
	NoSubreaper bool
}

// Run creates a container, starts it, and unless detached waits for its end and
// removes it. status is the program's: its exit code, or 128 and the number of
// the signal that killed it.
func (r *Runtime) Run(a RunArgs) (status int, retErr error) {
	l := launch{runtime: r, args: &a.CreateArgs, detach: a.Detach}
	var signals chan os.Signal
	if !a.Detach {
		if !a.NoSubreaper {
			if err := system.SetSubreaper(1); err != nil {
				logrus.Warn(err)
			}
		}
		// Before the process exists, or its SIGCHLD could be missed.
		signals = make(chan os.Signal, 2048)
		signal.Notify(signals)
		defer signal.Stop(signals)
	}
	if err := l.create(); err != nil {
		return -1, err
	}
	defer l.stdio.release()
	if err := l.run(); err != nil {
		l.abandon()
		return -1, err
	}
	if a.Detach {
		return 0, nil
	}
	status = l.wait(signals)
	l.stdio.drain()
	if !a.Keep {
		if err := l.container.Destroy(); err != nil {
			logrus.Warnf("container %q: %v", a.ID, err)
		}
	}
	return status, nil
}

// run lets the program go.
func (l *launch) run() error {
	if err := l.notify.bind(); err != nil {
		return err
	}
	if err := l.container.Exec(); err != nil {
		return err
	}
	pid, err := l.process.Pid()
	if err != nil {
		return err
	}
	if l.detach {
		return l.notify.forward(pid, pid)
	}
	go func() {
		if err := l.notify.forward(pid, os.Getpid()); err != nil {
			logrus.Warnf("notify socket: %v", err)
		}
	}()
	return nil
}

// wait passes signals on until the container's process has ended, and gives
// its status.
func (l *launch) wait(signals <-chan os.Signal) int {
	pid, err := l.process.Pid()
	if err != nil {
		return -1
	}
	for s := range signals {
		switch s {
		case unix.SIGWINCH:
			l.stdio.resize()
		case unix.SIGCHLD:
			if status, ended := reap(pid); ended {
				// Fails, the status is taken; it is called for what else
				// os/exec does at the end of a process.
				_, _ = l.process.Wait()
				return status
			}
		case unix.SIGURG: // the Go runtime preempts goroutines with it
		default:
			if err := l.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
				logrus.Warnf("container %q: pass on %s: %v", l.args.ID, s, err)
			}
		}
	}
	return -1
}

// reap collects every child that has ended, as a subreaper has to, and tells
// whether pid was among them and with which status.
func reap(pid int) (status int, ended bool) {
	for {
		var ws unix.WaitStatus
		child, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || child <= 0:
			return status, ended
		case child == pid && ws.Signaled():
			status, ended = 128+int(ws.Signal()), true
		case child == pid:
			status, ended = ws.ExitStatus(), true
		}
	}
}
