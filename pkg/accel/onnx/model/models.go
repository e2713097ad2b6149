package model

import (
	"encoding/binary"
	"math"
)

// Types are WASI-NN's six, in the order of its numbers.
var Types = [...]Type{Float16, Float, Double, Uint8, Int32, Int64}

// Floats gives numbers as a float tensor's bytes.
func Floats(values ...float32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// Classifier sorts rows of four features x [N,4] into three classes. Outputs:
// probabilities [N,3], logits [N,3] and label, 64-bit [N].
//
//	logits = x · |1 0 -1|  + |0 1 -1|
//	             |2 1  0|
//	             |0 3 -2|
//	             |1 0  1|
//
// With whole numbers for x the logits are exact: (1,0,0,0) gives (1,1,-2).
func Classifier() []byte {
	return Graph{
		Nodes: []Node{
			{Op: "MatMul", Inputs: []string{"x", "w"}, Outputs: []string{"product"}},
			{Op: "Add", Inputs: []string{"product", "b"}, Outputs: []string{"logits"}},
			{Op: "Softmax", Inputs: []string{"logits"}, Outputs: []string{"probabilities"}, Attributes: []Attribute{{Name: "axis", Int: 1}}},
			{Op: "ArgMax", Inputs: []string{"logits"}, Outputs: []string{"label"}, Attributes: []Attribute{{Name: "axis", Int: 1}, {Name: "keepdims", Int: 0}}},
		},
		Inputs: []Value{{Name: "x", Type: Float, Dims: []int64{-1, 4}}},
		Outputs: []Value{
			{Name: "probabilities", Type: Float, Dims: []int64{-1, 3}},
			{Name: "logits", Type: Float, Dims: []int64{-1, 3}},
			{Name: "label", Type: Int64, Dims: []int64{-1}},
		},
		Weights: []Weight{
			{Name: "w", Type: Float, Dims: []int64{4, 3}, Data: Floats(1, 0, -1, 2, 1, 0, 0, 3, -2, 1, 0, 1)},
			{Name: "b", Type: Float, Dims: []int64{3}, Data: Floats(0, 1, -1)},
		},
	}.Model()
}

// name is a value's among few: x0, x1.
func name(letter byte, n int) string { return string([]byte{letter, '0' + byte(n)}) }

// Identity has an input and an output of each of Types, of any shape [a,b]:
// output n is input n.
func Identity() []byte {
	var g Graph
	for n, t := range Types {
		x, y := name('x', n), name('y', n)
		g.Nodes = append(g.Nodes, Node{Op: "Identity", Inputs: []string{x}, Outputs: []string{y}})
		g.Inputs = append(g.Inputs, Value{Name: x, Type: t, Dims: []int64{-1, -1}})
		g.Outputs = append(g.Outputs, Value{Name: y, Type: t, Dims: []int64{-1, -1}})
	}
	return g.Model()
}

// Cast turns x [N] of floats into each of Types, one an output.
func Cast() []byte {
	g := Graph{Inputs: []Value{{Name: "x", Type: Float, Dims: []int64{-1}}}}
	for n, t := range Types {
		y := name('y', n)
		g.Nodes = append(g.Nodes, Node{Op: "Cast", Inputs: []string{"x"}, Outputs: []string{y}, Attributes: []Attribute{{Name: "to", Int: int64(t)}}})
		g.Outputs = append(g.Outputs, Value{Name: y, Type: t, Dims: []int64{-1}})
	}
	return g.Model()
}

// Scalar adds two floats without dimensions.
func Scalar() []byte {
	return Graph{
		Nodes:   []Node{{Op: "Add", Inputs: []string{"a", "b"}, Outputs: []string{"sum"}}},
		Inputs:  []Value{{Name: "a", Type: Float}, {Name: "b", Type: Float}},
		Outputs: []Value{{Name: "sum", Type: Float}},
	}.Model()
}

// Dense multiplies x [N,width] by as many matrices [width,width] as layers says,
// of numbers between -2/width and 2/width: y [N,width].
func Dense(layers, width int) []byte {
	g := Graph{
		Inputs:  []Value{{Name: "x", Type: Float, Dims: []int64{-1, int64(width)}}},
		Outputs: []Value{{Name: "y", Type: Float, Dims: []int64{-1, int64(width)}}},
	}
	state := uint32(1)
	from := "x"
	for n := range layers {
		w, to := "w"+string(rune('a'+n)), "h"+string(rune('a'+n))
		if n == layers-1 {
			to = "y"
		}
		data := pseudorandom(&state, width*width, 2/float32(width))
		g.Weights = append(g.Weights, Weight{Name: w, Type: Float, Dims: []int64{int64(width), int64(width)}, Data: data})
		g.Nodes = append(g.Nodes, Node{Op: "MatMul", Inputs: []string{from, w}, Outputs: []string{to}})
		from = to
	}
	return g.Model()
}

// pseudorandom gives so many floats between -most and most as a tensor's bytes.
func pseudorandom(state *uint32, count int, most float32) []byte {
	data := make([]byte, 0, 4*count)
	for range count {
		*state = *state*1664525 + 1013904223
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits((float32(*state>>8)/(1<<23)-1)*most))
	}
	return data
}

// Endless adds 1 to the scalar x as many times as the 64-bit scalar n says, in
// a loop that can be told to stop at each turn.
func Endless() []byte {
	one := func(name string, t Type, data []byte) Weight { return Weight{Name: name, Type: t, Data: data} }
	body := Graph{
		Nodes: []Node{
			{Op: "Identity", Inputs: []string{"go"}, Outputs: []string{"again"}},
			{Op: "Add", Inputs: []string{"before", "one"}, Outputs: []string{"after"}},
		},
		Inputs:  []Value{{Name: "turn", Type: Int64}, {Name: "go", Type: Bool}, {Name: "before", Type: Float}},
		Outputs: []Value{{Name: "again", Type: Bool}, {Name: "after", Type: Float}},
		Weights: []Weight{one("one", Float, Floats(1))},
	}
	return Graph{
		Nodes:   []Node{{Op: "Loop", Inputs: []string{"n", "true", "x"}, Outputs: []string{"y"}, Attributes: []Attribute{{Name: "body", Body: &body}}}},
		Inputs:  []Value{{Name: "x", Type: Float}, {Name: "n", Type: Int64}},
		Outputs: []Value{{Name: "y", Type: Float}},
		Weights: []Weight{one("true", Bool, []byte{1})},
	}.Model()
}

// File is a model by its name.
type File struct {
	Name string
	Data []byte
}

// Files are the models that tests and benchmarks outside of this package need.
// dense.onnx is 8 layers of 512 (8 MB), image.onnx Image's: for latency.
func Files() []File {
	return []File{
		{"classifier.onnx", Classifier()},
		{"identity.onnx", Identity()},
		{"cast.onnx", Cast()},
		{"scalar.onnx", Scalar()},
		{"endless.onnx", Endless()},
		{"dense.onnx", Dense(8, 512)},
		{"image.onnx", Image()},
	}
}
