package main

import "github.com/urfave/cli/v2"

func pauseCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:  "pause",
		Usage: "pause suspends all processes inside the container",
		ArgsUsage: `<container-id>

Where "<container-id>" is the name for the instance of the container to be
paused.`,
		Description: `The pause command suspends all processes in the instance of the container.

Use runw list to identify instances of containers and their current status.`,
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 1); err != nil {
				return err
			}
			id := c.Args().First()
			return onContainer(id, "pause", cgroupHint(opts.runtime.Pause(id)))
		},
	}
}
