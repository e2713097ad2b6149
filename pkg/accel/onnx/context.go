package onnx

import (
	"context"
	"fmt"
	"slices"

	"github.com/runw/runw/pkg/accel"
)

// execution is one computation: its inputs stay for the next.
type execution struct {
	graph   *graph
	inputs  []object
	shapes  []tensorShape // of inputs
	outputs []object
	closed  bool
}

// tensorShape is what a value of the library's was made for.
type tensorShape struct {
	element int32
	dims    []int64
}

// NewContext makes a context without inputs. Contexts share the session, which
// keeps nothing between runs.
func (g *graph) NewContext() (accel.Context, error) {
	if g.closed {
		return nil, fmt.Errorf("onnx: the model is unloaded: %w", accel.ErrInvalidArgument)
	}
	g.contexts++
	return &execution{
		graph: g, inputs: make([]object, len(g.inputs)), shapes: make([]tensorShape, len(g.inputs)), outputs: make([]object, len(g.outputs)),
	}, nil
}

// SetInput copies the tensor. The element type, and the dimensions that the model
// fixes, must be the model's.
func (x *execution) SetInput(index uint32, t accel.Tensor) error {
	if uint64(index) >= uint64(len(x.inputs)) {
		return invalid("onnx: input %d of a model that has %d", index, len(x.inputs))
	}
	dims, number, err := shape(t)
	if err == nil {
		err = x.graph.inputs[index].takes(number, dims)
	}
	if err == nil {
		err = x.put(index, t.Data, tensorShape{number, dims})
	}
	if err != nil {
		return fmt.Errorf("onnx: input %d: %w", index, err)
	}
	return nil
}

// put fills the value that the input has if the next one is like it: memory from
// the library's allocator is new to the kernel each time.
func (x *execution) put(index uint32, data []byte, shape tensorShape) error {
	lib, had := x.graph.lib, x.shapes[index]
	if old := x.inputs[index]; old != 0 && had.element == shape.element && slices.Equal(had.dims, shape.dims) && !x.shared(old, len(data)) {
		return lib.fill(old, data)
	}
	v, err := lib.tensor(data, shape.dims, shape.element)
	if err != nil {
		return err
	}
	lib.release(releaseValue, x.inputs[index])
	x.inputs[index], x.shapes[index] = v, shape
	return nil
}

// shared says that an output may lie in the memory of an input of so many bytes:
// of a model that passes it on, an output is the input itself.
func (x *execution) shared(input object, size int) bool {
	lib := x.graph.lib
	begin, err := lib.object(tensorMutableData, input)
	if err != nil {
		return true
	}
	for _, v := range x.outputs {
		if v == 0 {
			continue
		}
		at, err := lib.object(tensorMutableData, v)
		if err != nil || at >= begin && at < begin+object(size) {
			return true
		}
	}
	return false
}

// Compute runs the model. The library looks at ctx between operations.
func (x *execution) Compute(ctx context.Context) error {
	if err := x.compute(ctx); err != nil {
		return fmt.Errorf("onnx: compute: %w", err)
	}
	return nil
}

func (x *execution) compute(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if x.closed || x.graph.closed {
		return fmt.Errorf("the model is unloaded: %w", accel.ErrRuntime)
	}
	for i, v := range x.inputs {
		if v == 0 {
			return invalid("input %d, %q, was not set", i, x.graph.inputs[i].name)
		}
	}
	x.forget()
	lib := x.graph.lib
	options, err := lib.create(createRunOptions)
	if err != nil {
		return err
	}
	defer lib.release(releaseRunOptions, options)
	stop := func() { _ = lib.call(runOptionsSetTerminate, options) }
	err = during(ctx, stop, func() error {
		return lib.compute(x.graph.session, options, x.graph.inputNames, x.inputs, x.graph.outputNames, x.outputs)
	})
	if err != nil {
		x.forget()
	}
	return err
}

// forget drops the outputs.
func (x *execution) forget() {
	for i, v := range x.outputs {
		x.graph.lib.release(releaseValue, v)
		x.outputs[i] = 0
	}
}

// Output gives an output's elements in the library's memory, little-endian, the
// last dimension closest.
func (x *execution) Output(index uint32) ([]byte, error) {
	if uint64(index) >= uint64(len(x.outputs)) {
		return nil, invalid("onnx: output %d of a model that has %d", index, len(x.outputs))
	}
	err := x.graph.outputs[index].unsupported()
	if err == nil && x.outputs[index] == 0 {
		err = fmt.Errorf("not computed: %w", accel.ErrRuntime)
	}
	var size int
	if err == nil {
		size, err = x.graph.lib.size(x.outputs[index])
	}
	var data []byte
	if err == nil {
		data, err = x.graph.lib.view(x.outputs[index], size)
	}
	if err != nil {
		return nil, fmt.Errorf("onnx: output %d: %w", index, err)
	}
	return data, nil
}

// size is a tensor's, in bytes, from what it is and not from what the model says.
func (l *library) size(v object) (int, error) {
	kind, err := l.kind(valueType, v)
	if err != nil {
		return 0, err
	}
	if kind != tensorKind {
		return 0, port{kind: kind}.unsupported()
	}
	info, err := l.object(tensorTypeAndShape, v)
	if err != nil {
		return 0, err
	}
	defer l.release(releaseTensorInfo, info)
	element, err := l.kind(tensorElementType, info)
	if err != nil {
		return 0, err
	}
	if err := (port{kind: kind, element: element}).unsupported(); err != nil {
		return 0, err
	}
	width, _ := elementWidth(element)
	count, err := l.number(shapeElementCount, info)
	return count * width, err
}

// ComputeSingle is ErrUnsupportedOperation: an ONNX model has no steps.
func (x *execution) ComputeSingle(context.Context) error { return errSteps() }

// OutputSingle is ErrUnsupportedOperation.
func (x *execution) OutputSingle(uint32) ([]byte, error) { return nil, errSteps() }

// FinishSingle is ErrUnsupportedOperation.
func (x *execution) FinishSingle() error { return errSteps() }

func errSteps() error { return unsupported("onnx: a model has no single steps") }

// Close gives back inputs and outputs, and the graph if it was the last to use it.
func (x *execution) Close() {
	if x.closed {
		return
	}
	x.closed = true
	x.forget()
	for _, v := range x.inputs {
		x.graph.lib.release(releaseValue, v)
	}
	x.inputs, x.outputs = nil, nil
	if x.graph.contexts--; x.graph.contexts == 0 && x.graph.closed {
		x.graph.free()
	}
}
