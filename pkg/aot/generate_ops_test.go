package aot

import (
	"encoding/binary"
	"sync"
)

// Value types are letters here: i32, i64, f32, f64, v128, funcref, externref.
const genTypes = "iIfFvrx"

var genTypeCode = map[byte]byte{'i': 0x7f, 'I': 0x7e, 'f': 0x7d, 'F': 0x7c, 'v': 0x7b, 'r': 0x70, 'x': 0x6f}

// genOp is an instruction that takes values and gives one.
type genOp struct {
	code  []byte
	in    string
	canon byte // 'f' or 'F': the result may be any NaN of that width, in lanes if a vector
	lanes int  // exclusive bound of the lane immediate; 0 is none
	size  int  // log2 of the bytes of a memory access, whose address is the first operand; -1 is none
}

// genRange is opcodes with one signature, "ii>i". Behind it: "~" for results
// that may be NaN, "#" and a number of lanes, "@" and the log2 of a size.
type genRange struct {
	from, to uint32
	sig      string
}

var plainOps = []genRange{
	{0x45, 0x45, "i>i"}, {0x46, 0x4f, "ii>i"}, {0x50, 0x50, "I>i"}, {0x51, 0x5a, "II>i"}, {0x5b, 0x60, "ff>i"}, {0x61, 0x66, "FF>i"},
	{0x67, 0x69, "i>i"}, {0x6a, 0x6c, "ii>i"}, {0x6d, 0x70, "ii>i"}, {0x71, 0x78, "ii>i"},
	{0x79, 0x7b, "I>I"}, {0x7c, 0x7e, "II>I"}, {0x7f, 0x82, "II>I"}, {0x83, 0x8a, "II>I"},
	{0x8b, 0x8c, "f>f"}, {0x8d, 0x91, "f>f~"}, {0x92, 0x97, "ff>f~"}, {0x98, 0x98, "ff>f"},
	{0x99, 0x9a, "F>F"}, {0x9b, 0x9f, "F>F~"}, {0xa0, 0xa5, "FF>F~"}, {0xa6, 0xa6, "FF>F"},
	{0xa7, 0xa7, "I>i"}, {0xa8, 0xa9, "f>i"}, {0xaa, 0xab, "F>i"}, {0xac, 0xad, "i>I"}, {0xae, 0xaf, "f>I"}, {0xb0, 0xb1, "F>I"},
	{0xb2, 0xb3, "i>f"}, {0xb4, 0xb5, "I>f"}, {0xb6, 0xb6, "F>f~"}, {0xb7, 0xb8, "i>F"}, {0xb9, 0xba, "I>F"}, {0xbb, 0xbb, "f>F~"},
	{0xbc, 0xbc, "f>i"}, {0xbd, 0xbd, "F>I"}, {0xbe, 0xbe, "i>f"}, {0xbf, 0xbf, "I>F"}, {0xc0, 0xc1, "i>i"}, {0xc2, 0xc4, "I>I"},
	{0xd1, 0xd1, "r>i"}, {0xd1, 0xd1, "x>i"},
	{0x28, 0x28, "i>i@2"}, {0x29, 0x29, "i>I@3"}, {0x2a, 0x2a, "i>f@2"}, {0x2b, 0x2b, "i>F@3"}, {0x2c, 0x2d, "i>i@0"}, {0x2e, 0x2f, "i>i@1"},
	{0x30, 0x31, "i>I@0"}, {0x32, 0x33, "i>I@1"}, {0x34, 0x35, "i>I@2"},
}

// Saturating truncation, behind 0xfc.
var truncOps = []genRange{{0, 1, "f>i"}, {2, 3, "F>i"}, {4, 5, "f>I"}, {6, 7, "F>I"}}

// Vectors, behind 0xfd. Relaxed SIMD may differ between engines by design.
var vectorOps = []genRange{
	{0, 0, "i>v@4"}, {1, 6, "i>v@3"}, {7, 7, "i>v@0"}, {8, 8, "i>v@1"}, {9, 9, "i>v@2"}, {10, 10, "i>v@3"}, {92, 92, "i>v@2"}, {93, 93, "i>v@3"},
	{84, 84, "iv>v@0#16"}, {85, 85, "iv>v@1#8"}, {86, 86, "iv>v@2#4"}, {87, 87, "iv>v@3#2"},
	{14, 14, "vv>v"}, {15, 17, "i>v"}, {18, 18, "I>v"}, {19, 19, "f>v"}, {20, 20, "F>v"},
	{21, 22, "v>i#16"}, {23, 23, "vi>v#16"}, {24, 25, "v>i#8"}, {26, 26, "vi>v#8"}, {27, 27, "v>i#4"}, {28, 28, "vi>v#4"},
	{29, 29, "v>I#2"}, {30, 30, "vI>v#2"}, {31, 31, "v>f#4"}, {32, 32, "vf>v#4"}, {33, 33, "v>F#2"}, {34, 34, "vF>v#2"},
	{35, 76, "vv>v"}, {77, 77, "v>v"}, {78, 81, "vv>v"}, {82, 82, "vvv>v"}, {83, 83, "v>i"},
	{94, 94, "v>v~f"}, {95, 95, "v>v~F"}, {96, 98, "v>v"}, {99, 100, "v>i"}, {101, 102, "vv>v"}, {103, 106, "v>v~f"},
	{107, 109, "vi>v"}, {110, 115, "vv>v"}, {116, 117, "v>v~F"}, {118, 121, "vv>v"}, {122, 122, "v>v~F"}, {123, 123, "vv>v"},
	{124, 129, "v>v"}, {130, 130, "vv>v"}, {131, 132, "v>i"}, {133, 134, "vv>v"}, {135, 138, "v>v"}, {139, 141, "vi>v"},
	{142, 147, "vv>v"}, {148, 148, "v>v~F"}, {149, 153, "vv>v"}, {155, 159, "vv>v"},
	{160, 161, "v>v"}, {163, 164, "v>i"}, {167, 170, "v>v"}, {171, 173, "vi>v"}, {174, 174, "vv>v"}, {177, 177, "vv>v"},
	{181, 186, "vv>v"}, {188, 191, "vv>v"},
	{192, 193, "v>v"}, {195, 196, "v>i"}, {199, 202, "v>v"}, {203, 205, "vi>v"}, {206, 206, "vv>v"}, {209, 209, "vv>v"},
	{213, 223, "vv>v"}, {224, 225, "v>v"}, {227, 227, "v>v~f"}, {228, 233, "vv>v~f"}, {234, 235, "vv>v"},
	{236, 237, "v>v"}, {239, 239, "v>v~F"}, {240, 245, "vv>v~F"}, {246, 247, "vv>v"}, {248, 249, "v>v"}, {250, 251, "v>v"},
	{252, 253, "v>v"}, {254, 255, "v>v"},
}

