package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/runw/runw/pkg/aot"
	"github.com/runw/runw/pkg/sandbox"
	"github.com/sirupsen/logrus"
)

// nativeArgs says for which module, and for what, native code is wanted.
type nativeArgs struct {
	module       *os.File
	foreign      bool   // the container may have mounted what the module lies on
	name         string // for messages
	engine       string
	addressSpace uint64
	store        *aot.Store // nil: each start compiles
	warm         bool       // for later, no container gets it now
	// worker compiles, for at most timeout; whoever else compiles the module
	// already is waited for no longer.
	worker  *sandbox.Worker
	timeout time.Duration
	// check, unless it is nil, can refuse the module before it is compiled.
	check func(*aot.Info) error
	// warn is told why the store could not be used.
	warn func(error)
}

// nativeCode finds the native code of a module, without reading the module
// where the store knows the file, or has it made.
func nativeCode(ctx context.Context, a nativeArgs) (*aot.Artifact, error) {
	witness := a.store.Witness(a.module, a.foreign)
	defer witness.Close()
	r := witness.Recall(aot.RecallArgs{Engine: a.engine, AddressSpace: a.addressSpace, Warm: a.warm})
	if r != nil {
		logrus.Debugf("%s is known by its file", a.name)
		if a.check != nil {
			if err := a.check(r.Info); err != nil {
				r.Artifact.File.Close()
				return nil, err
			}
		}
		return r.Artifact, nil
	}
	wasm, free, err := readModule(a.module)
	if err != nil {
		return nil, err
	}
	defer free()
	if a.check != nil {
		info, err := aot.Inspect(wasm)
		if err != nil {
			return nil, err
		}
		if err := a.check(info); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, a.timeout, fmt.Errorf("not compiled after %v (--aot-timeout)", a.timeout))
	defer cancel()
	return aot.Ensure(ctx, aot.EnsureArgs{
		Wasm:         wasm,
		Engine:       a.engine,
		AddressSpace: a.addressSpace,
		Store:        a.store,
		Witness:      witness,
		Warm:         a.warm,
		Compiler:     compiler(a.worker),
		Warn:         a.warn,
	})
}
