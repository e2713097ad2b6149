package sandbox

import (
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// CreateArgs says what to create.
type CreateArgs struct {
	// ID names the container below Runtime.Root.
	ID string
	// Bundle is the bundle's directory; Spec its validated config.json, which
	// Create may change.
	Bundle string
	Spec   *specs.Spec
	// Guest is the module to run, nil for a native container.
	Guest *Guest
	// PIDFile, ConsoleSocket and PidfdSocket are absolute paths or empty.
	PIDFile, ConsoleSocket, PidfdSocket string
	// PreserveFDs counts the caller's descriptors to hand on, after stdio and
	// $LISTEN_FDS.
	PreserveFDs int
	// NoPivot and NoNewKeyring are runc's flags of these names.
	NoPivot, NoNewKeyring bool
}

// Create makes a container whose program waits for Start. On error nothing of
// the container is left.
func (r *Runtime) Create(a CreateArgs) error {
	l := launch{runtime: r, args: &a, detach: true}
	if err := l.create(); err != nil {
		return err
	}
	l.stdio.release()
	return nil
}

// launch is one container on its way from config.json to a running process.
type launch struct {
	runtime   *Runtime
	args      *CreateArgs
	detach    bool
	container *libcontainer.Container
	process   *libcontainer.Process
	stdio     *stdio
	notify    *notifySocket
}

// create takes the launch to the state "created".
func (l *launch) create() (retErr error) {
	a := l.args
	if a.ID == "" {
		return ErrEmptyID
	}
	if err := l.checkTerminal(); err != nil {
		return err
	}
	// specconv resolves the root filesystem and bind sources against the
	// working directory and records it as the bundle.
	if err := os.Chdir(a.Bundle); err != nil {
		return err
	}
	l.notify = newNotifySocket(l.runtime.Root, a.ID)
	l.notify.addTo(a.Spec)
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName:       a.ID,
		UseSystemdCgroup: l.runtime.SystemdCgroup,
		NoPivotRoot:      a.NoPivot,
		NoNewKeyring:     a.NoNewKeyring,
		Spec:             a.Spec,
		RootlessEUID:     os.Geteuid() != 0,
		RootlessCgroups:  l.runtime.rootlessCgroups(),
	})
	if err != nil {
		return err
	}
	l.container, err = libcontainer.Create(l.runtime.Root, a.ID, config)
	if err != nil {
		return err
	}
	defer func() {
		if retErr != nil {
			l.abandon()
		}
	}()
	if err := l.notify.makeDir(); err != nil {
		return err
	}
	return l.start()
}

// start runs the container's init up to the point where it waits for Start.
func (l *launch) start() (retErr error) {
	a := l.args
	p, err := newProcess(a.Spec.Process)
	if err != nil {
		return err
	}
	p.Init = true
	if err := passFiles(p, a.PreserveFDs); err != nil {
		return err
	}
	if a.Guest != nil {
		handoff, err := a.Guest.install(a.ID, p)
		if err != nil {
			return err
		}
		defer handoff.Close()
	}
	l.stdio, err = l.newStdio(p)
	if err != nil {
		return err
	}
	defer func() {
		if retErr != nil {
			l.stdio.release()
		}
	}()
	if a.PidfdSocket != "" {
		socket, err := dialUnix(a.PidfdSocket)
		if err != nil {
			return fmt.Errorf("pidfd socket %s: %w", a.PidfdSocket, err)
		}
		defer socket.Close()
		p.PidfdSocket = socket
	}
	l.process = p
	if err := l.container.Start(p); err != nil {
		return err
	}
	if err := l.stdio.started(); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	if a.PIDFile == "" {
		return nil
	}
	pid, err := p.Pid()
	if err != nil {
		return err
	}
	return writePIDFile(a.PIDFile, pid)
}

// abandon removes what a failed create has made so far.
func (l *launch) abandon() {
	if l.process != nil {
		// Both fail when the process was never started.
		_ = l.process.Signal(unix.SIGKILL)
		_, _ = l.process.Wait()
	}
	if err := l.container.Destroy(); err != nil {
		logrus.Warnf("container %q: %v", l.args.ID, err)
	}
}

// checkTerminal refuses the combinations in which nobody would hold the
// terminal's other end.
func (l *launch) checkTerminal() error {
	terminal, socket := l.args.Spec.Process.Terminal, l.args.ConsoleSocket != ""
	if l.detach && terminal && !socket {
		return errors.New("cannot allocate tty if runw will detach without setting console socket")
	}
	if socket && !(l.detach && terminal) {
		return errors.New("cannot use console socket if runw will not detach or allocate tty")
	}
	return nil
}
