package aot

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// ErrLink is returned by Run for an import that nobody offers.
var ErrLink = errors.New("unresolved import")

// checkMemory refuses a module that cannot have the memory it starts with. most
// is what the engine can give, limit what the container may have; 0 is no limit.
func checkMemory(i *Info, most, limit uint64) error {
	if limit != 0 {
		most = min(most, limit)
	}
	if i.MemoryMin > most/wasmPage {
		need := min(i.MemoryMin, math.MaxUint64/wasmPage) * wasmPage
		return fmt.Errorf("module needs %d bytes of memory to start, allowed are %d", need, most)
	}
	return nil
}

// checkEntry refuses an entry that does not exist or wants parameters.
func checkEntry(i *Info, entry string) error {
	for _, name := range entries(i, entry) {
		e, ok := i.Export(name)
		switch {
		case !ok && entry == "":
			if _, reactor := i.Export("_initialize"); reactor {
				return errors.New(`module is a reactor: it exports "_initialize" but no "_start"; name the function to call`)
			}
			fallthrough
		case !ok:
			return fmt.Errorf("module exports no function %q", name)
		case e.Kind != KindFunc:
			return fmt.Errorf("export %q is a %s, not a function", name, e.Kind)
		case len(e.Sig.Params) != 0:
			return fmt.Errorf("export %q has the type %s: an entry takes no parameters", name, e.Sig)
		}
	}
	return nil
}

// entries lists the functions to call in order.
func entries(i *Info, entry string) []string {
	if entry == "" || entry == "_start" {
		return []string{"_start"}
	}
	if _, ok := i.Export("_initialize"); ok && entry != "_initialize" {
		return []string{"_initialize", entry}
	}
	return []string{entry}
}

// onlyFunctions refuses imports that no host has.
func onlyFunctions(i *Info) error {
	for _, o := range i.OtherImports {
		return fmt.Errorf("%w: %s %q.%q: only functions can be imported", ErrLink, o.Kind, o.Module, o.Name)
	}
	return nil
}

// findFunc picks by name and type: dialects differ in the type only.
func findFunc(funcs []abi.Func, imp abi.Import) (abi.Func, error) {
	var other string
	for _, f := range funcs {
		if f.Module != imp.Module || f.Name != imp.Name {
			continue
		}
		if f.Sig.Equal(imp.Sig) {
			return f, nil
		}
		other = fmt.Sprintf(", the host has %s", f.Sig)
	}
	return abi.Func{}, fmt.Errorf("%w: %q.%q of type %s%s", ErrLink, imp.Module, imp.Name, imp.Sig, other)
}

// start sets the counters for a guest that is about to begin.
func (c *Counters) start(i *Info) {
	if c == nil {
		return
	}
	atomic.StoreUint64(&c.HostCalls, 0)
	atomic.StoreUint64(&c.MemoryBytes, i.MemoryMin*wasmPage)
}
