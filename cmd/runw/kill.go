package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/runw/runw/pkg/sandbox"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func killCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:  "kill",
		Usage: "kill sends the specified signal (default: SIGTERM) to the container's init process",
		ArgsUsage: `<container-id> [signal]

Where "<container-id>" is the name for the instance of the container and
"[signal]" is the signal to be sent to the init process.

EXAMPLE:
For example, if the container id is "ubuntu01" the following will send a "KILL"
signal to the init process of the "ubuntu01" container:

       # runw kill ubuntu01 KILL`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "(obsoleted, do not use)", Hidden: true},
		},
		Action: func(c *cli.Context) error {
			if err := argsBetween(c, 1, 2); err != nil {
				return err
			}
			id := c.Args().First()
			signal, err := parseSignal(c.Args().Get(1))
			if err != nil {
				return onContainer(id, "kill", err)
			}
			return onContainer(id, "kill", opts.runtime.Kill(sandbox.KillArgs{ID: id, Signal: signal, All: c.Bool("all")}))
		},
	}
}

// parseSignal takes a number, or a name with or without SIG in any case; an
// empty string is SIGTERM.
func parseSignal(s string) (unix.Signal, error) {
	if s == "" {
		return unix.SIGTERM, nil
	}
	if n, err := strconv.Atoi(s); err == nil {
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}
