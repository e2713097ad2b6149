package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/runw/runw/pkg/accel"
)

// part is a message of onnx.proto3 that can hold, at some depth, a tensor or a
// node.
type part int

const (
	other part = iota
	aModel
	aTraining
	aGraph
	aFunction
	aNode
	anAttribute
	aTensor
	aSparseTensor
)

// parts says which fields of a message are such messages. The numbers are those
// of onnx.proto3.
var parts = map[part]map[int]part{
	aModel:        {7: aGraph, 20: aTraining, 25: aFunction},
	aTraining:     {1: aGraph, 2: aGraph},
	aGraph:        {1: aNode, 5: aTensor, 15: aSparseTensor},
	aFunction:     {7: aNode, 11: anAttribute},
	aNode:         {5: anAttribute},
	anAttribute:   {5: aTensor, 6: aGraph, 10: aTensor, 11: aGraph, 22: aSparseTensor, 23: aSparseTensor},
	aSparseTensor: {1: aTensor, 2: aTensor},
}

const (
	// deepest is protobuf's own limit of messages in messages.
	deepest = 100
	// largest is what protobuf can hold.
	largest = math.MaxInt32
)

// inspect reads a model's bytes as far as the library's parser will and refuses
// what makes the library open files: data outside of the model, and contexts
// compiled for a provider.
func inspect(model []byte) error {
	if err := check(model, aModel, 0); err != nil {
		return err
	}
	graphs := 0
	_ = fields(model, func(f field) error { // check has read them
		if f.number == 7 {
			graphs++
		}
		return nil
	})
	// Parsers join what is given twice; what then comes out was never checked.
	if graphs != 1 {
		return invalid("%d graphs, want one", graphs)
	}
	return nil
}

// ownFormat says whether the library would take the model for one in its own
// format, which nothing here reads.
func ownFormat(model []byte) bool { return len(model) >= 8 && string(model[4:8]) == "ORTM" }

func check(b []byte, p part, depth int) error {
	if depth > deepest {
		return invalid("messages are nested deeper than %d", deepest)
	}
	return fields(b, func(f field) error {
		switch {
		case p == aTensor && f.number == 13:
			return fmt.Errorf("a tensor's data is in another file: %w", accel.ErrUnsupportedOperation)
		case p == aTensor && f.number == 14 && int32(f.value) != 0:
			return fmt.Errorf("a tensor's data is outside of the model: %w", accel.ErrUnsupportedOperation)
		case p == aNode && f.number == 4 && string(f.data) == "EPContext":
			return fmt.Errorf("a node is a provider's compiled context: %w", accel.ErrUnsupportedOperation)
		}
		inner := parts[p][f.number]
		if inner == other || f.wire != wireBytes {
			return nil
		}
		return check(f.data, inner, depth+1)
	})
}

func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, accel.ErrInvalidArgument)...)
}

// How a field's value is written.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

// field is one of a message: whole are all its bytes.
type field struct {
	number int
	wire   int
	value  uint64 // of a varint
	data   []byte // of bytes
	whole  []byte
}

var errTruncated = errors.New("not a whole protobuf message")

// fields visits the fields of a message in order.
func fields(b []byte, visit func(field) error) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		// A field's number has 29 bits; a tag of more bytes than five is one that
		// parsers read differently.
		if n <= 0 || n > 5 || tag > math.MaxUint32 || tag>>3 == 0 {
			return fmt.Errorf("%w: %w", errTruncated, accel.ErrInvalidArgument)
		}
		f := field{number: int(tag >> 3), wire: int(tag & 7)}
		length := 0
		switch f.wire {
		case wireVarint:
			f.value, length = binary.Uvarint(b[n:])
		case wire64:
			length = 8
		case wire32:
			length = 4
		case wireBytes:
			size, m := binary.Uvarint(b[n:])
			if m <= 0 || size > uint64(len(b)-n-m) {
				return fmt.Errorf("%w: %w", errTruncated, accel.ErrInvalidArgument)
			}
			length = m + int(size)
			f.data = b[n+m : n+length]
		}
		// Zero: groups, which ONNX has none of, and what is no wire type at all.
		if length <= 0 || length > len(b)-n {
			return fmt.Errorf("%w: %w", errTruncated, accel.ErrInvalidArgument)
		}
		f.whole = b[:n+length]
		if err := visit(f); err != nil {
			return err
		}
		b = b[n+length:]
	}
	return nil
}
