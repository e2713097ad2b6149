package sandbox

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
)

// Guest is a Wasm module to be run in place of the native program that
// process.args would name.
type Guest struct {
	// Engine, Entry, Preopens, Trace and Net go into the handoff as they are.
	Engine   string
	Entry    string
	Preopens []Preopen
	Trace    bool
	Net      string
	// MemoryLimit is linux.resources.memory.limit in bytes, 0 for none.
	MemoryLimit uint64
	// Module is the module's file, read-only; Artifact its native code, or nil.
	// Both stay the caller's to close.
	Module, Artifact *os.File
	// Accel starts the helper for inference, nil for a module that asks for none;
	// Models goes into the handoff as it is.
	Accel  *Accel
	Models []Model

	// metrics is the page that the engine keeps for `events`, nil for a module
	// that is executed in a container.
	metrics *metrics
}

// enginePath is what libcontainer's init executes for a Wasm container: inside
// `runw init`, /proc/self/exe is the sealed copy of runw (exeseal), and it can
// be executed in a root filesystem that holds nothing but the module.
const enginePath = "/proc/self/exe"

// install turns p, still the process that config.json asks for, into the
// engine process. p.ExtraFiles are the guest's inherited descriptors; inference
// is the engine's end of a socket, nil for none.
// The caller closes the returned file once the process has been started.
func (g *Guest) install(id string, p *libcontainer.Process, inference *os.File) (*os.File, error) {
	env, err := guestEnv(p.Env)
	if err != nil {
		return nil, err
	}
	inherited := len(p.ExtraFiles)
	handoff, err := handoffFile(&Handoff{
		ID:          id,
		Engine:      g.Engine,
		Args:        p.Args,
		Env:         env,
		Preopens:    g.Preopens,
		Entry:       g.Entry,
		Inherited:   inherited,
		Artifact:    g.Artifact != nil,
		MemoryLimit: g.MemoryLimit,
		Trace:       g.Trace,
		Net:         g.Net,
		Inference:   inference != nil,
		Models:      g.Models,
		Metrics:     g.metrics != nil,
	})
	if err != nil {
		return nil, err
	}
	p.ExtraFiles = append(p.ExtraFiles, handoff, g.Module)
	if g.metrics != nil {
		p.ExtraFiles = append(p.ExtraFiles, g.metrics.file)
	}
	if g.Artifact != nil {
		p.ExtraFiles = append(p.ExtraFiles, g.Artifact)
	}
	if inference != nil {
		p.ExtraFiles = append(p.ExtraFiles, inference)
	}
	p.Args = append([]string{enginePath, EngineCommand, strconv.Itoa(3 + inherited)}, shownArgs(p.Args)...)
	os.Args[0] = wasmInit
	// Nothing of the guest's environment: a Go program reads GODEBUG, and one
	// that links libcontainer's nsenter reads _LIBCONTAINER_INITPIPE. A module is
	// loaded by one goroutine, and each processor would get threads and caches of
	// its own, on the largest machine too. An engine whose guest keeps its
	// processor takes one more (pkg/aot).
	p.Env = []string{"GOMAXPROCS=1"}
	return handoff, nil
}

// maxShown bounds what of the guest's arguments is put on the engine's command
// line, in bytes. execve takes 128 KiB whatever RLIMIT_STACK says (ARG_MAX).
const maxShown = 32 << 10

// shownArgs are the arguments that ps and top are to show: as many as fit, for
// an execve that fails with E2BIG would do so after Start has returned. The
// guest gets all of them from the handoff.
func shownArgs(args []string) []string {
	size := 0
	for i, a := range args {
		const perArg = 9 // a pointer and the NUL
		if size += len(a) + perArg; size > maxShown {
			return args[:i]
		}
	}
	return args
}

// guestEnv does for the guest what libcontainer does for a native program: the
// last of several values wins, and a malformed variable is an error (with
// libcontainer's texts).
func guestEnv(env []string) ([]string, error) {
	last := make(map[string]int, len(env))
	for i, kv := range env {
		key, _, ok := strings.Cut(kv, "=")
		switch {
		case !ok:
			return nil, fmt.Errorf("process.env[%d]: invalid environment variable: missing '='", i)
		case key == "":
			return nil, fmt.Errorf("process.env[%d]: invalid environment variable: name cannot be empty", i)
		case strings.IndexByte(kv, 0) >= 0:
			return nil, fmt.Errorf("process.env[%d]: invalid environment variable %q: contains nul byte (\\x00)", i, key)
		}
		last[key] = i
	}
	out := make([]string, 0, len(last))
	for i, kv := range env {
		key, value, _ := strings.Cut(kv, "=")
		if last[key] != i || key == "HOME" && value == "" {
			continue // an empty HOME is looked up in the container's passwd
		}
		out = append(out, kv)
	}
	return out, nil
}
