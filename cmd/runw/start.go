package main

import "github.com/urfave/cli/v2"

func startCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:        "start",
		Usage:       "executes the user defined process in a created container",
		ArgsUsage:   idArgument,
		Description: `The start command executes the user defined process in a created container.`,
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 1); err != nil {
				return err
			}
			id := c.Args().First()
			return onContainer(id, "start", opts.runtime.Start(id))
		},
	}
}
