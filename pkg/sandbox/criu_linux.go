package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// CRIU is what checkpoint and restore tell the program criu, which does the
// work and is looked up in $PATH. The fields are runc's flags.
type CRIU struct {
	// ImagePath is the directory of the images, WorkPath that of criu's logs
	// ("" for the same). Both are absolute.
	ImagePath, WorkPath string
	// ParentPath is the directory of an earlier pre-dump, relative to
	// ImagePath; "" for none.
	ParentPath string

	TCPEstablished, TCPSkipInFlight, ExtUnixSk, ShellJob, FileLocks bool

	LinkRemap, AutoDedup, LazyPages bool
	// StatusFD gets a NUL byte when lazy pages are ready; -1 for none.
	StatusFD int
	// PageServer and PagePort take the memory pages; "" and 0 for none.
	PageServer string
	PagePort   int32
	// ManageCgroupsMode is soft, full, strict, ignore or "".
	ManageCgroupsMode string
	// LSMProfile and LSMMountContext are those of a restored container.
	LSMProfile, LSMMountContext string
}

func (c *CRIU) options() *libcontainer.CriuOpts {
	return &libcontainer.CriuOpts{
		ImagesDirectory:         c.ImagePath,
		WorkDirectory:           c.WorkPath,
		ParentImage:             c.ParentPath,
		TcpEstablished:          c.TCPEstablished,
		TcpSkipInFlight:         c.TCPSkipInFlight,
		LinkRemap:               c.LinkRemap,
		ExternalUnixConnections: c.ExtUnixSk,
		ShellJob:                c.ShellJob,
		FileLocks:               c.FileLocks,
		PageServer:              libcontainer.CriuPageServerInfo{Address: c.PageServer, Port: c.PagePort},
		AutoDedup:               c.AutoDedup,
		LazyPages:               c.LazyPages,
		StatusFd:                c.StatusFD,
		LsmProfile:              c.LSMProfile,
		LsmMountContext:         c.LSMMountContext,
		ManageCgroupsMode:       c.ManageCgroupsMode,
		// The devices of a network namespace are the caller's to make again.
		EmptyNs: unix.CLONE_NEWNET,
	}
}

// ErrCheckpointWasm is returned for a container in which a module runs: the
// engine is executed from a sealed copy of runw and maps native code, and
// neither file has a name that criu could find again at a restore.
var ErrCheckpointWasm = errors.New("a WebAssembly module runs in the container: its engine maps files without a name, which CRIU cannot restore")

// CheckpointArgs says what to write to disk.
type CheckpointArgs struct {
	ID   string
	CRIU CRIU
	// LeaveRunning lets the container go on afterwards; PreDump writes the
	// memory alone, and lets it go on too.
	LeaveRunning, PreDump bool
}

// Checkpoint writes a running or paused container of Linux programs to
// CRIU.ImagePath and, unless it is to go on, removes it. On error it goes on.
func (r *Runtime) Checkpoint(a CheckpointArgs) error {
	c, err := r.load(a.ID)
	if err != nil {
		return err
	}
	status, err := c.Status()
	if err != nil {
		return err
	}
	if status == libcontainer.Created || status == libcontainer.Stopped {
		return stateError(fmt.Sprintf("container cannot be checkpointed in %s state", status))
	}
	pid, err := engineIn(c)
	if err != nil {
		return err
	}
	if pid != 0 {
		return fmt.Errorf("%w (process %d)", ErrCheckpointWasm, pid)
	}
	if err := a.CRIU.makeImagePath(); err != nil {
		return err
	}
	o := a.CRIU.options()
	o.LeaveRunning, o.PreDump = a.LeaveRunning, a.PreDump
	if err := c.Checkpoint(o); err != nil {
		return a.CRIU.explain(err, "dump.log")
	}
	if a.LeaveRunning || a.PreDump {
		return nil
	}
	if err := c.Destroy(); err != nil {
		logrus.Warnf("container %q: %v", a.ID, err)
	}
	return nil
}

// makeImagePath exists because libcontainer makes the last directory only.
func (c *CRIU) makeImagePath() error {
	if err := os.MkdirAll(c.ImagePath, 0o700); err != nil {
		return err
	}
	switch info, err := os.Stat(filepath.Join(c.ImagePath, c.ParentPath)); {
	case filepath.IsAbs(c.ParentPath):
		return errors.New("--parent-path must be relative")
	case err != nil:
		return fmt.Errorf("invalid --parent-path: %w", err)
	case !info.IsDir():
		return fmt.Errorf("invalid --parent-path: %s: %w", c.ParentPath, unix.ENOTDIR)
	}
	return nil
}

// explain names criu's log, where there is one: its answer is a number.
func (c *CRIU) explain(err error, log string) error {
	dir := c.WorkPath
	if dir == "" {
		dir = c.ImagePath
	}
	path := filepath.Join(dir, log)
	if _, missing := os.Stat(path); missing != nil {
		return err
	}
	return fmt.Errorf("%w (see %s)", err, path)
}

// engineIn finds a process of the container that runs a module, 0 for none. A
// program that calls itself so is only kept from being checkpointed.
func engineIn(c *libcontainer.Container) (int, error) {
	pids, err := c.Processes()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		if err == nil && bytes.HasPrefix(line, []byte(enginePath+"\x00"+EngineCommand+"\x00")) {
			return pid, nil
		}
	}
	return 0, nil
}

// RestoreArgs says what to bring back.
type RestoreArgs struct {
	// CreateArgs names the container and its bundle; Guest is nil.
	CreateArgs
	CRIU CRIU
	// Detach and NoSubreaper are as in RunArgs.
	Detach, NoSubreaper bool
}

// Restore makes a container from what Checkpoint wrote and, unless detached,
// waits for its end and removes it. status is as Run's. On error nothing of the
// container is left.
func (r *Runtime) Restore(a RestoreArgs) (status int, err error) {
	if _, err := os.Stat(a.CRIU.ImagePath); err != nil {
		return -1, fmt.Errorf("--image-path: %w", err)
	}
	c := r.newCreation(&a.CreateArgs, a.Detach)
	c.bring = func(p *libcontainer.Process) error {
		if err := c.container.Restore(p, a.CRIU.options()); err != nil {
			return a.CRIU.explain(err, "restore.log")
		}
		return nil
	}
	return c.attend(a.NoSubreaper, false, func() error { return nil })
}
