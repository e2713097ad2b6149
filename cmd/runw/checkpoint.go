package main

import (
	"github.com/runw/runw/pkg/sandbox"
	"github.com/urfave/cli/v2"
)

func checkpointCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:  "checkpoint",
		Usage: "checkpoint a running container",
		ArgsUsage: `<container-id>

Where "<container-id>" is the name for the instance of the container to be
checkpointed.`,
		Description: `The checkpoint command writes the processes of a container to a directory, from
which "runw restore" makes them run again. It needs the program criu. A
container in which a WebAssembly module runs is refused.`,
		Flags: append(criuFlags(),
			&cli.StringFlag{Name: "parent-path", Usage: "directory of an earlier pre-dump, relative to the image path"},
			&cli.BoolFlag{Name: "leave-running", Usage: "let the container run on afterwards"},
			&cli.BoolFlag{Name: "tcp-skip-in-flight", Usage: "leave out TCP connections that are not established yet"},
			&cli.BoolFlag{Name: "link-remap", Usage: "keep files that are open but have no name any more, by linking them"},
			&cli.IntFlag{Name: "status-fd", Value: -1, Usage: "write a NUL byte to this file descriptor when the server of lazy pages is ready"},
			&cli.StringFlag{Name: "page-server", Usage: "send memory pages to the page server at ADDRESS:PORT"},
			&cli.BoolFlag{Name: "pre-dump", Usage: "write the memory only and let the container run on"},
		),
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 1); err != nil {
				return err
			}
			warnRootlessCRIU()
			id := c.Args().First()
			criu, err := criuArgs(c)
			if err != nil {
				return onContainer(id, "checkpoint", err)
			}
			return onContainer(id, "checkpoint", opts.runtime.Checkpoint(sandbox.CheckpointArgs{
				ID:           id,
				CRIU:         *criu,
				LeaveRunning: c.Bool("leave-running"),
				PreDump:      c.Bool("pre-dump"),
			}))
		},
	}
}
