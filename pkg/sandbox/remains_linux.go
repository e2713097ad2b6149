package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// remains is what tells Delete about a container whose create was killed
// between the making of its cgroup and of its state.json.
type remains struct {
	Cgroup cgroups.Cgroup    `json:"cgroup"`
	Paths  map[string]string `json:"paths"` // as Manager.GetPaths
}

// remainsPath is a file beside the container's directory, which is not there
// yet when a compile process gets a cgroup; '@' is not in any container's id.
func (r *Runtime) remainsPath(id string) string { return filepath.Join(r.Root, id+"@cgroup") }

// remember notes the cgroup that is about to be made. forget ends it.
func (r *Runtime) remember(id string, cgroup *cgroups.Cgroup, paths map[string]string) error {
	note := remains{Cgroup: *cgroup, Paths: paths}
	note.Cgroup.Resources = nil
	data, err := json.Marshal(&note)
	if err != nil {
		return err
	}
	return os.WriteFile(r.remainsPath(id), data, 0o600)
}

func (r *Runtime) forget(id string) {
	if err := os.Remove(r.remainsPath(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		logrus.Warnf("container %q: %v", id, err)
	}
}

// rememberCreation is remember for a container that libcontainer knows.
func (c *creation) rememberCreation() error {
	state, err := c.container.State()
	if err != nil {
		return err
	}
	return c.runtime.remember(c.id, state.Config.Cgroups, state.CgroupPaths)
}

// deleteRemains removes what a create that was killed before it wrote
// state.json has left. The id was found valid by load, so it names a directory
// right below the root.
func (r *Runtime) deleteRemains(id string, force bool) error {
	if err := r.deleteCgroup(id); err != nil {
		return err
	}
	if err := r.detachRestore(id); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(r.Root, id)); err != nil {
		return err
	}
	r.forget(id)
	if force {
		return nil
	}
	return ErrNotExist
}

// deleteCgroup ends and removes the cgroup that was remembered.
func (r *Runtime) deleteCgroup(id string) error {
	data, err := os.ReadFile(r.remainsPath(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var note remains
	if err := json.Unmarshal(data, &note); err != nil {
		// Killed while it wrote the note, and so before there was a cgroup.
		logrus.Debugf("%s: %v", r.remainsPath(id), err)
		return nil
	}
	if len(note.Paths) == 0 {
		return fmt.Errorf("%s: names no cgroup", r.remainsPath(id))
	}
	note.Cgroup.Resources = &cgroups.Resources{} // a manager wants some
	m, err := manager.NewWithPaths(&note.Cgroup, note.Paths)
	if err != nil {
		return err
	}
	if err := killAll(m); err != nil {
		return err
	}
	return m.Destroy()
}

// killAll ends every process of a cgroup, which nobody has started for good: an
// init without its parent ends by itself, if only it is given the time.
func killAll(m cgroups.Manager) error {
	for wait := range patience() {
		pids, err := m.GetAllPids()
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || err == nil && len(pids) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended already
		}
		time.Sleep(wait)
	}
	return stateError("container's processes still running")
}

// patience yields waits for at most 10 s, as runc has it: a process in an
// uninterruptible sleep outlives SIGKILL. A killed process is gone within a
// millisecond or so; the waits grow so that the usual delete does not pay for
// the unusual one.
func patience() func(yield func(time.Duration) bool) {
	return func(yield func(time.Duration) bool) {
		wait := time.Millisecond
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
			if !yield(wait) {
				return
			}
			wait = min(2*wait, 100*time.Millisecond)
		}
	}
}

// detachRestore unmounts what a restore that was killed has left mounted below
// the container's directory: the root filesystem, which would be emptied
// together with the directory.
func (r *Runtime) detachRestore(id string) error {
	path := filepath.Join(r.Root, id, "criu-root")
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil // EINVAL: nothing is mounted there
	}
	if errors.Is(err, unix.EPERM) {
		// Who may not unmount has not restored either.
		return nil
	}
	return &os.PathError{Op: "unmount", Path: path, Err: err}
}

// destroy removes a container that has no process any more.
func (r *Runtime) destroy(c *libcontainer.Container) error {
	if err := r.detachRestore(c.ID()); err != nil {
		return err
	}
	if err := c.Destroy(); err != nil {
		return err
	}
	r.forget(c.ID())
	return nil
}
