// The Go runtime looks up its CPU limit in the cgroup files at each start of a
// process, and again each second. Only a compiler has a use for that.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

package main

import (
	"io"
	"path/filepath"

	"github.com/runw/runw/pkg/sandbox"
	"github.com/urfave/cli/v2"
)

// run is the whole command line; its result is the exit code.
func run(args []string, out, errOut io.Writer) int {
	app, opts := newApp(programName(args), out, errOut)
	r := reporter{errOut: errOut, opts: opts, name: app.Name}
	return r.exitCode(app.Run(optionsFirst(args, app.Flags, app.Commands)))
}

const description = `runw runs the containers that OCI bundles describe: a directory with a file
config.json and a root filesystem. Where the program of a bundle is a
WebAssembly module, runw compiles it ahead of time, keeps the native code, and
runs it in the same sandbox a Linux program would get.

To start a new instance of a container:

    # runw run [ -b bundle ] <container-id>

Where "<container-id>" is your name for the instance of the container that you
are starting. The name must be unique on your host. The bundle directory is the
current one if "-b" is not given.`

func newApp(name string, out, errOut io.Writer) (*cli.App, *options) {
	opts := &options{}
	cli.VersionPrinter = printVersion // the library has no other place for it
	app := &cli.App{
		Name:        name,
		Usage:       "Open Container Initiative runtime for WebAssembly modules and Linux programs",
		Description: description,
		Version:     version,
		Flags:       globalFlags(),
		Writer:      out,
		ErrWriter:   errOut,
		// exec --env A=1,2 is one variable.
		DisableSliceFlagSeparator: true,
		Before:                    opts.read,
		ExitErrHandler:            func(*cli.Context, error) {}, // report.go decides
		OnUsageError:              usageError,
		Action:                    noCommand,
		Commands: []*cli.Command{
			accelCommand(opts),
			aotCommand(opts),
			checkpointCommand(opts),
			createCommand(opts),
			deleteCommand(opts),
			eventsCommand(opts),
			execCommand(opts),
			featuresCommand(),
			killCommand(opts),
			listCommand(opts),
			pauseCommand(opts),
			psCommand(opts),
			restoreCommand(opts),
			resumeCommand(opts),
			runCommand(opts),
			specCommand(),
			startCommand(opts),
			stateCommand(opts),
			updateCommand(opts),
		},
	}
	for _, c := range app.Commands {
		c.OnUsageError = usageError
		c.HideHelpCommand = true
	}
	return app, opts
}

func globalFlags() []cli.Flag {
	root, _ := sandbox.DefaultRoot()
	return []cli.Flag{
		&cli.BoolFlag{Name: "debug", Usage: "enable debug logging"},
		&cli.StringFlag{Name: "log", Usage: "set the log file to write runw logs to (default is '/dev/stderr')"},
		&cli.StringFlag{Name: "log-format", Usage: "set the log format ('text' (default), or 'json')"},
		&cli.StringFlag{Name: "root", Value: root, Usage: "root directory for storage of container state (this should be located in tmpfs)"},
		&cli.BoolFlag{Name: "systemd-cgroup", Usage: `enable systemd cgroup support, expects cgroupsPath to be of form "slice:prefix:name" for e.g. "system.slice:runw:434234"`},
		&cli.StringFlag{Name: "criu", Hidden: true, Usage: "path of the program criu (default is to look in $PATH)"},
		&cli.StringFlag{Name: "rootless", Value: "auto", Usage: "ignore cgroup permission errors ('true', 'false', or 'auto')"},
		&cli.StringFlag{Name: "engine", Value: "auto", EnvVars: []string{"RUNW_ENGINE"}, Usage: "engine for WebAssembly modules whose annotation 'run.runw.engine' does not name one ('wasmtime', 'wazero', or 'auto' for the fastest one linked in)"},
		&cli.StringFlag{Name: "accel-lib-dir", EnvVars: []string{"RUNW_ACCEL_LIBS"}, Usage: "directories to search for the libraries of inference, separated by colons (default is '/usr/local/lib/runw:/usr/lib/runw')"},
		&cli.StringFlag{Name: "accel-helper", EnvVars: []string{"RUNW_ACCEL_HELPER"}, Usage: "path of the program runw-accel (default is beside runw)"},
		&cli.StringFlag{Name: "aot-dir", EnvVars: []string{"RUNW_AOT_DIR"}, Usage: "directory for native code of WebAssembly modules (default is '/var/lib/runw/aot', or below $XDG_CACHE_HOME for other users than root)"},
		&cli.StringFlag{Name: "aot-max-size", EnvVars: []string{"RUNW_AOT_MAX_SIZE"}, Usage: "evict the least recently used native code when there is more of it, e.g. '512M', or 'none' (default is 10 GiB or a tenth of the file system)"},
		&cli.DurationFlag{Name: "aot-timeout", Value: defaultCompileTimeout, EnvVars: []string{"RUNW_AOT_TIMEOUT"}, Usage: "give up a module that is not compiled after that time"},
	}
}

// absolute makes a path from the command line independent of the working
// directory, which becomes the bundle's.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}
