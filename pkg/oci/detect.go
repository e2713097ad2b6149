package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Kind is what a container's entrypoint is.
type Kind int

// The kinds of entrypoint.
const (
	// Native is a Linux program, or nothing that can be found: libcontainer
	// runs it or says why not.
	Native Kind = iota
	// Module is a core WebAssembly module.
	Module
	// Component is a WebAssembly component.
	Component
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Native:
		return "native"
	case Module:
		return "module"
	case Component:
		return "component"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Errors of Detect, for errors.Is. A missing entrypoint is fs.ErrNotExist.
var (
	// ErrUnknownHandler: an annotation has a value that names no handler,
	// variant or engine.
	ErrUnknownHandler = errors.New("unknown value")
	// ErrNotFound: args[0] has no slash and is in no directory of PATH. It is
	// also fs.ErrNotExist.
	ErrNotFound error = notInPathError{}
	// ErrNotModule: the annotations ask for a Wasm module and the entrypoint is
	// something else.
	ErrNotModule = errors.New("not a Wasm module")
	// ErrModuleVersion: the entrypoint has Wasm's magic bytes, and behind them
	// no version that is known here.
	ErrModuleVersion = errors.New("unknown Wasm version")
)

type notInPathError struct{}

func (notInPathError) Error() string { return "executable file not found in $PATH" }

func (notInPathError) Is(target error) bool { return target == fs.ErrNotExist }

// EntrypointError is a fault of the entrypoint. Its text has the form in which
// os/exec, and so runc, puts it: clients pick exit codes 126 and 127 by it.
type EntrypointError struct {
	// Name is args[0].
	Name string
	// Err is the fault.
	Err error
}

// Error returns `exec: "NAME": ` and the fault.
func (e *EntrypointError) Error() string { return fmt.Sprintf("exec: %q: %v", e.Name, e.Err) }

// Unwrap returns the fault.
func (e *EntrypointError) Unwrap() error { return e.Err }

// Workload is what a bundle's entrypoint turned out to be.
type Workload struct {
	Kind Kind
	// Why is one sentence that says what decided on Kind.
	Why string
	// Engine is the engine that an annotation asks for: EngineWasmtime,
	// EngineWazero, or "" for the runtime's choice.
	Engine string
	// Path is the entrypoint's absolute path inside the container, with symbolic
	// links resolved; "" for a native one that was not found.
	Path string
	// Export is the function asked for by args[0] of the form "path#func"; ""
	// means _start.
	Export string
	// Module is the entrypoint, a regular file open for reading at offset 0;
	// nil for Native. The caller closes it.
	Module *os.File
}

// Detect finds the bundle's entrypoint as the container will see it (through the
// mounts of config.json, without following any link out of them) and decides
// whether it is a Linux program or WebAssembly. RATIONALE.md has the rules and
// their order. b.Spec must have passed Validate.
//
// Errors: ErrUnknownHandler and ErrModuleVersion in any case; ErrNotFound,
// fs.ErrNotExist, fs.ErrPermission and ErrNotModule only where an annotation
// insists on Wasm. All but the first are inside an *EntrypointError.
func Detect(b *Bundle) (*Workload, error) {
	notes := b.Spec.Annotations
	if key := sandboxNote(notes); key != "" {
		return &Workload{Kind: Native, Why: "pod sandbox container (annotation " + key + ")"}, nil
	}
	want, err := requested(notes)
	if err != nil {
		return nil, err
	}
	t, err := newTree(b)
	if err != nil {
		return nil, err
	}
	defer t.close()
	f := &finder{walk: newWalk(t), process: b.Spec.Process, forced: want.forced}
	defer f.walk.close()

	name := b.Spec.Process.Args[0]
	c, err := f.find(name)
	if err != nil && !want.forced {
		return &Workload{Kind: Native, Engine: want.engine, Why: want.prefix() + "entrypoint: " + err.Error()}, nil
	}
	if err == nil {
		err = c.check(want)
	}
	if err != nil {
		return nil, &EntrypointError{name, err}
	}
	return c.workload(want), nil
}

// sandboxNote returns the annotation that marks a pod sandbox container, "" if
// there is none.
func sandboxNote(notes map[string]string) string {
	for _, key := range []string{AnnotationContainerdType, AnnotationCRIOType} {
		if notes[key] == ContainerTypeSandbox {
			return key
		}
	}
	return ""
}

// check returns an error if c cannot be the workload. Such a candidate is Native
// and holds no descriptor.
func (c *candidate) check(want request) error {
	switch {
	case c.fault != nil:
		return fmt.Errorf("%s: %w", c.path, c.fault)
	case want.forced && c.kind == Native && c.denied != nil:
		return &fs.PathError{Op: "open", Path: c.path, Err: c.denied}
	case want.forced && c.kind == Native:
		err := fmt.Errorf("%s is %s, %w (%s asks for one)", c.path, c.what, ErrNotModule, want.why)
		if c.text {
			err = fmt.Errorf("%w: convert it to the binary format first, for example with wat2wasm", err)
		}
		return err
	}
	return nil
}

func (c *candidate) workload(want request) *Workload {
	w := &Workload{Kind: c.kind, Engine: want.engine, Path: c.path, Export: c.export}
	switch {
	case c.kind == Native && c.denied != nil:
		w.Why = fmt.Sprintf("%s%s cannot be read: %v", want.prefix(), c.path, c.denied)
	case c.kind == Native:
		w.Why = fmt.Sprintf("%s%s is %s", want.prefix(), c.path, c.what)
	case want.forced:
		w.Why = want.why
	default:
		w.Why = want.prefix() + "magic bytes of " + c.path
	}
	if c.kind != Native {
		// Only regular files get here, where O_NONBLOCK has served its purpose;
		// without it os.NewFile does not try the poller.
		_, _ = unix.FcntlInt(uintptr(c.fd), unix.F_SETFL, 0)
		w.Module = os.NewFile(uintptr(c.fd), c.path)
	}
	return w
}

// request is what the annotations ask for.
type request struct {
	forced bool   // the entrypoint must be Wasm
	engine string // Workload.Engine
	why    string // the annotation, "" for none
}

func (r request) prefix() string {
	if r.why == "" {
		return ""
	}
	return r.why + ", "
}

// requested reads the annotations; every one that is set must be known, and
// an empty value counts as not set. AnnotationHandler goes before
// AnnotationVariant, as in crun, and AnnotationEngine before the engine in a
// handler's name.
func requested(notes map[string]string) (request, error) {
	var r request
	switch v := notes[AnnotationVariant]; v {
	case "":
	case VariantCompat, VariantCompatSmart:
		r.forced, r.why = v == VariantCompat, note(AnnotationVariant, v)
	default:
		return r, unknown(AnnotationVariant, v, VariantCompat, VariantCompatSmart)
	}
	switch v := notes[AnnotationHandler]; v {
	case "":
	case HandlerWasm, HandlerWasmSmart, HandlerWasmEdge, HandlerWasmtime, HandlerWazero:
		r.forced, r.why = v != HandlerWasmSmart, note(AnnotationHandler, v)
		if v == HandlerWasmtime || v == HandlerWazero {
			r.engine = v
		}
	default:
		return r, unknown(AnnotationHandler, v, HandlerWasm, HandlerWasmSmart, HandlerWasmEdge, HandlerWasmtime, HandlerWazero)
	}
	switch v := notes[AnnotationEngine]; v {
	case "":
	case EngineAuto:
		r.engine = ""
	case EngineWasmtime, EngineWazero:
		r.engine = v
	default:
		return r, unknown(AnnotationEngine, v, EngineAuto, EngineWasmtime, EngineWazero)
	}
	return r, nil
}

func note(key, value string) string { return "annotation " + key + "=" + value }

func unknown(key, value string, known ...string) error {
	return &FieldError{
		fmt.Sprintf("annotations[%q]", key),
		fmt.Errorf("%w %q: want %s", ErrUnknownHandler, value, strings.Join(known, ", ")),
	}
}
