package aot

import (
	"errors"
	"fmt"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// Kind is what an import or export names.
type Kind byte

// The kinds in their binary encoding.
const (
	KindFunc Kind = iota
	KindTable
	KindMemory
	KindGlobal
	KindTag
)

// String gives the name the text format uses.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", byte(k))
}

var kindNames = [...]string{"func", "table", "memory", "global", "tag"}

// OtherImport is an import that is not a function.
type OtherImport struct {
	Module, Name string
	Kind         Kind
}

// Export is one name a module offers; Sig is set for functions. Index counts
// within the kind, imports first.
type Export struct {
	Name  string
	Kind  Kind
	Index uint32
	Sig   abi.Signature
}

// Info is what a module's sections say without looking at its code.
type Info struct {
	// Imports are the imported functions in order; OtherImports the rest.
	Imports      []abi.Import
	OtherImports []OtherImport
	Exports      []Export

	// The first memory, own or imported. Sizes are in pages of 64 KiB;
	// MemoryMax is meaningful with HasMax only.
	HasMemory, HasMax    bool
	Shared, Memory64     bool
	MemoryMin, MemoryMax uint64
	// Memories counts own and imported memories.
	Memories int

	// GC tells of struct or array types or of declared subtyping; Tags of
	// exception tags.
	GC, Tags bool

	// Refused names a feature that no engine here has.
	Refused string
}

// Export finds an export by name.
func (i *Info) Export(name string) (Export, bool) {
	for _, e := range i.Exports {
		if e.Name == name {
			return e, true
		}
	}
	return Export{}, false
}

// exportOf finds an exported function by its index.
func (i *Info) exportOf(index uint32) (Export, bool) {
	for _, e := range i.Exports {
		if e.Kind == KindFunc && e.Index == index {
			return e, true
		}
	}
	return Export{}, false
}

// Inspect reads the sections of a core module. It checks everything it reads,
// allocates in proportion to len(wasm) and never looks into code and data, so
// an Info does not mean that the module is valid.
func Inspect(wasm []byte) (*Info, error) {
	secs, err := sections(wasm)
	if err != nil {
		return nil, err
	}
	return inspect(secs)
}

func inspect(secs []section) (*Info, error) {
	d := inspector{info: &Info{}}
	for i := range secs {
		r := secs[i].reader
		switch secs[i].id {
		case secType:
			d.typeSection(&r)
		case secImport:
			d.importSection(&r)
		case secFunction:
			for n := r.count(1); n > 0 && r.err == nil; n-- {
				d.funcs = append(d.funcs, r.u32())
			}
		case secMemory:
			for n := r.count(2); n > 0 && r.err == nil; n-- {
				d.memory(&r)
			}
		case secTag:
			d.info.Tags = true
			r.pos = len(r.b)
		case secExport:
			d.exportSection(&r)
		default:
			r.pos = len(r.b)
		}
		if err := r.done(); err != nil {
			return nil, err
		}
	}
	return d.info, nil
}

type inspector struct {
	info  *Info
	types []funcType
	funcs []uint32 // type index of every function, imported ones first
}

// funcType is a signature, or with ok false a type that is not a function's.
type funcType struct {
	sig abi.Signature
	ok  bool
}

const (
	typeFunc   = 0x60
	typeStruct = 0x5f
	typeArray  = 0x5e
	typeCont   = 0x5d
	typeSub    = 0x50
	typeSubFin = 0x4f
	typeRec    = 0x4e
	refNull    = 0x63
	refNonNull = 0x64
)

func (d *inspector) typeSection(r *reader) {
	for n := r.count(1); n > 0 && r.err == nil; n-- {
		if r.rest() > 0 && r.b[r.pos] == typeRec {
			r.pos++
			for m := r.count(1); m > 0 && r.err == nil; m-- {
				d.subType(r)
			}
			continue
		}
		d.subType(r)
	}
}

func (d *inspector) subType(r *reader) {
	c := r.u8()
	if c == typeSub || c == typeSubFin {
		d.info.GC = true
		for n := r.count(1); n > 0 && r.err == nil; n-- {
			r.u32()
		}
		c = r.u8()
	}
	var t funcType
	switch c {
	case typeFunc:
		t = funcType{abi.Signature{Params: valueTypes(r), Results: valueTypes(r)}, true}
	case typeStruct:
		d.info.GC = true
		for n := r.count(2); n > 0 && r.err == nil; n-- {
			fieldType(r)
		}
	case typeArray:
		d.info.GC = true
		fieldType(r)
	case typeCont:
		d.info.Refused = "stack switching (continuation types)"
		r.skipSigned(33)
	default:
		r.pos--
		r.fail(fmt.Errorf("unknown type form %#x", c))
	}
	if len(d.types) == maxEntries { // rec groups count their types one by one
		r.fail(tooMany(maxEntries + 1))
		return
	}
	d.types = append(d.types, t)
}

