package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Tensor is one tensor of a File. Dims begin with the length of a row. Data is
// called once, when its bytes are written, and must give as many as type and
// dims say: a large model then needs little memory.
type Tensor struct {
	Name string
	Type Type
	Dims []uint64
	Data func() []byte
}

// size is the tensor's bytes.
func (t Tensor) size() uint64 {
	elements := uint64(1)
	for _, n := range t.Dims {
		elements *= n
	}
	kind := tensorTypes[uint32(t.Type)]
	return elements / kind.block * kind.bytes
}

// Pair is a key and its value: a bool, uint32, float32, string, []string,
// []float32 or []int32.
type Pair struct {
	Key   string
	Value any
}

// File is a model. Pairs and tensors are written in this order.
type File struct {
	Pairs   []Pair
	Tensors []Tensor
}

const alignment = 32 // the format's default

// padding is how many bytes are missing to the next multiple of alignment.
func padding(n uint64) uint64 { return (alignment - n%alignment) % alignment }

// Write writes the file as version 3.
func (f File) Write(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<20)
	head, err := f.head()
	if err != nil {
		return err
	}
	// The errors of a bufio.Writer stay until Flush.
	_, _ = out.Write(head)
	_, _ = out.Write(make([]byte, padding(uint64(len(head)))))
	for _, t := range f.Tensors {
		data := t.Data()
		if uint64(len(data)) != t.size() {
			return fmt.Errorf("tensor %q: %d bytes of %d", t.Name, len(data), t.size())
		}
		_, _ = out.Write(data)
		_, _ = out.Write(make([]byte, padding(uint64(len(data)))))
	}
	return out.Flush()
}

// head is all that is before the data, without padding.
func (f File) head() ([]byte, error) {
	e := binary.LittleEndian
	b := append([]byte(nil), "GGUF"...)
	b = e.AppendUint32(b, 3)
	b = e.AppendUint64(b, uint64(len(f.Tensors)))
	b = e.AppendUint64(b, uint64(len(f.Pairs)))
	for _, p := range f.Pairs {
		var err error
		if b, err = appendValue(appendString(b, p.Key), p.Value); err != nil {
			return nil, fmt.Errorf("key %q: %w", p.Key, err)
		}
	}
	offset := uint64(0)
	for _, t := range f.Tensors {
		b = appendString(b, t.Name)
		b = e.AppendUint32(b, uint32(len(t.Dims)))
		for _, n := range t.Dims {
			b = e.AppendUint64(b, n)
		}
		b = e.AppendUint32(b, uint32(t.Type))
		b = e.AppendUint64(b, offset)
		offset += t.size() + padding(t.size())
	}
	return b, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue appends a value behind its type.
func appendValue(b []byte, value any) ([]byte, error) {
	e := binary.LittleEndian
	array := func(kind uint32, count int) {
		b = e.AppendUint32(b, typeArray)
		b = e.AppendUint32(b, kind)
		b = e.AppendUint64(b, uint64(count))
	}
	switch v := value.(type) {
	case bool:
		b = append(e.AppendUint32(b, 7), 0)
		if v {
			b[len(b)-1] = 1
		}
		return b, nil
	case uint32:
		return e.AppendUint32(e.AppendUint32(b, typeUint32), v), nil
	case string:
		return appendString(e.AppendUint32(b, typeString), v), nil
	case float32:
		return binary.Append(e.AppendUint32(b, typeFloat32), e, v)
	case []string:
		array(typeString, len(v))
		for _, s := range v {
			b = appendString(b, s)
		}
		return b, nil
	case []float32:
		array(typeFloat32, len(v))
		return binary.Append(b, e, v)
	case []int32:
		array(typeInt32, len(v))
		return binary.Append(b, e, v)
	}
	return nil, fmt.Errorf("a value of type %T", value)
}
