package main

import (
	"fmt"
	"slices"

	"github.com/runw/runw/pkg/oci"
	"github.com/runw/runw/pkg/sandbox"
	"github.com/urfave/cli/v2"
)

func restoreCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "restore a container from a previous checkpoint",
		ArgsUsage: idArgument,
		Description: `The restore command makes a container run again that "runw checkpoint" has
written to a directory. The bundle must be the one it was created from. It needs
the program criu. Without --detach the exit code is the container's.`,
		Flags: slices.Concat(criuFlags(), restoreFlags()),
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 1); err != nil {
				return err
			}
			warnRootlessCRIU()
			status, err := restore(c, opts)
			if err != nil {
				return onContainer(c.Args().First(), "restore", err)
			}
			return exitStatus(status)
		},
	}
}

func restoreFlags() []cli.Flag {
	own := []cli.Flag{
		&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "detach from the container's process"},
		&cli.BoolFlag{Name: "no-subreaper", Usage: "disable the use of the subreaper used to reap reparented processes"},
		&cli.StringFlag{Name: "lsm-profile", Usage: "LSM profile of the restored processes, as TYPE:NAME"},
		&cli.StringFlag{Name: "lsm-mount-context", Usage: "LSM mount context of the restored mounts"},
	}
	for _, f := range createFlags() {
		// A restored process has its keyring and its descriptors from the images.
		if name := f.Names()[0]; name != "no-new-keyring" && name != "preserve-fds" && name != "pidfd-socket" {
			own = append(own, f)
		}
	}
	return own
}

func restore(c *cli.Context, opts *options) (status int, err error) {
	criu, err := criuArgs(c)
	if err != nil {
		return 0, err
	}
	p, err := processArgs(c)
	if err != nil {
		return 0, err
	}
	b, err := oci.Load(c.String("bundle"))
	if err != nil {
		return 0, err
	}
	w, err := oci.Detect(b)
	if err != nil {
		return 0, err
	}
	if w.Kind != oci.Native {
		w.Module.Close()
		return 0, fmt.Errorf("module %s: there are no checkpoints of WebAssembly modules", w.Path)
	}
	return opts.runtime.Restore(sandbox.RestoreArgs{
		CreateArgs: sandbox.CreateArgs{
			ProcessArgs: p,
			ID:          c.Args().First(),
			Bundle:      b.Dir,
			Spec:        b.Spec,
			NoPivot:     c.Bool("no-pivot"),
		},
		CRIU:        *criu,
		Detach:      c.Bool("detach"),
		NoSubreaper: c.Bool("no-subreaper"),
	})
}
