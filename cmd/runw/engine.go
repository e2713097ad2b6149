package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/wire"
	"github.com/runw/runw/pkg/aot"
	"github.com/runw/runw/pkg/hostfuncs"
	"github.com/runw/runw/pkg/hostfuncs/abi"
	"github.com/runw/runw/pkg/sandbox"
	"golang.org/x/sys/unix"
)

// The exit codes of the engine process that are not the guest's own.
const (
	// exitNotRunnable is the shell's code for a program that cannot be
	// executed (POSIX sh, 2.8.2).
	exitNotRunnable = 126
	// exitNotFound is the shell's for a program that does not exist.
	exitNotFound = 127
	// exitTrap is 128 and SIGABRT, what a native program gets that aborts.
	exitTrap = 128 + int(unix.SIGABRT)
)

// engine is the container's process once the sandbox is in place: it runs the
// module of the handoff and gives its exit code.
func engine(args []string) int {
	catchSignals()
	stderr := ownStderr()
	if len(args) == 0 {
		return engineFailed(stderr, "", errors.New("the engine is started by 'runw create', not by hand"))
	}
	fd, err := strconv.Atoi(args[0])
	if err != nil {
		return engineFailed(stderr, "", err)
	}
	r, err := sandbox.ReadHandoff(fd)
	if err != nil {
		return engineFailed(stderr, "", err)
	}
	if err := runGuest(r, stderr); err != nil {
		return guestEnded(stderr, r.ID, err)
	}
	return 0
}

// ownStderr is the container's stderr under a number that the guest, whose
// descriptor 2 it may close, does not have.
func ownStderr() *os.File {
	fd, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return os.Stderr
	}
	return os.NewFile(uintptr(fd), "stderr")
}

// runGuest compiles nothing unless the artifact is of no use, and returns when
// the guest has ended.
func runGuest(r *sandbox.Received, stderr *os.File) error {
	ctx := context.Background()
	wasm, err := mapModule(r.Module)
	if err != nil {
		return fmt.Errorf("module: %w", err)
	}
	module, err := aot.Open(ctx, aot.OpenArgs{
		Engine:   r.Engine,
		Wasm:     wasm,
		Artifact: r.Artifact,
		Warn:     func(err error) { fmt.Fprintf(stderr, "runw: container %q: %v\n", r.ID, err) },
	})
	if err != nil {
		return err
	}
	// The module is not closed: the process ends with it.
	config, err := hostConfig(r, stderr)
	if err != nil {
		return err
	}
	host, err := hostfuncs.New(config)
	if err != nil {
		return err
	}
	// host stays open until the process ends: it owns stderr, on which a trap is
	// still to be told, and a terminal hangs up when its last descriptor closes.
	funcs, err := host.Link(module.Imports())
	if err != nil {
		return err
	}
	run := aot.RunArgs{Funcs: funcs, Entry: r.Entry, MemoryLimit: guestMemory(r.MemoryLimit)}
	if r.Metrics != nil {
		if run.Counters, err = aot.MapCounters(r.Metrics); err != nil {
			return err
		}
		// Closed, it would no longer be found.
		defer runtime.KeepAlive(r.Metrics)
	}
	// One was enough to load. With another one that is idle, the scheduler leaves
	// a thread that waits in a system call its own (10 ms long): a reply of the
	// helper then wakes that thread alone, and not two more.
	runtime.GOMAXPROCS(2)
	return module.Run(ctx, run)
}

func hostConfig(r *sandbox.Received, stderr *os.File) (hostfuncs.Config, error) {
	policy, err := hostfuncs.ParseNetPolicy(r.Net)
	if err != nil {
		return hostfuncs.Config{}, err
	}
	c := hostfuncs.Config{
		Net:       policy,
		Args:      r.Args,
		Env:       r.Env,
		Stdio:     [3]int{0, 1, 2},
		Inherited: r.Files,
	}
	// libcontainer has looked up the user's home in the container's passwd.
	c.Env = withDefault(c.Env, "HOME", os.Getenv("HOME"))
	// WASI has no getcwd; Go's runtime, for one, believes PWD. An error leaves
	// the guest with the preopen "." to start from.
	cwd, _ := os.Getwd()
	c.Env = withDefault(c.Env, "PWD", cwd)
	for _, p := range r.Preopens {
		c.Preopens = append(c.Preopens, hostfuncs.Preopen(p))
	}
	if r.Trace {
		c.Trace = stderr
	}
	if r.Helper >= 0 {
		c.NN = guestNN(r, stderr)
	}
	return c, nil
}

// guestNN is what the guest has of WASI-NN. It starts nothing before the guest
// loads a model.
func guestNN(r *sandbox.Received, stderr *os.File) hostfuncs.NN {
	log := func(line string) { fmt.Fprintf(stderr, "runw: container %q: wasi-nn: %s\n", r.ID, line) }
	nn := hostfuncs.NN{Inference: wire.NewClient(r.Helper, log), Log: log}
	for _, m := range r.Models {
		nn.Models = append(nn.Models, hostfuncs.NNModel{
			Name: m.Name, Encoding: accel.Encoding(m.Encoding), Target: accel.Target(m.Target), Path: m.Path,
		})
	}
	return nn
}

// withDefault adds a variable unless it is set already or there is no value.
func withDefault(env []string, key, value string) []string {
	set := slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, key+"=") })
	if set || value == "" {
		return env
	}
	return append(env, key+"="+value)
}

// guestEnded prints what ended the guest, unless it was the guest itself, and
// gives the process's exit code.
func guestEnded(stderr *os.File, id string, err error) int {
	var exit *abi.ExitError
	if errors.As(err, &exit) {
		return int(exit.Code & 0xff) // what wait(2) can report
	}
	var trap *aot.TrapError
	if errors.As(err, &trap) {
		fmt.Fprintf(stderr, "runw: container %q: %s\n", id, trap.Text())
		return exitTrap
	}
	return engineFailed(stderr, id, err)
}

func engineFailed(stderr *os.File, id string, err error) int {
	fmt.Fprintf(stderr, "runw: container %q: %v\n", id, err)
	if errors.Is(err, os.ErrNotExist) {
		return exitNotFound
	}
	return exitNotRunnable
}
