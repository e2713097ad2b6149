package aot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// engine is one way to run core modules. Everything outside the engine's own
// files knows it by this interface only.
type engine interface {
	name() string
	// fingerprint names all that native code depends on besides the module:
	// engine, version, architecture, processor features, options. It is a
	// directory name in the store; "" means that this engine makes no artifacts
	// on this machine.
	fingerprint() string
	// compile validates the module and turns it into an artifact's key and
	// parts. Without artifacts (fingerprint "") it validates only.
	compile(ctx context.Context, secs []section, info *Info) (*artifact, error)
	// open readies a module to run. An artifact that does not fit is reported
	// by Warn and the module compiled in memory.
	open(ctx context.Context, a OpenArgs) (Module, error)
}

// ErrEngine is returned for an engine that does not exist or is not linked in.
var ErrEngine = errors.New("engine not available")

// ErrUnsupported is returned for a well-formed module that needs a feature the
// engine does not have; the text names the feature.
var ErrUnsupported = errors.New("not supported")

// confinable is an engine that makes other code for a process with little
// address space (RLIMIT_AS).
type confinable interface {
	within(bytes uint64) engine
}

// Engines names the engines linked into this binary, best first.
func Engines() []string {
	var out []string
	for _, e := range linked() {
		out = append(out, e.name())
	}
	return out
}

// Resolve turns a configured engine name into that of a linked engine. "" and
// "auto" give the best one.
func Resolve(name string) (string, error) {
	e, err := pick(name)
	if err != nil {
		return "", err
	}
	return e.name(), nil
}

// pickFor is pick for a process with so many bytes of address space.
func pickFor(name string, addressSpace uint64) (engine, error) {
	e, err := pick(name)
	if c, ok := e.(confinable); ok {
		return c.within(addressSpace), nil
	}
	return e, err
}

// pick finds a linked engine; linked lists them, best first.
func pick(name string) (engine, error) {
	all := linked()
	if name == "" || name == "auto" {
		return all[0], nil
	}
	for _, e := range all {
		if e.name() == name {
			return e, nil
		}
	}
	why := "unknown engine"
	if name == "wasmtime" {
		why = "not linked into this binary"
	}
	return nil, fmt.Errorf("%w: %q: %s (have: %s)", ErrEngine, name, why, strings.Join(Engines(), ", "))
}

// OpenArgs is what the engine process knows of its module.
type OpenArgs struct {
	// Engine is the name from Artifact.Engine; "" is the best one.
	Engine string
	// Wasm is the module. With a usable artifact it is not read, so it may be a
	// lazily mapped file.
	Wasm []byte
	// Artifact is the file that Ensure gave for Wasm, or nil to compile in
	// memory. Open does not close it and does not need it after it returned.
	Artifact *os.File
	// Warn is told what went wrong but could be worked around; may be nil.
	Warn func(error)
}

// Open readies a module to run in this process.
func Open(ctx context.Context, a OpenArgs) (Module, error) {
	e, err := pickFor(a.Engine, addressSpace())
	if err != nil {
		return nil, err
	}
	if a.Warn == nil {
		a.Warn = func(error) {}
	}
	return e.open(ctx, a)
}

// Module is a compiled module, ready to run.
type Module interface {
	// Imports lists the functions that RunArgs.Funcs has to offer.
	Imports() []abi.Import
	// Run instantiates the module and calls the entry on the calling goroutine,
	// until the guest returns (nil), exits (*ExitError of package abi, also for
	// status 0) or traps (*TrapError). Any other error means that the guest did
	// not start. One Run at a time. While a guest runs, the process's automatic
	// garbage collection is off; see the package documentation.
	Run(ctx context.Context, a RunArgs) error
	// Close frees code and memory. No Run may be active.
	Close() error
}

// RunArgs says how to run a module.
type RunArgs struct {
	// Funcs are the host functions; those the module does not import are
	// ignored. The signature must be equal to the import's.
	Funcs []abi.Func
	// Entry is the exported function to call, without parameters. "" is
	// "_start", the command of WASI. For any other entry "_initialize" is
	// called first if the module exports it (a reactor).
	Entry string
	// MemoryLimit bounds the guest's linear memory in bytes; 0 is no limit. A
	// memory.grow beyond it gives -1. Each of several memories may have as much.
	// wasmtime bounds a shared memory by the maximum that it declares only.
	MemoryLimit uint64
	// Counters, from MapCounters, are kept while the guest runs; nil for none.
	Counters *Counters
}

// TrapError is the end of a guest that did something undefined, or of a host
// function that failed.
type TrapError struct {
	// Reason is the engine's name for the trap, such as "unreachable".
	Reason string
	// Backtrace has one line per guest frame, innermost first; the number of
	// frames is bounded.
	Backtrace []string
	// Err is the host function's error if it caused the trap.
	Err error
}

func (e *TrapError) Error() string { return "wasm trap: " + e.Reason }

func (e *TrapError) Unwrap() error { return e.Err }

// Text is the error with the backtrace below it, one indented line per frame.
func (e *TrapError) Text() string {
	var b strings.Builder
	b.WriteString(e.Error())
	for _, f := range e.Backtrace {
		b.WriteString("\n\t")
		b.WriteString(f)
	}
	return b.String()
}
