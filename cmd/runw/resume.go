package main

import "github.com/urfave/cli/v2"

func resumeCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:  "resume",
		Usage: "resumes all processes that have been previously paused",
		ArgsUsage: `<container-id>

Where "<container-id>" is the name for the instance of the container to be
resumed.`,
		Description: `The resume command resumes all processes in the instance of the container.

Use runw list to identify instances of containers and their current status.`,
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 1); err != nil {
				return err
			}
			id := c.Args().First()
			return onContainer(id, "resume", cgroupHint(opts.runtime.Resume(id)))
		},
	}
}
