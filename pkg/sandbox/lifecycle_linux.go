package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	err = c.Signal(a.Signal)
	if a.All && errors.Is(err, ErrNotRunning) {
		return nil
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
		return killAndDestroy(c)
	}
	status, err := c.Status()
	if err != nil {
		return err
	}
	switch status {
	case libcontainer.Stopped:
		return c.Destroy()
	case libcontainer.Created:
		return killAndDestroy(c)
	}
	return stateError(fmt.Sprintf("cannot delete container %s that is not stopped: %s", id, status))
}

// deleteRemains removes the directory of a container whose create was killed
// before it wrote state.json. The id was found valid by load, so it names a
// directory right below the root.
func (r *Runtime) deleteRemains(id string, force bool) error {
	if err := os.RemoveAll(filepath.Join(r.Root, id)); err != nil {
		return err
	}
	if force {
		return nil
	}
	return ErrNotExist
}

// killAndDestroy waits for at most 10 s, as runc does: a process in an
// uninterruptible sleep outlives SIGKILL.
func killAndDestroy(c *libcontainer.Container) error {
	_ = c.Signal(unix.SIGKILL) // it may have ended already
	// A killed process is gone within a millisecond or so; the waits grow so
	// that the usual delete does not pay for the unusual one.
	wait := time.Millisecond
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if err := c.Signal(unix.Signal(0)); err != nil {
			return c.Destroy()
		}
		time.Sleep(wait)
		wait = min(2*wait, 100*time.Millisecond)
	}
	return stateError("container init still running")
}
