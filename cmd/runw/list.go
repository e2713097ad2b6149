package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"text/tabwriter"
	"time"

	"github.com/runw/runw/pkg/sandbox"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
)

func listCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "lists containers started by runw with the given root",
		ArgsUsage: `

Where the given root is specified via the global option "--root"
(default: "/run/runw").

EXAMPLE 1:
To list containers created via the default "--root":
       # runw list

EXAMPLE 2:
To list containers created using a non-default value for "--root":
       # runw --root value list`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "select one of: table or json"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "display only container IDs"},
		},
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 0); err != nil {
				return err
			}
			states, err := opts.runtime.List(func(err error) { logrus.Warn(err) })
			// The default root is made by the first container, any other one is
			// a mistake if it is not there.
			if err != nil && (c.IsSet("root") || !errors.Is(err, fs.ErrNotExist)) {
				return fmt.Errorf("list: %w", err)
			}
			return printList(c.App.Writer, states, c.String("format"), c.Bool("quiet"))
		},
	}
}

func printList(w io.Writer, states []sandbox.State, format string, quiet bool) error {
	switch {
	case quiet:
		for _, s := range states {
			fmt.Fprintln(w, s.ID)
		}
	case format == "table":
		tw := tabwriter.NewWriter(w, 12, 1, 3, ' ', 0)
		fmt.Fprint(tw, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
		for _, s := range states {
			fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\t%s\n",
				s.ID, s.PID, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
		}
		return tw.Flush()
	case format == "json":
		return json.NewEncoder(w).Encode(states) // "null" for an empty list, as runc
	default:
		return errors.New("list: invalid format option")
	}
	return nil
}
