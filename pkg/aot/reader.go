package aot

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

var (
	errShort    = errors.New("unexpected end")
	errOverlong = errors.New("integer too long")
	errUTF8     = errors.New("name is not UTF-8")
)

// reader walks a part of a module. The first error sticks: later reads give
// zeros, so that a decoder checks once at the end of a step that cannot loop
// or allocate on those zeros.
type reader struct {
	section string
	base    int // offset of b[0] in the module
	b       []byte
	pos     int
	err     error
}

func (r *reader) rest() int { return len(r.b) - r.pos }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = malformed(r.section, r.base+r.pos, err)
		r.pos = len(r.b)
	}
}

func malformed(section string, off int, err error) error {
	return fmt.Errorf("%w: %s, offset %#x: %w", ErrMalformed, section, off, err)
}

func (r *reader) u8() byte {
	if r.pos >= len(r.b) {
		r.fail(errShort)
		return 0
	}
	v := r.b[r.pos]
	r.pos++
	return v
}

// leb reads an unsigned LEB128 of at most n bits with the core spec's rule
// (5.2.2): no more than ceil(n/7) bytes and no bits beyond n.
func (r *reader) leb(n uint) uint64 {
	var v uint64
	for shift := uint(0); ; shift += 7 {
		if r.pos >= len(r.b) {
			r.fail(errShort)
			return 0
		}
		c := r.b[r.pos]
		if left := n - shift; left < 7 && c>>left != 0 {
			r.fail(errOverlong)
			return 0
		}
		r.pos++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
}

func (r *reader) u32() uint32 { return uint32(r.leb(32)) }

// skipSigned skips a signed LEB128 of at most n bits.
func (r *reader) skipSigned(n int) {
	for i := 0; ; i++ {
		if i == (n+6)/7 {
			r.fail(errOverlong)
			return
		}
		if r.u8() < 0x80 {
			return
		}
	}
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(r.rest()) {
		r.fail(errShort)
		return nil
	}
	b := r.b[r.pos : r.pos+int(n)]
	r.pos += int(n)
	return b
}

func (r *reader) name() string {
	b := r.bytes(r.u32())
	if !utf8.Valid(b) {
		r.fail(errUTF8)
		return ""
	}
	return string(b)
}

// maxEntries bounds every vector of a module. An entry of three bytes becomes
// an Export of eighty here and more in an engine, in the parent's memory, which
// no container's limit covers. The WebAssembly JavaScript Interface ("Limits")
// allows the same number of types, functions, imports and exports.
const maxEntries = 1_000_000

// count reads the length of a vector whose elements take at least size bytes
// each. A count that the section cannot hold is refused here, before anybody
// allocates for it.
func (r *reader) count(size int) uint32 {
	n := r.u32()
	switch {
	case uint64(n)*uint64(size) > uint64(r.rest()):
		r.fail(fmt.Errorf("%d entries do not fit in %d bytes", n, r.rest()))
		return 0
	case n > maxEntries:
		r.fail(tooMany(n))
		return 0
	}
	return n
}

func tooMany(n uint32) error { return fmt.Errorf("%d entries, the limit is %d", n, maxEntries) }

// done reports the first error, or bytes left over.
func (r *reader) done() error {
	if r.err == nil && r.rest() != 0 {
		r.fail(fmt.Errorf("%d bytes left over", r.rest()))
	}
	return r.err
}
