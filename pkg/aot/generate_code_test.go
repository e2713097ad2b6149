package aot

import (
	"encoding/binary"
	"strings"
)

// genBody is one function being made.
type genBody struct {
	*generator
	out    []byte
	self   int    // its index in funcs
	locals string // types, parameters first
	params int
	hidden map[uint32]bool // counters and scratch, which statements leave alone
	labels []string        // what a branch takes, outermost first
	left   int             // instructions that may still be spent
	depth  int
	loops  int
}

// Opcodes that the code below names.
const (
	opUnreachable, opBlock, opLoop, opIf, opElse        = 0x00, 0x02, 0x03, 0x04, 0x05
	opThrow, opEnd, opBr, opBrIf, opBrTable, opReturn   = 0x08, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f
	opCall, opCallIndirect, opTailCall, opTailIndirect  = 0x10, 0x11, 0x12, 0x13
	opDrop, opSelect, opSelectTyped, opTryTable         = 0x1a, 0x1b, 0x1c, 0x1f
	opLocalGet, opLocalSet, opLocalTee                  = 0x20, 0x21, 0x22
	opGlobalGet, opGlobalSet, opTableGet, opTableSet    = 0x23, 0x24, 0x25, 0x26
	opMemorySize, opMemoryGrow, opRefFunc               = 0x3f, 0x40, 0xd2
	opI32Eqz, opI32Add, opI32Sub, opI32And, opI64Extend = 0x45, 0x6a, 0x6b, 0x71, 0xad
)

func (b *genBody) op(code byte, immediates ...int) {
	b.out = append(b.out, code)
	for _, i := range immediates {
		b.out = binary.AppendUvarint(b.out, uint64(i))
	}
}

func (b *genBody) i32(v int) { b.out = appendSigned(append(b.out, 0x41), int64(int32(v))) }

// function gives an entry of the code section.
func (g *generator) function(self int) []byte {
	params, results := splitSig(g.funcs[self])
	b := &genBody{generator: g, self: self, locals: params + genTypes + genTypes, params: len(params), hidden: map[uint32]bool{}}
	b.labels = []string{results}
	b.left = 40 + g.src.n(120)
	b.op(opGlobalGet, 0)
	b.op(opI32Eqz)
	b.op(opIf, 0x40)
	for _, t := range []byte(results) {
		b.out = append(b.out, g.constant(t)...)
	}
	b.op(opReturn)
	b.op(opEnd)
	b.burn()
	for b.left > 0 {
		b.statement()
	}
	if self == 0 {
		b.show()
	}
	b.exprs(results)
	b.op(opEnd)

	var body []byte
	rest := b.locals[b.params:]
	body = binary.AppendUvarint(body, uint64(len(rest)))
	for _, t := range []byte(rest) {
		body = append(body, 1, genTypeCode[t])
	}
	body = append(body, b.out...)
	return append(binary.AppendUvarint(nil, uint64(len(body))), body...)
}

func (b *genBody) burn() {
	b.op(opGlobalGet, 0)
	b.i32(1)
	b.op(opI32Sub)
	b.op(opGlobalSet, 0)
}

// show passes all numeric globals to the host, and the memory with them.
func (b *genBody) show() {
	for i, t := range b.globals {
		if strings.IndexByte("iIfFv", t) >= 0 {
			b.op(opGlobalGet, i)
			b.toI64(t)
			b.op(opCall, 0)
		}
	}
}

// toI64 turns a number into bits.
func (b *genBody) toI64(t byte) {
	switch t {
	case 'i':
		b.op(opI64Extend)
	case 'f':
		b.op(0xbc)
		b.op(opI64Extend)
	case 'F':
		b.op(0xbd)
	case 'v':
		x := b.scratch('v')
		b.op(opLocalTee, x)
		b.op(0xfd, 29)
		b.out = append(b.out, 0)
		b.op(opLocalGet, x)
		b.op(0xfd, 29)
		b.out = append(b.out, 1)
		b.op(0x85) // i64.xor
	}
}

// scratch is a local that nothing else uses.
func (b *genBody) scratch(t byte) int {
	b.locals += string(t)
	b.hidden[uint32(len(b.locals)-1)] = true
	return len(b.locals) - 1
}

// local picks a local of a type; there are always two.
func (b *genBody) local(t byte) int {
	var have []int
	for i := range b.locals {
		if b.locals[i] == t && !b.hidden[uint32(i)] {
			have = append(have, i)
		}
	}
	return have[b.src.n(len(have))]
}

func (b *genBody) global(t byte) int {
	var have []int
	for i := 1; i < len(b.globals); i++ {
		if b.globals[i] == t {
			have = append(have, i)
		}
	}
	return have[b.src.n(len(have))]
}

