package aot

import "encoding/binary"

// stripped gives the module without custom sections but a cleaned "name"
// section. Debug information would cost time on every start, and a custom
// section must never make a module invalid (core spec 7.1), which engines that
// parse "name" strictly get wrong.
func stripped(secs []section) []byte {
	out := make([]byte, 0, rewriteSize(secs))
	out = append(out, header...)
	for i := range secs {
		if s := &secs[i]; s.id == secCustom {
			out = appendNames(out, functionNames(s.reader))
		} else {
			out = append(out, s.raw...)
		}
	}
	return out
}

// shell gives the stripped module with every function body replaced by a
// single unreachable and, if there is an image, without the contents of its
// data segments. An engine that takes native code from the artifact still
// decodes and validates a module; the shell keeps all that this needs at four
// bytes per function.
func shell(secs []section, img *image) []byte {
	counted := false // a data count section: segments are referred to by index
	out := make([]byte, 0, rewriteSize(secs))
	out = append(out, header...)
	for i := range secs {
		s := &secs[i]
		switch {
		case s.id == secCustom:
			out = appendNames(out, functionNames(s.reader))
		case s.id == secCode:
			out = appendBodies(out, s.reader)
		case s.id == secData && img != nil && !counted:
		case s.id == secData && img != nil:
			out = appendEmptied(out, s.reader)
		default:
			counted = counted || s.id == secDataCount
			out = append(out, s.raw...)
		}
	}
	return out
}

const header = "\x00asm\x01\x00\x00\x00"

// rewriteSize is an upper bound for most modules: a rewritten section may have
// a longer length field, or bodies shorter than emptyBody.
func rewriteSize(secs []section) int {
	n := 64
	for i := range secs {
		n += len(secs[i].raw)
	}
	return n
}

// emptyBody is a function of size 3 without locals: unreachable, end.
const emptyBody = "\x03\x00\x00\x0b"

func appendBodies(out []byte, code reader) []byte {
	n := code.u32()
	body := binary.AppendUvarint(nil, uint64(n))
	for ; n > 0; n-- {
		body = append(body, emptyBody...)
	}
	return appendSection(out, secCode, body)
}

// appendEmptied keeps passive segments and turns active ones, whose bytes are
// in the image, into empty passive ones: after instantiation an active segment
// counts as dropped (core spec 4.5.4), which an empty one equals.
func appendEmptied(out []byte, data reader) []byte {
	n := data.u32()
	body := binary.AppendUvarint(nil, uint64(n))
	for ; n > 0; n-- {
		start := data.pos
		passive := data.rest() > 0 && data.b[start] == 1
		dataSegment(&data)
		if passive {
			body = append(body, data.b[start:data.pos]...)
		} else {
			body = append(body, 1, 0)
		}
	}
	return appendSection(out, secData, body)
}

func appendSection(out []byte, id byte, body []byte) []byte {
	out = append(out, id)
	out = binary.AppendUvarint(out, uint64(len(body)))
	return append(out, body...)
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
	if sub == nil {
		return out
	}
	body := append([]byte{4}, "name"...)
	body = append(body, 1)
	body = binary.AppendUvarint(body, uint64(len(sub)))
	return appendSection(out, secCustom, append(body, sub...))
}