func valueTypes(r *reader) []abi.ValueType {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	out := make([]abi.ValueType, 0, n)
	for ; n > 0 && r.err == nil; n-- {
		out = append(out, valueType(r))
	}
	return out
}

// valueType reads a type; of a typed reference only the leading byte is kept:
// no host function has such a parameter.
func valueType(r *reader) abi.ValueType {
	c := r.u8()
	switch {
	case c == refNull || c == refNonNull:
		r.skipSigned(33)
	case c >= 0x7b && c <= 0x7f, c >= 0x69 && c <= 0x74:
	case r.err == nil:
		r.pos--
		r.fail(fmt.Errorf("unknown value type %#x", c))
	}
	return abi.ValueType(c)
}

// fieldType reads a storage type (0x78 and 0x77 are the packed i8 and i16) and
// its mutability.
func fieldType(r *reader) {
	if r.rest() > 0 && (r.b[r.pos] == 0x78 || r.b[r.pos] == 0x77) {
		r.pos++
	} else {
		valueType(r)
	}
	if r.u8() > 1 {
		r.fail(errors.New("invalid mutability"))
	}
}

func (d *inspector) importSection(r *reader) {
	for n := r.count(4); n > 0 && r.err == nil; n-- {
		module, name := r.name(), r.name()
		kind := Kind(r.u8())
		switch kind {
		case KindFunc:
			idx := r.u32()
			sig, ok := d.signature(idx)
			if !ok {
				r.fail(fmt.Errorf("%q.%q: type %d is no function type", module, name, idx))
				return
			}
			d.funcs = append(d.funcs, idx)
			d.info.Imports = append(d.info.Imports, abi.Import{Module: module, Name: name, Sig: sig})
			continue
		case KindTable:
			valueType(r)
			limits(r)
		case KindMemory:
			d.memory(r)
		case KindGlobal:
			valueType(r)
			if r.u8() > 1 {
				r.fail(errors.New("invalid mutability"))
			}
		case KindTag:
			d.info.Tags = true
			r.u8()
			r.u32()
		default:
			r.fail(fmt.Errorf("%q.%q: unknown import kind %d", module, name, byte(kind)))
		}
		d.info.OtherImports = append(d.info.OtherImports, OtherImport{module, name, kind})
	}
}

func (d *inspector) signature(typ uint32) (abi.Signature, bool) {
	if uint64(typ) >= uint64(len(d.types)) {
		return abi.Signature{}, false
	}
	t := d.types[typ]
	return t.sig, t.ok
}

// Bits of the limits flag: core spec 5.3.7 and the threads, memory64 and
// custom page sizes proposals.
const (
	limMax      = 1
	limShared   = 2
	lim64       = 4
	limPageSize = 8
)

func limits(r *reader) (flags byte, lo, hi uint64) {
	flags = r.u8()
	if flags&^(limMax|limShared|lim64|limPageSize) != 0 {
		r.fail(fmt.Errorf("unknown limits flag %#x", flags))
		return
	}
	bits := uint(32)
	if flags&lim64 != 0 {
		bits = 64
	}
	lo = r.leb(bits)
	if flags&limMax != 0 {
		hi = r.leb(bits)
	}
	return
}

func (d *inspector) memory(r *reader) {
	flags, lo, hi := limits(r)
	if flags&limPageSize != 0 {
		d.info.Refused = "custom page sizes"
		r.u32()
	}
	d.info.Memories++
	if d.info.Memories > 1 || r.err != nil {
		return
	}
	i := d.info
	i.HasMemory, i.HasMax = true, flags&limMax != 0
	i.Shared, i.Memory64 = flags&limShared != 0, flags&lim64 != 0
	i.MemoryMin, i.MemoryMax = lo, hi
}

func (d *inspector) exportSection(r *reader) {
	n := r.count(3)
	d.info.Exports = make([]Export, 0, n)
	for ; n > 0 && r.err == nil; n-- {
		e := Export{Name: r.name(), Kind: Kind(r.u8())}
		e.Index = r.u32()
		if int(e.Kind) >= len(kindNames) {
			r.fail(fmt.Errorf("%q: unknown export kind %d", e.Name, byte(e.Kind)))
			return
		}
		if e.Kind == KindFunc {
			if uint64(e.Index) >= uint64(len(d.funcs)) {
				r.fail(fmt.Errorf("%q: no function %d", e.Name, e.Index))
				return
			}
			var ok bool
			if e.Sig, ok = d.signature(d.funcs[e.Index]); !ok {
				r.fail(fmt.Errorf("%q: function %d has no function type", e.Name, e.Index))
				return
			}
		}
		d.info.Exports = append(d.info.Exports, e)
	}
}