func (b *genBody) anyType() byte { return genTypes[b.src.n(len(genTypes))] }

// canonical replaces the NaNs of a value by one that is the same everywhere;
// t is its type, lane that of its lanes.
func (b *genBody) canonical(t, lane byte) {
	x := b.scratch(t)
	b.op(opLocalSet, x)
	b.op(opLocalGet, x)
	nan32 := binary.LittleEndian.AppendUint32([]byte{0x43}, 0x7fc00000)
	nan64 := binary.LittleEndian.AppendUint64([]byte{0x44}, 0x7ff8000000000000)
	eq := map[string][]byte{"f": {0x5b}, "F": {0x61}, "vf": {0xfd, 65}, "vF": {0xfd, 71}}
	id := string(t)
	if lane == 'f' {
		b.out = append(b.out, nan32...)
	} else {
		b.out = append(b.out, nan64...)
	}
	if t == 'v' {
		id += string(lane)
		b.op(0xfd, map[byte]int{'f': 19, 'F': 20}[lane])
	}
	b.op(opLocalGet, x)
	b.op(opLocalGet, x)
	b.out = append(b.out, eq[id]...)
	if t == 'v' {
		b.op(0xfd, 82)
	} else {
		b.op(opSelect)
	}
}

func (b *genBody) exprs(types string) {
	for _, t := range []byte(types) {
		b.expr(t)
	}
}

// expr pushes a value.
func (b *genBody) expr(t byte) {
	b.depth++
	defer func() { b.depth-- }()
	b.left--
	if b.left < 0 || b.depth > 7 {
		b.leafExpr(t)
		return
	}
	switch b.src.n(16) {
	case 0, 1, 2:
		b.leafExpr(t)
	case 3:
		b.expr(t)
		b.op(opLocalTee, b.local(t))
	case 4:
		b.selectExpr(t)
	case 5:
		b.blockExpr(t)
	case 6:
		b.ifExpr(t)
	case 7:
		b.callExpr(t)
	case 8:
		b.special(t)
	default:
		b.operation(t)
	}
}

func (b *genBody) leafExpr(t byte) {
	switch b.src.n(5) {
	case 0, 1:
		b.op(opLocalGet, b.local(t))
	case 2:
		b.op(opGlobalGet, b.global(t))
	default:
		if t == 'r' && b.src.in(2) {
			b.op(opRefFunc, b.anyLeaf())
			return
		}
		b.out = append(b.out, b.constant(t)...)
	}
}

// anyLeaf is a function that makes no calls by table, by its number.
func (b *genBody) anyLeaf() int {
	return len(genImports) + b.leaf + b.src.n(len(b.funcs)-b.leaf)
}

func (b *genBody) selectExpr(t byte) {
	b.expr(t)
	b.expr(t)
	b.expr('i')
	if t == 'r' || t == 'x' || b.src.in(3) {
		b.op(opSelectTyped, 1, int(genTypeCode[t]))
	} else {
		b.op(opSelect)
	}
}

// blockType is one of the three forms of core spec 5.4.1.
func (b *genBody) blockType(params, results string) {
	switch {
	case params == "" && results == "":
		b.out = append(b.out, 0x40)
	case params == "" && len(results) == 1:
		b.out = append(b.out, genTypeCode[results[0]])
	default:
		b.out = appendSigned(b.out, int64(b.typeOf(params+">"+results)))
	}
}

// blockExpr is a block with parameters and results that may be left early.
func (b *genBody) blockExpr(t byte) {
	params, results := b.src.list(2, genTypes), string(t)+b.src.list(2, genTypes)
	b.exprs(params)
	b.op(opBlock)
	b.blockType(params, results)
	b.labels = append(b.labels, results)
	b.take(params)
	b.exprs(results)
	b.expr('i')
	b.op(opBrIf, 0)
	b.statement()
	b.drops(len(results))
	b.exprs(results)
	b.labels = b.labels[:len(b.labels)-1]
	b.op(opEnd)
	b.drops(len(results) - 1)
}

func (b *genBody) ifExpr(t byte) {
	b.expr('i')
	b.op(opIf)
	b.blockType("", string(t))
	b.labels = append(b.labels, string(t))
	b.expr(t)
	b.op(opElse)
	b.expr(t)
	b.labels = b.labels[:len(b.labels)-1]
	b.op(opEnd)
}

func (b *genBody) drops(n int) {
	for range n {
		b.op(opDrop)
	}
}

// take pops values into locals, or drops them.
func (b *genBody) take(types string) {
	for i := len(types) - 1; i >= 0; i-- {
		if b.src.in(4) {
			b.op(opDrop)
		} else {
			b.op(opLocalSet, b.local(types[i]))
		}
	}
}

