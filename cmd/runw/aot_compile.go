package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/runw/runw/pkg/aot"
	"github.com/runw/runw/pkg/oci"
	"github.com/runw/runw/pkg/sandbox"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func aotCompileCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:  "compile",
		Usage: "compile modules, so that no container has to wait for it",
		ArgsUsage: `FILE|BUNDLE...

Where "FILE" is a WebAssembly module and "BUNDLE" a directory with a config.json
whose program is one. The engine is that of the global option "--engine", or the
one that the bundle names.`,
		Description: `The compile command prints a line for each module: its name, its size, the
engine and how long it took. It goes on after a module that cannot be compiled,
and fails in the end.`,
		Action: func(c *cli.Context) error {
			if err := atLeastArgs(c, 1); err != nil {
				return err
			}
			store, err := needStore(opts)
			if err != nil {
				return fmt.Errorf("aot compile: %w", err)
			}
			defer store.Close()
			w := warmer{c: c, opts: opts, store: store}
			w.terminal = isTerminal(c.App.Writer)
			failed := 0
			for _, path := range c.Args().Slice() {
				if err := c.Context.Err(); err != nil {
					return fmt.Errorf("aot compile: %w", err)
				}
				if err := w.compile(path); err != nil {
					failed++
					w.line(fmt.Sprintf("%s: %v", path, err))
				}
			}
			if failed > 0 {
				return fmt.Errorf("aot compile: %d of %d modules were not compiled", failed, c.NArg())
			}
			return nil
		},
	}
}

// warmer compiles modules and tells how it gets on.
type warmer struct {
	c        *cli.Context
	opts     *options
	store    *aot.Store
	terminal bool
}

func (w *warmer) compile(path string) error {
	a, err := w.args(path)
	if err != nil {
		return err
	}
	defer a.module.Close()
	size, err := moduleSize(a.module)
	if err != nil {
		return err
	}
	if a.engine, err = aot.Resolve(a.engine); err != nil {
		return err
	}
	if w.terminal {
		fmt.Fprintf(w.c.App.Writer, "%s  %s  %s ...", path, humanBytes(int64(size)), a.engine)
	}
	var broken error
	a.warn = func(err error) { broken = err }
	begin := time.Now()
	artifact, err := nativeCode(w.c.Context, a)
	if err != nil {
		return err
	}
	if artifact.File == nil {
		return fmt.Errorf("engine %s makes no native code on this machine", a.engine)
	}
	artifact.File.Close()
	if broken != nil {
		return broken
	}
	done := fmt.Sprintf("compiled in %.2f s", time.Since(begin).Seconds())
	if artifact.Cached {
		done = "was there"
	}
	w.line(fmt.Sprintf("%s  %s  %s  %s", path, humanBytes(int64(size)), a.engine, done))
	return nil
}

// line takes the place of what the terminal shows of this module.
func (w *warmer) line(text string) {
	if w.terminal {
		text = "\r\x1b[K" + text
	}
	fmt.Fprintln(w.c.App.Writer, text)
}

// args finds the module that a bundle would run, with what it would be compiled
// for, or takes the file for one.
func (w *warmer) args(path string) (nativeArgs, error) {
	a := nativeArgs{name: path, engine: w.opts.engine, store: w.store, warm: true, worker: sandbox.HostWorker(), timeout: w.opts.aotTimeout}
	// O_NONBLOCK: a fifo is to be refused and not waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return a, errors.Unwrap(err) // the line begins with the path
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return a, err
	}
	if !info.IsDir() {
		a.module = f
		return a, nil
	}
	f.Close()
	b, err := oci.Load(path)
	if err != nil {
		return a, err
	}
	work, err := oci.Detect(b)
	if err != nil {
		return a, err
	}
	if work.Kind == oci.Native {
		return a, fmt.Errorf("is no WebAssembly module: %s", work.Why)
	}
	limits := containerLimits(b.Spec)
	a.module, a.engine, a.addressSpace = work.Module, cmp.Or(work.Engine, a.engine), limits.addressSpace()
	return a, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