// Atomic loads and read-modify-writes, behind 0xfe; a memory need not be shared
// for them.
var atomicOps = []genRange{
	{0x10, 0x10, "i>i@2"}, {0x11, 0x11, "i>I@3"}, {0x12, 0x12, "i>i@0"}, {0x13, 0x13, "i>i@1"},
	{0x14, 0x14, "i>I@0"}, {0x15, 0x15, "i>I@1"}, {0x16, 0x16, "i>I@2"},
	{0x48, 0x48, "iii>i@2"}, {0x49, 0x49, "iII>I@3"}, {0x4a, 0x4a, "iii>i@0"}, {0x4b, 0x4b, "iii>i@1"},
	{0x4c, 0x4c, "iII>I@0"}, {0x4d, 0x4d, "iII>I@1"}, {0x4e, 0x4e, "iII>I@2"},
}

// Stores, which give nothing.
var (
	plainStores  = []genRange{{0x36, 0x36, "ii@2"}, {0x37, 0x37, "iI@3"}, {0x38, 0x38, "if@2"}, {0x39, 0x39, "iF@3"}, {0x3a, 0x3a, "ii@0"}, {0x3b, 0x3b, "ii@1"}, {0x3c, 0x3c, "iI@0"}, {0x3d, 0x3d, "iI@1"}, {0x3e, 0x3e, "iI@2"}}
	vectorStores = []genRange{{11, 11, "iv@4"}, {88, 88, "iv@0#16"}, {89, 89, "iv@1#8"}, {90, 90, "iv@2#4"}, {91, 91, "iv@3#2"}}
	atomicStores = []genRange{{0x17, 0x17, "ii@2"}, {0x18, 0x18, "iI@3"}, {0x19, 0x19, "ii@0"}, {0x1a, 0x1a, "ii@1"}, {0x1b, 0x1b, "iI@0"}, {0x1c, 0x1c, "iI@1"}, {0x1d, 0x1d, "iI@2"}}
)

// genOps gives the instructions by result; stores are under 0.
var genOps = sync.OnceValue(func() map[byte][]genOp {
	ops := map[byte][]genOp{}
	add := func(prefix byte, ranges ...genRange) {
		for _, r := range ranges {
			for n := r.from; n <= r.to; n++ {
				code := []byte{byte(n)}
				if prefix != 0 {
					code = binary.AppendUvarint([]byte{prefix}, uint64(n))
				}
				op, out := parseOp(code, r.sig)
				ops[out] = append(ops[out], op)
			}
		}
	}
	add(0, plainStores...)
	add(0, plainOps...)
	add(0xfc, truncOps...)
	add(0xfd, vectorStores...)
	add(0xfd, vectorOps...)
	add(0xfe, atomicStores...)
	add(0xfe, atomicRMW()...)
	return ops
})

// atomicRMW adds the seven widths of the six operations with one operand.
func atomicRMW() []genRange {
	out := append([]genRange(nil), atomicOps...)
	for at := uint32(0x1e); at < 0x48; at += 7 {
		for i, sig := range []string{"ii>i@2", "iI>I@3", "ii>i@0", "ii>i@1", "iI>I@0", "iI>I@1", "iI>I@2"} {
			out = append(out, genRange{at + uint32(i), at + uint32(i), sig})
		}
	}
	return out
}

func parseOp(code []byte, sig string) (op genOp, out byte) {
	op = genOp{code: code, size: -1}
	for i := 0; i < len(sig); i++ {
		switch sig[i] {
		case '>':
			i++
			out = sig[i]
		case '~':
			if op.canon = out; i+1 < len(sig) {
				i++
				op.canon = sig[i]
			}
		case '@':
			i++
			op.size = int(sig[i] - '0')
		case '#':
			for i++; i < len(sig); i++ {
				op.lanes = op.lanes*10 + int(sig[i]-'0')
			}
		default:
			op.in += sig[i : i+1]
		}
	}
	return op, out
}
