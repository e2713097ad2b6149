package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/runw/runw/pkg/aot"
	"github.com/runw/runw/pkg/sandbox"
	"github.com/urfave/cli/v2"
)

// version and gitCommit are set by the linker; see the Makefile.
var (
	version   = "0.1.0-dev"
	gitCommit = ""
)

// printVersion keeps the lines that tools look for in runc's.
func printVersion(c *cli.Context) {
	w := c.App.Writer
	fmt.Fprintln(w, c.App.Name, "version", version)
	if gitCommit != "" {
		fmt.Fprintln(w, "commit:", gitCommit)
	}
	fmt.Fprintln(w, "spec:", specs.Version)
	fmt.Fprintln(w, "go:", runtime.Version())
	if v := sandbox.SeccompVersion(); v != "" {
		fmt.Fprintln(w, "libseccomp:", v)
	}
	fmt.Fprintln(w, "engines:", strings.Join(aot.Engines(), " "))
}
