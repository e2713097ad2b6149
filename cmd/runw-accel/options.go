package main

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/wire"
)

// options are what runw tells; a worker gets the arguments of its supervisor.
type options struct {
	args    []string
	cdiDirs []string
	limits  wire.Limits
	backend accel.Options
}

func parseOptions(args []string) (*options, error) {
	o := &options{args: args}
	f := flag.NewFlagSet("runw-accel", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Func("library-dir", "directory to search for libraries", appendTo(&o.backend.LibraryDirs))
	f.Func("gpu", "device node of a GPU that the container was granted", appendTo(&o.backend.Grants.Nodes))
	f.BoolVar(&o.backend.Grants.Software, "software-gpu", false, "let a software GPU count as one")
	f.Func("cdi-dir", "directory of descriptions of devices", appendTo(&o.cdiDirs))
	limits := f.String("limits", "", "as the annotation run.runw.nn-limits")
	err := f.Parse(args)
	if err == nil && f.NArg() != 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if err == nil {
		o.limits, err = wire.ParseLimits(*limits)
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

func appendTo(list *[]string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errors.New("must not be empty")
		}
		*list = append(*list, s)
		return nil
	}
}
