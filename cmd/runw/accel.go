package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/sandbox"
	"github.com/urfave/cli/v2"
)

// accelCommand groups the commands about inference.
func accelCommand(opts *options) *cli.Command {
	c := &cli.Command{
		Name:  "accel",
		Usage: "show what modules can compute on",
		Description: `The accel commands are about inference by the host's libraries (WASI-NN). They
read the global options "--accel-lib-dir" and "--accel-helper" and the file
` + accelConfigPath + ` as a container's creation does.`,
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				return fmt.Errorf("unknown command %q (see 'runw accel --help')", name)
			}
			return cli.ShowSubcommandHelp(c)
		},
		Subcommands: []*cli.Command{accelListCommand(opts)},
	}
	for _, sub := range c.Subcommands {
		sub.OnUsageError = usageError
		sub.HideHelpCommand = true
	}
	return c
}

func accelListCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:    "list",
		Aliases: []string{"ls"},
		Usage:   "list the libraries for inference and the devices that they find",
		Description: `A device in the list is one that the host has. A container computes on those
that its config.json grants, and on the processor.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "select one of: table or json"},
		},
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 0); err != nil {
				return err
			}
			if f := c.String("format"); f != "table" && f != "json" {
				return fmt.Errorf("accel list: %w", errFormat)
			}
			list, err := accelList(c.Context, opts)
			if err != nil {
				return fmt.Errorf("accel list: %w", err)
			}
			return list.print(c.App.Writer, c.String("format"))
		},
	}
}

// accelInventory is what there is on the host.
type accelInventory struct {
	Helper      string         `json:"helper"`
	LibraryDirs []string       `json:"library_dirs"`
	SoftwareGPU bool           `json:"software_gpu"`
	Backends    []accelBackend `json:"backends"`
}

// accelBackend is one backend, as the helper writes it.
type accelBackend struct {
	Name    string         `json:"name"`
	Version string         `json:"version,omitempty"`
	Error   string         `json:"error,omitempty"`
	Devices []accel.Device `json:"devices,omitempty"`
}

// accelListTimeout is for drivers that look for devices.
const accelListTimeout = time.Minute

func accelList(ctx context.Context, opts *options) (*accelInventory, error) {
	s, err := accelSettingsOf(opts)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, accelListTimeout, fmt.Errorf("the libraries have not answered after %v", accelListTimeout))
	defer cancel()
	devices, err := hostGPUs()
	if err != nil {
		return nil, err
	}
	a := s.helper("list", devices, "")
	a.GPU = true
	out, err := sandbox.RunAccel(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Helper, err)
	}
	list := &accelInventory{Helper: s.Helper, LibraryDirs: s.LibraryDirs, SoftwareGPU: s.SoftwareGPU}
	if err := json.Unmarshal(out, &list.Backends); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Helper, err)
	}
	return list, nil
}

func (l *accelInventory) print(w io.Writer, format string) error {
	if format == "json" {
		return json.NewEncoder(w).Encode(l)
	}
	fmt.Fprintf(w, "helper: %s\nlibraries: %s\n\n", l.Helper, strings.Join(l.LibraryDirs, ":"))
	tw := tabwriter.NewWriter(w, 8, 1, 3, ' ', 0)
	fmt.Fprint(tw, "BACKEND\tVERSION\tDEVICE\tKIND\tMEMORY\tDESCRIPTION\n")
	var missing []error
	for _, b := range l.Backends {
		if b.Error != "" {
			missing = append(missing, fmt.Errorf("%s: %s", b.Name, b.Error))
		}
		for _, d := range b.Devices {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", b.Name, b.Version, d.Name, deviceKind(d), deviceMemory(d), printable(d.Description))
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if err := errors.Join(missing...); err != nil {
		fmt.Fprintf(w, "\n%v\n", err)
	}
	return nil
}

func deviceKind(d accel.Device) string {
	switch {
	case d.Software:
		return "software gpu"
	case d.GPU:
		return "gpu"
	}
	return "cpu"
}

func deviceMemory(d accel.Device) string {
	if d.Memory == 0 {
		return "-"
	}
	return humanBytes(int64(min(d.Memory, 1<<62)))
}
