package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/runw/runw/pkg/sandbox"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
)

// criuFlags are those that checkpoint and restore share.
func criuFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "image-path", Usage: "directory of the images (default is 'checkpoint' below the current directory)"},
		&cli.StringFlag{Name: "work-path", Usage: "directory of criu's logs (default is that of the images)"},
		&cli.BoolFlag{Name: "tcp-established", Usage: "include established TCP connections"},
		&cli.BoolFlag{Name: "ext-unix-sk", Usage: "allow Unix sockets whose other end is outside"},
		&cli.BoolFlag{Name: "shell-job", Usage: "allow processes that belong to a shell's session"},
		&cli.BoolFlag{Name: "lazy-pages", Usage: "bring memory pages back when they are needed (userfaultfd)"},
		&cli.BoolFlag{Name: "file-locks", Usage: "include file locks"},
		&cli.StringFlag{Name: "manage-cgroups-mode", Usage: "what criu does about cgroups: soft, full, strict or ignore (default is soft)"},
		&cli.StringSliceFlag{Name: "empty-ns", Usage: "make this namespace anew and empty; 'network' always is"},
		&cli.BoolFlag{Name: "auto-dedup", Usage: "drop pages from earlier images that later ones replace"},
	}
}

// criuArgs reads the flags; those that one of the two commands does not have
// are empty.
func criuArgs(c *cli.Context) (*sandbox.CRIU, error) {
	if err := findCRIU(c.String("criu")); err != nil {
		return nil, err
	}
	a := &sandbox.CRIU{
		ParentPath:        c.String("parent-path"),
		TCPEstablished:    c.Bool("tcp-established"),
		TCPSkipInFlight:   c.Bool("tcp-skip-in-flight"),
		ExtUnixSk:         c.Bool("ext-unix-sk"),
		ShellJob:          c.Bool("shell-job"),
		FileLocks:         c.Bool("file-locks"),
		LinkRemap:         c.Bool("link-remap"),
		AutoDedup:         c.Bool("auto-dedup"),
		LazyPages:         c.Bool("lazy-pages"),
		StatusFD:          -1,
		ManageCgroupsMode: c.String("manage-cgroups-mode"),
		LSMProfile:        c.String("lsm-profile"),
		LSMMountContext:   c.String("lsm-mount-context"),
	}
	if c.IsSet("status-fd") {
		a.StatusFD = c.Int("status-fd")
	}
	for _, ns := range c.StringSlice("empty-ns") {
		if ns != "network" {
			return nil, fmt.Errorf("namespace %q is not supported", ns)
		}
	}
	var err error
	if a.PageServer, a.PagePort, err = pageServer(c.String("page-server")); err != nil {
		return nil, err
	}
	if a.ImagePath, err = absolute(cmp.Or(c.String("image-path"), "checkpoint")); err != nil {
		return nil, err
	}
	a.WorkPath, err = absolute(c.String("work-path"))
	return a, err
}

func pageServer(s string) (host string, port int32, err error) {
	if s == "" {
		return "", 0, nil
	}
	host, text, err := net.SplitHostPort(s)
	if err != nil || host == "" || text == "" {
		return "", 0, errors.New("use --page-server ADDRESS:PORT to specify page server")
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("--page-server: invalid port number %q", text)
	}
	return host, int32(n), nil
}

// findCRIU makes libcontainer, which looks for "criu" in $PATH, find the right
// one: podman calls runtimes without a PATH, and --criu of runc before 1.2 is a
// path.
func findCRIU(path string) error {
	search := cmp.Or(os.Getenv("PATH"), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	if path != "" && path != "criu" {
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		if filepath.Base(abs) != "criu" {
			return fmt.Errorf("--criu: %s: the program must be called criu", path)
		}
		search = filepath.Dir(abs) + ":" + search
	}
	return os.Setenv("PATH", search)
}

func warnRootlessCRIU() {
	if os.Geteuid() != 0 || inUserNamespace() {
		logrus.Warn("criu needs the rights of root on the host")
	}
}
