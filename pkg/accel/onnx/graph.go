package onnx

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/runw/runw/pkg/accel"
)

// graph is a session with its model.
type graph struct {
	lib     *library
	session object
	inputs  []port
	outputs []port
	// The names once more, in the library's memory, as each run wants them.
	inputNames, outputNames []object
	// weights are values that lie in mapping.
	weights []object
	mapping []byte

	contexts int
	closed   bool
}

// Load checks the model, maps it and makes a session of it.
func (b *backend) Load(ctx context.Context, m accel.Model) (accel.Graph, error) {
	g, err := b.load(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("onnx: model: %w", err)
	}
	return g, nil
}

func (b *backend) load(ctx context.Context, m accel.Model) (_ *graph, retErr error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := parseConfig(m.Config)
	if err != nil {
		return nil, err
	}
	if len(m.Files) != 1 {
		return nil, invalid("%d files, an ONNX model has one", len(m.Files))
	}
	gpu, err := b.target(m.Target, c)
	if err != nil {
		return nil, err
	}
	g := &graph{lib: b.lib}
	defer func() {
		if retErr != nil {
			g.free()
		}
	}()
	if err := g.open(m.Files[0]); err != nil {
		return nil, err
	}
	err = g.start(ctx, c, gpu)
	if err != nil && gpu != nil && m.Target == accel.TargetAuto && ctx.Err() == nil {
		b.fallBack(fmt.Errorf("%s: %w", gpu.name, err))
		err = g.start(ctx, c, nil)
	} else if err != nil && gpu != nil {
		err = fmt.Errorf("target GPU: %s: %w", gpu.name, err)
	}
	if err != nil {
		return nil, err
	}
	return g, g.describe()
}

// open maps the model's file.
func (g *graph) open(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return invalid("an empty file, or none")
	}
	if info.Size() > largest {
		return fmt.Errorf("%d bytes: %w", info.Size(), accel.ErrTooLarge)
	}
	if g.mapping, err = unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE); err != nil {
		return fmt.Errorf("map: %w", err)
	}
	return nil
}

// start makes the session.
func (g *graph) start(ctx context.Context, c config, gpu *provider) error {
	options, err := g.lib.create(createSessionOptions)
	if err != nil {
		return err
	}
	defer g.lib.release(releaseSessionOptions, options)
	if err := g.configure(options, c); err != nil {
		return err
	}
	if gpu != nil {
		if err := g.lib.add(options, *gpu); err != nil {
			return err
		}
	}
	model, err := g.prepare(options, gpu == nil)
	if err != nil {
		return err
	}
	stop := func() { _ = g.lib.call(setLoadCancellation, options, 1) }
	return during(ctx, stop, func() (err error) {
		g.session, err = g.lib.session(options, model)
		return err
	})
}

// prepare gives the library the weights that it can use in place, if the CPU
// does, and returns what it has to parse: a copy of the rest, inspected when
// nobody could change it any more.
func (g *graph) prepare(options object, inPlace bool) (model []byte, err error) {
	var weights []weight
	if !inPlace {
		model = bytes.Clone(g.mapping)
	} else {
		model, weights, err = split(g.mapping)
	}
	if ownFormat(g.mapping) || ownFormat(model) {
		return nil, fmt.Errorf("ONNX Runtime's own format, not ONNX: %w", accel.ErrInvalidEncoding)
	}
	if err != nil {
		return nil, err
	}
	if err := inspect(model); err != nil {
		return nil, err
	}
	if len(weights) == 0 {
		return model, nil
	}
	return appendBytes(model, 7, placeholders(weights)), g.attach(options, weights)
}

