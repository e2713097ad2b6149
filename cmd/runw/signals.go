package main

import (
	"os"
	"os/signal"

	"github.com/runw/runw/pkg/sandbox"
	"golang.org/x/sys/unix"
)

// catchSignals does what the kernel and a shell would do for a program: fatal
// signals end the process, and pid 1 collects the orphans it inherits from
// programs that were executed into the container.
func catchSignals() {
	sandbox.EndOnSignals()
	if os.Getpid() != 1 {
		return
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGCHLD)
	go func() {
		for range c {
			reapOrphans()
		}
	}()
}

func reapOrphans() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}
