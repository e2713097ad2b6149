package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
)

// exitStatus is returned by a command that ended well but has to pass on the
// exit code of a container.
type exitStatus int

func (s exitStatus) Error() string { return "exit status " + strconv.Itoa(int(s)) }

// containerError says what was being done to which container; it is put around
// an error once, by the command.
type containerError struct {
	id, verb string
	err      error
}

func (e *containerError) Error() string {
	return fmt.Sprintf("container %q: %s: %v", e.id, e.verb, e.err)
}

func (e *containerError) Unwrap() error { return e.err }

// onContainer wraps err, if there is one.
func onContainer(id, verb string, err error) error {
	if err == nil {
		return nil
	}
	return &containerError{id: id, verb: verb, err: err}
}

// cgroupHint says on the log what a rootless user can do about a cgroup that is
// somebody else's.
func cgroupHint(err error) error {
	if errors.Is(err, os.ErrPermission) {
		logrus.Warn("the failure might be caused by lack of full access to cgroups")
	}
	return err
}

// codeError gives a failure of runw itself another exit code than 1.
type codeError struct {
	code int
	err  error
}

func (e *codeError) Error() string { return e.err.Error() }
func (e *codeError) Unwrap() error { return e.err }

// reporter prints how a command ended.
type reporter struct {
	errOut io.Writer
	opts   *options
	// name is the program's.
	name string
}

// exitCode tells both readers of an error: people on stderr, and the caller's
// --log file, of which containerd shows the last line with level=error.
func (r reporter) exitCode(err error) int {
	var status exitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	var on *containerError
	if r.name == "runc" && errors.As(err, &on) {
		on.verb = runcVerb(on.verb)
	}
	text := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
	fmt.Fprintln(r.errOut, "runw:", text)
	if r.opts.logFile {
		logrus.Error(text)
	}
	var code *codeError
	if errors.As(err, &code) {
		return code.code
	}
	return 1
}

// runcVerb has the words of runc, of which a caller of runc may make sense.
func runcVerb(verb string) string {
	switch verb {
	case "create", "run":
		return "runc " + verb + " failed"
	case "exec":
		return "exec failed"
	}
	return verb
}

// usageError keeps the whole help text away from the one line that is to be
// read.
func usageError(c *cli.Context, err error, _ bool) error {
	name := "runw"
	if c.Command != nil && c.Command.HelpName != "" {
		name = c.Command.HelpName
	}
	return fmt.Errorf("%w (see '%s --help')", err, name)
}

// noCommand is what runs when the arguments name no command.
func noCommand(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return fmt.Errorf("unknown command: No help topic for '%s' (see 'runw --help')", name)
	}
	return cli.ShowAppHelp(c)
}

// exactArgs and the others check the number of a command's arguments, with
// runc's texts.
func exactArgs(c *cli.Context, n int) error {
	if c.NArg() != n {
		return usageError(c, fmt.Errorf("%q requires exactly %d argument(s)", c.Command.Name, n), true)
	}
	return nil
}

func atLeastArgs(c *cli.Context, n int) error {
	if c.NArg() < n {
		return usageError(c, fmt.Errorf("%q requires a minimum of %d argument(s)", c.Command.Name, n), true)
	}
	return nil
}

func argsBetween(c *cli.Context, low, high int) error {
	switch n := c.NArg(); {
	case n < low:
		return usageError(c, fmt.Errorf("%q requires a minimum of %d argument(s)", c.Command.Name, low), true)
	case n > high:
		return usageError(c, fmt.Errorf("%q requires a maximum of %d argument(s)", c.Command.Name, high), true)
	}
	return nil
}
