package onnx

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/onnx/model"
)

// one is a model of one node.
func one(op string, in, out model.Value, weights ...model.Weight) model.Graph {
	inputs := []string{in.Name}
	for _, w := range weights {
		inputs = append(inputs, w.Name)
	}
	return model.Graph{
		Nodes:  []model.Node{{Op: op, Inputs: inputs, Outputs: []string{out.Name}}},
		Inputs: []model.Value{in}, Outputs: []model.Value{out}, Weights: weights,
	}
}

func vector(name string, t model.Type) model.Value {
	return model.Value{Name: name, Type: t, Dims: []int64{4}}
}

// nested is a loop in a loop, and so on.
func nested(depth int) *model.Graph {
	g := model.Graph{Nodes: []model.Node{{Op: "Identity", Inputs: []string{"go"}, Outputs: []string{"again"}}}}
	for range depth {
		body := g
		g = model.Graph{Nodes: []model.Node{{Op: "Loop", Inputs: []string{"", ""}, Attributes: []model.Attribute{{Name: "body", Body: &body}}}}}
	}
	return &g
}

// What a model must not hold, wherever in it.
func TestRefusedModels(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	secret := model.Weight{Name: "w", Type: model.Float, Dims: []int64{4}, External: "/etc/passwd"}
	x, y := vector("x", model.Float), vector("y", model.Float)
	inAttribute := one("Add", x, y)
	inAttribute.Nodes = append(inAttribute.Nodes, model.Node{Op: "Constant", Outputs: []string{"w"}, Attributes: []model.Attribute{{Name: "value", Tensor: &secret}}})
	inBody := one("Add", x, y)
	inBody.Nodes = append(inBody.Nodes, model.Node{Op: "Loop", Attributes: []model.Attribute{{Name: "body", Body: &model.Graph{Weights: []model.Weight{secret}}}}})
	external := func(location string) []byte {
		w := secret
		w.External = location
		return one("Add", x, y, w).Model()
	}
	plain := one("Identity", x, y).Model()
	located := appendVarint(nil, 14, 1<<32|1) // 1 to a parser of 32-bit numbers
	tests := []struct {
		name  string
		model []byte
		err   error
		text  string
	}{
		{"empty", nil, accel.ErrInvalidArgument, "an empty file"},
		{"text", []byte("this is no model at all\n"), accel.ErrInvalidArgument, "not a whole protobuf message"},
		{"zeros", make([]byte, 4096), accel.ErrInvalidArgument, "not a whole protobuf message"},
		{"no graph", []byte{8, 8}, accel.ErrInvalidArgument, "0 graphs"},
		{"two graphs", append(bytes.Clone(plain), plain...), accel.ErrInvalidArgument, "2 graphs"},
		{"ONNX Runtime's format", append([]byte{24, 0, 0, 0}, "ORTM    "...), accel.ErrInvalidEncoding, "own format"},
		{"an absolute file", external("/etc/passwd"), accel.ErrUnsupportedOperation, "in another file"},
		{"a descriptor", external("0"), accel.ErrUnsupportedOperation, "in another file"},
		{"a file above", external("../../../../etc/passwd"), accel.ErrUnsupportedOperation, "in another file"},
		{"our own placeholder", external("weights"), accel.ErrUnsupportedOperation, "in another file"},
		{"an address", external("*/_ORT_MEM_ADDR_/*"), accel.ErrUnsupportedOperation, "in another file"},
		{"a file in an attribute", inAttribute.Model(), accel.ErrUnsupportedOperation, "in another file"},
		{"a file in a loop's body", inBody.Model(), accel.ErrUnsupportedOperation, "in another file"},
		{"a location of 33 bits", appendBytes(nil, 7, appendBytes(nil, 5, located)), accel.ErrUnsupportedOperation, "outside of the model"},
		{"a compiled context", one("EPContext", x, y).Model(), accel.ErrUnsupportedOperation, "compiled context"},
		{"deep", nested(40).Model(), accel.ErrInvalidArgument, "nested deeper"},
		{"an operator that is not", one("NoSuchOperator", x, y).Model(), nil, "NoSuchOperator"},
		{"a missing input", one("Add", x, y).Model(), nil, "Add"},
		{"a lying weight", one("Add", x, y, model.Weight{Name: "w", Type: model.Float, Dims: []int64{1 << 40}, Data: make([]byte, 16)}).Model(), nil, ""},
		{"a negative weight", one("Add", x, y, model.Weight{Name: "w", Type: model.Float, Dims: []int64{-4}, Data: make([]byte, 1<<16)}).Model(), nil, ""},
		{"bool in", one("Not", vector("x", model.Bool), vector("y", model.Bool)).Model(), accel.ErrUnsupportedOperation, `input 0: "x" has elements of bool`},
		{"text in", one("Identity", vector("x", model.String), vector("y", model.String)).Model(), accel.ErrUnsupportedOperation, "elements of string"},
		{"bfloat16 in", one("Identity", vector("x", model.BFloat16), vector("y", model.BFloat16)).Model(), accel.ErrUnsupportedOperation, "elements of bfloat16"},
		{"int8 in", one("Identity", vector("x", model.Int8), vector("y", model.Int8)).Model(), accel.ErrUnsupportedOperation, "elements of int8"},
		{"uint16 in", one("Identity", vector("x", model.Uint16), vector("y", model.Uint16)).Model(), accel.ErrUnsupportedOperation, "elements of uint16"},
		{"a sequence in", one("SequenceLength", model.Value{Name: "x", Type: model.Float, Dims: []int64{4}, Sequence: true}, model.Value{Name: "y", Type: model.Int64}).Model(), accel.ErrUnsupportedOperation, `"x" is a sequence`},
	}
	for _, test := range tests {
		_, err := b.Load(context.Background(), accel.Model{Files: files(t, test.model)})
		if err == nil || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", test.name, err, test.text)
		}
		var code accel.Errno
		if !errors.As(err, &code) || test.err != nil && !errors.Is(err, test.err) {
			t.Errorf("%s: %v is not %v", test.name, err, test.err)
		}
	}
	for _, m := range []accel.Model{{}, {Files: append(files(t, plain), files(t, plain)...)}} {
		if _, err := b.Load(context.Background(), m); !errors.Is(err, accel.ErrInvalidArgument) {
			t.Errorf("%d files: %v", len(m.Files), err)
		}
	}
}

