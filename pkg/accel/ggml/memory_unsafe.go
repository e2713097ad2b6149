package ggml

import (
	"encoding/binary"
	"unsafe"
)

func (p *params) bytes() *[200]byte { return (*[200]byte)(unsafe.Pointer(p)) }

// setPointer stores an address. The caller keeps what it points to alive and
// pinned until the call has returned.
func setPointer[T any](p *params, offset int, v *T) {
	binary.LittleEndian.PutUint64(p.bytes()[offset:], uint64(uintptr(unsafe.Pointer(v))))
}

// cString copies a string of C, at most so many bytes of it; nil is empty.
func cString(p *byte, most int) string {
	if p == nil {
		return ""
	}
	n := 0
	for n < most && *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(p, n))
}

// copied takes n numbers out of the library's memory.
func copied(p *float32, n int) []float32 {
	return append([]float32(nil), unsafe.Slice(p, n)...)
}
