package onnx

import (
	"strconv"

	"github.com/runw/runw/pkg/accel"
)

// The types of elements, by ONNX's numbers.
const (
	float32Element  = 1
	uint8Element    = 2
	int8Element     = 3
	int32Element    = 6
	int64Element    = 7
	float16Element  = 10
	float64Element  = 11
	bfloat16Element = 16
)

// highestRank bounds what the library has to loop over; no operator has a use
// for more.
const highestRank = 64

// element gives the library's number for a tensor type, and its width in bytes.
func element(t accel.TensorType) (number int32, width int, ok bool) {
	switch t {
	case accel.F16:
		return float16Element, 2, true
	case accel.F32:
		return float32Element, 4, true
	case accel.F64:
		return float64Element, 8, true
	case accel.U8:
		return uint8Element, 1, true
	case accel.I32:
		return int32Element, 4, true
	case accel.I64:
		return int64Element, 8, true
	}
	return 0, 0, false
}

// elementWidth is the width of those elements that WASI-NN has a number for.
func elementWidth(number int32) (int, bool) {
	for _, t := range []accel.TensorType{accel.F16, accel.F32, accel.F64, accel.U8, accel.I32, accel.I64} {
		if n, width, _ := element(t); n == number {
			return width, true
		}
	}
	return 0, false
}

// elementName is what ONNX calls a type.
func elementName(number int32) string {
	names := [...]string{
		"undefined", "float", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16",
		"double", "uint32", "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn", "float8e4m3fnuz",
		"float8e5m2", "float8e5m2fnuz", "uint4", "int4",
	}
	if number >= 0 && int(number) < len(names) {
		return names[number]
	}
	return "type " + strconv.Itoa(int(number))
}

// shape checks that a tensor is what it says and gives its dimensions and the
// library's number for its elements.
func shape(t accel.Tensor) (dims []int64, number int32, err error) {
	number, width, ok := element(t.Type)
	if !ok {
		return nil, 0, invalid("tensor type %d", t.Type)
	}
	if len(t.Dims) > highestRank {
		return nil, 0, invalid("%d dimensions, more than %d", len(t.Dims), highestRank)
	}
	dims = make([]int64, len(t.Dims))
	for i, d := range t.Dims {
		dims[i] = int64(d)
	}
	size, ok := product(dims, width)
	if !ok {
		return nil, 0, invalid("dimensions %v are more than any memory", t.Dims)
	}
	if size != len(t.Data) {
		return nil, 0, invalid("dimensions %v of %s are %d bytes, the data is %d", t.Dims, elementName(number), size, len(t.Data))
	}
	return dims, number, nil
}

// port is an input or an output of a model.
type port struct {
	name    string
	kind    int32 // tensor, or what else ONNX has
	element int32
	dims    []int64 // -1: any; none: a scalar, or not said
}

// The kinds of values, by ONNX's numbers.
const tensorKind = 1

// unsupported says why a guest cannot have such a value, nil if it can.
func (p port) unsupported() error {
	kinds := [...]string{"of unknown kind", "a tensor", "a sequence", "a map", "opaque", "a sparse tensor", "optional"}
	if p.kind != tensorKind {
		kind := "of kind " + strconv.Itoa(int(p.kind))
		if p.kind >= 0 && int(p.kind) < len(kinds) {
			kind = kinds[p.kind]
		}
		return unsupported("%q is %s, and wasi-nn has tensors only", p.name, kind)
	}
	if _, ok := elementWidth(p.element); !ok {
		return unsupported("%q has elements of %s, which wasi-nn has no type for", p.name, elementName(p.element))
	}
	return nil
}

// takes says why an input does not take such a tensor, nil if it may.
func (p port) takes(number int32, dims []int64) error {
	if number != p.element {
		return invalid("%q takes %s, not %s", p.name, elementName(p.element), elementName(number))
	}
	if len(p.dims) == 0 {
		return nil // a scalar, or any: the library knows
	}
	if len(dims) != len(p.dims) {
		return invalid("%q takes %d dimensions, not %v", p.name, len(p.dims), dims)
	}
	for i, d := range p.dims {
		if d >= 0 && d != dims[i] {
			return invalid("%q takes dimensions %v (-1: any), not %v", p.name, p.dims, dims)
		}
	}
	return nil
}
