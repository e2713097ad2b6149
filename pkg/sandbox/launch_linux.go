package sandbox

import (
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// ProcessArgs is what create, run and exec can say about a process beyond
// config.json.
type ProcessArgs struct {
	// Guest is the module to run, nil for a native program.
	Guest *Guest
	// PIDFile, ConsoleSocket and PidfdSocket are absolute paths or empty.
	PIDFile, ConsoleSocket, PidfdSocket string
	// PreserveFDs counts the caller's descriptors to hand on, after stdio and
	// $LISTEN_FDS.
	PreserveFDs int
}

// launch is one process on its way into a container: its first one, or one
// more.
type launch struct {
	id     string
	spec   *specs.Process
	args   *ProcessArgs
	init   bool // the container's first process
	detach bool
	// subCgroups are those of exec --cgroup, by controller.
	subCgroups map[string]string
	container  *libcontainer.Container
	// bring makes the process run, nil for container.Start.
	bring   func(*libcontainer.Process) error
	process *libcontainer.Process // nil until it was tried to start it
	stdio   *stdio
}

// checkTerminal refuses the combinations in which nobody would hold the
// terminal's other end.
func (l *launch) checkTerminal() error {
	terminal, socket := l.spec.Terminal, l.args.ConsoleSocket != ""
	if l.detach && terminal && !socket {
		return errors.New("cannot allocate tty if runw will detach without setting console socket")
	}
	if socket && !(l.detach && terminal) {
		return errors.New("cannot use console socket if runw will not detach or allocate tty")
	}
	return nil
}

// start runs the process: the first one up to the point where it waits for
// Start, any other one up to its execve.
func (l *launch) start() (retErr error) {
	p, err := newProcess(l.spec)
	if err != nil {
		return err
	}
	p.Init, p.SubCgroupPaths = l.init, l.subCgroups
	listen := 0
	if l.init {
		listen = listenFDs() // the container's, and not for every exec
	}
	if err := passFiles(p, listen, l.args.PreserveFDs); err != nil {
		return err
	}
	helper, undo, err := l.install(p)
	if err != nil {
		return err
	}
	defer undo()
	l.stdio, err = l.newStdio(p)
	if err != nil {
		return err
	}
	defer func() {
		if retErr != nil {
			l.stdio.release()
		}
	}()
	if path := l.args.PidfdSocket; path != "" {
		socket, err := dialUnix(path)
		if err != nil {
			return fmt.Errorf("pidfd socket %s: %w", path, err)
		}
		defer socket.Close()
		p.PidfdSocket = socket
	}
	l.process = p
	bring := l.bring
	if bring == nil {
		bring = l.container.Start
	}
	if err := withOneProcessor(func() error { return bring(p) }); err != nil {
		return err
	}
	if err := l.stdio.started(); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	if helper != nil {
		if err := l.startAccel(helper); err != nil {
			return err
		}
	}
	if l.args.PIDFile == "" {
		return nil
	}
	pid, err := p.Pid()
	if err != nil {
		return err
	}
	return writePIDFile(l.args.PIDFile, pid)
}

// install makes p the engine if there is a module to run. helper is the other
// end of the engine's socket for inference, nil for none; undo closes what the
// processes have of their own once they are started.
func (l *launch) install(p *libcontainer.Process) (helper *os.File, undo func(), err error) {
	var open []*os.File
	undo = func() { closeAll(open) }
	if l.args.Guest == nil {
		return nil, undo, nil
	}
	var engine *os.File
	if l.args.Guest.Accel != nil {
		if err := l.checkAccel(); err != nil {
			return nil, nil, err
		}
		if engine, helper, err = accelSocket(); err != nil {
			return nil, nil, err
		}
		open = append(open, engine, helper)
	}
	handoff, err := l.args.Guest.install(l.id, p, engine)
	if err != nil {
		undo()
		return nil, nil, err
	}
	open = append(open, handoff)
	return helper, undo, nil
}

// kill ends the process, if there is one.
func (l *launch) kill() {
	if l.process == nil {
		return
	}
	// Both fail when the process was never started.
	_ = l.process.Signal(unix.SIGKILL)
	_, _ = l.process.Wait()
}

// wait passes signals on until the process has ended, and gives its status.
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
		default:
			if err := l.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
				logrus.Warnf("container %q: pass on %s: %v", l.id, s, err)
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

// withOneProcessor lets libcontainer's init start with GOMAXPROCS=1, which
// libcontainer passes on from here and which init comes to anyway: its work is
// one goroutine's, and threads that wake each other for it were a tenth of a
// start. Hooks without an environment of their own see the variable as well.
func withOneProcessor(start func() error) error {
	const name = "GOMAXPROCS"
	if _, set := os.LookupEnv(name); !set && os.Setenv(name, "1") == nil {
		defer func() { _ = os.Unsetenv(name) }()
	}
	return start()
}
