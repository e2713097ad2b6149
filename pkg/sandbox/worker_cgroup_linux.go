package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// seat is a compile process's place in a cgroup. The zero one is none.
type seat struct {
	manager cgroups.Manager // nil where the process has only its own limits
	forget  func()          // set if the cgroup is to be removed
	ooms    uint64
	// memory and tasks are limits in force, 0 for none.
	memory, tasks uint64
}

// HostWorker is for modules that no container waits for.
func HostWorker() *Worker { return &Worker{} }

// Worker compiles for a container that is still to be created. Its cgroup is
// there, with its limits, only while a process compiles in it.
func (r *Runtime) Worker(a *CreateArgs) *Worker {
	return &Worker{join: func(pid int) (*seat, error) { return r.newSeat(a, pid) }}
}

// Vacant refuses an id that no new container can have, for those who have work
// to do before they call Create.
func (r *Runtime) Vacant(id string) error {
	_, err := r.load(id)
	switch {
	case err == nil:
		return ErrExist
	case !errors.Is(err, ErrNotExist):
		return err
	}
	// A container without a state.json, one that is being created.
	if _, err := os.Lstat(filepath.Join(r.Root, id)); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(ErrExist, err)
	}
	return nil
}

// newSeat gives a seat to be left with an error too, once the process has ended.
func (r *Runtime) newSeat(a *CreateArgs, pid int) (*seat, error) {
	config, err := r.config(a)
	if err != nil {
		return nil, err
	}
	m, err := manager.New(config.Cgroups)
	if err != nil {
		return nil, err
	}
	s := newSeat(m, config.Cgroups.Resources)
	// What is there already stays: somebody's, or left by a create that was
	// killed. That somebody is in it makes it another container's, and what is
	// frozen would freeze the process (libcontainer.Create's checks and texts).
	if m.Exists() {
		pids, err := m.GetAllPids()
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return nil, fmt.Errorf("unable to get cgroup PIDs: %w", err)
		}
		if len(pids) != 0 {
			return nil, fmt.Errorf("container's cgroup is not empty: %d process(es) found", len(pids))
		}
	} else {
		if err := os.MkdirAll(r.Root, 0o700); err != nil { // libcontainer.Create's to make
			return nil, err
		}
		if err := r.remember(a.ID, config.Cgroups, m.GetPaths()); err != nil {
			return nil, err
		}
		s.forget = func() { r.forget(a.ID) }
	}
	if state, err := m.GetFreezerState(); err != nil || state == cgroups.Frozen {
		return s, errors.Join(errors.New("container's cgroup unexpectedly frozen"), err)
	}
	if err := m.Apply(pid); errors.Is(err, cgroups.ErrRootless) {
		logrus.Debugf("compile process %d has resource limits only: %v", pid, err)
	} else if err != nil {
		return s, fmt.Errorf("unable to apply cgroup configuration: %w", err)
	}
	if err := m.Set(config.Cgroups.Resources); err != nil {
		return s, fmt.Errorf("unable to set cgroup limits: %w", err)
	}
	s.ooms, _ = m.OOMKillCount() // no controller, no limit
	return s, nil
}

// Worker compiles for an exec, in the container's cgroup.
func (t *Target) Worker() *Worker {
	return &Worker{join: t.seat}
}

// seat leaves a process outside of a cgroup that it cannot join: libcontainer's
// own process may find a way (SubCgroups, the cgroup of the init).
func (t *Target) seat(pid int) (*seat, error) {
	status, err := t.container.Status()
	if err != nil {
		return nil, err
	}
	if status == libcontainer.Paused {
		logrus.Debugf("compile process %d has resource limits only: the container is paused", pid)
		return &seat{}, nil
	}
	state, err := t.container.State()
	if err != nil {
		return nil, err
	}
	m, err := manager.NewWithPaths(state.Config.Cgroups, state.CgroupPaths)
	if err != nil {
		return nil, err
	}
	s := newSeat(m, state.Config.Cgroups.Resources)
	s.ooms, _ = m.OOMKillCount()
	if err := m.AddPid("", pid); err != nil {
		logrus.Debugf("compile process %d has resource limits only: %v", pid, err)
		return &seat{}, nil
	}
	return s, nil
}

func newSeat(m cgroups.Manager, r *cgroups.Resources) *seat {
	s := &seat{manager: m}
	if r != nil {
		s.memory = uint64(max(r.Memory, 0)) // -1 is "unlimited"
		if r.PidsLimit != nil {
			s.tasks = uint64(max(*r.PidsLimit, 0))
		}
	}
	return s
}

// killed tells whether the kernel has killed for memory since the seat was
// taken.
func (s *seat) killed() bool {
	if s.manager == nil {
		return false
	}
	n, err := s.manager.OOMKillCount()
	return err == nil && n > s.ooms
}

// leave removes the cgroup if it was made for the process, which has ended.
func (s *seat) leave() {
	if s == nil || s.forget == nil {
		return
	}
	if err := s.manager.Destroy(); err != nil {
		logrus.Warnf("cgroup of a compile process: %v", err)
		return
	}
	s.forget()
}
