package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// ErrFormat is what Check's errors wrap if the file is at fault and not the reading.
var ErrFormat = errors.New("not a valid GGUF file")

// Limits far above what models have, so that a table cannot be made to cost the
// reader minutes: llama.cpp compares each name with all before it.
const (
	maxPairs   = 1 << 14
	maxTensors = 1 << 16
	maxKey     = 1<<16 - 1 // the specification's
	maxName    = 63        // GGML_MAX_NAME, with its end
	maxDims    = 4
	maxAlign   = 1 << 20
)

// The types of metadata values, by the format's numbers.
const (
	typeUint32  = 4
	typeInt32   = 5
	typeFloat32 = 6
	typeString  = 8
	typeArray   = 9
)

// valueSizes are the bytes of each metadata type that has a fixed size.
var valueSizes = map[uint32]uint64{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

// array is what is remembered of an array of the metadata.
type array struct {
	kind  uint32
	count uint64
}

// checker reads a file from its beginning; the first fault stays in err.
type checker struct {
	in        *bufio.Reader
	at, size  uint64
	err       error
	alignment uint64
	arrays    map[string]array
	data      uint64 // where the tensors' data begins
}

// Check reads header, metadata and tensor table of a GGUF file of size bytes and
// reports the first thing that does not fit: a count, a length or an offset that
// leaves the file, a type or shape that cannot be, arrays of a vocabulary that
// differ in length. The data itself is not looked at.
//
// It is for files of strangers: llama.cpp ends its process on some of these, and
// reads beyond an array on others.
func Check(r io.ReaderAt, size int64) error {
	c := &checker{
		in:        bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 1<<16),
		size:      uint64(size),
		alignment: 32,
		arrays:    map[string]array{},
	}
	tensors, pairs := c.header()
	for i := uint64(0); i < pairs && c.err == nil; i++ {
		c.pair(i)
	}
	c.vocabulary()
	type entry struct {
		name         string
		offset, size uint64
	}
	var table []entry
	for i := uint64(0); i < tensors && c.err == nil; i++ {
		name, offset, size := c.tensor(i)
		table = append(table, entry{name, offset, size})
	}
	if c.err != nil {
		return c.err
	}
	c.data = (c.at + c.alignment - 1) / c.alignment * c.alignment
	for _, e := range table {
		end, carry := bits.Add64(e.offset, e.size, 0)
		end, more := bits.Add64(end, c.data, 0)
		if carry+more != 0 || end > c.size {
			return fmt.Errorf("%w: tensor %q ends at byte %d of %d", ErrFormat, e.name, end, c.size)
		}
		if e.offset%c.alignment != 0 {
			return fmt.Errorf("%w: tensor %q begins at %d, not a multiple of %d", ErrFormat, e.name, e.offset, c.alignment)
		}
	}
	return nil
}

func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
	}
}

