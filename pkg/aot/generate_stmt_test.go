package aot

import "strings"

// special pushes a value by an instruction without operands of its type.
func (b *genBody) special(t byte) {
	switch {
	case t == 'v' && b.src.in(2): // i8x16.shuffle
		b.exprs("vv")
		b.op(0xfd, 13)
		for range 16 {
			b.out = append(b.out, byte(b.src.n(32)))
		}
	case t == 'r' || t == 'x':
		b.index(8)
		b.op(opTableGet, b.table(t))
	case t == 'i':
		switch b.src.n(4) {
		case 0:
			b.op(opMemorySize, 0)
		case 1:
			b.expr('i')
			if !b.src.in(6) {
				b.i32(3)
				b.op(opI32And)
			}
			b.op(opMemoryGrow, 0)
		case 2:
			b.op(0xfc, 16, b.src.n(3)) // table.size
		case 3:
			k := b.src.n(3)
			b.expr(genTables[k])
			b.index(4)
			b.op(0xfc, 15, k) // table.grow
		}
	default:
		b.operation(t)
	}
}

// genTables are the tables' types.
const genTables = "rxr"

func (b *genBody) table(t byte) int {
	if t == 'x' {
		return 1
	}
	return 2 * b.src.n(2)
}

// statement leaves the stack as it was.
func (b *genBody) statement() {
	b.depth++
	defer func() { b.depth-- }()
	b.left--
	if b.left < 0 || b.depth > 7 {
		return
	}
	t := b.anyType()
	switch b.src.n(21) {
	case 0, 1, 2:
		b.expr(t)
		b.op(opLocalSet, b.local(t))
	case 3, 4:
		b.expr(t)
		b.op(opGlobalSet, b.global(t))
	case 5, 6, 7:
		stores := genOps()[0]
		b.apply(stores[b.src.n(len(stores))])
	case 8, 9:
		b.put(t)
	case 10, 11:
		b.take(b.call())
	case 12:
		b.ifStatement()
	case 13, 14:
		b.loop()
	case 15:
		b.bulkMemory()
	case 16:
		b.bulkTable()
	case 17:
		b.branchOut()
	case 18:
		b.leave()
	case 19:
		b.jumpTable()
	case 20:
		b.try()
	}
}

func (b *genBody) put(t byte) {
	if strings.IndexByte("rx", t) >= 0 {
		b.expr(t)
		b.op(0xd1)
		t = 'i'
	} else {
		b.expr(t)
	}
	b.toI64(t)
	b.op(opCall, 0)
}

func (b *genBody) statements() {
	for range 1 + b.src.n(3) {
		b.statement()
	}
}

func (b *genBody) ifStatement() {
	b.expr('i')
	b.op(opIf, 0x40)
	b.labels = append(b.labels, "")
	b.statements()
	if b.src.in(2) {
		b.op(opElse)
		b.statements()
	}
	b.labels = b.labels[:len(b.labels)-1]
	b.op(opEnd)
}

// loop turns a few times, fewer without fuel. Both of its labels can be
// branched to from inside.
func (b *genBody) loop() {
	if b.loops >= 3 {
		return
	}
	b.loops++
	defer func() { b.loops-- }()
	params, results := b.src.list(2, genTypes), b.src.list(2, genTypes)
	count := b.scratch('i')
	b.i32(1 + b.src.n(9))
	b.op(opLocalSet, count)
	b.exprs(params)
	b.op(opBlock)
	b.blockType(params, results)
	b.op(opLoop)
	b.blockType(params, results)
	b.labels = append(b.labels, results, params)
	b.take(params)
	b.op(opGlobalGet, 0)
	b.op(opI32Eqz)
	b.op(opIf, 0x40)
	for _, t := range []byte(results) {
		b.out = append(b.out, b.constant(t)...)
	}
	b.op(opBr, 2)
	b.op(opEnd)
	b.burn()
	b.statements()
	b.exprs(params)
	b.op(opLocalGet, count)
	b.i32(1)
	b.op(opI32Sub)
	b.op(opLocalTee, count)
	b.op(opBrIf, 0)
	b.drops(len(params))
	b.exprs(results)
	b.op(opEnd)
	b.labels = b.labels[:len(b.labels)-2]
	b.op(opEnd)
	b.take(results)
}

// bulkMemory keeps lengths small for speed, not for bounds.
func (b *genBody) bulkMemory() {
	kind := b.src.n(4)
	segment := b.src.n(len(b.data))
	if kind >= 2 && (!b.counted || len(b.data) == 0) || kind == 2 && b.data[segment].active {
		kind -= 2
	}
	at := genOp{code: []byte{0}}
	if kind == 3 {
		b.op(0xfc, 9, segment) // data.drop
		return
	}
	b.drain(b.address(at))
	switch kind {
	case 0:
		b.expr('i')
		b.length()
		b.op(0xfc, 11, 0) // fill
	case 1:
		b.drain(b.address(at))
		b.length()
		b.op(0xfc, 10, 0, 0) // copy
	case 2:
		b.index(16)
		b.index(16)
		b.op(0xfc, 8, segment, 0) // init
	}
}

