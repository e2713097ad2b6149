package aot

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"slices"
)

// A generated module is valid, ends, and does nothing that the core spec leaves
// open. Termination: global 0 is fuel; each entry of a function and each turn of
// a loop takes one, and without fuel they end at once. Calls go to functions
// with higher numbers, calls by table to the last ones, the leaves, which make
// no calls by table: so no guest overflows its stack, whose depth is the
// engine's business. A function may call itself by a tail call only.
// NaN: whatever computes a float replaces a NaN by the canonical one, so that
// all values are the same in all bits.
type generator struct {
	src      *entropy
	types    []string // "params>results"
	funcs    []string // types of the functions that are not imported
	leaf     int      // the first leaf, an index into funcs
	globals  []byte   // their types; 0 is the fuel
	minPages int
	maxPages int // -1 is none
	data     []genData
	counted  bool // a data count section lets code name segments
	tags     []string
}

type genData struct {
	active bool
	at     int
	bytes  []byte
}

// What the host offers, in order; see engines_fuzz_test.go. fail and exit end
// the guest.
var genImports = []struct{ name, sig string }{
	{"put", "I>"}, {"mix", "ifIF>I"}, {"swap", "FiIf>F"}, {"exit", "i>"}, {"fail", ">"},
}

const (
	genMaxTable = 16
	genFuel     = 400
)

// entropy is the fuzzer's bytes and, behind them, a sequence that depends on
// them: each input gives a whole module.
type entropy struct {
	b     []byte
	state uint64
}

func newEntropy(b []byte) *entropy {
	h := fnv.New64a()
	h.Write(b)
	return &entropy{b, h.Sum64() | 1}
}

func (e *entropy) byte() byte {
	if len(e.b) > 0 {
		c := e.b[0]
		e.b = e.b[1:]
		return c
	}
	e.state ^= e.state << 13
	e.state ^= e.state >> 7
	e.state ^= e.state << 17
	return byte(e.state >> 24)
}

// n gives a number below bound, which is at most 65536.
func (e *entropy) n(bound int) int {
	if bound <= 1 {
		return 0
	}
	v := int(e.byte())
	if bound > 256 {
		v |= int(e.byte()) << 8
	}
	return v % bound
}

// in is true once in so many times.
func (e *entropy) in(n int) bool { return e.n(n) == n-1 }

func (e *entropy) u64() (v uint64) {
	for range 8 {
		v = v<<8 | uint64(e.byte())
	}
	return v
}

func (e *entropy) list(most int, from string) string {
	out := make([]byte, e.n(most+1))
	for i := range out {
		out[i] = from[e.n(len(from))]
	}
	return string(out)
}

// generate gives a module for any bytes.
func generate(b []byte) []byte {
	g := &generator{src: newEntropy(b)}
	for _, i := range genImports {
		g.typeOf(i.sig)
	}
	for range 3 + g.src.n(5) {
		most := 4
		if g.src.in(8) {
			most = 20 // more than the registers hold
		}
		params, results := g.src.list(most, genTypes), g.src.list(most/2, genTypes)
		g.funcs = append(g.funcs, params+">"+results)
	}
	g.funcs[0] = ">"
	for range g.src.n(3) { // leaves of a type that others have
		g.funcs = append(g.funcs, g.funcs[g.src.n(len(g.funcs))])
	}
	g.leaf = (len(g.funcs) + 1) / 2
	for _, f := range g.funcs {
		g.typeOf(f)
	}
	g.globals = []byte("i" + genTypes + g.src.list(4, genTypes))
	g.minPages, g.maxPages = 1+g.src.n(2), g.src.n(12)
	if g.src.in(20) {
		g.minPages = 0
	}
	if g.maxPages < g.minPages {
		g.maxPages = -1
	}
	if g.src.in(4) { // rarely: wazero interprets such modules
		g.tags = []string{">", "i>", "IFv>"}
	}
	for _, t := range g.tags {
		g.typeOf(t)
	}
	g.segments()
	return g.module()
}

func (g *generator) segments() {
	g.counted = !g.src.in(4)
	for range g.src.n(5) {
		d := genData{active: !g.counted || g.src.in(2), bytes: make([]byte, g.src.n(40))}
		for i := range d.bytes {
			d.bytes[i] = g.src.byte()
		}
		if d.at = g.src.n(65536); g.minPages == 0 {
			d.at = 0
		}
		// Out of bounds it ends before it starts, which is worth little.
		if d.active && d.at+len(d.bytes) > g.minPages*wasmPage {
			d.bytes = nil
		}
		g.data = append(g.data, d)
	}
}

// typeOf gives the index of a function type.
func (g *generator) typeOf(sig string) int {
	if i := slices.Index(g.types, sig); i >= 0 {
		return i
	}
	g.types = append(g.types, sig)
	return len(g.types) - 1
}

func splitSig(sig string) (params, results string) {
	i := bytes.IndexByte([]byte(sig), '>')
	return sig[:i], sig[i+1:]
}

func appendTypes(out []byte, types string) []byte {
	out = binary.AppendUvarint(out, uint64(len(types)))
	for _, t := range []byte(types) {
		out = append(out, genTypeCode[t])
	}
	return out
}

func appendName(out []byte, name string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(name))), name...)
}

// genSection is a section of a vector.
func genSection(out []byte, id byte, entries [][]byte) []byte {
	body := binary.AppendUvarint(nil, uint64(len(entries)))
	for _, e := range entries {
		body = append(body, e...)
	}
	return appendSection(out, id, body)
}

