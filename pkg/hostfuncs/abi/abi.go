// Package abi is the seam between what a guest can import and the engine that
// runs the guest. It knows no engine and no operating system.
//
//	pkg/hostfuncs ──produces──▶ abi.Func ◀──binds── pkg/aot (one adapter per engine)
//
// A type belongs here only if both sides need it; everything else lives with
// the side that uses it.
package abi

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// ValueType is a WebAssembly number type in its binary encoding
// (core spec 5.3.1).
type ValueType byte

// The four number types a host function may use.
const (
	I32 ValueType = 0x7f
	I64 ValueType = 0x7e
	F32 ValueType = 0x7d
	F64 ValueType = 0x7c
)

// String gives the name the text format uses.
func (v ValueType) String() string {
	switch v {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	}
	return fmt.Sprintf("0x%02x", byte(v))
}

// Signature is the type of a function.
type Signature struct {
	Params, Results []ValueType
}

// Equal reports whether both signatures have the same types in the same order.
func (s Signature) Equal(o Signature) bool {
	return string(s.Params) == string(o.Params) && string(s.Results) == string(o.Results)
}

// String prints the signature as "(i32,i32)->i32".
func (s Signature) String() string {
	var b strings.Builder
	list := func(vs []ValueType) {
		for i, v := range vs {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(v.String())
		}
	}
	b.WriteByte('(')
	list(s.Params)
	b.WriteString(")->")
	list(s.Results)
	return b.String()
}

// Import names one function that a module asks its host for.
type Import struct {
	Module, Name string
	Sig          Signature
}

// Func is a host function bound to one import.
//
// Call finds the parameters in stack, one slot each (a 32-bit value in the low
// half, the high half undefined), and leaves the results there from slot 0 on.
// stack has max(len(Params), len(Results)) slots. mem is the guest's linear
// memory at the time of the call, nil if the module has none; it must not be
// kept after Call returns. A non-nil error ends the guest: *ExitError for an
// orderly exit, anything else is a trap.
//
// Native, if not nil, gives the address of a C function
//
//	int32_t call(void *env, uint8_t *mem, size_t size, uint64_t *stack)
//
// and its first parameter. An engine that calls host functions from C may try it
// before Call, with the same parameters and on the same thread: 0 says that it
// has done the call and that the guest goes on, anything else that it has
// done nothing and Call is to be called. Native belongs to one instance of the
// module; what it gives is valid until the Host is closed.
type Func struct {
	Import
	Call   func(mem Memory, stack []uint64) error
	Native func() (call, env uintptr)
}

// ExitError ends the guest with a status; proc_exit(0) is an ExitError too.
type ExitError struct {
	Code uint32
}

func (e *ExitError) Error() string { return fmt.Sprintf("exit status %d", e.Code) }

// Memory is a view of the guest's linear memory. Every pointer and length a
// guest hands over goes through its methods; ok is false when the range is not
// wholly inside the memory.
type Memory []byte

// Bytes gives the n bytes at ptr, capped so that an append cannot write past
// them.
func (m Memory) Bytes(ptr, n uint32) (b []byte, ok bool) {
	end := uint64(ptr) + uint64(n)
	if end > uint64(len(m)) {
		return nil, false
	}
	return m[ptr:end:end], true
}

// Uint16 reads a little-endian number.
func (m Memory) Uint16(ptr uint32) (uint16, bool) {
	b, ok := m.Bytes(ptr, 2)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint16(b), true
}

// Uint32 reads a little-endian number.
func (m Memory) Uint32(ptr uint32) (uint32, bool) {
	b, ok := m.Bytes(ptr, 4)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint32(b), true
}

// Uint64 reads a little-endian number.
func (m Memory) Uint64(ptr uint32) (uint64, bool) {
	b, ok := m.Bytes(ptr, 8)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b), true
}

// PutUint8 writes one byte.
func (m Memory) PutUint8(ptr uint32, v uint8) bool {
	b, ok := m.Bytes(ptr, 1)
	if ok {
		b[0] = v
	}
	return ok
}

// PutUint16 writes a little-endian number.
func (m Memory) PutUint16(ptr uint32, v uint16) bool {
	b, ok := m.Bytes(ptr, 2)
	if ok {
		binary.LittleEndian.PutUint16(b, v)
	}
	return ok
}

// PutUint32 writes a little-endian number.
func (m Memory) PutUint32(ptr uint32, v uint32) bool {
	b, ok := m.Bytes(ptr, 4)
	if ok {
		binary.LittleEndian.PutUint32(b, v)
	}
	return ok
}

// PutUint64 writes a little-endian number.
func (m Memory) PutUint64(ptr uint32, v uint64) bool {
	b, ok := m.Bytes(ptr, 8)
	if ok {
		binary.LittleEndian.PutUint64(b, v)
	}
	return ok
}