// An output that no guest can have does not keep it from the others.
func TestRefusedOutputs(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	g := one("Identity", vector("x", model.Float), vector("y", model.Float))
	sequence := vector("list", model.Float)
	sequence.Sequence = true
	g.Nodes = append(g.Nodes,
		model.Node{Op: "SequenceConstruct", Inputs: []string{"x", "x"}, Outputs: []string{"list"}},
		model.Node{Op: "Less", Inputs: []string{"x", "x"}, Outputs: []string{"less"}})
	g.Outputs = append(g.Outputs, sequence, vector("less", model.Bool))
	x := newContext(t, load(t, b, g.Model()))
	row := model.Floats(1, 2, 3, 4)
	set(t, x, 0, accel.F32, []uint32{4}, row)
	compute(t, x)
	if got := output(t, x, 0); !bytes.Equal(got, row) {
		t.Errorf("output 0: %v", got)
	}
	for i, text := range []string{"", `output 1: "list" is a sequence`, `output 2: "less" has elements of bool`} {
		if text == "" {
			continue
		}
		if _, err := x.Output(uint32(i)); !errors.Is(err, accel.ErrUnsupportedOperation) || !strings.Contains(err.Error(), text) {
			t.Errorf("output %d: %v", i, err)
		}
	}
}

// No beginning of a model, and no model with a byte changed, does more than fail.
func TestCorruptModels(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	whole := model.Classifier()
	failed := 0
	try := func(data []byte) {
		g, err := b.Load(context.Background(), accel.Model{Files: files(t, data), Config: []byte(`{"intra-op-threads":1}`)})
		if err != nil {
			failed++
			return
		}
		defer g.Close()
		x := newContext(t, g)
		if x.SetInput(0, accel.Tensor{Type: accel.F32, Dims: []uint32{1, 4}, Data: model.Floats(1, 0, 0, 0)}) == nil {
			_ = x.Compute(context.Background())
		}
	}
	for n := 0; n < len(whole); n += 2 {
		try(whole[:n])
		changed := bytes.Clone(whole)
		changed[n] ^= 1 << (n % 8)
		try(changed)
	}
	if failed < len(whole)/2 {
		t.Errorf("%d of %d were refused", failed, len(whole))
	}
	truncated := model.Dense(2, 256)
	if _, err := b.Load(context.Background(), accel.Model{Files: files(t, truncated[:len(truncated)-1000])}); !errors.Is(err, accel.ErrInvalidArgument) {
		t.Errorf("a truncated model: %v", err)
	}
}

// Loads, contexts and runs give back what they took.
func TestNothingLeaks(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	data := model.Dense(2, 128)
	round := func() {
		f := file(t, data)
		defer f.Close()
		g, err := b.Load(context.Background(), accel.Model{Files: []*os.File{f}})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		x, err := g.NewContext()
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		set(t, x, 0, accel.F32, []uint32{1, 128}, make([]byte, 512))
		compute(t, x)
		output(t, x, 0)
		_ = x.SetInput(0, accel.Tensor{Type: accel.F32, Dims: []uint32{2}, Data: data[:8]})
		if _, err := b.Load(context.Background(), accel.Model{Files: files(t, data[:9999])}); err == nil {
			t.Fatal("loaded a part of a model")
		}
	}
	for range 20 {
		round()
	}
	before := mappings(t)
	for range 50 {
		round()
	}
	if after := mappings(t); after > before+before/10 {
		t.Errorf("%d kB of memory and mappings, %d before", after, before)
	}
}