func (g *generator) module() []byte {
	var imports, funcs, globals, exports, code, tags, data [][]byte
	for i, sig := range genImports {
		imports = append(imports, append(appendName(appendName(nil, "host"), sig.name), 0, byte(i)))
	}
	for i, f := range g.funcs {
		funcs = append(funcs, binary.AppendUvarint(nil, uint64(g.typeOf(f))))
		code = append(code, g.function(i))
	}
	var types [][]byte // after the code, which adds types of blocks
	for _, t := range g.types {
		params, results := splitSig(t)
		types = append(types, appendTypes(appendTypes([]byte{0x60}, params), results))
	}
	for i, t := range g.globals {
		c := g.constant(t)
		if i == 0 {
			c = appendSigned([]byte{0x41}, genFuel)
		}
		globals = append(globals, append(append([]byte{genTypeCode[t], 1}, c...), 0x0b))
	}
	memory := []byte{0, byte(g.minPages)}
	if g.maxPages >= 0 {
		memory = []byte{1, byte(g.minPages), byte(g.maxPages)}
	}
	exports = append(exports, append(appendName(nil, "_start"), 0, byte(len(genImports))), append(appendName(nil, "memory"), 2, 0))
	for _, t := range g.tags {
		tags = append(tags, []byte{0, byte(g.typeOf(t))})
	}
	for _, d := range g.data {
		e := []byte{1}
		if d.active {
			e = append(appendSigned([]byte{0, 0x41}, int64(d.at)), 0x0b)
		}
		data = append(data, append(binary.AppendUvarint(e, uint64(len(d.bytes))), d.bytes...))
	}
	out := []byte(header)
	out = genSection(out, secType, types)
	out = genSection(out, secImport, imports)
	out = genSection(out, secFunction, funcs)
	out = genSection(out, secTable, [][]byte{{0x70, 1, 8, 20}, {0x6f, 1, 8, 20}, {0x70, 1, 8, 20}})
	out = genSection(out, secMemory, [][]byte{memory})
	if len(tags) > 0 {
		out = genSection(out, secTag, tags)
	}
	out = genSection(out, secGlobal, globals)
	out = genSection(out, secExport, exports)
	out = genSection(out, secElement, g.elements())
	if g.counted {
		out = appendSection(out, secDataCount, []byte{byte(len(g.data))})
	}
	out = genSection(out, secCode, code)
	return genSection(out, secData, data)
}

// elements are of leaves only: all of the first table, leaf after leaf; most of
// the third; passive with a null in it; declarative, for ref.func.
func (g *generator) elements() [][]byte {
	first, third := []byte{0, 0x41, 0, 0x0b, 8}, []byte{2, 2, 0x41, 1, 0x0b, 0, 6}
	for i := range 8 {
		first = append(first, g.leafAt(i))
	}
	for i := range 6 {
		third = append(third, g.leafAt(i+1))
	}
	n := len(g.funcs) - g.leaf
	passive, declared := []byte{5, 0x70, byte(n + 1)}, []byte{3, 0, byte(n)}
	for i := range n {
		passive, declared = append(passive, 0xd2, g.leafAt(i), opEnd), append(declared, g.leafAt(i))
	}
	return [][]byte{first, third, append(passive, 0xd0, 0x70, opEnd), declared}
}

// leafAt numbers the leaves, over and over.
func (g *generator) leafAt(i int) byte {
	return byte(len(genImports) + g.leaf + i%(len(g.funcs)-g.leaf))
}

// constant gives the expression of a value, often one at an edge.
func (g *generator) constant(t byte) []byte {
	edges := []uint64{0, 1, ^uint64(0), 1 << 31, 1<<31 - 1, 1 << 63, 1<<63 - 1, 0xff, 0x8000, 64, 31, 1 << 32}
	v := edges[g.src.n(len(edges))]
	switch g.src.n(4) {
	case 0:
		v = g.src.u64()
	case 1:
		v = uint64(g.src.n(200))
	}
	switch t {
	case 'i':
		return appendSigned([]byte{0x41}, int64(int32(v)))
	case 'I':
		return appendSigned([]byte{0x42}, int64(v))
	case 'f':
		return binary.LittleEndian.AppendUint32([]byte{0x43}, uint32(g.float(0x7f800000, 0x3f800000, 0xcf000000, 0x4f800000, v>>32^v)))
	case 'F':
		return binary.LittleEndian.AppendUint64([]byte{0x44}, g.float(0x7ff0000000000000, 0x3ff0000000000000, 0xc3e0000000000000, 0x43f0000000000000, v))
	case 'v':
		out := binary.LittleEndian.AppendUint64([]byte{0xfd, 12}, v)
		return binary.LittleEndian.AppendUint64(out, g.src.u64())
	case 'r':
		return []byte{0xd0, 0x70}
	}
	return []byte{0xd0, 0x6f}
}

// float picks infinity, one, the edges of the integers, a NaN or any bits.
func (g *generator) float(inf, one, low, high, other uint64) uint64 {
	return []uint64{inf, one, low, high, inf | 1, inf | inf>>1, other, other, other}[g.src.n(9)]
}

// appendSigned is LEB128 as WebAssembly has it (core spec 5.2.2).
func appendSigned(out []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(out, c)
		}
		out = append(out, c|0x80)
	}
}
