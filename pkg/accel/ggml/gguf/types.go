package gguf

// Type is the type of a tensor's elements, by ggml's numbers.
type Type uint32

// The types that File writes.
const (
	F32 Type = 0
	F16 Type = 1
	Q8  Type = 8 // Q8_0: 32 numbers are an F16 scale and 32 bytes
)

// tensorType says in how many bytes a block of elements is stored.
type tensorType struct {
	block, bytes uint64
}

// tensorTypes are those a file may hold; pkg/accel/ggml compares them with the
// library's own. What is missing was removed from the format.
var tensorTypes = map[uint32]tensorType{
	0: {1, 4}, 1: {1, 2}, // F32 F16
	2: {32, 18}, 3: {32, 20}, 6: {32, 22}, 7: {32, 24}, 8: {32, 34}, 9: {32, 36}, // Q4_0 … Q8_1
	10: {256, 84}, 11: {256, 110}, 12: {256, 144}, 13: {256, 176}, 14: {256, 210}, 15: {256, 292}, // Q2_K … Q8_K
	16: {256, 66}, 17: {256, 74}, 18: {256, 98}, 19: {256, 50}, 20: {32, 18}, 21: {256, 110}, 22: {256, 82}, 23: {256, 136}, // IQ
	24: {1, 1}, 25: {1, 2}, 26: {1, 4}, 27: {1, 8}, 28: {1, 8}, // I8 I16 I32 I64 F64
	29: {256, 56}, 30: {1, 2}, 34: {256, 54}, 35: {256, 66}, // IQ1_M BF16 TQ1_0 TQ2_0
	39: {32, 17}, 40: {64, 36}, 41: {128, 18}, 42: {64, 18}, // MXFP4 NVFP4 Q1_0 Q2_0
}

// TypeSizes calls f with each type, its elements per block and bytes per block.
func TypeSizes(f func(kind uint32, block, bytes uint64)) {
	for kind, t := range tensorTypes {
		f(kind, t.block, t.bytes)
	}
}
