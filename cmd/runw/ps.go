package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

func psCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:      "ps",
		Usage:     "ps displays the processes running inside a container",
		ArgsUsage: `<container-id> [ps options]`,
		Description: `The ps command runs the host's ps with the given options ("-ef" by default) and
shows the lines of the container's processes. The options must leave a column
PID in the output.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "select one of: table or json"},
		},
		Action: func(c *cli.Context) error {
			if err := atLeastArgs(c, 1); err != nil {
				return err
			}
			id := c.Args().First()
			pids, err := opts.runtime.Processes(id)
			if err != nil {
				return onContainer(id, "ps", cgroupHint(err))
			}
			switch c.String("format") {
			case "json":
				return json.NewEncoder(c.App.Writer).Encode(pids)
			case "table":
				return onContainer(id, "ps", psTable(c.App.Writer, pids, c.Args().Tail()))
			}
			return onContainer(id, "ps", errors.New("invalid format option"))
		},
	}
}

// psTable runs the host's ps: its options, and what they print, are what the
// caller knows.
func psTable(w io.Writer, pids []int, options []string) error {
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	output, err := exec.Command("ps", options...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ps: %w: %s", err, output)
	}
	return filterPs(w, string(output), pids)
}

// filterPs prints the title and the lines whose column PID has one of pids.
func filterPs(w io.Writer, output string, pids []int) error {
	title, rest, _ := strings.Cut(output, "\n")
	column := slices.Index(strings.Fields(title), "PID")
	if column < 0 {
		return errors.New("couldn't find PID field in ps output")
	}
	fmt.Fprintln(w, title)
	for line := range strings.Lines(rest) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		// A column before it may be empty, or hold a space: then the
		// numbers cannot be told apart.
		if len(fields) <= column {
			return fmt.Errorf("no PID field in the ps line %q", strings.TrimSpace(line))
		}
		pid, err := strconv.Atoi(fields[column])
		if err != nil {
			return fmt.Errorf("unable to parse pid: %w", err)
		}
		if slices.Contains(pids, pid) {
			fmt.Fprintln(w, strings.TrimSuffix(line, "\n"))
		}
	}
	return nil
}
