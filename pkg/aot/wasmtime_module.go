//go:build wasmtime

package aot

import "encoding/binary"

// memoryExport is the name under which a compiled module exports the memory
// that host functions see; RUNW_MEMORY_EXPORT in wasmtime_shim.h.
const memoryExport = "runw.memory"

// outline keeps the sections that Inspect reads.
func outline(secs []section) []byte {
	out := []byte(header)
	for i := range secs {
		switch s := &secs[i]; s.id {
		case secType, secImport, secFunction, secMemory, secTag, secExport:
			out = append(out, s.raw...)
		}
	}
	return out
}

// withMemoryExport gives the module without custom sections but its function
// names, and with one export more: the memory that host functions see, which
// is the one exported as "memory", as WASI has it, else the first. wasmtime
// shows its host exported memories only.
func withMemoryExport(secs []section, info *Info) []byte {
	if !info.HasMemory {
		return stripped(secs)
	}
	index := uint32(0)
	if e, ok := info.Export("memory"); ok && e.Kind == KindMemory {
		index = e.Index
	}
	entry := append([]byte{byte(len(memoryExport))}, memoryExport...)
	entry = binary.AppendUvarint(append(entry, byte(KindMemory)), uint64(index))

	out := make([]byte, 0, rewriteSize(secs)+len(entry))
	out = append(out, header...)
	done := false
	for i := range secs {
		s := &secs[i]
		switch {
		case s.id == secCustom:
			out = appendNames(out, functionNames(s.reader))
			continue
		case s.id == secExport && !done:
			r := s.reader
			body := binary.AppendUvarint(nil, uint64(r.u32())+1)
			body = append(body, r.b[r.pos:]...)
			out = appendSection(out, secExport, append(body, entry...))
			done = true
			continue
		case !done && sectionRank[s.id] > sectionRank[secExport]:
			out = appendSection(out, secExport, append([]byte{1}, entry...))
			done = true
		}
		out = append(out, s.raw...)
	}
	if !done {
		out = appendSection(out, secExport, append([]byte{1}, entry...))
	}
	return out
}
