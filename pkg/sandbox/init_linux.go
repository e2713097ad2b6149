package sandbox

import (
	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // joins namespaces in C, before Go has threads
)

// Init is the container's first process until it executes its program. It must
// be called from an init function of main when runw is started as "runw init",
// and does not return.
//
// Preconditions: the calling goroutine is on the process's first thread.
func Init() {
	holdSignals()
	libcontainer.Init()
}
