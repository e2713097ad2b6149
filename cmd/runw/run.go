package main

import (
	"github.com/runw/runw/pkg/sandbox"
	"github.com/urfave/cli/v2"
)

func runCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "create and run a container",
		ArgsUsage: idArgument,
		Description: `The run command creates an instance of a container for a bundle, starts it and
waits for its end. Its exit code is the container's, or 1 if the container could
not be run.`,
		Flags: append(createFlags(),
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "detach from the container's process"},
			&cli.BoolFlag{Name: "keep", Usage: "do not delete the container after it exits"},
			&cli.BoolFlag{Name: "no-subreaper", Usage: "disable the use of the subreaper used to reap reparented processes"},
		),
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 1); err != nil {
				return err
			}
			var status int
			err := withContainer(c, opts, func(a sandbox.CreateArgs) (err error) {
				status, err = opts.runtime.Run(sandbox.RunArgs{
					CreateArgs:  a,
					Detach:      c.Bool("detach"),
					Keep:        c.Bool("keep"),
					NoSubreaper: c.Bool("no-subreaper"),
				})
				return err
			})
			if err != nil {
				return onContainer(c.Args().First(), "run", err)
			}
			return exitStatus(status)
		},
	}
}
