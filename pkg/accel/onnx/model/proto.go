package model

import (
	"bytes"
	"encoding/binary"
)

// The numbers of fields are those of onnx.proto3. Only what the models here need
// is written.

// message is a protobuf message under construction.
type message []byte

func (m *message) number(field int, v uint64) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3)
	*m = binary.AppendUvarint(*m, v)
}

func (m *message) bytes(field int, b []byte) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|2)
	*m = binary.AppendUvarint(*m, uint64(len(b)))
	*m = append(*m, b...)
}

func (m *message) text(field int, s string) { m.bytes(field, []byte(s)) }

// Type is the type of a tensor's elements, by ONNX's numbers.
type Type int32

// The types that ONNX models carry, as far as tests need them.
const (
	Float    Type = 1
	Uint8    Type = 2
	Int8     Type = 3
	Uint16   Type = 4
	Int16    Type = 5
	Int32    Type = 6
	Int64    Type = 7
	String   Type = 8
	Bool     Type = 9
	Float16  Type = 10
	Double   Type = 11
	BFloat16 Type = 16
)

// Value is an input or an output. A negative dimension is one that each call
// chooses; Sequence makes it a sequence of such tensors.
type Value struct {
	Name     string
	Type     Type
	Dims     []int64
	Sequence bool
}

// Weight is a constant tensor: Data is little-endian, or else External names a
// file that holds it.
type Weight struct {
	Name     string
	Type     Type
	Dims     []int64
	Data     []byte
	External string
}

// Attribute of a node: one of Int, Ints, Tensor, Body.
type Attribute struct {
	Name   string
	Int    int64
	Ints   []int64
	Tensor *Weight
	Body   *Graph
}

// Node is one operation.
type Node struct {
	Op              string
	Inputs, Outputs []string
	Attributes      []Attribute
}

// Graph is what a model computes.
type Graph struct {
	Nodes           []Node
	Inputs, Outputs []Value
	Weights         []Weight
}

// alignment is that of the weights' data in the file, so that a reader can use it
// where it is.
const alignment = 64

// Model gives the graph as a ModelProto of IR version 8 and operator set 17. The
// graph comes first: its place in the file depends on its own length alone.
func (g Graph) Model() []byte {
	var set, m message
	for start := 0; ; {
		graph := g.encode(start)
		m = nil
		m.bytes(7, graph)
		if start == len(m)-len(graph) {
			break
		}
		start = len(m) - len(graph)
	}
	set.number(2, 17)
	m.number(1, 8)
	m.text(2, "runw")
	m.bytes(8, set)
	return m
}

// encode gives the graph as it is at an offset in the file.
func (g Graph) encode(start int) message {
	var m message
	for _, w := range g.Weights {
		for padding, tries := 0, 0; ; tries++ {
			at := m
			at.bytes(5, w.encode(padding))
			over := (start + len(at) - len(w.Data)) % alignment
			if w.External != "" || over == 0 || tries == alignment {
				m = at
				break
			}
			padding = (padding + alignment - over) % alignment
		}
	}
	m.text(2, "main")
	for _, n := range g.Nodes {
		m.bytes(1, n.encode())
	}
	for _, v := range g.Inputs {
		m.bytes(11, v.encode())
	}
	for _, v := range g.Outputs {
		m.bytes(12, v.encode())
	}
	return m
}

func (n Node) encode() message {
	var m message
	for _, name := range n.Inputs {
		m.text(1, name)
	}
	for _, name := range n.Outputs {
		m.text(2, name)
	}
	m.text(4, n.Op)
	for _, a := range n.Attributes {
		m.bytes(5, a.encode())
	}
	return m
}

func (a Attribute) encode() message {
	const kindInt, kindTensor, kindGraph, kindInts = 2, 4, 5, 7
	var m message
	m.text(1, a.Name)
	switch {
	case a.Tensor != nil:
		m.bytes(5, a.Tensor.encode(0))
		m.number(20, kindTensor)
	case a.Body != nil:
		m.bytes(6, a.Body.encode(0))
		m.number(20, kindGraph)
	case a.Ints != nil:
		for _, n := range a.Ints {
			m.number(8, uint64(n))
		}
		m.number(20, kindInts)
	default:
		m.number(3, uint64(a.Int))
		m.number(20, kindInt)
	}
	return m
}

// encode ends with the data, behind a text of as many bytes as padding says.
func (w Weight) encode(padding int) message {
	var m message
	for _, d := range w.Dims {
		m.number(1, uint64(d))
	}
	m.number(2, uint64(w.Type))
	m.text(8, w.Name)
	if w.External == "" {
		m.bytes(12, bytes.Repeat([]byte{'.'}, padding))
		m.bytes(9, w.Data)
		return m
	}
	var location message
	location.text(1, "location")
	location.text(2, w.External)
	m.bytes(13, location)
	m.number(14, 1)
	return m
}

func (v Value) encode() message {
	var shape, tensor, kind, m message
	for _, d := range v.Dims {
		var dim message
		if d >= 0 {
			dim.number(1, uint64(d))
		}
		shape.bytes(1, dim)
	}
	tensor.number(1, uint64(v.Type))
	tensor.bytes(2, shape)
	kind.bytes(1, tensor)
	if v.Sequence {
		var element, sequence message
		element.bytes(1, kind)
		sequence.bytes(4, element)
		kind = sequence
	}
	m.text(1, v.Name)
	m.bytes(2, kind)
	return m
}
