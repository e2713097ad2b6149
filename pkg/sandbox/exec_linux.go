package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/utils"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Target is a container that a process can be executed in.
type Target struct {
	// Bundle is the container's bundle directory.
	Bundle string
	// Annotations are those of its config.json when it was created.
	Annotations map[string]string
	// MemoryLimit is the memory limit in force, in bytes; 0 for none.
	MemoryLimit uint64
	// Devices are the character devices that config.json gave to the container.
	Devices []Device

	container *libcontainer.Container
}

// Target finds a container to execute a process in: one that is created,
// running, or with ignorePaused paused.
func (r *Runtime) Target(id string, ignorePaused bool) (*Target, error) {
	c, err := r.load(id)
	if err != nil {
		return nil, err
	}
	status, err := c.Status()
	if err != nil {
		return nil, err
	}
	switch {
	case status == libcontainer.Stopped:
		return nil, errStopped
	case status == libcontainer.Paused && !ignorePaused:
		return nil, stateError("cannot exec in a paused container (use --ignore-paused to override)")
	}
	config := c.Config()
	t := &Target{container: c}
	t.Bundle, t.Annotations = utils.Annotations(config.Labels)
	if config.Cgroups != nil && config.Cgroups.Resources != nil {
		t.MemoryLimit = uint64(max(config.Cgroups.Memory, 0)) // -1 is "unlimited"
	}
	t.Devices = devicesOf(config)
	return t, nil
}

// devicesOf leaves out what every container has, /dev/null and the like.
func devicesOf(config configs.Config) []Device {
	var list []Device
	for _, d := range config.Devices {
		if d.Type != devices.CharDevice || d.Major == memoryMajor || d.Major == ttyMajor || !strings.HasPrefix(d.Path, "/dev/") {
			continue
		}
		list = append(list, Device{
			Path: filepath.Clean(d.Path), Host: d.Path, Major: uint32(d.Major), Minor: uint32(d.Minor),
			Mode: uint32(d.FileMode.Perm()), UID: d.Uid, GID: d.Gid,
		})
	}
	return list
}

// Majors of Linux's admin-guide/devices.txt.
const (
	memoryMajor = 1
	ttyMajor    = 5
)

const errStopped = stateError("cannot exec in a stopped container")

// Root opens the container's root directory as its first process sees it, with
// everything that is mounted there now. The descriptor is one for looking up
// names (O_PATH); the caller closes it.
func (t *Target) Root() (_ *os.File, retErr error) {
	state, err := t.container.State()
	if err != nil {
		return nil, err
	}
	root, err := os.OpenFile("/proc/"+strconv.Itoa(state.InitProcessPid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if retErr != nil {
			root.Close()
		}
	}()
	// The number may have become another process's between the two; it is the
	// container's as long as that runs with the start time of state.json.
	status, err := t.container.Status()
	if err != nil {
		return nil, err
	}
	if status == libcontainer.Stopped {
		return nil, errStopped
	}
	return root, nil
}

// ExecArgs says what to execute.
type ExecArgs struct {
	ProcessArgs
	// Process is validated.
	Process *specs.Process
	// SubCgroups names cgroups below the container's that the process goes to,
	// by controller (cgroup v1) or as the one of "" (all of them).
	SubCgroups map[string]string
	// Detach returns as soon as the program runs.
	Detach bool
}

// Exec runs one more process in the container, and unless detached waits for
// its end. status is as Runtime.Run's.
func (t *Target) Exec(a ExecArgs) (status int, err error) {
	l := launch{
		id:         t.container.ID(),
		spec:       a.Process,
		args:       &a.ProcessArgs,
		detach:     a.Detach,
		subCgroups: a.SubCgroups,
		container:  t.container,
	}
	if err := l.checkTerminal(); err != nil {
		return -1, err
	}
	var signals <-chan os.Signal
	if !a.Detach {
		if signals, err = watchSignals(); err != nil {
			return -1, err
		}
	}
	if err := l.start(); err != nil {
		l.kill()
		return -1, err
	}
	defer l.stdio.release()
	if a.Detach {
		return 0, nil
	}
	status = l.wait(signals)
	l.stdio.drain()
	return status, nil
}
