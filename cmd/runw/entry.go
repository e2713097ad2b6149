//go:build !runw_docs

package main

import (
	"os"

	"github.com/runw/runw/pkg/sandbox"
)

func main() {
	// Before anything of the command line is built: each start of a container
	// pays for what happens here.
	if len(os.Args) > 1 && os.Args[1] == sandbox.EngineCommand {
		os.Exit(engine(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == sandbox.CompileCommand {
		os.Exit(compile(os.Args[2:]))
	}
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}
