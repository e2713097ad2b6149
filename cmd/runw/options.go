package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/runw/runw/pkg/aot"
	"github.com/runw/runw/pkg/sandbox"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// options are the global flags, read before any command runs.
type options struct {
	runtime sandbox.Runtime
	aotDir  string
	// aotMaxSize is what Store.MaxSize is to be.
	aotMaxSize int64
	// aotTimeout is the time there is for native code to be made.
	aotTimeout time.Duration
	// engine is what --engine names, for modules whose annotations name none.
	engine string
	// accelLibDirs and accelHelper say what inference is to use, before
	// accelConfigPath.
	accelLibDirs []string
	accelHelper  string
	// logFile is set when --log names a file: only then does an error go to
	// the log and to stderr.
	logFile bool
}

// read is the application's Before.
func (o *options) read(c *cli.Context) error {
	if err := o.readLog(c); err != nil {
		return err
	}
	root, err := stateRoot(c)
	if err != nil {
		return err
	}
	rootless, err := boolOrAuto(c.String("rootless"))
	if err != nil {
		return fmt.Errorf("--rootless: %w", err)
	}
	o.runtime = sandbox.Runtime{Root: root, SystemdCgroup: c.Bool("systemd-cgroup"), Rootless: rootless}
	if o.engine = c.String("engine"); o.engine != "" {
		if _, err := aot.Resolve(o.engine); err != nil {
			return fmt.Errorf("--engine: %w", err)
		}
	}
	if o.aotMaxSize, err = storeSize(c.String("aot-max-size")); err != nil {
		return fmt.Errorf("--aot-max-size: %w", err)
	}
	if o.aotTimeout = c.Duration("aot-timeout"); o.aotTimeout <= 0 {
		return fmt.Errorf("--aot-timeout: must be more than 0, is %v", o.aotTimeout)
	}
	if o.accelLibDirs, err = splitPath(c.String("accel-lib-dir")); err != nil {
		return fmt.Errorf("--accel-lib-dir: %w", err)
	}
	if o.accelHelper, err = absolute(c.String("accel-helper")); err != nil {
		return fmt.Errorf("--accel-helper: %w", err)
	}
	o.aotDir, err = absolute(c.String("aot-dir"))
	return err
}

func (o *options) readLog(c *cli.Context) error {
	logrus.SetOutput(c.App.ErrWriter)
	if c.Bool("debug") {
		logrus.SetLevel(logrus.DebugLevel)
	}
	switch format := c.String("log-format"); format {
	case "", "text":
	case "json":
		logrus.SetFormatter(new(logrus.JSONFormatter))
	default:
		return errors.New("invalid log-format: " + format)
	}
	path := c.String("log")
	if path == "" {
		return nil
	}
	// Appended with O_SYNC: several processes write here, and containerd reads
	// the last line as soon as the process has ended. O_NONBLOCK, because the
	// open of a FIFO would wait for its reader.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_SYNC|unix.O_NONBLOCK, 0o644)
	if errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("--log: %s is a FIFO or a device that nobody reads", path)
	}
	if err != nil {
		return fmt.Errorf("--log: %w", err)
	}
	logrus.SetOutput(f)
	o.logFile = true
	return nil
}

// stateRoot makes --root absolute and, when it was not given and lies below
// $XDG_RUNTIME_DIR, sets the sticky bit that keeps the directory from being
// cleaned up (XDG base directory specification).
func stateRoot(c *cli.Context) (string, error) {
	if !c.IsSet("root") {
		root, xdg := sandbox.DefaultRoot()
		if !xdg {
			return root, nil
		}
		if err := os.MkdirAll(root, 0o700); err != nil {
			return "", fmt.Errorf("the path in $XDG_RUNTIME_DIR must be writable by the user: %w", err)
		}
		if err := os.Chmod(root, 0o700|os.ModeSticky); err != nil {
			return "", fmt.Errorf("you should check permission of the path in $XDG_RUNTIME_DIR: %w", err)
		}
		return root, nil
	}
	root, err := filepath.Abs(c.String("root"))
	if err != nil {
		return "", err
	}
	if root == "/" {
		return "", errors.New("option --root argument should not be set to /")
	}
	return root, nil
}

func boolOrAuto(s string) (*bool, error) {
	if s == "" || strings.EqualFold(s, "auto") {
		return nil, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return nil, fmt.Errorf("invalid value %q, want 'true', 'false' or 'auto'", s)
	}
	return &b, nil
}
