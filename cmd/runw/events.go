package main

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/runw/runw/pkg/sandbox"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
)

func eventsCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:  "events",
		Usage: "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
		ArgsUsage: `<container-id>

Where "<container-id>" is the name for the instance of the container.`,
		Description: `The events command displays information about the container. By default the
information is displayed once every 5 seconds.`,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "interval", Value: 5 * time.Second, Usage: "set the stats collection interval"},
			&cli.BoolFlag{Name: "stats", Usage: "display the container's stats then exit"},
		},
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 1); err != nil {
				return err
			}
			id := c.Args().First()
			return onContainer(id, "events", cgroupHint(printEvents(c, opts, id)))
		},
	}
}

// printEvents prints a line of JSON for each event.
func printEvents(c *cli.Context, opts *options, id string) error {
	interval := c.Duration("interval")
	if interval <= 0 {
		return errors.New("duration interval must be greater than 0")
	}
	out := json.NewEncoder(c.App.Writer)
	emit := func(e *sandbox.Event) error { return out.Encode(e) }
	if !c.Bool("stats") {
		return opts.runtime.Watch(id, interval, emit, func(err error) { logrus.Error(err) })
	}
	e, err := opts.runtime.Stats(id)
	if err != nil {
		return err
	}
	return emit(e)
}
