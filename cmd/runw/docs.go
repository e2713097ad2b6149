//go:build runw_docs

package main

import (
	"fmt"
	"io"
	"os"

	"github.com/runw/runw/cmd/runw/manual"
)

// With the tag runw_docs the program is another one: it writes the man pages
// and completions of the commands below the directory that it is given.
func main() {
	if err := writeManual(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

func writeManual(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one directory, got %q", args)
	}
	// The default of --root is to be everybody's.
	if err := os.Unsetenv("XDG_RUNTIME_DIR"); err != nil {
		return err
	}
	app, _ := newApp("runw", io.Discard, io.Discard)
	return manual.Write(args[0], version, manual.New(app))
}