func (g *graph) configure(options object, c config) error {
	const fatal, parallel = 4, 1
	calls := []struct {
		e     entry
		value uintptr
	}{
		{setLogSeverity, fatal},
		{setIntraOpThreads, uintptr(c.IntraThreads)},
		{setInterOpThreads, uintptr(c.InterThreads)},
		{setDeterministicCompute, 1},
	}
	for _, call := range calls {
		if err := g.lib.call(call.e, options, call.value); err != nil {
			return err
		}
	}
	if c.InterThreads > 1 {
		if err := g.lib.call(setExecutionMode, options, parallel); err != nil {
			return err
		}
	}
	if c.Prepack != nil && !*c.Prepack {
		if err := g.lib.configure(options, "session.disable_prepacking", "1"); err != nil {
			return err
		}
	}
	// Without it the library guesses by the bytes, and its own format was not inspected.
	return g.lib.configure(options, "session.load_model_format", "ONNX")
}

// attach gives the weights to the session that is to be made.
func (g *graph) attach(options object, weights []weight) error {
	names := make([]string, len(weights))
	for i, w := range weights {
		v, err := g.lib.tensorOn(w.data, w.dims, w.element)
		if err != nil {
			return fmt.Errorf("weight %q: %w", w.name, err)
		}
		names[i] = w.name
		g.weights = append(g.weights, v)
	}
	return g.lib.initializers(options, names, g.weights)
}

// describe asks the session for its inputs and outputs.
func (g *graph) describe() error {
	ports := func(count, info, name entry) (ports []port, names []object, err error) {
		n, err := g.lib.number(count, g.session)
		for i := 0; i < n && err == nil; i++ {
			var p port
			var o object
			if p.name, o, err = g.lib.name(name, g.session, i); err != nil {
				break
			}
			names = append(names, o)
			err = p.describe(g.lib, info, g.session, i)
			ports = append(ports, p)
		}
		return ports, names, err
	}
	var err error
	if g.inputs, g.inputNames, err = ports(sessionInputCount, sessionInputTypeInfo, sessionInputName); err != nil {
		return err
	}
	if g.outputs, g.outputNames, err = ports(sessionOutputCount, sessionOutputTypeInfo, sessionOutputName); err != nil {
		return err
	}
	// What cannot be given can never be computed; an output may just not be read.
	for i, p := range g.inputs {
		if err := p.unsupported(); err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
	}
	return nil
}

func (p *port) describe(l *library, e entry, session object, i int) error {
	info, err := l.at(e, session, i)
	if err != nil {
		return err
	}
	defer l.release(releaseTypeInfo, info)
	if p.kind, err = l.kind(onnxTypeOfTypeInfo, info); err != nil || p.kind != tensorKind {
		return err
	}
	tensor, err := l.object(castTypeInfoToTensorInfo, info) // a part of info
	if err != nil {
		return err
	}
	if p.element, err = l.kind(tensorElementType, tensor); err != nil {
		return err
	}
	p.dims, err = l.dims(tensor)
	return err
}

// Close frees the graph once its contexts are closed.
func (g *graph) Close() {
	g.closed = true
	if g.contexts == 0 {
		g.free()
	}
}

// free gives all back: the session first, which uses the rest.
func (g *graph) free() {
	for _, name := range append(g.inputNames, g.outputNames...) {
		_ = g.lib.call(allocatorFree, g.lib.malloc, name)
	}
	g.inputNames, g.outputNames = nil, nil
	g.lib.release(releaseSession, g.session)
	g.session = 0
	for _, v := range g.weights {
		g.lib.release(releaseValue, v)
	}
	g.weights = nil
	if g.mapping != nil {
		_ = unix.Munmap(g.mapping)
		g.mapping = nil
	}
}

// during works, and tells the work to stop if ctx ends meanwhile. When it
// returns, stop is not running and will not.
func during(ctx context.Context, stop func(), work func() error) error {
	stopped := make(chan struct{})
	unregister := context.AfterFunc(ctx, func() {
		defer close(stopped)
		stop()
	})
	err := work()
	if unregister() {
		return err
	}
	<-stopped
	if err != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return nil
}
