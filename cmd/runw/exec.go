package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/runw/runw/pkg/oci"
	"github.com/runw/runw/pkg/sandbox"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
)

// exitExecFailed is runc's code for an exec that failed before there was a
// process: below it are those of the process.
const exitExecFailed = 255

func execCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:  "exec",
		Usage: "execute new process inside the container",
		ArgsUsage: `<container-id> <command> [command options]  || -p process.json <container-id>

Where "<container-id>" is the name for the instance of the container and
"<command>" is the command to be executed in the container.
"<command>" can't be empty unless a "-p" flag provided.

EXAMPLE:
For example, if the container is configured to run the linux ps command the
following will output a list of processes running in the container:

       # runw exec <container-id> ps`,
		Description: `The exec command runs one more program in a container. A program that is a
WebAssembly module is checked and compiled, and run as that of a container is,
whatever the container itself runs. The exit code is the program's, or 255 if
it could not be run.`,
		Flags: execFlags(),
		Action: func(c *cli.Context) error {
			if err := atLeastArgs(c, 1); err != nil {
				return err
			}
			id := c.Args().First()
			status, err := execIn(c, opts, id)
			if err != nil {
				return &codeError{exitExecFailed, onContainer(id, "exec", err)}
			}
			return exitStatus(status)
		},
	}
}

func execFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "console-socket", Usage: "path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console's pseudoterminal"},
		&cli.StringFlag{Name: "pidfd-socket", Usage: "path to an AF_UNIX socket which will receive a file descriptor referencing the exec process"},
		&cli.StringFlag{Name: "cwd", Usage: "current working directory in the container"},
		&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set environment variables"},
		&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "allocate a pseudo-TTY"},
		&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "UID (format: <uid>[:<gid>])"},
		&cli.Int64SliceFlag{Name: "additional-gids", Aliases: []string{"g"}, Usage: "additional gids"},
		&cli.StringFlag{Name: "process", Aliases: []string{"p"}, Usage: "path to the process.json"},
		&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "detach from the container's process"},
		&cli.StringFlag{Name: "pid-file", Usage: "specify the file to write the process id to"},
		&cli.StringFlag{Name: "process-label", Usage: "set the asm process label for the process commonly used with selinux"},
		&cli.StringFlag{Name: "apparmor", Usage: "set the apparmor profile for the process"},
		&cli.BoolFlag{Name: "no-new-privs", Usage: "set the no new privileges value for the process"},
		&cli.StringSliceFlag{Name: "cap", Aliases: []string{"c"}, Usage: "add a capability to the bounding set for the process"},
		&cli.IntFlag{Name: "preserve-fds", Usage: "Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)"},
		&cli.StringSliceFlag{Name: "cgroup", Usage: "run the process in an (existing) sub-cgroup(s). Format is [<controller>:]<cgroup>."},
		&cli.BoolFlag{Name: "ignore-paused", Usage: "allow exec in a paused container"},
	}
}

// execIn joins what the flags, the container and its root directory say.
func execIn(c *cli.Context, opts *options, id string) (status int, err error) {
	target, err := opts.runtime.Target(id, c.Bool("ignore-paused"))
	if err != nil {
		return 0, err
	}
	process, err := execProcess(c, target.Bundle)
	if err != nil {
		return 0, err
	}
	a := sandbox.ExecArgs{Process: process, Detach: c.Bool("detach")}
	if a.SubCgroups, err = subCgroups(c.StringSlice("cgroup")); err != nil {
		return 0, err
	}
	if a.ProcessArgs, err = processArgs(c); err != nil {
		return 0, err
	}
	err = withExecGuest(c, opts, target, process, func(g *sandbox.Guest) (err error) {
		a.Guest = g
		status, err = target.Exec(a)
		return err
	})
	return status, err
}

// withExecGuest finds the program in the running container and calls f with
// the module ready to run, with nil for a native program.
func withExecGuest(c *cli.Context, opts *options, target *sandbox.Target, process *specs.Process, f func(*sandbox.Guest) error) error {
	root, err := target.Root()
	if errors.Is(err, os.ErrPermission) {
		// libcontainer may still join where /proc/PID/root is refused
		// (ptrace(2), "access mode checking").
		logrus.Debugf("taken for a native program: %v", err)
		return f(nil)
	}
	if err != nil {
		return err
	}
	defer root.Close()
	in := &oci.Inside{Root: root, Spec: &specs.Spec{Process: process, Annotations: target.Annotations}}
	w, err := oci.DetectIn(in)
	if err != nil {
		return err
	}
	s := guestSource{
		workload:    w,
		inside:      true,
		worker:      target.Worker(),
		annotations: target.Annotations,
		limits:      guestLimits{memory: target.MemoryLimit, process: in.Spec.Process},
		preopens: func() ([]oci.Preopen, error) {
			list, err := oci.Preopens(in.Spec)
			if err != nil {
				return nil, err
			}
			return list, oci.CheckPreopensIn(in, list)
		},
		devices: func() []oci.Device { return execDevices(target) },
	}
	err = s.withGuest(c.Context, opts, f)
	// libcontainer's init, which has the last word on what can be executed,
	// cannot say why there is no such program.
	if err != nil && w.Path == "" && strings.Contains(err.Error(), oci.ErrNotFound.Error()) {
		return fmt.Errorf("%w (%s)", err, w.Why)
	}
	return err
}
