package main

import (
	"os"

	"github.com/runw/runw/pkg/sandbox"
)

// The re-exec switch is an init function because only there the goroutine is
// bound to the process's first thread: an execve from any other thread makes
// the process look like a zombie for a moment, and `kill` says "not running".
func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" {
		sandbox.Init()
	}
}
