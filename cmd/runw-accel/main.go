package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// exitNow ends the process while a library still computes.
func exitNow() { os.Exit(1) }

func run(args []string, out, errOut io.Writer) int {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	o, err := parseOptions(args)
	if err == nil {
		switch command {
		case "serve":
			err = serve(o)
		case workerCommand:
			err = work(o)
		case "list":
			err = list(o, out)
		case "cdi":
			err = inject(o.cdiDirs, os.Stdin, out)
		default:
			err = fmt.Errorf("started by 'runw create', not by hand; see 'runw accel --help'")
		}
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	return 0
}
