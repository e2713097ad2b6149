package onnx

import (
	"encoding/binary"
	"math/bits"
)

// smallest is the size from which a weight is used where it is in the file: four
// pages of memory.
const smallest = 16 << 10

// weight is a constant tensor of the model's graph: data is a part of the mapped file.
type weight struct {
	name    string
	element int32
	dims    []int64
	data    []byte
}

// split parts a model into its weights and a copy of the rest.
func split(model []byte) (rest []byte, weights []weight, err error) {
	seen := map[string]bool{}
	err = fields(model, func(f field) error {
		if f.number != 7 || f.wire != wireBytes {
			rest = append(rest, f.whole...)
			return nil
		}
		var graph []byte
		err := fields(f.data, func(f field) error {
			if f.number == 5 && f.wire == wireBytes {
				if w, ok := parseWeight(f.data); ok && !seen[w.name] {
					seen[w.name] = true
					weights = append(weights, w)
					return nil
				}
			}
			graph = append(graph, f.whole...)
			return nil
		})
		rest = appendBytes(rest, 7, graph)
		return err
	})
	return rest, weights, err
}

// placeholders is a graph of the weights without their data, as tensors whose
// data is elsewhere. A parser joins it with the graph that it is appended to.
func placeholders(weights []weight) []byte {
	var graph []byte
	for _, w := range weights {
		graph = appendBytes(graph, 5, w.placeholder())
	}
	return graph
}

// weightWidths are the sizes of the elements that weights have.
var weightWidths = map[int32]int{float32Element: 4, float16Element: 2, float64Element: 8, bfloat16Element: 2, int8Element: 1, uint8Element: 1}

// parseWeight takes a TensorProto for a weight if it is large, plain, right in
// itself and at an address that its numbers can have; the library has to judge
// and to copy all others. Whole numbers stay with the
// library too: some are shapes and indices, and the file's owner could change
// those after the library has checked them.
func parseWeight(b []byte) (weight, bool) {
	var w weight
	plain := true
	err := fields(b, func(f field) error {
		switch {
		case f.number == 1 && f.wire == wireVarint:
			w.dims = append(w.dims, int64(f.value))
		case f.number == 1 && f.wire == wireBytes: // packed
			for b := f.data; len(b) > 0; {
				d, n := binary.Uvarint(b)
				if n <= 0 {
					plain = false
					break
				}
				w.dims = append(w.dims, int64(d))
				b = b[n:]
			}
		case f.number == 2 && f.wire == wireVarint && w.element == 0:
			w.element = int32(f.value)
		case f.number == 8 && f.wire == wireBytes && w.name == "":
			w.name = string(f.data)
		case f.number == 9 && f.wire == wireBytes && w.data == nil:
			w.data = f.data
		case f.number == 12: // a text for people
		default:
			plain = false
		}
		return nil
	})
	width, ok := weightWidths[w.element]
	if err != nil || !plain || !ok || w.name == "" || len(w.data) < smallest {
		return w, false
	}
	size, ok := product(w.dims, width)
	return w, ok && size == len(w.data) && w.aligned()
}

// placeholder is the tensor without its data.
func (w weight) placeholder() []byte {
	location := appendBytes(appendBytes(nil, 1, []byte("location")), 2, []byte("weights"))
	var b []byte
	for _, d := range w.dims {
		b = appendVarint(b, 1, uint64(d))
	}
	b = appendVarint(b, 2, uint64(w.element))
	b = appendBytes(b, 8, []byte(w.name))
	b = appendBytes(b, 13, location)
	return appendVarint(b, 14, 1)
}

func appendVarint(b []byte, number int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(number)<<3|wireVarint), v)
}

func appendBytes(b []byte, number int, data []byte) []byte {
	b = binary.AppendUvarint(b, uint64(number)<<3|wireBytes)
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}

// product is the size in bytes of a tensor, false if no memory could hold it.
func product(dims []int64, width int) (int, bool) {
	size, empty := uint64(width), false
	for _, d := range dims {
		if d < 0 {
			return 0, false
		}
		if d == 0 {
			empty = true
			continue
		}
		high, low := bits.Mul64(size, uint64(d))
		if high != 0 || low > 1<<62 {
			return 0, false
		}
		size = low
	}
	if empty {
		return 0, true
	}
	return int(size), true
}
