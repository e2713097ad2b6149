package sandbox

/*
#include "accel_linux.h"
*/
import "C"

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// AccelCommand is the argument that makes runw the process that confines itself
// and then executes the helper for inference. accel_linux.c does all of it
// before main.
const AccelCommand = C.ACCEL_COMMAND

// AccelReady is the line that the helper writes on its stderr once it serves.
const AccelReady = "ready"

const (
	// accelPatience bounds the wait for the helper's first words.
	accelPatience = 30 * time.Second
	// accelTasks is what the engine and the helper need of linux.resources.pids:
	// two Go programs besides the engine, and a library's threads.
	accelTasks = 40
	accelName  = "runw-accel"
)

// Accel says how the helper for a module's inference is started, and what it
// sees of the machine.
type Accel struct {
	// Program is its executable, Args what follows its name.
	Program string
	Args    []string
	// Visible are files and directories of the host that it gets, read-only and
	// under their own names, besides the system's libraries.
	Visible []string
	// Devices are the device nodes it gets; GPU shows it /sys, in which a
	// driver finds what belongs to a node.
	Devices []Device
	GPU     bool
}

// Device is a character device under a name of the container, or of the host
// for a Host that is "".
type Device struct {
	Path, Host   string
	Major, Minor uint32
	// Mode, UID and GID are the node's in the container.
	Mode, UID, GID uint32
}

// accelSocket is the pair over which an engine and its helper talk: every
// message has a boundary, and the end of one process is seen by the other.
func accelSocket() (engine, helper *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket for inference: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "inference"), os.NewFile(uintptr(fds[1]), "inference"), nil
}

// checkAccel refuses what would fail in the middle of a start.
func (l *launch) checkAccel() error {
	config := l.container.Config()
	if c := config.Cgroups; c != nil && c.Resources != nil && c.PidsLimit != nil && *c.PidsLimit > 0 && *c.PidsLimit < accelTasks {
		return fmt.Errorf("linux.resources.pids.limit %d leaves no room for inference, which takes %d", *c.PidsLimit, accelTasks)
	}
	status, err := l.container.Status()
	if err != nil {
		return err
	}
	if status == libcontainer.Paused {
		return stateError("cannot start inference in a paused container")
	}
	return nil
}

// startAccel starts the helper beside the container's processes, and returns
// when it serves. It ends with the engine, whose end of the socket it watches,
// and with the container's pid namespace.
func (l *launch) startAccel(socket *os.File) error {
	if err := l.bringAccel(socket); err != nil {
		return fmt.Errorf("helper for inference: %w", err)
	}
	return nil
}

func (l *launch) bringAccel(socket *os.File) error {
	state, err := l.container.State()
	if err != nil {
		return err
	}
	order, namespaces, err := l.accelOrder(state)
	if err != nil {
		return err
	}
	defer closeAll(namespaces)
	orders, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	report, words, err := os.Pipe()
	if err != nil {
		orders.Close()
		return err
	}
	defer report.Close()
	cmd := accelCommand(context.Background(), append([]*os.File{orders, socket}, namespaces...))
	cmd.Stderr = words
	err = cmd.Start()
	orders.Close()
	words.Close()
	if err != nil {
		return err
	}
	// It is gone at once, or stays as long as the helper does.
	go func() { _ = cmd.Wait() }()
	if err := l.joinAccel(state, cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill() // it waits for its order, or has ended
		return err
	}
	if _, err := write.Write(order); err != nil && !errors.Is(err, unix.EPIPE) {
		return err
	}
	return awaitReady(report)
}

// accelCommand is the process that waits for its order; files are its
// descriptors from C's ACCEL_ORDER on.
func accelCommand(ctx context.Context, files []*os.File) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", AccelCommand)
	cmd.Args[0] = "runw"
	cmd.Env = []string{} // not the caller's
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// joinAccel puts the process into the container's cgroup, of which its limits
// and its devices are.
func (l *launch) joinAccel(state *libcontainer.State, pid int) error {
	path := "/proc/" + strconv.Itoa(pid) + "/oom_score_adj"
	// The kernel is to kill it, and not the engine, when memory is used up.
	if err := os.WriteFile(path, []byte("1000"), 0); err != nil {
		logrus.Debugf("helper for inference: %v", err)
	}
	if len(state.CgroupPaths) == 0 && state.Config.RootlessCgroups {
		return nil
	}
	m, err := manager.NewWithPaths(state.Config.Cgroups, state.CgroupPaths)
	if err != nil {
		return err
	}
	if err := m.AddPid("", pid); err != nil {
		if !state.Config.RootlessCgroups {
			return fmt.Errorf("join the container's cgroup: %w", err)
		}
		logrus.Debugf("helper for inference has no resource limits: %v", err)
	}
	return nil
}