// callExpr calls a function and keeps one of its results, if it has that type.
func (b *genBody) callExpr(t byte) {
	results := b.call()
	b.take(results)
	if i := strings.IndexByte(results, t); i >= 0 {
		b.op(opLocalGet, b.local(t))
		return
	}
	b.leafExpr(t)
}

// call pushes the results it names.
func (b *genBody) call() string {
	f := b.self + 1 + b.src.n(len(b.funcs))
	if f >= len(b.funcs) || b.self < b.leaf && b.src.in(3) {
		return b.indirect()
	}
	params, results := splitSig(b.funcs[f])
	b.exprs(params)
	b.op(opCall, len(genImports)+f)
	return results
}

// indirect calls by table, or the host where that is not allowed.
func (b *genBody) indirect() string {
	if b.self >= b.leaf || b.src.in(3) {
		return b.hostCall()
	}
	at := b.src.n(8)
	sig := b.funcs[int(b.leafAt(at))-len(genImports)]
	params, results := splitSig(sig)
	b.exprs(params)
	if b.i32(at); b.src.in(8) { // likely to trap
		b.op(opDrop)
		b.index(8)
	}
	b.op(opCallIndirect, b.typeOf(sig), b.rarelyTwo())
	return results
}

// rarelyTwo is a table to call by; the third has other leaves at an index.
func (b *genBody) rarelyTwo() int {
	if b.src.in(8) {
		return 2
	}
	return 0
}

func (b *genBody) hostCall() string {
	i := b.src.n(3)
	if b.src.in(40) {
		i = 3 + b.src.n(2)
	}
	params, results := splitSig(genImports[i].sig)
	b.exprs(params)
	b.op(opCall, i)
	return results
}

// index pushes a small number, now and then any.
func (b *genBody) index(bound int) {
	switch b.src.n(16) {
	case 0:
		b.expr('i')
		if !b.src.in(4) {
			b.i32(bound*2 - 1)
			b.op(opI32And)
		}
	case 1, 2, 3:
		b.expr('i')
		b.i32(bound - 1)
		b.op(opI32And)
	default:
		b.i32(b.src.n(bound))
	}
}

// operation applies an instruction with operands.
func (b *genBody) operation(t byte) {
	ops := genOps()[t]
	if len(ops) == 0 {
		b.leafExpr(t)
		return
	}
	o := ops[b.src.n(len(ops))]
	if o.traps() && !b.src.in(8) {
		o = ops[b.src.n(len(ops))]
	}
	b.apply(o)
}

// traps is true of truncations of floats, which few values survive.
func (o genOp) traps() bool { return o.code[0] >= 0xa8 && o.code[0] <= 0xb1 && o.canon == 0 }

// divides is true of integer divisions and remainders.
func (o genOp) divides() bool {
	return o.code[0] >= 0x6d && o.code[0] <= 0x70 || o.code[0] >= 0x7f && o.code[0] <= 0x82
}

func (b *genBody) apply(o genOp) {
	in, offset := o.in, 0
	if o.size >= 0 {
		offset = b.address(o)
		in = in[1:]
	}
	b.exprs(in)
	if o.divides() && !b.src.in(10) { // by an odd number
		b.out = append(b.out, map[byte][]byte{'i': {0x41, 1, 0x72}, 'I': {0x42, 1, 0x84}}[in[0]]...)
	}
	b.out = append(b.out, o.code...)
	if o.size >= 0 {
		align := o.size
		if o.code[0] != 0xfe {
			align = b.src.n(o.size + 1)
		}
		b.out = binary.AppendUvarint(append(b.out, byte(align)), uint64(offset))
	}
	if o.lanes > 0 {
		b.out = append(b.out, byte(b.src.n(o.lanes)))
	}
	if o.canon != 0 {
		t := o.canon
		if o.code[0] == 0xfd {
			t = 'v'
		}
		b.canonical(t, o.canon)
	}
}

// address pushes an address, mostly one in the first page, and gives the
// offset. Atomics are aligned: what traps first, alignment or bounds, is open.
func (b *genBody) address(o genOp) (offset int) {
	atomic := o.code[0] == 0xfe
	switch n := b.src.n(60); {
	case n == 0 && !atomic: // anywhere
		b.expr('i')
		return int(uint32(b.src.u64()))
	case n < 3 && !atomic: // about the end
		b.op(opMemorySize, 0)
		b.i32(16)
		b.op(0x74) // shl
		b.i32(20)
		b.op(opI32Sub)
		return b.src.n(22)
	}
	mask := 0x7fff
	if atomic { // so are the low bits, which no offset disturbs
		mask = 0x7ff8
	} else {
		offset = b.src.n(300)
	}
	b.expr('i')
	b.i32(mask)
	b.op(opI32And)
	return offset
}
