package sandbox

import (
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// Start lets the program of a created container go.
func (r *Runtime) Start(id string) error {
	c, err := r.load(id)
	if err != nil {
		return err
	}
	status, err := c.Status()
	if err != nil {
		return err
	}
	switch status {
	case libcontainer.Created:
	case libcontainer.Stopped:
		return stateError("cannot start a container that has stopped")
	case libcontainer.Running:
		return stateError("cannot start an already running container")
	default:
		return stateError(fmt.Sprintf("cannot start a container in the %s state", status))
	}
	notify := newNotifySocket(r.Root, id)
	if err := notify.bind(); err != nil {
		return err
	}
	if err := c.Exec(); err != nil {
		return err
	}
	if notify == nil {
		return nil
	}
	state, err := c.State()
	if err != nil {
		return err
	}
	return notify.forward(state.InitProcessPid, state.InitProcessPid)
}

// KillArgs says what to signal.
type KillArgs struct {
	ID     string
	Signal unix.Signal
	// All makes a container that is not running no error; runc keeps the flag
	// for callers that still set it.
	All bool
}

// Kill sends a signal to the container's first process; SIGKILL goes to all of
// a container that has no pid namespace of its own.
func (r *Runtime) Kill(a KillArgs) error {
	c, err := r.load(a.ID)
	if err != nil {
		return err
	}
	err = send(c, a.Signal)
	if a.All && errors.Is(err, ErrNotRunning) {
		return nil
	}
	return err
}

// send lets a frozen container die of SIGKILL. libcontainer thaws one with a
// pid namespace of its own; of another one, the processes are killed by the
// unified hierarchy's cgroup.kill, while a freezer of cgroup v1 holds them.
func send(c *libcontainer.Container, s unix.Signal) error {
	err := c.Signal(s)
	if s == unix.SIGKILL && err == nil {
		if status, serr := c.Status(); serr == nil && status == libcontainer.Paused {
			err = c.Resume()
		}
	}
	return err
}

// Delete removes what a stopped or created container holds; with force a
// running one too, and one that does not exist is no error then.
func (r *Runtime) Delete(id string, force bool) error {
	c, err := r.load(id)
	if errors.Is(err, ErrNotExist) {
		return r.deleteRemains(id, force)
	}
	if err != nil {
		return err
	}
	// A stopped container too: without a pid namespace of its own, processes
	// may be left in its cgroup.
	if force {
		return r.killAndDestroy(c)
	}
	status, err := c.Status()
	if err != nil {
		return err
	}
	switch status {
	case libcontainer.Stopped:
		return r.destroy(c)
	case libcontainer.Created:
		return r.killAndDestroy(c)
	}
	return stateError(fmt.Sprintf("cannot delete container %s that is not stopped: %s", id, status))
}

func (r *Runtime) killAndDestroy(c *libcontainer.Container) error {
	_ = send(c, unix.SIGKILL) // it may have ended already
	for wait := range patience() {
		if err := c.Signal(unix.Signal(0)); err != nil {
			return r.destroy(c)
		}
		time.Sleep(wait)
	}
	return stateError("container init still running")
}
