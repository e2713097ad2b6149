package sandbox

import (
	"os"
	"os/signal"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // joins namespaces in C, before Go has threads
	"golang.org/x/sys/unix"
)

// Init is the container's first process until it executes its program. It must
// be called before anything else when runw is started as "runw init", and does
// not return.
func Init() {
	// `start` returns before the execve: a signal in between, or to a created
	// container, ends it with the status a program would get. Go's own handler
	// exits with 2 as pid 1. The execve resets all handlers.
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM)
	go func() {
		if n, ok := (<-c).(unix.Signal); ok {
			unix.Exit(128 + int(n))
		}
	}()
	libcontainer.Init()
}
