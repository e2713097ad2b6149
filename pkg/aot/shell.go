package aot

import "encoding/binary"

// stripped gives the module without custom sections but a cleaned "name"
// section. Debug information would cost time on every start, and a custom
// section must never make a module invalid (core spec 7.1), which engines that
// parse "name" strictly get wrong.
func stripped(secs []section) []byte { return rewrite(secs, false) }

// shell gives the stripped module with every function body replaced by a
// single unreachable. An engine that takes native code from the artifact still
// decodes and validates a module; the shell keeps all that this needs (types,
// imports, tables, memories, globals, exports, segments) at four bytes per
// function.
func shell(secs []section) []byte { return rewrite(secs, true) }

func rewrite(secs []section, empty bool) []byte {
	out := make([]byte, 0, rewriteSize(secs, empty))
	out = append(out, "\x00asm\x01\x00\x00\x00"...)
	for i := range secs {
		s := &secs[i]
		switch {
		case s.id == secCustom:
			if names := functionNames(s.reader); names != nil {
				out = appendNames(out, names)
				names = nil
			}
		case s.id == secCode && empty:
			out = appendBodies(out, s.reader)
		default:
			out = append(out, s.raw...)
		}
	}
	return out
}

func rewriteSize(secs []section, empty bool) int {
	n := 8 + 64
	for i := range secs {
		if secs[i].id == secCode && empty {
			n += 4 * 64
			continue
		}
		n += len(secs[i].raw)
	}
	return n
}

// emptyBody is a function of size 3 without locals: unreachable, end.
const emptyBody = "\x03\x00\x00\x0b"

func appendBodies(out []byte, code reader) []byte {
	n := code.u32()
	var count []byte
	count = binary.AppendUvarint(count, uint64(n))
	out = append(out, secCode)
	out = binary.AppendUvarint(out, uint64(len(count))+uint64(n)*uint64(len(emptyBody)))
	out = append(out, count...)
	for ; n > 0; n-- {
		out = append(out, emptyBody...)
	}
	return out
}

// functionNames finds the function name subsection (core spec 7.4.2) and
// returns it if it is sound: ascending indices, UTF-8, nothing left over.
func functionNames(r reader) []byte {
	if r.name() != "name" {
		return nil
	}
	for r.rest() > 0 {
		id, size := r.u8(), r.u32()
		at := r.pos
		b := r.bytes(size)
		if r.err != nil || id != 1 {
			continue
		}
		f := reader{section: r.section, base: r.base + at, b: b}
		next := uint64(0)
		for n := f.count(2); n > 0 && f.err == nil; n-- {
			i := uint64(f.u32())
			if f.name(); i < next {
				return nil
			}
			next = i + 1
		}
		if f.done() != nil {
			return nil
		}
		return b
	}
	return nil
}

func appendNames(out, sub []byte) []byte {
	content := append([]byte{4}, "name"...)
	content = append(content, 1)
	content = binary.AppendUvarint(content, uint64(len(sub)))
	out = append(out, secCustom)
	out = binary.AppendUvarint(out, uint64(len(content)+len(sub)))
	out = append(out, content...)
	return append(out, sub...)
}
