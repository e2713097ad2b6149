package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/runw/runw/pkg/aot"
	"github.com/runw/runw/pkg/sandbox"
	"golang.org/x/sys/unix"
)

// defaultCompileTimeout is ten times what the largest modules in use take on
// one slow processor.
const defaultCompileTimeout = 5 * time.Minute

// maxCompileThreads bounds the threads of a compile process: beyond it there is
// little to gain, and a container has a limit.
const maxCompileThreads = 16

// compiler lets a process without rights do the compiling, in the place of w.
// A signal that would end this process ends that one first.
func compiler(w *sandbox.Worker) aot.Compiler {
	return func(ctx context.Context, job, output *os.File) error {
		ctx, stop := signal.NotifyContext(ctx, endingSignals()...)
		defer stop()
		if err := w.Run(ctx, job, output); err != nil {
			return err
		}
		return context.Cause(ctx)
	}
}

// endingSignals leaves out what the caller has set to be ignored (nohup).
func endingSignals() []os.Signal {
	var out []os.Signal
	for _, s := range []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM} {
		if !signal.Ignored(s) {
			out = append(out, s)
		}
	}
	return out
}

// compile is the process that a compiler starts. When it gets here it has no
// rights left but to compute (pkg/sandbox/worker_linux.c).
func compile(args []string) int {
	w, err := sandbox.ReadWork(args)
	if err == nil {
		frugal(w)
		err = aot.ServeCompile(context.Background(), w.Job, w.Output)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// frugal keeps the Go runtime within the container's limits where it can:
// collecting more often is better than being killed.
func frugal(w *sandbox.Work) {
	threads := min(runtime.GOMAXPROCS(0), maxCompileThreads)
	// The runtime has some threads besides those that compute, and the engine
	// may have as many as processors.
	if w.Tasks != 0 && w.Tasks < uint64(4*threads+8) {
		threads = 1
	}
	runtime.GOMAXPROCS(threads)
	if w.Memory != 0 {
		debug.SetMemoryLimit(int64(min(w.Memory/4*3, 1<<62)))
	}
}
