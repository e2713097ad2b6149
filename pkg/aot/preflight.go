package aot

import (
	"fmt"
)

// A module of thirty bytes can declare four thousand million locals, and
// decoders allocate what they are told. These bounds are far above what
// compilers emit; maxLocals is the one browsers agreed on.
const (
	maxLocals      = 50_000
	maxTotalLocals = 16 << 20
	maxBody        = 7_654_321 // browsers' number; compilers are not linear in it
)

// preflight walks every section that an engine will decode and refuses counts
// the bytes cannot hold, so that no decoder is led to allocate out of
// proportion. It does not read instructions, except those of constant
// expressions, which it has to step over.
func preflight(secs []section) error {
	for i := range secs {
		r := secs[i].reader
		switch secs[i].id {
		case secTable:
			for n := r.count(3); n > 0 && r.err == nil; n-- {
				table(&r)
			}
		case secGlobal:
			for n := r.count(3); n > 0 && r.err == nil; n-- {
				valueType(&r)
				r.u8()
				constExpr(&r)
			}
		case secElement:
			for n := r.count(2); n > 0 && r.err == nil; n-- {
				element(&r)
			}
		case secCode:
			codeSection(&r)
		case secData:
			for n := r.count(2); n > 0 && r.err == nil; n-- {
				dataSegment(&r)
			}
		default:
			continue // Inspect has been through these
		}
		if err := r.done(); err != nil {
			return err
		}
	}
	return nil
}

// table reads a table type, with the function references proposal's
// initializer when it starts with 0x40.
func table(r *reader) {
	if r.rest() > 0 && r.b[r.pos] == 0x40 {
		r.pos += min(2, r.rest())
		defer constExpr(r)
	}
	valueType(r)
	limits(r)
}

func element(r *reader) {
	flag := r.u32()
	if flag > 7 {
		r.fail(fmt.Errorf("unknown element flag %d", flag))
		return
	}
	active, explicit, exprs := flag&1 == 0, flag&2 != 0, flag&4 != 0
	if active {
		if explicit {
			r.u32()
		}
		constExpr(r)
	}
	if !active || explicit {
		if exprs {
			valueType(r)
		} else {
			r.u8()
		}
	}
	for n := r.count(1); n > 0 && r.err == nil; n-- {
		if exprs {
			constExpr(r)
		} else {
			r.u32()
		}
	}
}

// dataSegment steps over one segment.
func dataSegment(r *reader) {
	switch flag := r.u32(); flag {
	case 0:
		constExpr(r)
	case 1:
	case 2:
		r.u32()
		constExpr(r)
	default:
		r.fail(fmt.Errorf("unknown data flag %d", flag))
	}
	r.bytes(r.u32())
}

func codeSection(r *reader) {
	total := uint64(0)
	n := r.count(3)
	for i := uint32(0); i < n && r.err == nil; i++ {
		size := r.u32()
		at := r.pos
		f := reader{section: r.section, base: r.base + at, b: r.bytes(size)}
		sum := uint64(0)
		for g := f.count(2); g > 0 && f.err == nil; g-- {
			sum += uint64(f.u32())
			valueType(&f)
		}
		total += sum
		switch {
		case r.err != nil:
		case f.err != nil:
			r.err = f.err
		case size > maxBody:
			r.fail(fmt.Errorf("function %d has %d bytes, the limit is %d", i, size, maxBody))
		case sum > maxLocals:
			r.fail(fmt.Errorf("function %d has %d locals, the limit is %d", i, sum, maxLocals))
		case total > maxTotalLocals:
			r.fail(fmt.Errorf("more than %d locals in all functions", maxTotalLocals))
		}
	}
}

// constExpr steps over a constant expression (core spec 3.4.13 with extended
// const and GC's constructors).
func constExpr(r *reader) {
	for r.err == nil {
		switch op := r.u8(); op {
		case 0x0b: // end
			return
		case 0x41: // i32.const
			r.skipSigned(32)
		case 0x42: // i64.const
			r.skipSigned(64)
		case 0x43: // f32.const
			r.bytes(4)
		case 0x44: // f64.const
			r.bytes(8)
		case 0x23, 0xd2: // global.get, ref.func
			r.u32()
		case 0xd0: // ref.null
			r.skipSigned(33)
		case 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e: // add, sub, mul
		case 0xfb:
			gcConstructor(r)
		case 0xfd: // v128.const
			if sub := r.u32(); sub != 12 {
				r.fail(fmt.Errorf("vector instruction %d in a constant expression", sub))
			}
			r.bytes(16)
		default:
			r.fail(fmt.Errorf("instruction %#x in a constant expression", op))
		}
	}
}

// gcConstructor steps over the operands of an instruction of the GC proposal
// that a constant expression may have.
func gcConstructor(r *reader) {
	switch op := r.u32(); op {
	case 0, 1, 6, 7: // struct.new, struct.new_default, array.new, array.new_default
		r.u32()
	case 8: // array.new_fixed
		r.u32()
		r.u32()
	case 0x1a, 0x1b, 0x1c: // any.convert_extern, extern.convert_any, ref.i31
	default:
		r.fail(fmt.Errorf("instruction 0xfb %d in a constant expression", op))
	}
}