// bytes reads n bytes; it allocates no more than the file holds.
func (c *checker) bytes(n uint64, what string) []byte {
	if c.err != nil {
		return nil
	}
	if n > c.size-c.at {
		c.fail("%s of %d bytes at byte %d of %d", what, n, c.at, c.size)
		return nil
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(c.in, buf); err != nil {
		c.err = fmt.Errorf("read at byte %d: %w", c.at, err)
		return nil
	}
	c.at += n
	return buf
}

// skip passes over n bytes.
func (c *checker) skip(n uint64, what string) {
	if c.err != nil {
		return
	}
	if n > c.size-c.at {
		c.fail("%s of %d bytes at byte %d of %d", what, n, c.at, c.size)
		return
	}
	if _, err := io.CopyN(io.Discard, c.in, int64(n)); err != nil {
		c.err = fmt.Errorf("read at byte %d: %w", c.at, err)
		return
	}
	c.at += n
}

func (c *checker) u32(what string) uint32 {
	if b := c.bytes(4, what); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *checker) u64(what string) uint64 {
	if b := c.bytes(8, what); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (c *checker) header() (tensors, pairs uint64) {
	if magic := c.bytes(4, "header"); magic != nil && string(magic) != "GGUF" {
		c.fail("it begins with %q", magic)
	}
	// Version 1 has other lengths and is no longer read by llama.cpp.
	if version := c.u32("header"); c.err == nil && version != 2 && version != 3 {
		c.fail("version %d (want 2 or 3)", version)
	}
	tensors, pairs = c.u64("header"), c.u64("header")
	if tensors > maxTensors || pairs > maxPairs {
		c.fail("%d tensors and %d pairs (at most %d and %d)", tensors, pairs, maxTensors, maxPairs)
	}
	return tensors, pairs
}

// name reads a string that must not be empty.
func (c *checker) name(limit uint64, what string) string {
	length := c.u64(what)
	if c.err == nil && (length == 0 || length > limit) {
		c.fail("%s of %d bytes (1 to %d)", what, length, limit)
	}
	return string(c.bytes(length, what))
}

func (c *checker) pair(i uint64) {
	key := c.name(maxKey, fmt.Sprintf("key %d", i))
	kind := c.u32("type")
	switch {
	case c.err != nil:
	case key == "general.alignment":
		if kind != typeUint32 {
			c.fail("key %q has type %d", key, kind)
			return
		}
		c.alignment = uint64(c.u32("alignment"))
		if c.err == nil && (c.alignment == 0 || c.alignment > maxAlign || c.alignment&(c.alignment-1) != 0) {
			c.fail("alignment %d", c.alignment)
		}
	case kind == typeArray:
		c.array(key)
	default:
		c.value(key, kind)
	}
}

func (c *checker) value(key string, kind uint32) {
	if kind == typeString {
		c.skip(c.u64("string"), "string")
		return
	}
	size, ok := valueSizes[kind]
	if !ok {
		c.fail("key %q has type %d", key, kind)
		return
	}
	c.skip(size, "value")
}

func (c *checker) array(key string) {
	kind, count := c.u32("type"), c.u64("count")
	if c.err != nil {
		return
	}
	c.arrays[key] = array{kind, count}
	if kind == typeString {
		if count > (c.size-c.at)/8 {
			c.fail("key %q has %d strings in %d bytes", key, count, c.size-c.at)
		}
		for i := uint64(0); i < count && c.err == nil; i++ {
			c.skip(c.u64("string"), "string")
		}
		return
	}
	size, ok := valueSizes[kind] // an array of arrays is none of llama.cpp's
	if !ok || count > c.size/size {
		c.fail("key %q has %d values of type %d", key, count, kind)
		return
	}
	c.skip(count*size, "array")
}

// vocabulary compares the arrays that llama.cpp reads side by side, by the length
// of the first.
func (c *checker) vocabulary() {
	tokens, ok := c.arrays["tokenizer.ggml.tokens"]
	if c.err != nil || !ok {
		return
	}
	if tokens.kind != typeString {
		c.fail("tokens of type %d", tokens.kind)
	}
	for key, kind := range map[string]uint32{"tokenizer.ggml.scores": typeFloat32, "tokenizer.ggml.token_type": typeInt32} {
		if a, ok := c.arrays[key]; ok && (a.kind != kind || a.count != tokens.count) {
			c.fail("key %q has %d values of type %d for %d tokens", key, a.count, a.kind, tokens.count)
		}
	}
}

// tensor reads one line of the table: offset is in the data section, size in bytes.
func (c *checker) tensor(i uint64) (name string, offset, size uint64) {
	name = c.name(maxName, fmt.Sprintf("name of tensor %d", i))
	dims := c.u32("dimensions")
	if c.err == nil && (dims == 0 || dims > maxDims) {
		c.fail("tensor %q has %d dimensions", name, dims)
	}
	elements, row := uint64(1), uint64(1)
	for d := uint32(0); d < dims && c.err == nil; d++ {
		n := c.u64("dimension")
		high, low := bits.Mul64(elements, n)
		if c.err == nil && (n == 0 || high != 0 || low >= 1<<62) {
			c.fail("tensor %q has dimension %d", name, n)
		}
		if d == 0 {
			row = n
		}
		elements = low
	}
	kind := c.u32("type")
	offset = c.u64("offset")
	if c.err != nil {
		return "", 0, 0
	}
	t, ok := tensorTypes[kind]
	if !ok || row%t.block != 0 {
		c.fail("tensor %q of type %d with rows of %d", name, kind, row)
		return "", 0, 0
	}
	high, size := bits.Mul64(elements/t.block, t.bytes)
	if high != 0 {
		c.fail("tensor %q has %d elements", name, elements)
	}
	return name, offset, size
}