// accelOrder is what the process is told, and the namespaces it is to join.
func (l *launch) accelOrder(state *libcontainer.State) (order []byte, namespaces []*os.File, err error) {
	config := &state.Config
	user := l.spec.User
	o, err := l.args.Guest.Accel.order(config)
	if err != nil {
		return nil, nil, err
	}
	o.uid, o.gid, o.groups = user.UID, user.GID, user.AdditionalGids
	o.flags |= C.ACCEL_SET_IDS
	defer func() {
		if err != nil {
			closeAll(namespaces)
		}
	}()
	kinds := []struct {
		kind configs.NamespaceType
		file string
		flag uint32
	}{{configs.NEWUSER, "user", C.ACCEL_JOIN_USER}, {configs.NEWPID, "pid", C.ACCEL_JOIN_PID}}
	for _, k := range kinds {
		// A place in the order of descriptors is kept for what is not joined.
		path := os.DevNull
		if config.Namespaces.Contains(k.kind) {
			path, o.flags = fmt.Sprintf("/proc/%d/ns/%s", state.InitProcessPid, k.file), o.flags|k.flag
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, namespaces, err
		}
		namespaces = append(namespaces, f)
	}
	if l.init && config.Namespaces.IsPrivate(configs.NEWPID) {
		o.flags |= C.ACCEL_ADOPTED
	}
	if os.Geteuid() != 0 {
		o.flags |= C.ACCEL_USER_FIRST
	}
	order, err = o.encode()
	return order, namespaces, err
}

// order is what is the same with every container.
func (a *Accel) order(config *configs.Config) (*accelOrder, error) {
	steps, err := a.view(config)
	if err != nil {
		return nil, err
	}
	env := []string{"GOMAXPROCS=2", "HOME=/tmp", "TMPDIR=/tmp", "XDG_CACHE_HOME=/tmp", "LC_ALL=C"}
	return &accelOrder{
		steps:   steps,
		args:    1 + len(a.Args),
		env:     len(env),
		strings: slices.Concat([]string{"/run/" + accelName}, a.Args, env),
	}, nil
}

// RunAccel runs one of the helper's commands without any container, confined as
// one with a container is, and gives what it wrote on its stdout.
func RunAccel(ctx context.Context, a *Accel) ([]byte, error) {
	order, err := a.order(&configs.Config{})
	if err != nil {
		return nil, err
	}
	b, err := order.encode()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	orders, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer orders.Close()
	defer write.Close()
	// The kernel's PR_SET_PDEATHSIG is about the thread that made the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := accelCommand(ctx, []*os.File{orders, null, null, null})
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID
	if os.Geteuid() != 0 {
		own := func(id int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: id, Size: 1}} }
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = own(os.Geteuid()), own(os.Getegid())
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := write.Write(b); err != nil && !errors.Is(err, unix.EPIPE) {
		logrus.Debugf("helper for inference: %v", err) // it tells the reason itself
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && words.Len() > 0:
		return nil, fmt.Errorf("%w: %s", err, firstLine(words.Bytes()))
	}
	return out.Bytes(), err
}

// awaitReady returns when the helper serves, or tells why it does not.
func awaitReady(report *os.File) error {
	if err := report.SetReadDeadline(time.Now().Add(accelPatience)); err != nil {
		return err
	}
	var said []byte
	for b := make([]byte, 4096); len(said) < 1<<16; {
		n, err := report.Read(b)
		said = append(said, b[:n]...)
		if strings.HasSuffix(string(said), AccelReady+"\n") {
			return nil
		}
		switch {
		case errors.Is(err, io.EOF):
			return accelFailure(said)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("does not serve after %v: %w", accelPatience, context.DeadlineExceeded)
		case err != nil:
			return err
		}
	}
	return accelFailure(said)
}

func accelFailure(said []byte) error {
	text := firstLine(said)
	switch {
	case text == "":
		return errors.New("ended before it served")
	case strings.Contains(text, "failed to create new OS thread"), strings.HasPrefix(text, "fork: "):
		return fmt.Errorf("linux.resources.pids.limit leaves no room for its threads (%s)", text)
	}
	return errors.New(text)
}