// drain adds an offset, for instructions that have none, to the address.
func (b *genBody) drain(offset int) {
	b.i32(offset)
	b.op(opI32Add)
}

func (b *genBody) length() {
	b.expr('i')
	if !b.src.in(10) {
		b.i32(0x3ff)
		b.op(opI32And)
	}
}

func (b *genBody) bulkTable() {
	k := b.src.n(3)
	switch b.src.n(6) {
	case 0, 1:
		b.index(4)
		b.expr(genTables[k])
		b.op(opTableSet, k)
	case 2:
		b.index(4)
		b.expr(genTables[k])
		b.index(4)
		b.op(0xfc, 17, k) // fill
	case 3:
		from := k
		if k != 1 {
			from = 2 * b.src.n(2)
		}
		b.index(4)
		b.index(4)
		b.index(2)
		b.op(0xfc, 14, k, from) // copy
	case 4:
		b.index(4)
		b.index(2)
		b.index(2)
		b.op(0xfc, 12, b.src.n(4), 2*b.src.n(2)) // init
	case 5:
		b.op(0xfc, 13, b.src.n(4)) // elem.drop
	}
}

// branchOut may go to any label.
func (b *genBody) branchOut() {
	d := b.src.n(len(b.labels))
	types := b.labels[len(b.labels)-1-d]
	b.exprs(types)
	b.expr('i')
	b.op(opBrIf, d)
	b.take(types)
}

// leave ends the block or the function now and then; dead code follows.
func (b *genBody) leave() {
	b.expr('i')
	b.i32(b.src.n(4))
	b.op(0x46 + byte(b.src.n(2))) // eq, ne
	b.op(opIf, 0x40)
	b.labels = append(b.labels, "")
	end := b.src.n(6)
	if end == 3 && len(b.tags) == 0 {
		end = 4
	}
	switch end {
	case 0:
		b.op(opUnreachable)
	case 1:
		b.exprs(b.labels[0])
		b.op(opReturn)
	case 2:
		d := b.src.n(len(b.labels))
		b.exprs(b.labels[len(b.labels)-1-d])
		b.op(opBr, d)
	case 3:
		tag := b.src.n(len(b.tags))
		params, _ := splitSig(b.tags[tag])
		b.exprs(params)
		b.op(opThrow, tag)
	default:
		b.tailCall()
	}
	b.dead()
	b.labels = b.labels[:len(b.labels)-1]
	b.op(opEnd)
}

// dead is code after a jump, where the stack holds whatever is asked for.
func (b *genBody) dead() {
	switch b.src.n(4) {
	case 0:
		b.op(opI32Add)
		b.op(opDrop)
	case 1:
		b.op(opSelect)
		b.op(opDrop)
	case 2:
		b.statement()
	}
}

// tailCall calls what has the same results: itself, a later function, a leaf.
func (b *genBody) tailCall() {
	var can []int
	for f := b.self; f < len(b.funcs); f++ {
		if _, r := splitSig(b.funcs[f]); r == b.labels[0] {
			can = append(can, f)
		}
	}
	f := can[b.src.n(len(can))]
	params, _ := splitSig(b.funcs[f])
	b.exprs(params)
	if f >= b.leaf && b.self < b.leaf && b.src.in(2) {
		b.i32(f - b.leaf) // the table begins with the leaves
		b.op(opTailIndirect, b.typeOf(b.funcs[f]), b.rarelyTwo())
		return
	}
	b.op(opTailCall, len(genImports)+f)
}

// jumpTable goes to the labels of blocks around it.
func (b *genBody) jumpTable() {
	n := 1 + b.src.n(4)
	for range n {
		b.op(opBlock, 0x40)
		b.labels = append(b.labels, "")
	}
	b.index(4)
	b.op(opBrTable, n)
	for range n + 1 {
		b.out = append(b.out, byte(b.src.n(n)))
	}
	b.dead()
	for range n {
		b.labels = b.labels[:len(b.labels)-1]
		b.op(opEnd)
		b.statement()
	}
}

// try catches one tag around some statements, and maybe everything else.
func (b *genBody) try() {
	if len(b.tags) == 0 {
		return
	}
	tag, all := b.src.n(len(b.tags)), b.src.in(3)
	params, _ := splitSig(b.tags[tag])
	b.op(opBlock, 0x40)
	b.op(opBlock)
	b.blockType("", params)
	b.labels = append(b.labels, "", params)
	b.op(opTryTable, 0x40)
	if all {
		b.out = append(b.out, 2, 0, byte(tag), 0, 2, 1) // catch tag 0, catch_all 1
	} else {
		b.out = append(b.out, 1, 0, byte(tag), 0)
	}
	b.labels = append(b.labels, "")
	b.statements()
	b.labels = b.labels[:len(b.labels)-1]
	b.op(opEnd)
	b.exprs(params)
	b.labels = b.labels[:len(b.labels)-1]
	b.op(opEnd)
	b.take(params)
	b.labels = b.labels[:len(b.labels)-1]
	b.op(opEnd)
}
